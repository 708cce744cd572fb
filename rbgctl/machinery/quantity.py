"""Kubernetes quantities in the spelling Go's resource.Quantity marshals (RBG-36, REV-2).

Go reuses the text it was given where a quick test takes it for canonical already (so `1.500` and `+5Mi` stay), and
recomputes it otherwise (`1024Mi` is `1Gi`, `0.5` is `500m`). Both are reproduced: the result is part of hashes.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from rbgctl.machinery.canonical_json import go_float

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_EXPONENT: Final = re.compile(r"[eE]([+-]?[0-9]+)", re.ASCII)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX: Final = {exponent: suffix for suffix, exponent in _BINARY.items()}
_INT64_DIGITS: Final = 18
_MAX_INT64: Final = (1 << 63) - 1
_NANO: Final = -9


@dataclass(frozen=True, slots=True)
class Quantity:
    """`unscaled` x 10^`exponent`. `kept` is the text Go reuses when it marshals; empty means it recomputes."""

    unscaled: int
    exponent: int
    format: Format
    kept: str = ""

    @classmethod
    def parse(cls, text: str) -> "Quantity":
        """Raises ValueError for a text that is no quantity."""
        if text == "0":
            return cls(0, 0, "DecimalSI", text)
        match = _NUMBER.fullmatch(text)
        if match is None or not text:
            raise ValueError(f"not a quantity: {text!r}")
        sign, whole, fraction, suffix = match.groups(default="")
        return _parsed(cls, text, sign == "-", whole, fraction, suffix)

    @property
    def value(self) -> str:
        """The number alone, as `<integer>e<exponent>`: equal exactly when two quantities are the same amount."""
        amount, exponent = _without_zeros(self.unscaled, self.exponent)
        return f"{amount}e{exponent}"

    def __str__(self) -> str:
        """The text Go marshals."""
        if self.kept:
            return self.kept
        if self.unscaled == 0:
            return "0"
        if self.format == "BinarySI":
            value = _as_integer(self.unscaled, self.exponent)
            if value is not None and abs(value) >= 1024:
                times = 0
                while value % 1024 == 0:
                    value //= 1024
                    times += 10
                return f"{value}{_BINARY_SUFFIX.get(times, '')}"
        amount, exponent = _without_zeros(self.unscaled, self.exponent)
        amount *= 10 ** (exponent % 3)
        exponent -= exponent % 3
        if self.format == "DecimalExponent":
            return f"{amount}e{exponent}" if exponent else f"{amount}"
        return f"{amount}{_DECIMAL_SUFFIX.get(exponent, '')}"


def canonical_quantity(value: str | int | float) -> str:
    """A quantity given as JSON string or number, as Go's typed encoder writes it: always a string.

    Raises ValueError for a text or number that is no quantity.
    """
    return str(quantity_of(value))


def quantity_of(value: str | int | float) -> Quantity:
    """A quantity given as JSON string or number. Raises ValueError for a text or number that is no quantity."""
    if isinstance(value, str):
        return Quantity.parse(value.strip(" \t\n\v\f\r\x85\xa0"))
    return Quantity.parse(go_float(value) if isinstance(value, float) else str(value))


def _parsed(cls: type[Quantity], text: str, negative: bool, given: str, fraction: str, suffix: str) -> Quantity:
    form, exponent = _suffix(suffix, text)
    whole = given.lstrip("0") or "0"
    if form == "BinarySI":
        room = 15 - len(whole) - exponent * 3 // 10 - 1 if not fraction else -1
        multiplier = 1 << exponent
        scale = 0
    else:
        room = _INT64_DIGITS - len(whole) - len(fraction)
        multiplier = 1
        scale = exponent - len(fraction)
    digits = whole + fraction
    number = int(digits)
    if room >= 0 and scale >= _NANO and number * multiplier <= _MAX_INT64:
        result = number * multiplier * (-1 if negative else 1)
        if form == "BinarySI":
            reuse = exponent % 10 == 0 and number & 7 != 0
        else:
            reuse = scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"
        return cls(result, scale, form, text if reuse else "")
    if not given and not fraction:
        raise ValueError(f"not a quantity: {text!r} has no digits")
    if form == "BinarySI":
        number *= multiplier
        exponent = 0
    number, scale = _rounded_to_nano(number, exponent - len(fraction))
    if form == "BinarySI" and number > 0:
        whole_value = number * 10**scale if scale >= 0 else number // 10**-scale
        if whole_value > _MAX_INT64 or (whole_value == _MAX_INT64 and number != whole_value):
            number, scale = _MAX_INT64, 0
        elif whole_value < 1:
            form = "DecimalSI"
    return cls(-number if negative else number, scale, form)


def _suffix(suffix: str, text: str) -> tuple[Format, int]:
    if suffix in _DECIMAL:
        return "DecimalSI", _DECIMAL[suffix]
    if suffix in _BINARY:
        return "BinarySI", _BINARY[suffix]
    match = _EXPONENT.fullmatch(suffix)
    if match is None:
        raise ValueError(f"not a quantity: {text!r} has the unknown suffix {suffix!r}")
    exponent = int(match[1])
    if abs(exponent) > (1 << 31) - 64:
        raise ValueError(f"not a quantity: the exponent of {text!r} is out of range")
    return "DecimalExponent", exponent


def _rounded_to_nano(number: int, exponent: int) -> tuple[int, int]:
    """At most nine decimals, rounded away from zero: whoever asks for something gets something."""
    if exponent >= _NANO or number == 0:
        return number, exponent
    excess = _NANO - exponent
    if excess > len(str(number)):
        return 1, _NANO
    return -(-number // 10**excess), _NANO


def _without_zeros(amount: int, exponent: int) -> tuple[int, int]:
    if amount == 0:
        return 0, 0
    while amount % 10 == 0:
        amount //= 10
        exponent += 1
    return amount, exponent


def _as_integer(unscaled: int, exponent: int) -> int | None:
    if exponent >= 0:
        return unscaled * int(10**exponent)
    value, rest = divmod(unscaled, int(10**-exponent))
    return None if rest else value
