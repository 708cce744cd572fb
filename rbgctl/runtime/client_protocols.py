"""What controllers and tools may expect of a client, cached or live: reading and writing raw objects."""

from dataclasses import dataclass
from typing import Literal, Protocol

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.patch import Patch

Form = Literal["full", "metadata"]
Propagation = Literal["Orphan", "Background", "Foreground"]
FieldValidation = Literal["Ignore", "Warn", "Strict"]
"""What the server does about unknown and duplicate fields; its own default is Warn."""

VersionMatch = Literal["Exact", "NotOlderThan"]
"""How a list's resourceVersion is meant (RT-RV-02, RT-RV-03)."""


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The items of a list and the resourceVersion of the collection (empty when read from a cache, RT-CL-32)."""

    items: list[RawObject]
    resource_version: str = ""


class Reader(Protocol):
    """Reads objects, from a cache or live."""

    async def get(self, gvk: GVK, key: NN) -> RawObject: ...

    async def list(self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None) -> ObjectList: ...


class Writer(Protocol):
    """Writes objects."""

    async def create(self, obj: RawObject, *, field_manager: str = "") -> RawObject: ...

    async def update(self, obj: RawObject, *, subresource: str = "", field_manager: str = "") -> RawObject: ...

    async def patch(
        self, gvk: GVK, key: NN, patch: Patch, *, subresource: str = "", field_manager: str = ""
    ) -> RawObject: ...

    async def apply(
        self, obj: RawObject, *, field_manager: str, force: bool = True, subresource: str = ""
    ) -> RawObject: ...

    async def delete(
        self,
        gvk: GVK,
        key: NN,
        *,
        uid: str | None = None,
        rv: str | None = None,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
    ) -> RawObject | None: ...


class Client(Reader, Writer, Protocol):
    """Both."""
