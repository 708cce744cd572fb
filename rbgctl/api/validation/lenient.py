"""A stored object of any shape as a model: what cannot be decoded is left out and reported.

A group that an older schema admitted, or that somebody put into etcd by hand, must be judged like any other: a
webhook that fails on it would make it unchangeable.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from rbgctl.api.model import Model
from rbgctl.api.validation.problem import FieldError, shown

M = TypeVar("M", bound=Model)

TYPE: Final = "type"
_INDEX: Final = re.compile(r"\[\d+\]")
_PASSES: Final = 64
"""One pass shows every field of a wrong type at once, but what is behind it only in the next."""


def lenient(cls: type[M], raw: Any) -> tuple[M, list[FieldError]]:
    """The model of `raw` without the fields that are of a wrong type, and what these are."""
    problems: dict[str, FieldError] = {}
    left = raw
    for _ in range(_PASSES):
        try:
            return cls.model_validate(left, by_alias=True, by_name=False), list(problems.values())
        except ValidationError as error:
            if not isinstance(left, dict):
                break
            if left is raw:
                left = copy.deepcopy(raw)
            for path, found, wanted in _drop(left, error):
                text = f"should be {wanted}, found {shown(repr(found))}"
                where = _INDEX.sub("[]", path)
                problems.setdefault(path, FieldError(path, text, check=TYPE, value=f"{where} {shown(found)}"))
    whole = FieldError("(object)", "is not of a shape that can be read", check=TYPE, value="object")
    return cls(), [*problems.values(), whole]


def _drop(raw: dict[str, Any], error: ValidationError) -> list[tuple[str, Any, str]]:
    """Take out of `raw` what the error names. Returns the paths with what stood there and what should."""
    wanted: dict[tuple[int | str, ...], list[str]] = {}
    for found in error.errors():
        place = _place(raw, found["loc"])
        texts = wanted.setdefault(place, [])
        texts.append(found["msg"].removeprefix("Input should be "))
    dropped = []
    for place, texts in wanted.items():
        value = _take(raw, place)
        dropped.append((_path(place), value, " or ".join(dict.fromkeys(texts))))
    return dropped


def _place(raw: Any, location: Sequence[int | str]) -> tuple[int | str, ...]:
    """The part of a pydantic location that exists in the JSON; the rest names branches of unions."""
    place: list[int | str] = []
    node = raw
    for part in location:
        inside = isinstance(node, dict) and isinstance(part, str) and part in node
        if inside or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            node = node[part]
            place.append(part)
    return tuple(place)


def _take(raw: dict[str, Any], place: tuple[int | str, ...]) -> Any:
    """Remove what stands at `place`. An entry of a list first becomes an empty object, so that the others stay."""
    node: Any = raw
    parents: list[tuple[Any, int | str]] = []
    for part in place:
        try:
            parents.append((node, part))
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return None  # went with something around it
    if not parents:
        value = dict(raw)
        raw.clear()
        return value
    parent, last = parents[-1]
    if isinstance(parent, dict):
        return parent.pop(last)
    if node != {}:
        parent[last] = {}
        return node
    while parents and isinstance(parents[-1][0], list):
        parents.pop()
    holder, key = parents[-1] if parents else (raw, "")
    if isinstance(holder, dict):
        holder.pop(str(key), None)
    return node


def _path(place: Sequence[int | str]) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(object)"
