"""What fills the store of an informer: one reflector per scope, its queue, and what becomes of each event."""

import asyncio
import random
from collections.abc import Callable, Iterable, KeysView
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.fifo import Delta, DeltaType, OrderedFifo
from rbgctl.runtime.intern import InternTable
from rbgctl.runtime.kind_options import WATCH_TIMEOUT, Form, Scope
from rbgctl.runtime.live_reads import LiveReads, is_older
from rbgctl.runtime.reflector import Reflector, WatchTarget
from rbgctl.runtime.store import Entry, EntryDecoder, Indexer, Known, Tombstone
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.feed")

YIELD_EVERY = 200
YIELD_SECONDS = 0.005
BACKLOG_WARNING = 10_000
AT_ONCE = 16
"""So few events are applied as they come; more of them take turns with the rest of the program."""


class ResourceHandler(Protocol):
    """Called synchronously after the store changed; must not block and should only put keys into queues."""

    def on_add(self, entry: Entry, *, initial: bool) -> None: ...

    def on_update(self, old: Entry, new: Entry) -> None: ...

    def on_delete(self, last: Entry | Tombstone) -> None: ...


Notification = Callable[[ResourceHandler], None]


def added(entry: Entry, *, initial: bool) -> Notification:
    """What a handler hears of an object that is new to it."""
    return lambda handler: handler.on_add(entry, initial=initial)


class Tell(Protocol):
    """Passes a notification on to the handlers; one that only `repeats` what they know to those who are due it."""

    def __call__(self, call: Notification, *, repeats: bool = False) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """What all feeds of a process have in common, see `Cache` and `Reflector`."""

    clock: Clock
    rng: random.Random
    list_gate: asyncio.Semaphore
    user_agent: str = "rbgctl"
    watch_timeout: tuple[float, float] = WATCH_TIMEOUT
    first_list_jitter: float = 1.0
    on_relist: Callable[[GVK, str], None] = lambda _gvk, _reason: None
    streaming: bool | None = None
    names: InternTable = field(default_factory=InternTable)


class Feed:
    """One scope of a kind, kept current in the `store` that it shares with the other scopes of its informer.

    known: its share of the store. changed: called when events have been applied. applied_rv: how far the store is, not
    what has been received (RT-QF-12).
    """

    def __init__(
        self,
        gvk: GVK,
        scope: Scope,
        store: Indexer,
        known: Known,
        decoder: EntryDecoder,
        *,
        settings: FeedSettings,
        tell: Tell,
        changed: Callable[[], None],
        on_error: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self.gvk = gvk
        self.scope = scope
        self.decoder = decoder
        self.applied_rv = ""
        self.last_error: Exception | None = None
        self.fifo = OrderedFifo(known)
        self.synced = False
        self.reflector: Reflector | None = None
        self._store = store
        self._settings = settings
        self._tell = tell
        self._changed = changed
        self._on_error = on_error
        self._live_reads = LiveReads()
        self._backlog = False
        self._stopped = False
        self._continues = False

    async def run(self, resource: Resource, form: Form, transport: Transport) -> None:
        """Reflect until cancelled."""
        settings, scope = self._settings, self.scope
        self.reflector = Reflector(
            WatchTarget(
                resource,
                scope.path_namespace,
                str(scope.labels) if scope.labels is not None else "",
                scope.fields,
                form,
            ),
            transport,
            self.fifo,
            self.decoder,
            clock=settings.clock,
            rng=settings.rng,
            streaming=settings.streaming,
            list_gate=settings.list_gate,
            user_agent=settings.user_agent,
            watch_timeout=settings.watch_timeout,
            first_list_jitter=settings.first_list_jitter,
            on_error=self._failed,
            on_relist=lambda reason: settings.on_relist(self.gvk, reason),
            on_queued=self.drain,
        )
        self._stopped = False
        try:
            await self.reflector.run()
        finally:
            self._stopped = True

    def _failed(self, error: Exception) -> None:
        self.last_error = error
        self._on_error(error)

    def drain(self) -> None:
        """There is something in the queue: apply it, few events at once, more of them from turn to turn of the loop.

        Called by whoever has filled it. A task that waits for events would take the loop two more turns for each.
        """
        if self._continues:
            return
        if len(self.fifo) > AT_ONCE:
            self._go_on_later()
        else:
            self._apply_some()

    def _go_on_later(self) -> None:
        self._continues = True
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._continues = False
        if not self._stopped:
            self._apply_some()

    def _apply_some(self) -> None:
        """At most 200 events, or what 5 ms suffice for, whichever is less (RT-QF-11)."""
        fifo, monotonic = self.fifo, self._settings.clock.monotonic
        self._watch_backlog()
        ends = monotonic() + YIELD_SECONDS
        for _ in range(min(len(fifo), YIELD_EVERY)):
            try:
                fifo.pop(self.apply)
            except Exception:  # noqa: BLE001 - it is out of the queue, and those behind it count too (RT-QF-09)
                _log.exception("event could not be applied", kind=self.gvk.kind)
            if monotonic() >= ends:
                break
        self.synced = self.synced or fifo.has_synced
        self._changed()
        if len(fifo):
            self._go_on_later()

    def _watch_backlog(self) -> None:
        """Warn when handlers do not keep up; the first list is no backlog (RT-IN-01)."""
        pending = len(self.fifo)
        if self.synced and pending > BACKLOG_WARNING and not self._backlog:
            _log.warning("handlers do not keep up with the watch", kind=self.gvk.kind, pending=pending)
        self._backlog = pending > BACKLOG_WARNING

    # -- applying deltas --------------------------------------------------------------------------------------

    def apply(self, delta: Delta) -> None:
        """Bring one event into the store, then tell the handlers (RT-ST-04)."""
        match delta.item:
            case None:
                self.last_error = None
                self._live_reads.forget_old(self._settings.clock.monotonic())
            case Tombstone() as tombstone:
                if not self._live_reads.outdate(delta, self._store.get(tombstone.key)):
                    self._remove(tombstone.key, tombstone)
            case Entry() as entry:
                old = self._store.get(entry.header.key)
                if self._live_reads.outdate(delta, old):
                    pass
                elif delta.type is DeltaType.DELETED:
                    self._remove(entry.header.key, entry)
                else:
                    self._upsert(entry, old, initial=delta.initial)
        if delta.rv:
            self.applied_rv = delta.rv

    def _remove(self, key: NN, last: Entry | Tombstone) -> None:
        self._store.remove(key)
        self._tell(lambda h: h.on_delete(last))

    def _upsert(self, entry: Entry, old: Entry | None, *, initial: bool = False) -> None:
        self._store.upsert(entry)
        if old is None:
            self._tell(added(entry, initial=initial))
        elif old.header.uid != entry.header.uid:
            # Deleted and created again between two looks: tell both halves (RT-ST-06).
            self._tell(lambda h: h.on_delete(Tombstone(old.header.key, old)))
            self._tell(added(entry, initial=False))
        else:
            self._tell(lambda h: h.on_update(old, entry), repeats=old.header.rv == entry.header.rv)

    def refresh(self, key: NN, live: Entry | None) -> None:
        """Store what a live read found (None: nothing), unless the watch is already further."""
        old, now = self._store.get(key), self._settings.clock.monotonic()
        if live is None:
            if old is not None:
                self._live_reads.found_gone(key, old.header.uid, now)
                self._remove(key, Tombstone(key, old))
        elif old is None or not is_older(live, old):
            self._live_reads.found(live, now)
            if old is None or old.header.rv != live.header.rv:
                self._upsert(live, old)


class Share:
    """The entries of a store that belong to one scope, found by an index whose values are scopes."""

    def __init__(self, store: Indexer, index: str, scope: str) -> None:
        self._store = store
        self._index = index
        self._scope = scope

    def get(self, key: NN) -> Entry | None:
        return self._store.get(key)

    def keys(self) -> KeysView[NN]:
        return dict.fromkeys(entry.header.key for entry in self.entries()).keys()

    def entries(self) -> Iterable[Entry]:
        return self._store.by_index(self._index, self._scope)
