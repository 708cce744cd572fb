"""Would a server-side apply change anything? Decided from the live object's managedFields.

An apply replaces a manager's whole set of fields, so it is a no-op only if both hold:
the fields it sends are exactly those the manager owns, and every owned value already has the value sent.
Owned fields are recorded by the API server as a tree (`fieldsV1`) whose keys are `f:<field>`, `k:<map keys>`
(element of a map list), `v:<value>` (element of a set) and `.` (the item itself); a leaf is an empty object.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from rbgctl.machinery.gvk import RawObject

_IDENTITY = frozenset({"apiVersion", "kind"})
_IDENTITY_METADATA = frozenset({"name", "namespace", "generateName", "managedFields", "uid", "resourceVersion"})


def applied_fields(live: Mapping[str, Any], manager: str, subresource: str = "") -> dict[str, Any] | None:
    """The `fieldsV1` tree that `manager` owns by Apply on `live`; None when it never applied there."""
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        if (
            entry.get("manager") == manager
            and entry.get("operation") == "Apply"
            and (entry.get("subresource") or "") == subresource
        ):
            fields = entry.get("fieldsV1")
            return fields if isinstance(fields, dict) else {}
    return None


def apply_is_noop(live: Mapping[str, Any] | None, desired: RawObject, manager: str, subresource: str = "") -> bool:
    """True iff applying `desired` as `manager` would leave `live` as it is.

    `live` must carry the managedFields entry of `manager` (the cache keeps it for applied kinds).
    An object that the manager never applied, or applied at another apiVersion, is never a no-op.
    """
    if live is None or live.get("apiVersion") != desired.get("apiVersion"):
        return False
    owned = applied_fields(live, manager, subresource)
    if owned is None:
        return False
    body = {k: v for k, v in desired.items() if k not in _IDENTITY}
    metadata = {k: v for k, v in (body.get("metadata") or {}).items() if k not in _IDENTITY_METADATA}
    if metadata:
        body["metadata"] = metadata
    else:
        body.pop("metadata", None)
    return _matches(owned, body, live)


def _matches(owned: Mapping[str, Any], sent: Any, live: Any) -> bool:
    children = {k: v for k, v in owned.items() if k != "."}
    if not children:
        return bool(sent == live)
    if isinstance(sent, dict):
        return (
            isinstance(live, dict)
            and children.keys() == {f"f:{k}" for k in sent}
            and all(k in live and _matches(children[f"f:{k}"], v, live[k]) for k, v in sent.items())
        )
    if isinstance(sent, list):
        return isinstance(live, list) and _list_matches(children, sent, live)
    return False


def _list_matches(children: Mapping[str, Any], sent: Sequence[Any], live: Sequence[Any]) -> bool:
    if len(children) != len(sent):
        return False
    for selector, subtree in children.items():
        kind, _, text = selector.partition(":")
        if kind == "v":
            value = orjson.loads(text)
            if value not in sent or value not in live:
                return False
        elif kind == "k":
            keys = orjson.loads(text)
            mine = _element(sent, keys)
            theirs = _element(live, keys)
            if mine is None or theirs is None or not _matches(subtree, mine, theirs):
                return False
        else:
            return False
    return True


def _element(items: Sequence[Any], keys: Mapping[str, Any]) -> Any | None:
    # A key with a server-side default (a port's protocol) may be absent from what is sent.
    for item in items:
        if isinstance(item, dict) and all(item.get(k, v) == v for k, v in keys.items()):
            return item
    return None
