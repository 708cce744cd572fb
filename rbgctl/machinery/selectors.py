"""Label selectors: matching, canonical text and the text parser (RT-SL-01..03)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^()]*)\)$")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_COMPARE = re.compile(r"^([^=!<>\s]+)\s*(==|=|!=|>|<)\s*(\S*)$")


def check_label_key(key: str) -> None:
    """Raises ValueError unless `key` is a qualified name: optional DNS prefix, slash, name of at most 63."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (0 < len(prefix) <= 253 and _PREFIX.fullmatch(prefix)):
        raise ValueError(f"invalid label key {key!r}: the prefix must be a DNS subdomain")
    if not (0 < len(name) <= 63 and _NAME.fullmatch(name)):
        raise ValueError(f"invalid label key {key!r}: the name must have 1-63 of [A-Za-z0-9-_.]")


def check_label_value(value: str) -> None:
    """Raises ValueError unless `value` is empty or at most 63 of [A-Za-z0-9-_.] with alphanumeric ends."""
    if value and not (len(value) <= 63 and _NAME.fullmatch(value)):
        raise ValueError(f"invalid label value {value!r}: at most 63 of [A-Za-z0-9-_.], alphanumeric ends")


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One condition on one label. `operator`: in, notin, exists, !exists, gt or lt; `values` sorted."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "!exists":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        have, want = _integer(value), _integer(self.values[0])
        if have is None or want is None:
            return False
        return have > want if self.operator == "gt" else have < want

    def __str__(self) -> str:
        values = ",".join(self.values)
        single = len(self.values) == 1
        match self.operator:
            case "exists":
                return self.key
            case "!exists":
                return f"!{self.key}"
            case "in":
                return f"{self.key}={values}" if single else f"{self.key} in ({values})"
            case "notin":
                return f"{self.key}!={values}" if single else f"{self.key} notin ({values})"
            case "gt":
                return f"{self.key}>{values}"
            case _:
                return f"{self.key}<{values}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A conjunction of requirements, sorted so that equal selectors have equal text. Empty matches everything.

    `nothing` (from a missing selector) matches nothing; it has no text form, so clients do not send it.
    """

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    @classmethod
    def of(cls, requirements: Iterable[Requirement]) -> "LabelSelector":
        """Raises ValueError for an invalid key or value, before any request is sent."""
        checked = []
        for requirement in requirements:
            check_label_key(requirement.key)
            _check_values(requirement)
            for value in requirement.values:
                check_label_value(value)
            checked.append(Requirement(requirement.key, requirement.operator, tuple(sorted(set(requirement.values)))))
        return cls(tuple(sorted(set(checked))))

    @classmethod
    def labels(cls, labels: Mapping[str, str]) -> "LabelSelector":
        """Equality with every given label."""
        return cls.of(Requirement(k, "in", (v,)) for k, v in labels.items())

    @classmethod
    def has(cls, *keys: str) -> "LabelSelector":
        """Existence of every given key."""
        return cls.of(Requirement(k, "exists") for k in keys)

    @classmethod
    def from_object(cls, selector: Mapping[str, Any] | None) -> "LabelSelector":
        """From the API form (matchLabels, matchExpressions); None selects nothing (RT-SL-01)."""
        if selector is None:
            return cls(nothing=True)
        found = [Requirement(k, "in", (v,)) for k, v in (selector.get("matchLabels") or {}).items()]
        names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists"}
        for expression in selector.get("matchExpressions") or ():
            operator = names.get(expression.get("operator"))
            values = tuple(expression.get("values") or ())
            if operator is None:
                raise ValueError(f"{expression.get('operator')!r} is not a valid label selector operator")
            found.append(Requirement(expression.get("key") or "", operator, values))
        return cls.of(found)

    @classmethod
    def parse(cls, text: str) -> "LabelSelector":
        """From the query-string form. Raises ValueError for text that is not a selector."""
        return cls.of(_parse_one(part) for part in _split(text))

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.nothing and all(r.matches(labels) for r in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


def _integer(text: str) -> int | None:
    """As the API server reads it: 64 bits, no underscores or spaces."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


def _check_values(requirement: Requirement) -> None:
    values, operator = requirement.values, requirement.operator
    if operator in {"gt", "lt"}:
        if len(values) != 1 or _integer(values[0]) is None:
            raise ValueError(f"label {requirement.key!r} is compared with {values!r}: one integer is wanted")
    elif (operator in {"in", "notin"}) != bool(values):
        raise ValueError(f"values do not fit label operator {operator} on {requirement.key!r}")


def _split(text: str) -> Sequence[str]:
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    parts.append(current.strip())
    return [] if parts == [""] else parts


def _parse_one(part: str) -> Requirement:
    if found := _SET.match(part):
        return Requirement(found[1], found[2], tuple(v.strip() for v in found[3].split(",")))
    if found := _COMPARE.match(part):
        operator = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}[found[2]]
        return Requirement(found[1], operator, (found[3],))
    if part.startswith("!"):
        return Requirement(part[1:].strip(), "!exists")
    if part and not re.search(r"[\s=!<>()]", part):
        return Requirement(part, "exists")
    raise ValueError(f"not a label selector: {part!r}")
