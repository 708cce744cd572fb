"""Strategic merge patch (RBG-71, RBG-72, RBG-73): a JSON merge patch that knows which lists merge by a key.

Maps merge key by key, recursively; null removes a key. A list merges when the schema gives it a merge key (objects) or
calls it a set (scalars); every other list, and every scalar, is replaced. A value of another JSON type replaces too.
A directive in a part of the patch that meets nothing in the original takes that part out, whatever it says: this is
what Kubernetes does, and a test compares with its API server.

Order of a merged list: let S be the original's own elements, P the patch's, both in their order. Take from S while its
next element stood, in the original, before the next one of P; otherwise, and always for elements that are new, take
from P. So elements that a patch adds come first, unless the patch names an original element in front of them.

Directives: `$patch: replace | delete` in a map or list element, `$retainKeys`, `$deleteFromPrimitiveList/<field>`,
`$setElementOrder/<field>`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

JSON = Any
Object = dict[str, JSON]
T = TypeVar("T")

DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
DELETE_FROM_LIST: Final = "$deleteFromPrimitiveList/"
ELEMENT_ORDER: Final = "$setElementOrder/"
_NOTHING: Final = object()


class StrategicMergeError(ValueError):
    """The patch cannot be applied; the text names the place in it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """How a field merges. `fields`: of the object itself, or of a list's elements; unnamed ones have no list strategy.

    key: merge key of a list of objects; a_set: a list of scalars that merges as a set.
    """

    fields: Mapping[str, "Schema"] = field(default_factory=dict)
    key: str = ""
    a_set: bool = False

    def of(self, name: str) -> "Schema":
        """The schema of a field."""
        return self.fields.get(name, PLAIN)

    @property
    def merges_lists(self) -> bool:
        return bool(self.key) or self.a_set


PLAIN: Final = Schema()


def strategic_merge(original: Mapping[str, JSON], patch: Mapping[str, JSON], schema: Schema) -> Object:
    """`original` with `patch` applied. Neither is changed; unchanged parts are shared.

    Raises StrategicMergeError for directives and lists that make no sense.
    """
    return _merge(original, patch, schema, "")


def _merge(original: Mapping[str, JSON], patch: Mapping[str, JSON], schema: Schema, path: str) -> Object:
    if DIRECTIVE in patch:
        return _whole_map(patch[DIRECTIVE], patch, path)
    result = _retained(original, patch, path)
    orders = {k.removeprefix(ELEMENT_ORDER): v for k, v in patch.items() if k.startswith(ELEMENT_ORDER) and v}
    removals = {k.removeprefix(DELETE_FROM_LIST): v for k, v in patch.items() if k.startswith(DELETE_FROM_LIST)}
    for name, value in patch.items():
        if name.startswith((ELEMENT_ORDER, DELETE_FROM_LIST)) or name == _RETAIN:
            continue
        made = _value(result.get(name), value, schema.of(name), _at(path, name), orders.get(name))
        if made is _NOTHING:
            result.pop(name, None)
        else:
            result[name] = made
    for name, order in orders.items():
        if name not in patch and isinstance(result.get(name), list):
            result[name] = _merged_list(result[name], [], schema.of(name), _at(path, name), order)
    for name, gone in removals.items():
        if isinstance(result.get(name), list):
            unwanted = _list(gone, _at(path, DELETE_FROM_LIST + name))
            result[name] = [item for item in result[name] if not any(_same(item, other) for other in unwanted)]
    return result


def _value(old: JSON, new: JSON, schema: Schema, path: str, order: JSON) -> JSON:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _merge(old, new, schema, path)
    if isinstance(old, list) and isinstance(new, list):
        return _merged_list(old, new, schema, path, order) if schema.merges_lists else new
    return _fresh(new)


def _fresh(value: JSON) -> JSON:
    """A value that meets nothing of its type: without nulls, and without everything that carries `$patch`."""
    if isinstance(value, Mapping):
        if DIRECTIVE in value:
            return _NOTHING
        fields = {name: _fresh(item) for name, item in value.items()}
        return {name: item for name, item in fields.items() if item is not _NOTHING}
    if isinstance(value, list):
        return [item for item in map(_fresh, value) if item is not _NOTHING]
    return _NOTHING if value is None else value


def _whole_map(directive: JSON, patch: Mapping[str, JSON], path: str) -> Object:
    if directive == "delete":
        return {}
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != DIRECTIVE}
    raise StrategicMergeError(f"{_at(path, DIRECTIVE)} is {directive!r}, use replace or delete")


def _retained(original: Mapping[str, JSON], patch: Mapping[str, JSON], path: str) -> Object:
    if _RETAIN not in patch:
        return dict(original)
    kept = _list(patch[_RETAIN], _at(path, _RETAIN))
    for name, value in patch.items():
        if name not in kept and value is not None and not name.startswith("$"):
            raise StrategicMergeError(f"{_at(path, name)} is not listed in {_RETAIN}, which lists {kept}")
    return {k: v for k, v in original.items() if k in kept}


# -- lists ----------------------------------------------------------------------------------------------------


def _merged_list(
    original: Sequence[JSON], patch: Sequence[JSON], schema: Schema, path: str, order: JSON = None
) -> list[JSON]:
    if schema.key:
        return _merged_objects(original, patch, schema, path, order)
    both = _distinct([*original, *patch])
    wanted = patch if order is None else _list(order, path)
    return _in_order(both, wanted, original, _same)


def _merged_objects(
    original: Sequence[JSON], patch: Sequence[JSON], schema: Schema, path: str, order: JSON
) -> list[JSON]:
    key = schema.key
    kept = [_keyed(item, key, f"{path}[{n}]") for n, item in enumerate(original)]
    additions: list[Object] = []
    replace = False
    for n, item in enumerate(patch):
        place = f"{path}[{n}]"
        if not isinstance(item, Mapping):
            raise StrategicMergeError(f"{place} is {item!r}, use an object with {key}")
        match item.get(DIRECTIVE):
            case None:
                additions.append(_keyed(item, key, place))
            case "delete":
                gone = _keyed(item, key, place)[key]
                kept = [other for other in kept if not _same(other[key], gone)]
            case "replace":
                replace = True
            case other:
                raise StrategicMergeError(f"{_at(place, DIRECTIVE)} is {other!r}, use replace or delete")
    if replace:
        if order is not None:
            raise StrategicMergeError(f"{path}: {DIRECTIVE} replace and {ELEMENT_ORDER} exclude each other")
        return additions

    def same(one: JSON, other: JSON) -> bool:
        return _same(one[key], other[key])

    merged: list[Object] = list(kept)
    for item in additions:
        at = next((n for n, other in enumerate(merged) if same(other, item)), None)
        place = f"{path}[{key}={item[key]}]"
        if at is None:
            merged.append(item)
        else:
            merged[at] = _merge(merged[at], item, schema, place)
    wanted = additions if order is None else _element_order(order, additions, key, path)
    return _in_order(merged, wanted, kept, same)


def _element_order(order: JSON, patch: Sequence[Object], key: str, path: str) -> list[Object]:
    wanted = [_keyed(item, key, f"{ELEMENT_ORDER}{path}[{n}]") for n, item in enumerate(_list(order, path))]
    rest = iter(wanted)
    for item in patch:
        if not any(_same(item[key], other[key]) for other in rest):
            raise StrategicMergeError(f"{path}: {key} {item[key]!r} does not stand where {ELEMENT_ORDER} wants it")
    return wanted


def _keyed(item: JSON, key: str, path: str) -> Object:
    if not isinstance(item, Mapping) or key not in item:
        raise StrategicMergeError(f"{path} has no {key}, by which elements of this list are merged")
    return dict(item)


def _in_order(merged: Sequence[T], patch: Sequence[T], original: Sequence[T], same: Callable[[T, T], bool]) -> list[T]:
    """See the module: `merged` in the order that `original` and `patch` give together."""

    def place(item: T, among: Sequence[T]) -> int:
        return next((n for n, other in enumerate(among) if same(item, other)), -1)

    theirs = sorted((m for m in merged if place(m, patch) >= 0), key=lambda m: place(m, patch))
    own = [m for m in merged if place(m, patch) < 0]
    result: list[T] = []
    while own and theirs:
        first, next_of_patch = place(own[0], original), place(theirs[0], original)
        result.append(own.pop(0) if 0 <= first < next_of_patch else theirs.pop(0))
    return [*result, *own, *theirs]


def _distinct(items: Sequence[JSON]) -> list[JSON]:
    found: list[JSON] = []
    for item in items:
        if not any(_same(item, other) for other in found):
            found.append(item)
    return found


# -- values ---------------------------------------------------------------------------------------------------


def _same(a: JSON, b: JSON) -> bool:
    """Equality of scalars as JSON has it: true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _list(value: JSON, path: str) -> list[JSON]:
    if not isinstance(value, list):
        raise StrategicMergeError(f"{path} is {value!r}, use a list")
    return value


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
