"""Command lines as programs in Go read them (02 §11.1).

    -name value   -name=value   --name value   --name=value   -switch   -switch=false

A switch takes its value only after `=`. Reading ends at `--` and at the first word that is no flag; what follows is
left over. The last mention of a flag wins.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rbgctl.machinery.go_duration import parse_go_duration

Kind = Literal["string", "bool", "int", "float", "duration"]
Value = str | bool | int | float

TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
HELP: Final = frozenset({"h", "help"})

_INT = re.compile(
    r"([+-]?)(?:0x(?P<hex>(_?[0-9a-f])+)|0b(?P<bin>(_?[01])+)|0o?(?P<oct>(_?[0-7])+)|(?P<dec>0|[1-9](_?[0-9])*))",
    re.IGNORECASE | re.ASCII,
)
"""An integer literal; what follows a leading zero is octal."""
_BASES: Final = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_DIGITS = "[0-9](_?[0-9])*"
_HEX = "[0-9a-f](_?[0-9a-f])*"
_FLOAT = re.compile(
    rf"[+-]?({_DIGITS}\.?({_DIGITS})?|\.{_DIGITS})(e[+-]?{_DIGITS})?|[+-]?inf(inity)?|nan", re.IGNORECASE | re.ASCII
)
_HEX_FLOAT = re.compile(rf"[+-]?0x(_?{_HEX}\.?({_HEX})?|\.{_HEX})p[+-]?{_DIGITS}", re.IGNORECASE | re.ASCII)
"""The exponent, of two, is never left out."""


class UsageError(Exception):
    """The command line cannot be read; the text names the flag."""


class HelpWanted(Exception):
    """`-h` or `-help` was given, and there is no such flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag. default: as it would be written. accepts: whether a text is a possible value; None: all of its kind."""

    name: str
    kind: Kind
    default: str
    usage: str
    accepts: Callable[[str], bool] | None = None

    def read(self, text: str) -> Value:
        """The value of `text`. Raises ValueError for text of another kind."""
        if self.accepts is not None and not self.accepts(text):
            raise ValueError(text)
        return _READ[self.kind](text)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Values by the name of the flag, only of those that were given; and the words after them."""

    given: Mapping[str, Value]
    rest: tuple[str, ...]


def parse(arguments: Sequence[str], flags: Sequence[Flag]) -> CommandLine:
    """Raises UsageError for what is no flag or no value of one, HelpWanted for -h."""
    known = {flag.name: flag for flag in flags}
    given: dict[str, Value] = {}
    words = list(arguments)
    while words:
        word = words[0]
        if len(word) < 2 or not word.startswith("-"):
            break
        del words[0]
        if word == "--":
            break
        name, equals, text = word[2 if word.startswith("--") else 1 :].partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {word}")
        flag = known.get(name)
        if flag is None:
            if name in HELP:
                raise HelpWanted
            raise UsageError(f"flag provided but not defined: -{name}")
        if not equals:
            if flag.kind == "bool":
                text = "true"
            elif words:
                text = words.pop(0)
            else:
                raise UsageError(f"flag needs an argument: -{name}")
        try:
            given[name] = flag.read(text)
        except ValueError:
            raise UsageError(f'invalid value "{text}" for flag -{name}: want {_WANTED[flag.kind]}') from None
    return CommandLine(given, tuple(words))


def usage(program: str, flags: Sequence[Flag]) -> str:
    """What -h prints: the flags in alphabetical order with their defaults."""
    lines = [f"Usage of {program}:"]
    for flag in sorted(flags, key=lambda f: f.name):
        kind = "" if flag.kind == "bool" else f" {flag.kind}"
        shown = f'"{flag.default}"' if flag.kind == "string" else flag.default
        default = "" if flag.default in {"", "false"} else f" (default {shown})"
        lines += [f"  -{flag.name}{kind}", f"    \t{flag.usage}{default}"]
    return "\n".join(lines)


def _bool(text: str) -> bool:
    if text not in TRUE | FALSE:
        raise ValueError(text)
    return text in TRUE


def _int(text: str) -> int:
    match = _INT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    digits, base = next((match[name], base) for name, base in _BASES.items() if match[name])
    value = int(match[1] + digits.lstrip("_"), base)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(text)
    return value


def _float(text: str) -> float:
    if _HEX_FLOAT.fullmatch(text):
        return _finite(float.fromhex, text)
    if _FLOAT.fullmatch(text) is None:
        raise ValueError(text)
    if text[-1].isalpha():  # inf or nan
        return float(text)
    return _finite(float, text)


def _finite(convert: Callable[[str], float], text: str) -> float:
    try:
        value = convert(text.replace("_", ""))
    except OverflowError:
        raise ValueError(text) from None
    if math.isinf(value):
        raise ValueError(text)
    return value


_READ: Final[Mapping[Kind, Callable[[str], Value]]] = {
    "string": str,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "duration": parse_go_duration,
}
_WANTED: Final[Mapping[Kind, str]] = {
    "string": "a value that -help names",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "duration": "a duration like 90s, 2m0s or 1h30m",
}
