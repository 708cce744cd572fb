"""JSON text exactly as Go's encoding/json writes a decoded document: sorted keys, no blanks, HTML escaped.

Hashes of ControllerRevisions are taken over these bytes, and the Go operator compares them byte by byte, so this is
a wire format (RBG-35, REV-1, REV-2). Every number passes through float64, as it does in a Go map.
"""

import math
from collections.abc import Mapping
from typing import Any

import orjson

_EXACT = 1 << 53
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def canonical_json(value: Any) -> bytes:
    """The canonical bytes of a JSON value (RBG-35). Raises TypeError for what JSON cannot hold."""
    return escape_html(orjson.dumps(_numbers(value), option=orjson.OPT_SORT_KEYS))


def escape_html(encoded: bytes) -> bytes:
    """JSON text with `<`, `>`, `&`, U+2028 and U+2029 escaped as Go does; they can only stand inside strings."""
    for char, escape in _ESCAPES:
        if char in encoded:
            encoded = encoded.replace(char, escape)
    return encoded


def go_float(number: float) -> str:
    """A float64 as Go's encoding/json prints it: shortest digits, an exponent only below 1e-6 and from 1e21.

    Raises ValueError for NaN and the infinities, which JSON has no text for.
    """
    if not math.isfinite(number):
        raise ValueError(f"not a JSON number: {number}")
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    mantissa, _, exponent_text = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent_text or "0") - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    sign = "-" if number < 0 else ""
    if not 1e-6 <= abs(number) < 1e21:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{point - 1:+}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"


def _numbers(value: Any) -> Any:
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return value
    if isinstance(value, int | float):
        return orjson.Fragment(go_float(float(value)))
    return value
