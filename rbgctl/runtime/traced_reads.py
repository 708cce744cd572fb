"""Cache reads that took long show up in the trace: as events, since nearly all take microseconds (RT-TR-02).

Stands in for the cache of a reconcile while tracing is on.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.client_protocols import ObjectList
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.tracing import Tracing

SLOW = 0.001
"""Seconds from which a read is worth an event."""


class TracedReads:
    """Everything that `cache` does; reads are timed with `monotonic`."""

    def __init__(self, cache: Cache, tracing: Tracing, monotonic: Callable[[], float]) -> None:
        self._cache = cache
        self._tracing = tracing
        self._monotonic = monotonic

    @classmethod
    def of(cls, cache: Cache, tracing: Tracing, monotonic: Callable[[], float]) -> Cache:
        """A cache whose reads are timed."""
        return cast("Cache", cls(cache, tracing, monotonic))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    async def get(self, gvk: GVK, *args: Any, **options: Any) -> RawObject:
        began = self._monotonic()
        try:
            return await self._cache.get(gvk, *args, **options)
        finally:
            self._took("cache.get", gvk, began)

    async def list(self, gvk: GVK, *args: Any, **options: Any) -> ObjectList:
        began = self._monotonic()
        try:
            return await self._cache.list(gvk, *args, **options)
        finally:
            self._took("cache.list", gvk, began)

    def entries(self, gvk: GVK, *args: Any, **options: Any) -> Sequence[Entry]:
        began = self._monotonic()
        try:
            return self._cache.entries(gvk, *args, **options)
        finally:
            self._took("cache.list", gvk, began)

    def headers(self, gvk: GVK, *args: Any, **options: Any) -> Sequence[Header]:
        began = self._monotonic()
        try:
            return self._cache.headers(gvk, *args, **options)
        finally:
            self._took("cache.list", gvk, began)

    def _took(self, name: str, gvk: GVK, began: float) -> None:
        seconds = self._monotonic() - began
        if seconds > SLOW:
            self._tracing.event(name, {"k8s.object.kind": gvk.kind, "duration_ms": round(seconds * 1000)})
