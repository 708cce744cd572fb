"""RFC 1123 labels, as Kubernetes checks and explains them."""

import re
from typing import Final

MAX_LENGTH: Final = 63

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_EXPLANATION: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and"
    " end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def dns_label_problem(text: str) -> str:
    """Why `text` is no DNS label, the first reason only; empty when it is one. VAL-1"""
    if len(text) > MAX_LENGTH:
        return f"must be no more than {MAX_LENGTH} characters"
    if _LABEL.fullmatch(text):
        return ""
    if all(_LABEL.fullmatch(part) for part in text.split(".")):
        return "must not contain dots"
    return _EXPLANATION
