"""The strategic merge patch between two objects (RT-CL-07): `strategic_merge(before, patch, schema) == after`.

Maps are compared field by field, a field that is gone becomes null. In a list with a merge key an element that is gone
becomes `{key: value, $patch: delete}`, one that changed its key and the difference, a new one is whole; in a list that
is a set, what is gone goes to `$deleteFromPrimitiveList/<field>`. When elements come, or change places,
`$setElementOrder/<field>` names all of them in order. Other lists are replaced.

Some lists cannot be merged: two elements with the same key (a port for TCP and for UDP), or one without. They are
replaced by `$patch: replace`, and where a list does not permit even that, the map around it is.

Neither object may contain null or fields that begin with `$patch` and the like, which no API object does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rbgctl.machinery.merge_patch import json_equal
from rbgctl.machinery.strategic_merge import DELETE_FROM_LIST, DIRECTIVE, ELEMENT_ORDER, Schema

JSON = Any
Object = dict[str, JSON]


class _Unmergeable(Exception):
    """The part around this has to be replaced whole."""


def strategic_diff(before: Mapping[str, JSON], after: Mapping[str, JSON], schema: Schema) -> Object:
    """Empty when they are equal; neither is changed, parts of `after` are shared."""
    return _map(before, after, schema)


def _map(before: Mapping[str, JSON], after: Mapping[str, JSON], schema: Schema) -> Object:
    try:
        return _fields(before, after, schema)
    except _Unmergeable:
        return {DIRECTIVE: "replace", **after}


def _fields(before: Mapping[str, JSON], after: Mapping[str, JSON], schema: Schema) -> Object:
    patch: Object = {name: None for name in before if name not in after}
    for name, new in after.items():
        old, of = before.get(name), schema.of(name)
        if name in before and json_equal(old, new):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            patch[name] = _map(old, new, of)
        elif isinstance(old, list) and isinstance(new, list) and of.key:
            patch.update(_objects(name, old, new, of))
        elif isinstance(old, list) and isinstance(new, list) and of.a_set:
            patch.update(_set(name, old, new))
        else:
            patch[name] = new
    return patch


def _objects(name: str, before: Sequence[JSON], after: Sequence[JSON], schema: Schema) -> Object:
    key = schema.key
    try:
        old, new = _by_key(before, key), _by_key(after, key)
        changed = [
            element if at not in old else {key: element[key], **_fields(old[at], element, schema)}
            for at, element in new.items()
            if at not in old or not json_equal(old[at], element)
        ]
    except _Unmergeable:
        if not all(isinstance(element, Mapping) and key in element for element in [*before, *after]):
            raise
        return {name: [{DIRECTIVE: "replace"}, *after]}
    gone = [{key: element[key], DIRECTIVE: "delete"} for at, element in old.items() if at not in new]
    patch: Object = {name: [*changed, *gone]} if changed or gone else {}
    if list(new) != [at for at in old if at in new]:
        patch[ELEMENT_ORDER + name] = [{key: element[key]} for element in after]
    return patch


def _set(name: str, before: Sequence[JSON], after: Sequence[JSON]) -> Object:
    old, new = _distinct(before), _distinct(after)
    gone = [item for at, item in old.items() if at not in new]
    added = [item for at, item in new.items() if at not in old]
    patch: Object = {}
    if added:
        patch[name] = added
    if gone:
        patch[DELETE_FROM_LIST + name] = gone
    if list(new) != [at for at in old if at in new]:
        patch[ELEMENT_ORDER + name] = list(after)
    return patch


def _by_key(elements: Sequence[JSON], key: str) -> dict[JSON, Object]:
    found: dict[JSON, Object] = {}
    for element in elements:
        if not isinstance(element, Mapping) or isinstance(element.get(key), Mapping | list | None):
            raise _Unmergeable
        found[_identity(element[key])] = dict(element)
    if len(found) != len(elements):
        raise _Unmergeable
    return found


def _distinct(items: Sequence[JSON]) -> dict[JSON, JSON]:
    if any(isinstance(item, Mapping | list) for item in items):
        raise _Unmergeable
    found = {_identity(item): item for item in items}
    if len(found) != len(items):
        raise _Unmergeable
    return found


def _identity(scalar: JSON) -> tuple[bool, JSON]:
    """True and 1 are the same to a Python dict, but not in JSON."""
    return isinstance(scalar, bool), scalar
