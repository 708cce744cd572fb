"""Where a controller's events come from: informers and channels (RT-EH-07, RT-EH-08)."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.handler import EventHandler
from rbgctl.runtime.informer import Informer
from rbgctl.runtime.kind_options import Form
from rbgctl.runtime.predicate import Event, Predicate
from rbgctl.runtime.registration import Registration
from rbgctl.runtime.store import Entry, Tombstone
from rbgctl.runtime.workqueue import WorkQueue

_log = structlog.get_logger("rbgctl.runtime.source")

CHANNEL_SIZE = 1024


class Source(Protocol):
    """Feeds a queue. `str()` of it names it in error texts."""

    async def start(self, queue: WorkQueue[NN]) -> None:
        """Begin to feed `queue`; returns at once."""
        ...

    async def wait_for_sync(self) -> None:
        """Until what existed before the start has been fed."""
        ...

    def stop(self) -> None:
        """Feed nothing more."""
        ...

    def replay(self) -> None:
        """Feed once more what a first list would have brought; a source without a state feeds nothing."""
        ...


class InformerSource:
    """Events of one cached kind. Without a handler it feeds nothing and only has to be synced before workers start.

    form: of the informer to listen to, by default the one that reads go to. A kind that is not installed yet is waited
    for by its informer (RT-CA-15), which the source hears from once it is; it holds nobody up when it is optional.
    """

    def __init__(
        self,
        cache: Cache,
        gvk: GVK,
        handler: EventHandler | None = None,
        predicates: Sequence[Predicate] = (),
        form: Form | None = None,
    ) -> None:
        self._cache = cache
        self._gvk = gvk
        self._form = form
        self._handler = handler
        self._predicates = tuple(predicates)
        self._registration: Registration | None = None
        self._queue: WorkQueue[NN] | None = None

    def __str__(self) -> str:
        return f"kind source: {self._gvk.group_kind}"

    def _informer(self) -> Informer:
        return self._cache.informer(self._gvk, self._form)

    async def start(self, queue: WorkQueue[NN]) -> None:
        """Raises ResourceNotCached when the kind was not declared."""
        informer = self._informer()
        if self._handler is not None and self._registration is None:
            self._queue = queue
            self._registration = informer.add_handler(self)

    async def wait_for_sync(self) -> None:
        await self._informer().wait_until_settled()
        if self._registration is not None:
            await self._registration.wait_until_told()

    @property
    def last_error(self) -> Exception | None:
        """Why the kind is not synced yet, as far as known."""
        return self._informer().last_error

    def stop(self) -> None:
        if self._registration is not None:
            self._registration.informer.remove_handler(self._registration)
            self._registration = None

    def replay(self) -> None:
        if self._registration is not None:
            for entry in list(self._informer().store.entries()):
                self.on_add(entry, initial=True)

    # -- what the informer calls ------------------------------------------------------------------------------

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._feed(Event("create", entry, in_initial_list=initial))

    def on_update(self, old: Entry, new: Entry) -> None:
        self._feed(Event("update", new, old))

    def on_delete(self, last: Entry | Tombstone) -> None:
        if isinstance(last, Entry):
            self._feed(Event("delete", last))
        elif last.last is not None:
            self._feed(Event("delete", last.last, state_unknown=True))
        else:
            _log.error("deletion of an object never seen", kind=self._gvk.kind, object=str(last.key))

    def _feed(self, event: Event) -> None:
        if self._queue is None or self._handler is None:
            return
        if all(predicate(event) for predicate in self._predicates):
            self._handler(event, self._queue)


class ChannelSource:
    """Generic events that the program itself puts in, for instance from a poller (RT-EH-07).

    `put` waits while 1024 events are pending; `close` ends the source when they are handled.
    """

    def __init__(
        self, handler: EventHandler, predicates: Sequence[Predicate] = (), *, size: int = CHANNEL_SIZE, name: str = ""
    ) -> None:
        self._handler = handler
        self._predicates = tuple(predicates)
        self._pending: asyncio.Queue[Event | None] = asyncio.Queue(size)
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._name = name

    def __str__(self) -> str:
        return f"channel source: {self._name or hex(id(self))}"

    async def put(self, obj: Entry) -> None:
        """Raises RuntimeError when closed."""
        if self._closed:
            raise RuntimeError(f"{self} is closed")
        await self._pending.put(Event("generic", obj))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._pending.put(None)

    async def start(self, queue: WorkQueue[NN]) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._distribute(queue), name=str(self))

    async def wait_for_sync(self) -> None:
        """There is nothing to wait for."""

    def stop(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    def replay(self) -> None:
        """What was put in is handled or gone."""

    async def _distribute(self, queue: WorkQueue[NN]) -> None:
        while (event := await self._pending.get()) is not None:
            if all(predicate(event) for predicate in self._predicates):
                try:
                    self._handler(event, queue)
                except Exception:  # noqa: BLE001 - one broken event must not end the source
                    _log.exception("event handler failed", source=str(self))
