"""Identity of kinds and objects: GroupVersionKind, REST resource and namespaced name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

RawObject = dict[str, Any]
"""A Kubernetes object as decoded JSON. Owned by whoever decoded it; never shared between reconciles."""


@dataclass(frozen=True, slots=True)
class GVK:
    """GroupVersionKind; `group` is empty for the core group."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_kind(self) -> str:
        """`Kind.group` (`Kind` in the core group), the form of concurrency maps and error texts."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> "GVK":
        """The kind an object says it is.

        Raises ValueError when apiVersion or kind is missing or apiVersion has more than one slash.
        """
        return cls.parse(str(obj.get("apiVersion") or ""), str(obj.get("kind") or ""))

    @classmethod
    def parse(cls, api_version: str, kind: str) -> "GVK":
        parts = api_version.split("/")
        if not kind or not api_version or len(parts) > 2 or not all(parts):
            raise ValueError(f"not a kind: apiVersion {api_version!r}, kind {kind!r}")
        return cls(parts[0] if len(parts) == 2 else "", parts[-1], kind)

    def __str__(self) -> str:
        return f"{self.api_version}, Kind={self.kind}"


@dataclass(frozen=True, slots=True)
class Resource:
    """How a kind is reached over REST."""

    gvk: GVK
    plural: str
    namespaced: bool

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection, one object or a sub-resource (leading slash, no query)."""
        gvk = self.gvk
        prefix = f"/apis/{gvk.group}/{gvk.version}" if gvk.group else f"/api/{gvk.version}"
        path = (
            f"{prefix}/namespaces/{namespace}/{self.plural}"
            if namespace and self.namespaced
            else f"{prefix}/{self.plural}"
        )
        if name:
            path += f"/{name}"
        return f"{path}/{subresource}" if subresource else path


class NN(msgspec.Struct, frozen=True, order=True, gc=False):
    """Namespaced name, the default key of a reconcile request; `namespace` is empty for cluster scope.

    A struct, since every event makes and hashes dozens: those of a dataclass do so in Python.
    """

    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> "NN":
        meta = obj.get("metadata") or {}
        return cls(meta.get("namespace") or "", meta.get("name") or "")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name
