"""Status conditions as raw objects: lastTransitionTime moves only when the status does (KEP-1623)."""

from collections.abc import Mapping, Sequence
from typing import Any

from rbgctl.machinery.gvk import RawObject


def keep_time(new: RawObject, old: Mapping[str, Any] | None) -> RawObject:
    """`new` since when `old` says, if both have the same status; its own lastTransitionTime otherwise."""
    since = old.get("lastTransitionTime") if old is not None and old.get("status") == new["status"] else None
    return {**new, "lastTransitionTime": since} if since else new


def with_condition(existing: Sequence[RawObject], new: RawObject) -> list[RawObject]:
    """`existing` with `new` in the place of its type, or at the end."""
    old = next((c for c in existing if c.get("type") == new["type"]), None)
    placed = keep_time(new, old)
    return [*existing, placed] if old is None else [placed if c is old else c for c in existing]
