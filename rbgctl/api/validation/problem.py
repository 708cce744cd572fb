"""A problem as a value, and several problems as one text."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rbgctl.machinery.int_or_string import IntOrString

_INDEX: Final = re.compile(r"\[\d+\]")
SHOWN: Final = 80
"""Characters of a user's value that a message repeats."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One problem: JSON path of the field, what was found, what would work; role when it concerns one.

    check, role, value and the path without its indices say which problem it is: when these are the same it is the same
    problem, also when roles were reordered in between.
    """

    path: str
    message: str
    role: str = ""
    check: str = ""
    value: IntOrString = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    @property
    def identity(self) -> tuple[str, str, str, IntOrString]:
        """Equal for the same problem before and after an update."""
        return self.check, self.role, _INDEX.sub("[]", self.path), self.value


def shown(value: object) -> str:
    """A user's value for a message: on one line, not endless."""
    text = "".join(char if char.isprintable() else "?" for char in str(value))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def aggregate(errors: Iterable[object]) -> str:
    """One text for several problems: distinct texts in order, in brackets if there are several. VAL-9"""
    texts = list(dict.fromkeys(str(error) for error in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
