"""One reflector, one store, any number of handlers (RT-IN-01..09)."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import structlog

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.fifo import Delta, DeltaType, OrderedFifo
from rbgctl.runtime.live_reads import LiveReads, is_older
from rbgctl.runtime.reflector import Reflector, WatchTarget
from rbgctl.runtime.store import Entry, EntryDecoder, Hot, Indexer, IndexFunction, Tombstone
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.informer")

YIELD_EVERY = 200


@dataclass(frozen=True, slots=True)
class KindOptions:
    """How a kind is cached.

    labels: only objects that match are cached (they may be written, but then get no fence when they do not match).
    form: "metadata" fetches no bodies. hot: fields the header carries, see `Header.hot`. keep_annotations: key
    prefixes the header carries. keep_managers: managedFields entries kept in bodies. indexes: see `Indexer`.
    resync: seconds after which handlers are told of every object again, varied by 10 %; 0 never (RT-CA-01).
    """

    namespace: str = ""
    labels: LabelSelector | None = None
    fields: str = ""
    form: Literal["full", "metadata"] = "full"
    hot: Hot | None = None
    keep_annotations: tuple[str, ...] = ()
    keep_managers: frozenset[str] = frozenset()
    indexes: Mapping[str, IndexFunction] = field(default_factory=dict)
    resync: float = 36_000.0

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.nothing:
            raise ValueError("a selector that matches nothing cannot be watched")
        if self.resync and self.resync < 1:
            raise ValueError(f"a resync every {self.resync:g} s: 1 s is the least, 0 is never")

    def merged(self, other: "KindOptions") -> "KindOptions":
        """What satisfies two declarations of the same kind. Raises ValueError when they contradict each other."""
        if (self.namespace, str(self.labels), self.fields) != (other.namespace, str(other.labels), other.fields):
            raise ValueError("two declarations restrict the same kind differently")
        if self.hot and other.hot and self.hot is not other.hot:
            raise ValueError("two declarations of the same kind name different hot fields")
        for name in self.indexes.keys() & other.indexes.keys():
            if self.indexes[name] is not other.indexes[name]:
                raise ValueError(f"two declarations of the same kind define index {name!r} differently")
        return KindOptions(
            namespace=self.namespace,
            labels=self.labels,
            fields=self.fields,
            form="full" if "full" in {self.form, other.form} else "metadata",
            hot=self.hot or other.hot,
            keep_annotations=tuple(dict.fromkeys(self.keep_annotations + other.keep_annotations)),
            keep_managers=self.keep_managers | other.keep_managers,
            indexes={**self.indexes, **other.indexes},
            resync=min((r for r in (self.resync, other.resync) if r), default=0.0),
        )


class ResourceHandler(Protocol):
    """Called synchronously after the store changed; must not block and should only put keys into queues."""

    def on_add(self, entry: Entry, *, initial: bool) -> None: ...

    def on_update(self, old: Entry, new: Entry) -> None: ...

    def on_delete(self, last: Entry | Tombstone) -> None: ...


@dataclass(slots=True, eq=False)
class Registration:
    """One handler on one informer. `has_synced`: it has been told of everything of the first list (RT-IN-03)."""

    informer: "Informer"
    handler: ResourceHandler

    @property
    def has_synced(self) -> bool:
        return self.informer.has_synced


class Informer:
    """Created by `Cache.declare`; runs as part of the cache."""

    def __init__(
        self,
        gvk: GVK,
        options: KindOptions,
        *,
        clock: Clock,
        rng: random.Random,
        list_gate: asyncio.Semaphore,
        user_agent: str,
        watch_timeout: tuple[float, float],
        first_list_jitter: float,
        on_relist: Callable[[GVK, str], None],
        streaming: bool | None = None,
    ) -> None:
        self.gvk = gvk
        self.options = options
        self.applied_rv = ""
        self.last_error: Exception | None = None
        self.handler_failures = 0
        self._clock = clock
        self._rng = rng
        self._list_gate = list_gate
        self._user_agent = user_agent
        self._watch_timeout = watch_timeout
        self._jitter = first_list_jitter
        self._on_relist = on_relist
        self._streaming = streaming
        self.store = Indexer(options.indexes)
        self._fifo = OrderedFifo(self.store)
        self._registrations: list[Registration] = []
        self._live_reads = LiveReads()
        self._changed = asyncio.Event()
        self._synced = asyncio.Event()
        self.reflector: Reflector | None = None

    # -- before and while running -----------------------------------------------------------------------------

    def configure(self, options: KindOptions) -> None:
        """Widen the options. Raises ValueError for a contradiction, and for more than new indexes once it runs."""
        merged = self.options.merged(options)
        if self.reflector is not None and replace(merged, indexes=self.options.indexes) != self.options:
            raise ValueError(f"informer of {self.gvk.kind} runs already and cannot keep more than it does")
        for name, function in merged.indexes.items():
            if name not in self.options.indexes:
                self.add_index(name, function)
        self.options = merged

    def add_index(self, name: str, function: IndexFunction) -> None:
        self.store.add_index(name, function)

    def add_handler(self, handler: ResourceHandler) -> Registration:
        """The handler first hears of everything stored, then of every change; nothing is lost or doubled."""
        registration = Registration(self, handler)
        self._registrations.append(registration)
        for entry in list(self.store.entries()):
            self._tell(handler, _added(entry, initial=True))
        return registration

    def remove_handler(self, registration: Registration) -> None:
        if registration in self._registrations:
            self._registrations.remove(registration)

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    async def wait_for_sync(self) -> None:
        await self._synced.wait()

    def changed(self) -> asyncio.Event:
        """Set once the next delta has been applied. Take it before looking at the store, so that none is missed."""
        return self._changed

    async def run(self, resource: Resource, transport: Transport) -> None:
        """Reflect until cancelled."""
        if self.reflector is not None:
            _log.error("informer started twice, ignored", kind=self.gvk.kind)
            return
        options = self.options
        self.reflector = Reflector(
            WatchTarget(
                resource,
                options.namespace,
                str(options.labels) if options.labels is not None else "",
                options.fields,
                options.form,
            ),
            transport,
            self._fifo,
            self.decoder(),
            clock=self._clock,
            rng=self._rng,
            streaming=self._streaming,
            list_gate=self._list_gate,
            user_agent=self._user_agent,
            watch_timeout=self._watch_timeout,
            first_list_jitter=self._jitter,
            on_error=self._failed,
            on_relist=lambda reason: self._on_relist(self.gvk, reason),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reflector.run(), name=f"reflector {self.gvk.kind}")
            group.create_task(self._drain(), name=f"informer {self.gvk.kind}")
            if options.resync:
                group.create_task(self._resync(options.resync), name=f"resync {self.gvk.kind}")

    def _failed(self, error: Exception) -> None:
        self.last_error = error

    async def _resync(self, seconds: float) -> None:
        period = seconds * self._rng.uniform(0.9, 1.1)
        while True:
            await self._clock.sleep(period)
            self._fifo.resync()

    async def _drain(self) -> None:
        while True:
            await self._fifo.wait()
            count = 0
            while len(self._fifo) and count < YIELD_EVERY:
                self._fifo.pop(self._apply)
                count += 1
            if self._fifo.has_synced:
                self._synced.set()
            event, self._changed = self._changed, asyncio.Event()
            event.set()
            await asyncio.sleep(0)

    # -- applying deltas --------------------------------------------------------------------------------------

    def _apply(self, delta: Delta) -> None:
        match delta.item:
            case None:
                self.last_error = None
                self._live_reads.forget_old(self._clock.monotonic())
            case Tombstone() as tombstone:
                if not self._live_reads.outdate(delta, self.store.get(tombstone.key)):
                    self._remove(tombstone.key, tombstone)
            case Entry() as entry:
                old = self.store.get(entry.header.key)
                if self._live_reads.outdate(delta, old):
                    pass
                elif delta.type is DeltaType.DELETED:
                    self._remove(entry.header.key, entry)
                else:
                    self._upsert(entry, old, initial=delta.initial)
        if delta.rv:
            self.applied_rv = delta.rv

    def _remove(self, key: NN, last: Entry | Tombstone) -> None:
        self.store.remove(key)
        self._each(lambda h: h.on_delete(last))

    def _upsert(self, entry: Entry, old: Entry | None, *, initial: bool = False) -> None:
        self.store.upsert(entry)
        if old is None:
            self._each(_added(entry, initial=initial))
        elif old.header.uid != entry.header.uid:
            # Deleted and created again between two looks: tell both halves (RT-ST-06).
            self._each(lambda h: h.on_delete(Tombstone(old.header.key, old)))
            self._each(_added(entry, initial=False))
        else:
            self._each(lambda h: h.on_update(old, entry))

    def refresh(self, key: NN, live: Entry | None) -> None:
        """Store what a live read found (None: nothing), unless the watch is already further."""
        old, now = self.store.get(key), self._clock.monotonic()
        if live is None:
            if old is not None:
                self._live_reads.found_gone(key, old.header.uid, now)
                self._remove(key, Tombstone(key, old))
        elif old is None or not is_older(live, old):
            self._live_reads.found(live, now)
            if old is None or old.header.rv != live.header.rv:
                self._upsert(live, old)

    def decoder(self) -> EntryDecoder:
        return EntryDecoder(
            self.gvk,
            keep_managers=self.options.keep_managers,
            keep_annotations=self.options.keep_annotations,
            hot=self.options.hot,
        )

    def _each(self, call: "Notification") -> None:
        for registration in list(self._registrations):
            self._tell(registration.handler, call)

    def _tell(self, handler: ResourceHandler, call: "Notification") -> None:
        try:
            call(handler)
        except Exception:  # noqa: BLE001 - one broken handler must not stop the others (RT-IN-05)
            self.handler_failures += 1
            _log.exception("event handler failed", kind=self.gvk.kind)


Notification = Callable[[ResourceHandler], None]


def _added(entry: Entry, *, initial: bool) -> Notification:
    return lambda handler: handler.on_add(entry, initial=initial)
