"""Events of one object, by its name, for controllers that must not cache a whole kind for the sake of a few objects.

It lists and watches with `metadata.name=…`, metadata only, on an informer of its own, so that rights to `list` and
`watch` can be limited to that name. Reads do not see it: a reconcile gets the object live.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.runtime.backoff import Backoff
from rbgctl.runtime.errors import ApiError, DiscoveryFailed, TransportError
from rbgctl.runtime.feed import FeedSettings
from rbgctl.runtime.handler import EventHandler
from rbgctl.runtime.informer import Informer
from rbgctl.runtime.kind_options import KindOptions
from rbgctl.runtime.predicate import Event, Predicate
from rbgctl.runtime.store import Entry, Tombstone
from rbgctl.runtime.workqueue import WorkQueue

if TYPE_CHECKING:
    from rbgctl.runtime.manager import Manager

_log = structlog.get_logger("rbgctl.runtime.named_source")


class NamedObjectSource:
    """A `Source` of one cluster-scoped object, or of one in `namespace`. It may come and go.

    Once stopped it forgets the object and can be started again. A server that cannot be reached is asked again until it
    answers; only a kind that it does not serve, and options that do not fit the kind, end the watch.
    """

    def __init__(
        self,
        manager: "Manager",
        gvk: GVK,
        name: str,
        handler: EventHandler,
        predicates: Sequence[Predicate] = (),
        *,
        namespace: str = "",
    ) -> None:
        options = manager.options
        self._gvk = gvk
        self._settings = FeedSettings(
            clock=manager.clock,
            rng=manager.rng,
            list_gate=asyncio.Semaphore(1),
            user_agent=options.user_agent(options.name),
            watch_timeout=options.watch_timeout,
            first_list_jitter=options.first_list_jitter,
            on_relist=manager.metrics.relisted,
        )
        self._wanted = KindOptions(namespace=namespace, fields=f"metadata.name={name}", form="metadata")
        self._informer = Informer(gvk, self._wanted, self._settings)
        self._manager = manager
        self._name = name
        self._handler = handler
        self._predicates = tuple(predicates)
        self._queue: WorkQueue[NN] | None = None
        self._task: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"{self._gvk.group_kind} {self._name}"

    @property
    def last_error(self) -> Exception | None:
        """Why it is not synced yet, as far as known."""
        return self._informer.last_error

    async def start(self, queue: WorkQueue[NN]) -> None:
        if self._task is None:
            self._queue = queue
            # One that has stopped has forgotten its handlers for good, and may be ending still.
            informer = self._informer = Informer(self._gvk, self._wanted, self._settings)
            informer.add_handler(self)
            self._task = asyncio.create_task(self._follow(informer), name=f"source {self}")

    async def wait_for_sync(self) -> None:
        """Raises what ends the watch for good."""
        following = self._task
        assert following is not None  # noqa: S101 - sources are started first
        synced = asyncio.create_task(self._informer.wait_for_sync())
        try:
            await asyncio.wait({synced, following}, return_when=asyncio.FIRST_COMPLETED)
            if not synced.done():
                following.result()
        finally:
            synced.cancel()

    def stop(self) -> None:
        self._queue = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._informer.remove()

    def replay(self) -> None:
        for entry in list(self._informer.store.entries()):
            self.on_add(entry, initial=True)

    async def _follow(self, informer: Informer) -> None:
        await informer.run(await self._resource(informer), self._manager.transport)

    async def _resource(self, informer: Informer) -> Resource:
        """Raises NoKindMatch."""
        manager = self._manager
        backoff = Backoff(manager.clock, manager.rng)
        while True:
            try:
                return await manager.mapper.resource(self._gvk)
            except (DiscoveryFailed, ApiError, TransportError) as error:
                informer.cannot_start(error)
                _log.warning("object cannot be followed yet", object=str(self), error=str(error))
            await manager.clock.sleep(backoff.step())

    # -- what the informer calls ------------------------------------------------------------------------------

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._feed(Event("create", entry, in_initial_list=initial))

    def on_update(self, old: Entry, new: Entry) -> None:
        self._feed(Event("update", new, old))

    def on_delete(self, last: Entry | Tombstone) -> None:
        entry = last if isinstance(last, Entry) else last.last
        if entry is not None:
            self._feed(Event("delete", entry, state_unknown=not isinstance(last, Entry)))

    def _feed(self, event: Event) -> None:
        if self._queue is not None and all(predicate(event) for predicate in self._predicates):
            self._handler(event, self._queue)
