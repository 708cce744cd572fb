"""The client of a controller: reads from the cache, writes live, and fences what it wrote (RT-CA-20, RT-CA-21)."""

import asyncio
from collections.abc import Collection, Coroutine, Hashable, Mapping
from typing import Any, Protocol, TypeVar

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.client import LiveClient, ObjectList, Propagation
from rbgctl.runtime.errors import ApiError, NotFound, TransportError
from rbgctl.runtime.kind_options import Form
from rbgctl.runtime.patch import Patch

T = TypeVar("T")


class FenceRecorder(Protocol):
    """What CachedClient needs of a cache beyond reading: see `Cache.record_write`."""

    def record_write(
        self,
        owner: Hashable,
        gvk: GVK,
        key: NN,
        *,
        rv: str = "",
        gone_uid: str = "",
        unknown: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> None: ...


class CachedReader(FenceRecorder, Protocol):
    """A cache that can be read and told of writes, see `Cache`."""

    def caches(self, gvk: GVK, form: Form | None = None) -> bool: ...

    async def get(self, gvk: GVK, key: NN, form: Form | None = None) -> RawObject: ...

    async def list(
        self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None, form: Form | None = None
    ) -> ObjectList: ...


class CachedClient:
    """Reads from the cache, writes live, and fences what it wrote for `owner` (RT-CA-20, RT-CA-21).

    A kind is read live when the cache was not told to hold it, or holds no more than metadata and bodies are asked for,
    and when it is among `uncached` (RT-CL-30). What always has to be of this moment is read with a LiveClient instead.
    """

    def __init__(
        self, cache: CachedReader, live: LiveClient, owner: Hashable, *, uncached: Collection[GVK] = ()
    ) -> None:
        self._cache = cache
        self._live = live
        self._owner = owner
        self._uncached = uncached

    async def get(self, gvk: GVK, key: NN, *, form: Form = "full") -> RawObject:
        """One object; form "metadata" asks for no more than apiVersion, kind and metadata. Raises NotFound."""
        if self._is_live(gvk, form):
            return await self._live.get(gvk, key, form=form)
        return _in_form(await self._cache.get(gvk, key, self._cached_form(gvk, form)), form)

    async def list(
        self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None, form: Form = "full"
    ) -> ObjectList:
        """All matching objects; a cached answer has no resourceVersion (RT-CL-32)."""
        if self._is_live(gvk, form):
            return await self._live.list(gvk, namespace, labels=labels, form=form)
        found = await self._cache.list(gvk, namespace, labels=labels, form=self._cached_form(gvk, form))
        return ObjectList([_in_form(obj, form) for obj in found.items])

    def _is_live(self, gvk: GVK, form: Form) -> bool:
        return gvk in self._uncached or not self._cache.caches(gvk, "full" if form == "full" else None)

    def _cached_form(self, gvk: GVK, form: Form) -> Form:
        return "metadata" if form == "metadata" and self._cache.caches(gvk, "metadata") else "full"

    async def create(self, obj: RawObject, *, field_manager: str = "") -> RawObject:
        return await self._written(GVK.of(obj), NN.of(obj), self._live.create(obj, field_manager=field_manager))

    async def update(self, obj: RawObject, *, subresource: str = "", field_manager: str = "") -> RawObject:
        call = self._live.update(obj, subresource=subresource, field_manager=field_manager)
        return await self._written(GVK.of(obj), NN.of(obj), call)

    async def patch(
        self, gvk: GVK, key: NN, patch: Patch, *, subresource: str = "", field_manager: str = ""
    ) -> RawObject:
        call = self._live.patch(gvk, key, patch, subresource=subresource, field_manager=field_manager)
        return await self._written(gvk, key, call)

    async def apply(
        self, obj: RawObject, *, field_manager: str, force: bool = True, subresource: str = ""
    ) -> RawObject:
        call = self._live.apply(obj, field_manager=field_manager, force=force, subresource=subresource)
        return await self._written(GVK.of(obj), NN.of(obj), call)

    async def delete(
        self,
        gvk: GVK,
        key: NN,
        *,
        uid: str | None = None,
        rv: str | None = None,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
    ) -> RawObject | None:
        call = self._live.delete(gvk, key, uid=uid, rv=rv, propagation=propagation, grace_seconds=grace_seconds)
        try:
            left = await self._outcome(gvk, key, call)
        except NotFound:
            if uid:  # somebody else deleted it, and the cache does not show that either
                self._cache.record_write(self._owner, gvk, key, gone_uid=uid)
            raise
        if left is None:
            self._cache.record_write(self._owner, gvk, key, gone_uid=uid or "*")
        else:
            self._record(gvk, left)
        return left

    def saw(self, obj: RawObject) -> None:
        """An object read live: the owner's next pass must not look at anything older."""
        self._record(GVK.of(obj), obj)

    async def _written(self, gvk: GVK, key: NN, call: Coroutine[Any, Any, RawObject]) -> RawObject:
        answer = await self._outcome(gvk, key, call)
        self._record(gvk, answer)
        return answer

    async def _outcome(self, gvk: GVK, key: NN, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await call
        except (TransportError, ApiError, ValueError, asyncio.CancelledError) as error:
            # Broken off in the middle, given up by the server, or answered with what is no JSON (a proxy's page): it
            # may have happened all the same (RT-CA-21).
            sent = not isinstance(error, TransportError) or error.kind not in {"refused", "dns", "tls"}
            failed_later = not isinstance(error, ApiError) or error.code >= 500
            if key.name and sent and failed_later:
                self._cache.record_write(self._owner, gvk, key, unknown=True)
            raise

    def _record(self, gvk: GVK, answer: RawObject) -> None:
        meta = answer["metadata"]
        rv, labels = meta.get("resourceVersion") or "", meta.get("labels") or {}
        self._cache.record_write(self._owner, gvk, NN.of(answer), rv=rv, labels=labels)


def _in_form(obj: RawObject, form: Form) -> RawObject:
    return obj if form == "full" else {key: obj[key] for key in ("apiVersion", "kind", "metadata")}
