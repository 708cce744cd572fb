"""Finalizers of raw objects (RT-CU-05)."""

from collections.abc import Mapping
from typing import Any

from rbgctl.machinery.gvk import RawObject


def has_finalizer(obj: Mapping[str, Any], name: str) -> bool:
    """Whether the object cannot go away before somebody takes the finalizer `name` off."""
    return name in ((obj.get("metadata") or {}).get("finalizers") or ())


def add_finalizer(obj: RawObject, name: str) -> bool:
    """Append the finalizer in place; True if it was not there."""
    if has_finalizer(obj, name):
        return False
    meta = obj.setdefault("metadata", {})
    meta["finalizers"] = [*(meta.get("finalizers") or ()), name]
    return True


def remove_finalizer(obj: RawObject, name: str) -> bool:
    """Take every entry of that name off in place; True if there was one."""
    if not has_finalizer(obj, name):
        return False
    meta = obj["metadata"]
    meta["finalizers"] = [other for other in meta["finalizers"] if other != name]
    if not meta["finalizers"]:
        del meta["finalizers"]
    return True
