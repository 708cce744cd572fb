"""Comparing resource versions (RT-RV-07, KEP-5504)."""


def newer_or_equal(a: str, b: str) -> bool:
    """True iff `a` is at least as new as `b`.

    Decimal versions of any length compare as numbers; anything else only by equality.
    """
    if a.isdecimal() and b.isdecimal() and a.isascii() and b.isascii():
        a, b = a.lstrip("0"), b.lstrip("0")
        return (len(a), a) >= (len(b), b)
    return a == b


def is_before(a: str, b: str) -> bool:
    """True iff `a` is older than `b`; False when they cannot be ordered."""
    if a.isdecimal() and b.isdecimal() and a.isascii() and b.isascii():
        a, b = a.lstrip("0"), b.lstrip("0")
        return (len(a), a) < (len(b), b)
    return False


def is_ordered(rv: str) -> bool:
    """Whether `rv` can be ordered at all."""
    return rv.isascii() and rv.isdecimal()
