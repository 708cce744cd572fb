"""Durations in Go's syntax, as flags of Kubernetes programs take them: `2m0s`, `1h30m`, `300ms`."""

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def parse_go_duration(text: str) -> float:
    """Seconds. Raises ValueError for text without a unit or of another form; a bare 0 is allowed."""
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.lstrip("+-") if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    for part in _PART.finditer(rest):
        if part.start() != at:
            break
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if not rest or at != len(rest):
        raise ValueError(f"{text!r} is not a duration: write it like 90s, 2m or 1h30m")
    return sign * total
