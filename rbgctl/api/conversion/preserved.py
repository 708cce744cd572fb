"""Data that one version has no place for, kept in an annotation of the other (CV-51).

A v1alpha1 object carries what only v1alpha2 can say in V1ALPHA2_DATA; it never gets to the hub. The hub carries what
only v1alpha1 can say in V1ALPHA1_DATA; it never gets to a v1alpha1 reader. Either is written only when there is
something to keep, so most objects look as if the annotations did not exist. The text is the compact JSON of a
`difference.Tree` with two roots, `annotations` (of the object) and `spec`, in which roles stand under their names.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from rbgctl.api import annotations as a
from rbgctl.api.conversion.difference import Tree, is_tree

V1ALPHA1_DATA: Final = a.CONVERSION_PREFIX + "v1alpha1-data"
"""On the hub only."""
V1ALPHA2_DATA: Final = a.CONVERSION_PREFIX + "v1alpha2-data"
"""On v1alpha1 objects only."""

TOTAL_ANNOTATION_BYTES: Final = 256 << 10
"""Keys and values of all annotations of an object together; the API server refuses more, also from a conversion."""

DERIVED: Final = (
    a.GROUP_GANG_SCHEDULING,
    a.GROUP_GANG_SCHEDULING_TIMEOUT,
    a.GROUP_GANG_SCHEDULING_VOLCANO_QUEUE,
    a.GROUP_GANG_SCHEDULING_VOLCANO_PRIORITY,
    a.GROUP_EXCLUSIVE_TOPOLOGY,
)
"""Annotations of the hub that up-conversion computes from v1alpha1 fields."""
KEPT_FIELDS: Final = (a.CONVERSION_POD_GROUP_POLICY, a.CONVERSION_COORDINATION)
"""Annotations of the hub that hold v1alpha1 fields as JSON."""

_RESTORABLE: Final = frozenset((*DERIVED, *KEPT_FIELDS))
"""The only annotations that stored data may change: others pass through a conversion untouched, and a key or a value
that the API server refuses would make lists of the whole kind fail."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something odd about an object that did not keep it from being converted."""

    annotation: str
    text: str

    def __str__(self) -> str:
        return f"metadata.annotations[{self.annotation}]: {self.text}"


def unpacked(text: Any) -> Tree | str:
    """The tree of an annotation's text, reduced to what may be applied; or what is wrong with the text."""
    if not isinstance(text, str):
        return "is not a string"
    try:
        tree = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"is not JSON: {error}"
    if not isinstance(tree, dict) or not is_tree(tree):
        return "is not of the form that a conversion writes"
    found: Tree = {}
    if "spec" in tree:
        found["spec"] = tree["spec"]
    kept = tree.get("annotations")
    if isinstance(kept, dict):
        found["annotations"] = {k: v for k, v in kept.items() if k in _RESTORABLE and _is_of_strings(v)}
    return found


def _is_of_strings(leaf: Any) -> bool:
    return isinstance(leaf, list) and all(isinstance(value, str) for value in leaf[1])


def pack(annotations: dict[str, Any], key: str, tree: Tree) -> Problem | None:
    """Puts `tree` under `key` into `annotations`; what cannot be written is left out and reported.

    That is what is nested too deeply, and then what does not fit, largest first.
    """
    if not tree:
        return None
    room = TOTAL_ANNOTATION_BYTES - len(key) - size(annotations)
    reasons = []
    try:
        text = _text(tree)
    except TypeError as error:
        deep = [path for path, leaf in _leaves(tree, ()) if not _is_writable(path, leaf)]
        for path in deep:
            _remove(tree, path)
        reasons.append(f"cannot be written ({error}), not kept: {_shown(deep)}")
        text = _text(tree)
    if tree and len(text) > room:
        text, lost = _cut(tree, room)
        reasons.append(f"no room in {TOTAL_ANNOTATION_BYTES} bytes of annotations, not kept: {_shown(lost)}")
    if tree:
        annotations[key] = text.decode()
    return Problem(key, "; ".join(reasons)) if reasons else None


def _cut(tree: Tree, room: int) -> tuple[bytes, list[tuple[str, ...]]]:
    """Removes leaves until the text of the tree has room; the text, and the paths of what was removed."""
    lost = []
    text = b""
    for path in _largest_first(tree):
        _remove(tree, path)
        lost.append(path)
        text = _text(tree) if tree else b""
        if len(text) <= room:
            break
    return text, lost


def _shown(paths: list[tuple[str, ...]]) -> str:
    return ", ".join("/".join(path) for path in paths)


def _text(tree: Tree) -> bytes:
    return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)


def _is_writable(path: tuple[str, ...], leaf: list[Any]) -> bool:
    nested: Any = leaf
    for key in reversed(path):
        nested = {key: nested}
    try:
        _text(nested)
    except TypeError:
        return False
    return True


def size(annotations: dict[str, Any]) -> int:
    """Bytes of an object's annotations as the API server counts them."""
    return sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items() if isinstance(v, str))


def _largest_first(tree: Tree) -> list[tuple[str, ...]]:
    sizes = [(-len(_text({path[-1]: leaf})), path) for path, leaf in _leaves(tree, ())]
    return [path for _, path in sorted(sizes)]


def _leaves(tree: Tree, at: tuple[str, ...]) -> list[tuple[tuple[str, ...], list[Any]]]:
    found = []
    for key, entry in tree.items():
        path = (*at, key)
        if isinstance(entry, list):
            found.append((path, entry))
        else:
            found += _leaves(entry, path)
    return found


def _remove(tree: Tree, path: tuple[str, ...]) -> None:
    """Removes a leaf and the branches that it leaves empty."""
    key, *rest = path
    if rest:
        _remove(tree[key], tuple(rest))
        if tree[key]:
            return
    del tree[key]
