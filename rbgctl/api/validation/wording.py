"""Warnings as the API server passes them on: one line each, short, and not too many (AR-5).

A warning is cut at MAX_LENGTH characters, all of them together at MAX_TOTAL; the last one then says how many are left
out. The API server drops warnings with control characters, so these are replaced.
"""

from collections.abc import Iterable
from typing import Final

MAX_LENGTH: Final = 120
MAX_TOTAL: Final = 4096


def bounded(texts: Iterable[str]) -> list[str]:
    """Distinct warnings in order, within both limits. AR-5"""
    lines = list(dict.fromkeys(_line(text) for text in texts))
    kept: list[str] = []
    left = MAX_TOTAL - MAX_LENGTH
    for at, line in enumerate(lines):
        if len(line.encode()) > left and sum(len(rest.encode()) for rest in lines[at:]) > left + MAX_LENGTH:
            return [*kept, f"and {len(lines) - at} more warnings"]
        kept.append(line)
        left -= len(line.encode())
    return kept


def _line(text: str) -> str:
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= MAX_LENGTH else f"{clean[: MAX_LENGTH - 3]}..."
