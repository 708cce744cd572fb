"""Patches as values: a body and the content type that says how the server must read it (RT-CL-05, RT-CL-06)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rbgctl.machinery.merge_patch import merge_patch
from rbgctl.machinery.strategic_diff import strategic_diff
from rbgctl.machinery.strategic_merge import Schema


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch body and its content type."""

    content_type: str
    body: Any

    @classmethod
    def merge(cls, body: Mapping[str, Any]) -> "Patch":
        """JSON merge patch (RFC 7386)."""
        return cls("application/merge-patch+json", body)

    @classmethod
    def between(cls, before: Mapping[str, Any], after: Mapping[str, Any], *, lock: bool = False) -> "Patch":
        """The merge patch that turns `before` into `after`; empty when they are equal.

        `lock` makes the server refuse it (Conflict) unless the object still is at the resourceVersion of `before`.
        Raises ValueError when that is empty.
        """
        body = merge_patch(before, after)
        if lock:
            version = (before.get("metadata") or {}).get("resourceVersion") or ""
            if not version:
                raise ValueError("a patch with an optimistic lock needs the resourceVersion it was computed from")
            body["metadata"] = {**body.get("metadata", {}), "resourceVersion": version}
        return cls.merge(body)

    @classmethod
    def strategic(cls, body: Mapping[str, Any]) -> "Patch":
        """Strategic merge patch; built-in kinds only, custom resources answer 415."""
        return cls("application/strategic-merge-patch+json", body)

    @classmethod
    def strategic_between(cls, before: Mapping[str, Any], after: Mapping[str, Any], schema: Schema) -> "Patch":
        """The strategic merge patch that turns `before` into `after` (RT-CL-07); `schema` as in `merge_keys`."""
        return cls.strategic(strategic_diff(before, after, schema))

    @classmethod
    def json(cls, operations: list[dict[str, Any]]) -> "Patch":
        """JSON patch (RFC 6902)."""
        return cls("application/json-patch+json", operations)
