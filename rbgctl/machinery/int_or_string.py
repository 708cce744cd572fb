"""Numbers that may be percentages: Kubernetes' IntOrString.

`scaled` is what almost everything uses (API-03); `scaled_legacy` is the reading of stateful sets (API-04).
"""

import re
from typing import Final

IntOrString = int | str

_INT64: Final = 1 << 63
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)


def scaled(value: IntOrString | None, total: int, *, round_up: bool) -> int:
    """`value` as a count out of `total`: an int as it is, `"N%"` as N percent rounded up or down.

    Raises ValueError for None and for strings that are not an integer followed by `%`. API-03
    """
    if value is None:
        raise ValueError("nil value for IntOrString")
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value for IntOrString: invalid type: string is not a percentage: {value!r}")
    return _share(_integer(value[:-1], value), total, round_up)


def scaled_legacy(value: IntOrString | None, total: int, *, round_up: bool = False) -> int:
    """Like `scaled`, but every string is a percentage and all its `%` are ignored: `"5"` is 5 percent.

    Raises ValueError for None and for strings without a number. API-04
    """
    if value is None:
        raise ValueError("nil value for IntOrString")
    if isinstance(value, int):
        return value
    return _share(_integer(value.replace("%", ""), value), total, round_up)


def _integer(digits: str, shown: str) -> int:
    number = int(digits) if _INTEGER.fullmatch(digits) else None
    if number is None or not -_INT64 <= number < _INT64:
        raise ValueError(f"invalid value for IntOrString: invalid value {shown!r}: not an integer percentage")
    return number


def _share(percent: int, total: int, round_up: bool) -> int:
    product = percent * total
    return -(-product // 100) if round_up else product // 100
