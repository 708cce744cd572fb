"""Which optional kinds the server serves, now and as that changes (RT-RM-07, RBG-24).

The truth is discovery, asked afresh each time. When to ask is learnt from a metadata-only watch of all
CustomResourceDefinitions: a change in a group wakes whoever waits for a kind of that group. Discovery follows a little
later than the watch, so it is asked again at growing intervals; kinds that come without a CRD, and a watch that is
forbidden, are covered by asking every ten seconds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from itertools import chain, repeat
from typing import Any

import structlog

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.discovery_documents import read_resources
from rbgctl.runtime.errors import ApiError, NoKindMatch, NotFound
from rbgctl.runtime.informer import Informer
from rbgctl.runtime.store import Entry, Tombstone
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.served_kinds")

CRD = GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
CRDS = Resource(CRD, "customresourcedefinitions", False)

ASK_AGAIN = 10.0
SOON = (0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds between looks after a change of CRDs, before it is `ASK_AGAIN` again."""


class ServedKinds:
    """crds: an informer of CRD metadata that nobody else runs. user_agent: of discovery requests."""

    def __init__(self, crds: Informer, transport: Transport, clock: Clock, *, user_agent: str) -> None:
        self._crds = crds
        self._transport = transport
        self._clock = clock
        self._user_agent = user_agent
        self._news: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._removed: set[str] = set()
        crds.add_handler(self)

    async def run(self) -> None:
        """Watch CRDs until cancelled."""
        await self._crds.run(CRDS, self._transport)

    async def until_served(self, gvk: GVK, not_served: Callable[[Exception], None]) -> Resource:
        """Returns once the kind can be listed. `not_served` hears after each look why it cannot be."""
        delays = _then_every(ASK_AGAIN)
        while True:
            news = self._news[gvk.group]
            try:
                found = await self.look(gvk)
                if found is not None:
                    return found
                not_served(NoKindMatch(gvk))
            except Exception as error:  # noqa: BLE001 - asked again whatever went wrong
                not_served(error)
                _log.warning("discovery failed", kind=str(gvk), error=str(error))
            await self._first_of(news.wait(), self._clock.sleep(next(delays)))
            if news.is_set():
                delays = _then_every(ASK_AGAIN, *SOON)

    async def until_gone(self, resource: Resource, lost: asyncio.Event) -> None:
        """Returns once the kind is no longer served. `lost`: set when its collection was not found, asks then too."""
        group = resource.gvk.group
        while True:
            news = self._news[group]
            try:
                if await self.look(resource.gvk) != resource:
                    return
            except Exception as error:  # noqa: BLE001 - an unreachable server has not given up the kind
                _log.info("discovery failed", kind=str(resource.gvk), error=str(error))
            await self._first_of(news.wait(), lost.wait())
            lost.clear()

    async def look(self, gvk: GVK) -> Resource | None:
        """How a kind is served at this moment; None when it is not. Raises ApiError and TransportError."""
        path = f"/apis/{gvk.api_version}" if gvk.group else f"/api/{gvk.version}"
        answer = await self._transport.request("GET", path, user_agent=self._user_agent)
        if answer.status != 200:
            error = ApiError.from_response("GET", answer.status, answer.headers, answer.body)
            if isinstance(error, NotFound):
                return None
            raise error
        served = read_resources(answer.body, gvk.group, gvk.version)
        found = next((resource for resource in served if resource.gvk == gvk), None)
        # A CRD that is gone is listed a little longer.
        return None if found is None or f"{found.plural}.{gvk.group}" in self._removed else found

    async def _first_of(self, *waits: Coroutine[Any, Any, Any]) -> None:
        tasks = [asyncio.create_task(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    # -- what the informer of CRDs calls ----------------------------------------------------------------------

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._removed.discard(entry.header.name)
        self._wake(entry.header.name)

    def on_update(self, old: Entry, new: Entry) -> None:
        self._wake(new.header.name)

    def on_delete(self, last: Entry | Tombstone) -> None:
        name = last.key.name if isinstance(last, Tombstone) else last.header.name
        self._removed.add(name)
        self._wake(name)

    def _wake(self, crd: str) -> None:
        """CRDs are called `plural.group`."""
        news = self._news.pop(crd.partition(".")[2], None)
        if news is not None:
            news.set()


def _then_every(seconds: float, *first: float) -> Iterator[float]:
    return chain(first, repeat(seconds))
