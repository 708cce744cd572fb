"""Guessing the plural of a kind, for when no server can be asked (RT-RM-05)."""


def guess_plural(kind: str) -> str:
    """The resource name that a kind most likely has: `Pod` is `pods`, `NetworkPolicy` is `networkpolicies`."""
    singular = kind.lower()
    if singular.endswith("endpoints"):
        return singular
    if singular.endswith("s"):
        return f"{singular}es"
    if singular.endswith("y"):
        return f"{singular[:-1]}ies"
    return f"{singular}s"
