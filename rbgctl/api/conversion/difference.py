"""What a JSON object has that another lacks, as a small tree that can be laid over a third one: a three-way merge.

A conversion loses what the other version has no place for. To keep it, the converted object is converted back at once:
where the result (`before`) is not the original (`after`), the difference is stored. Later, when the possibly edited
object comes back, the difference is applied to what it converts to, but only where that is still what it was `before`:
an edit always wins over what was stored.

The tree looks like the object. Items of lists stand under their names. A leaf is `[before, after]` or
`[before, after, siblings]`; both values are lists of one value, or of none where there is nothing. A `before` that is
long or an object is replaced by a digest, a string. `siblings` says what neighbouring fields must be for the leaf to
have a meaning: a list or digest for an exact value, `true` for any; "^map/key" is the entry of a map of the list item
that the leaf is in. Null counts as absent everywhere, as in the API.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

Tree = dict[str, Any]

STRING_MAPS: Final = frozenset({"annotations", "labels"})
"""Keys of maps that come and go with their entries, so that entries are kept one by one."""
LITERAL_CHARACTERS: Final = 64
"""Length up to which a string `before` is stored as it is; objects and lists are, when they are empty."""
OF_ITEM: Final = "^"
"""No field and no annotation starts with it."""
MAX_DEPTH: Final = 16
"""Levels of a tree; ours have at most ten."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is different between two forms without a loss, and which fields hang together.

    ignored: keys of string maps that are never kept. defaults: values that the API server fills in when there is
    nothing. differing: rules for list items that differ at all; without defaults there, a write stores what was stored.
    exact: by key, the sibling whose value must not have changed. present: by key, siblings that must be there, or be
    absent, as they were. of_item: by key, a value that must not come back unless that entry (OF_ITEM + "map/key") of
    the list item around it is what it was.
    """

    ignored: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    differing: "Rules | None" = None
    exact: Mapping[str, str] = field(default_factory=dict)
    present: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    of_item: Mapping[str, tuple[Any, str]] = field(default_factory=dict)


_NO_ITEM: Final[Mapping[str, Any]] = {}


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any], rules: Rules, item: Mapping[str, Any] = _NO_ITEM
) -> Tree:
    """The tree that turns `before` into `after`; empty when nothing is lost. Values are shared with `after`.

    item: the list item of the whole `before` that this part of it is in.
    """
    tree: Tree = {}
    for key, old in before.items():
        new = after.get(key)
        if new is not old and new != old and key not in rules.ignored:
            entry = _entry(key, old, new, before, rules, item)
            if entry:
                tree[key] = entry
    for key, new in after.items():
        if new is not None and key not in before and key not in rules.ignored:
            entry = _entry(key, None, new, before, rules, item)
            if entry:
                tree[key] = entry
    return tree


def _entry(
    key: str, old: Any, new: Any, siblings: Mapping[str, Any], rules: Rules, item: Mapping[str, Any]
) -> Tree | list[Any] | None:
    if key in STRING_MAPS and isinstance(old, dict | None) and isinstance(new, dict | None):
        if new is None or new:
            return difference(old or {}, new or {}, rules, item)
        if old and all(k in rules.ignored for k in old):
            return None
    elif isinstance(old, dict) and isinstance(new, dict):
        return difference(old, new, rules, item)
    elif isinstance(old, list) and isinstance(new, list) and (names := _names(old)) and names == _names(new):
        return _item_changes(names, old, new, rules)
    if _same(old, new) or (old is None and key in rules.defaults and _same(rules.defaults[key], new)):
        return None
    leaf: list[Any] = [_quoted(old), [] if new is None else [new]]
    tied: dict[str, Any] = {
        sibling: True if siblings.get(sibling) is not None else [] for sibling in rules.present.get(key, ())
    }
    if key in rules.exact:
        tied[rules.exact[key]] = _quoted(siblings.get(rules.exact[key]))
    if key in rules.of_item and _same(rules.of_item[key][0], new):
        tied[rules.of_item[key][1]] = _quoted(_value(rules.of_item[key][1], siblings, item))
    if tied:
        leaf.append(tied)
    return leaf


def _item_changes(names: list[str], old: list[Any], new: list[Any], rules: Rules) -> Tree:
    tree: Tree = {}
    for name, before, after in zip(names, old, new, strict=True):
        if change := difference(before, after, rules, before):
            tree[name] = difference(before, after, rules.differing, before) if rules.differing else change
    return tree


def merged(current: dict[str, Any], tree: Tree, item: Mapping[str, Any] = _NO_ITEM) -> dict[str, Any]:
    """`current` with the leaves of `tree` applied that still fit; it is not changed itself, and returned if none does.

    `tree` must be `is_tree`. item: the list item of the whole that `current` is in, before anything was applied.
    """
    out = current
    for key, entry in tree.items():
        now = current.get(key)
        if isinstance(entry, list):
            if not _fits(entry, now, current, item):
                continue
            new = entry[1][0] if entry[1] else None
        elif isinstance(now, dict):
            new = merged(now, entry, item)
        elif isinstance(now, list):
            new = _merged_items(now, entry)
        elif now is None and key in STRING_MAPS:
            new = merged({}, entry, item)
        else:
            continue
        if new is now:
            continue
        if out is current:
            out = dict(current)
        if new is None or (not new and key in STRING_MAPS and isinstance(entry, dict)):
            out.pop(key, None)
        else:
            out[key] = new
    return out


def is_tree(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether decoded JSON has the form of a tree."""
    if isinstance(value, list):
        return _is_leaf(value)
    return isinstance(value, dict) and depth > 0 and all(is_tree(entry, depth - 1) for entry in value.values())


def _is_leaf(leaf: list[Any]) -> bool:
    if len(leaf) not in (2, 3) or not _is_quoted(leaf[0]) or not isinstance(leaf[1], list) or len(leaf[1]) > 1:
        return False
    return len(leaf) == 2 or (
        isinstance(leaf[2], dict) and all(want is True or _is_quoted(want) for want in leaf[2].values())
    )


def _is_quoted(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and len(value) <= 1)


def _merged_items(items: list[Any], tree: Tree) -> list[Any]:
    names = _names(items)
    if not names or tree.keys().isdisjoint(names):
        return items
    changes = [tree.get(name) for name in names]
    new = [
        merged(item, change, item) if isinstance(change, dict) else item
        for item, change in zip(items, changes, strict=True)
    ]
    return new if any(a is not b for a, b in zip(new, items, strict=True)) else items


def _fits(leaf: list[Any], now: Any, siblings: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    return _matches(leaf[0], now) and (
        len(leaf) == 2 or all(_matches(want, _value(key, siblings, item)) for key, want in leaf[2].items())
    )


def _value(key: str, siblings: Mapping[str, Any], item: Mapping[str, Any]) -> Any:
    """What a leaf is tied to: a sibling of it, or after OF_ITEM the entry of a map of the item around it."""
    if not key.startswith(OF_ITEM):
        return siblings.get(key)
    at, _, entry = key.removeprefix(OF_ITEM).partition("/")
    entries = item.get(at)
    return entries.get(entry) if isinstance(entries, dict) else None


def _matches(wanted: Any, now: Any) -> bool:
    if wanted is True:
        return now is not None
    if isinstance(wanted, str):
        return now is not None and wanted != "" and _digest(now) == wanted
    return _same(wanted[0] if wanted else None, now)


def _quoted(value: Any) -> list[Any] | str:
    if value is None:
        return []
    if isinstance(value, str | int):
        return [value] if not isinstance(value, str) or len(value) <= LITERAL_CHARACTERS else _digest(value)
    return [value] if not value else _digest(value)


def _digest(value: Any) -> str:
    """Of the JSON text; empty, which matches nothing, for what is nested too deeply to be written."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return ""
    return hashlib.sha256(text).hexdigest()[:16]


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return one is other or (one == other and isinstance(one, bool) == isinstance(other, bool))


def _names(items: list[Any]) -> list[str]:
    """Names of a list's items, empty unless each item has one of its own."""
    names: list[str] = []
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            return []
        names.append(name)
    return names if len(set(names)) == len(names) else []
