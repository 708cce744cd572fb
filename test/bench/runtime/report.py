"""Figures as a table for people and as JSON for machines."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. limit: at most that much is allowed, None where no rule says. bound_by: what limits it."""

    rule: str
    name: str
    value: float
    unit: str
    limit: float | None
    bound_by: str

    @property
    def missed(self) -> bool:
        """Whether it is over its limit."""
        return self.limit is not None and self.value > self.limit


def table(figures: Sequence[Figure]) -> str:
    """One line per figure."""
    lines = [f"{'rule':9} {'figure':31} {'value':>10} {'':4} {'limit':>7}  limited by"]
    for f in figures:
        limit = "" if f.limit is None else f"{f.limit:.4g}"
        mark = "  MISSED" if f.missed else ""
        lines.append(f"{f.rule:9} {f.name:31} {f.value:10.4g} {f.unit:4} {limit:>7}  {f.bound_by}{mark}")
    return "\n".join(lines)


def write_json(path: Path, figures: Sequence[Figure], raw: dict[str, Any]) -> None:
    """The figures, what they were made from, and on what machine."""
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.platform()}
    found = {"machine": machine, "figures": [{**asdict(f), "missed": f.missed} for f in figures], "raw": raw}
    path.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
