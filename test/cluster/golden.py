"""Live objects in the form of the golden records: what varies between runs replaced by placeholders."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rbgctl.machinery.gvk import RawObject

_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
_DROPPED_METADATA = ("resourceVersion", "creationTimestamp", "uid", "selfLink")


def uids(objects: Iterable[RawObject]) -> dict[str, str]:
    """uid -> placeholder."""
    return {o["metadata"]["uid"]: f"<uid:{o['kind']}/{o['metadata']['name']}>" for o in objects}


def normalised(obj: RawObject, namespace: str, known: Mapping[str, str]) -> RawObject:
    """The object without what varies; managedFields become `metadata.managers`."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in _DROPPED_METADATA}
    managed = meta.pop("managedFields", None) or ()
    meta["managers"] = sorted([_manager(m), m["operation"], m.get("subresource", "")] for m in managed if _manager(m))
    replaced: RawObject = _replace({**obj, "metadata": meta}, namespace, known)
    return replaced


def _manager(entry: Mapping[str, Any]) -> str:
    # The simulated kubelet and the scheduler write under names of their own.
    name = str(entry["manager"])
    return {"kwok": "python-requests", "kube-scheduler": ""}.get(name, name)


def _replace(value: Any, namespace: str, known: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {k: _replace(v, namespace, known) for k, v in value.items()}
        case list():
            return [_replace(v, namespace, known) for v in value]
        case str():
            if value == namespace:
                return "<ns>"
            if _TIME.match(value):
                return "<time>"
            value = re.sub(r"kube-api-access-\w{5}", "kube-api-access-<rand>", value)
            return known.get(value, value)
        case _:
            return value


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Every place where two JSON values differ, as `path: ours != theirs`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for key in sorted(ours.keys() | theirs.keys())
            for line in differences(ours.get(key, "<absent>"), theirs.get(key, "<absent>"), f"{path}.{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            line
            for index, (mine, other) in enumerate(zip(ours, theirs, strict=True))
            for line in differences(mine, other, f"{path}[{index}]")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r} != {theirs!r}"]
