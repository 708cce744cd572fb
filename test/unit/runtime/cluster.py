"""A server with a few objects per namespace, a cache on it, and a handler that notes what it hears."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from unit.runtime.scripted import Answer, ScriptedServer, listing, watch

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.kind_options import CacheDefaults, KindOptions
from rbgctl.runtime.store import Entry, Tombstone
from rbgctl.runtime.transport import Transport


class Cluster(ScriptedServer):
    """Lists the given pods of each path and then lets watches hang; holds back lists of `late` paths."""

    def __init__(self, **pods: list[dict[str, Any]]) -> None:
        super().__init__()
        self.pods = pods
        self.late: dict[str, asyncio.Event] = {}
        self.events: dict[str, asyncio.Queue[bytes]] = defaultdict(asyncio.Queue)

    def next_answer(self, request: web.Request) -> Answer:
        name = request.path.split("/")[4] if "/namespaces/" in request.path else "all"

        async def give(request: web.Request) -> web.StreamResponse:
            if "watch" in request.query:
                return await watch(await self.events[name].get(), then="hang")(request)
            if name in self.late:
                await self.late[name].wait()
            return await listing(5, *self.pods.get(name, []))(request)

        return give

    def asked_for(self, *, watches: bool = False) -> set[tuple[str, str, str]]:
        """Path, field and label selector of every list or watch."""
        return {
            (a.path, a.query.get("fieldSelector", ""), a.query.get("labelSelector", ""))
            for a in self.asked
            if a.is_watch == watches
        }


@contextlib.asynccontextmanager
async def running(
    cluster: Cluster, *, defaults: CacheDefaults | None = None, pause_gc: bool = False, **kinds: KindOptions | None
) -> AsyncIterator[Cache]:
    async with cluster.running(), Transport(ClusterConfig(cluster.url)) as transport:
        cache = Cache(
            transport,
            RestMapper(transport),
            defaults=defaults,
            streaming=False,
            first_list_jitter=0.0,
            pause_gc=pause_gc,
        )
        for kind, options in kinds.items():
            cache.declare(GVK("", "v1", kind), options)
        task = asyncio.create_task(cache.run())
        try:
            yield cache
        finally:
            task.cancel()
            await asyncio.wait([task])


class Told:
    """A handler that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Event()

    def _note(self, verb: str, key: NN) -> None:
        self.heard.append(f"{verb} {key}")
        self._news.set()

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._note("add", entry.header.key)

    def on_update(self, old: Entry, new: Entry) -> None:
        self._note("update", new.header.key)

    def on_delete(self, last: Entry | Tombstone) -> None:
        self._note("gone", last.key if isinstance(last, Tombstone) else last.header.key)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()
