"""One kind in memory: a store, any number of handlers, and a feed per namespace that fills it (RT-IN-01..09)."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.runtime.errors import ApiError, NoKindMatch, NotFound
from rbgctl.runtime.feed import Feed, FeedSettings, Notification, ResourceHandler, Share
from rbgctl.runtime.kind_options import ALL_OTHERS, CacheDefaults, KindOptions, Scope, scopes
from rbgctl.runtime.registration import Registration
from rbgctl.runtime.store import Entry, EntryDecoder, Indexer, IndexFunction, Tombstone
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.informer")

MIN_RESYNC = 1.0
ROUNDING = 1e-3
BY_SCOPE = "scope of the cache"


class ResourceNotCached(Exception):
    """The kind was not declared, or not for that namespace."""


class Informer:
    """Created by `Cache.declare`; runs as part of the cache.

    followed: the cache has begun with it, so that it stays optional or not. absent: the server was found not to serve
    this optional kind. lost: set when its collection was not found (404).

    Several namespaces share one store and one set of handlers (RT-CA-03, RT-CA-16): reading does not know them apart.
    """

    def __init__(
        self,
        gvk: GVK,
        options: KindOptions,
        settings: FeedSettings,
        defaults: CacheDefaults | None = None,
    ) -> None:
        self.gvk = gvk
        self.options = options
        self.handler_failures = 0
        self.store = Indexer(options.indexes)
        self.feeds: Mapping[str, Feed] = {}
        self.followed = False
        self.absent = False
        self.lost = asyncio.Event()
        self._settings = settings
        self._defaults = defaults or CacheDefaults()
        self._registrations: list[Registration] = []
        self._changed: asyncio.Event | None = None
        self._synced = asyncio.Event()
        self._settled = asyncio.Event()
        self._waiting_for: Exception | None = None
        self._removed = False
        self._check_period = 0.0

    # -- before and while running -----------------------------------------------------------------------------

    def configure(self, options: KindOptions) -> None:
        """Widen the options. Raises ValueError for a contradiction, and for more than new indexes once it runs."""
        merged = self.options.merged(options)
        if self.followed and merged.optional != self.options.optional:
            raise ValueError(f"{self.gvk.kind} is followed as an optional kind already: need it before the start")
        if self.feeds and replace(merged, indexes=self.options.indexes) != self.options:
            raise ValueError(f"informer of {self.gvk.kind} runs already and cannot keep more than it does")
        for name, function in merged.indexes.items():
            if name not in self.options.indexes:
                self.add_index(name, function)
        self.options = merged

    def require(self) -> None:
        """Somebody cannot do without the kind; without effect once it is followed."""
        if self.options.optional and not self.followed:
            self.options = replace(self.options, optional=False)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Raises ValueError when the name is taken, RuntimeError when the informer was removed (RT-CA-13)."""
        self._need_not_removed()
        self.store.add_index(name, function)

    def add_handler(self, handler: ResourceHandler, *, resync: float | None = None) -> Registration:
        """The handler first hears of everything stored, then of every change; nothing is lost or doubled.

        When more than two hundred objects are stored it hears of the others after this call, see `Registration`.

        resync: seconds after which it is told everything again, by default as often as the kind's options say; at least
        1, and 0 for never. A handler added late is told no more often than the informer looks already (RT-IN-06), and
        never where it does not look at all: somebody has to ask for that before the start.
        Raises RuntimeError when the informer was removed (RT-IN-04).
        """
        self._need_not_removed()
        period, monotonic = self._resync_period(resync), self._settings.clock.monotonic
        registration = Registration(self, handler, period, call=self._tell, monotonic=monotonic)
        self._registrations.append(registration)
        registration.begin(list(self.store.entries()))
        return registration

    def _resync_period(self, wanted: float | None) -> float:
        seconds = self.options.resync if wanted is None else wanted
        return max(seconds, MIN_RESYNC, self._check_period) if seconds else 0.0

    def remove_handler(self, registration: Registration) -> None:
        registration.end()
        if registration in self._registrations:
            self._registrations.remove(registration)

    def _need_not_removed(self) -> None:
        if self._removed:
            raise RuntimeError(f"informer of {self.gvk.kind} was removed and has already stopped")

    def remove(self) -> None:
        """Forget everything for good; nobody is told (RT-CA-14)."""
        self._removed = True
        for registration in list(self._registrations):
            self.remove_handler(registration)
        self._forget()

    def _forget(self) -> None:
        self.feeds = {}
        self._synced.clear()
        self.store.replace(())

    # -- how far it is ----------------------------------------------------------------------------------------

    @property
    def has_synced(self) -> bool:
        """Whether the first lists of all namespaces are stored and told."""
        return self._synced.is_set()

    async def wait_for_sync(self) -> None:
        await self._synced.wait()

    @property
    def settled(self) -> bool:
        """Synced; for an optional kind also: it has been so once, or the server was found not to serve it."""
        return self._settled.is_set() if self.options.optional else self.has_synced

    async def wait_until_settled(self) -> None:
        await (self._settled if self.options.optional else self._synced).wait()

    def changed(self) -> asyncio.Event:
        """Set once the next delta has been applied. Take it before looking at the store, so that none is missed."""
        if self._changed is None:
            self._changed = asyncio.Event()
        return self._changed

    @property
    def last_error(self) -> Exception | None:
        """Why it is not current, as far as known."""
        return next((f.last_error for f in self.feeds.values() if f.last_error is not None), self._waiting_for)

    @property
    def last_event_at(self) -> float | None:
        """Monotonic seconds when the namespace that is silent longest was heard of; None before that."""
        return min((f.reflector.last_event_at for f in self.feeds.values() if f.reflector is not None), default=None)

    @property
    def pending(self) -> int:
        """Events received and not yet handled by everybody (RT-IN-01)."""
        slowest = max((r.pending for r in self._registrations), default=0)
        return sum(len(f.fifo) for f in self.feeds.values()) + slowest

    # -- namespaces -------------------------------------------------------------------------------------------

    def feed_of(self, namespace: str) -> Feed | None:
        """What keeps that namespace current; None before the start. Raises ResourceNotCached for other namespaces."""
        feed = self.feeds.get(namespace) or self.feeds.get(ALL_OTHERS)
        if feed is None and self.feeds:
            raise ResourceNotCached(
                f"{self.gvk.group_kind} is not cached in namespace {namespace!r}, only in {', '.join(self.feeds)}"
            )
        return feed

    def shows(self, key: NN, labels: Mapping[str, str] | None) -> bool:
        """Whether a written object will appear here, as far as that can be told; `labels` None: they are not known."""
        try:
            feed = self.feed_of(key.namespace)
        except ResourceNotCached:
            return False
        if feed is None:
            return not self.absent
        scope = feed.scope
        if scope.path_namespace and key.namespace and scope.path_namespace != key.namespace:
            return False
        outside = scope.labels is not None and labels is not None and not scope.labels.matches(labels)
        return not outside or self.store.get(key) is not None

    # -- running ----------------------------------------------------------------------------------------------

    async def run(self, resource: Resource, transport: Transport) -> None:
        """Follow all namespaces until cancelled. Raises ValueError when the options do not fit the kind's scope."""
        if self.feeds:  # they are made here
            _log.error("informer started twice, ignored", kind=self.gvk.kind)
            return
        self.prepare(resource)
        options = self.options
        async with asyncio.TaskGroup() as group:
            for feed in self.feeds.values():
                name = f"reflector {self.gvk.kind} {feed.scope.namespace}".rstrip()
                group.create_task(feed.run(resource, options.form, transport), name=name)
            periods = [r.resync for r in self._registrations if r.resync] + ([options.resync] if options.resync else [])
            if periods:
                group.create_task(self._resync(min(periods)), name=f"resync {self.gvk.kind}")

    async def _resync(self, seconds: float) -> None:
        """Look that often whose turn it is, and queue everything for them once more (RT-CA-01, RT-ST-05)."""
        clock = self._settings.clock
        varied = self._settings.rng.uniform(0.9, 1.1)
        self._check_period = seconds * varied
        for registration in self._registrations:
            if registration.resync:
                registration.due_at = clock.monotonic() + registration.resync * varied
        while True:
            await clock.sleep(self._check_period)
            now = clock.monotonic()
            for registration in self._registrations:
                registration.due = now >= registration.due_at - ROUNDING
                if registration.due:
                    registration.due_at = now + registration.resync * varied
            if any(registration.due for registration in self._registrations):
                for feed in self.feeds.values():
                    feed.fifo.resync()
                    feed.drain()

    def prepare(self, resource: Resource) -> None:
        """Make the feeds, one per namespace. Raises ValueError like `run`."""
        found = scopes(self.options, self._defaults, resource)
        named = {scope.namespace for scope in found}
        if len(found) > 1 and not self.store.has_index(BY_SCOPE):
            self.store.add_index(BY_SCOPE, lambda h: [h.namespace if h.namespace in named else ALL_OTHERS])
        self.feeds = {scope.namespace: self._feed(scope, several=len(found) > 1) for scope in found}
        self._waiting_for = None
        self.absent = False

    def _feed(self, scope: Scope, *, several: bool) -> Feed:
        return Feed(
            self.gvk,
            scope,
            self.store,
            Share(self.store, BY_SCOPE, scope.namespace) if several else self.store,
            self._decoder(scope),
            settings=self._settings,
            tell=self._tell_all,
            changed=self._applied,
            on_error=self._failed,
        )

    def _decoder(self, scope: Scope) -> EntryDecoder:
        return EntryDecoder(
            self.gvk,
            keep_managers=scope.keep_managers,
            keep_annotations=scope.keep_annotations,
            hot=self.options.hot,
            compress=self.options.compress,
            names=self._settings.names,
        )

    def _applied(self) -> None:
        if not self._synced.is_set() and self.feeds and all(feed.synced for feed in self.feeds.values()):
            self._synced.set()
            self._settled.set()
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _failed(self, error: Exception) -> None:
        if isinstance(error, NotFound):
            self.lost.set()

    def cannot_start(self, error: Exception) -> None:
        """Note why it does not run: the kind is not served, or cannot be looked up.

        Nobody waits any longer for an optional kind that is not served, or of a group that the server cannot speak for.
        """
        self._waiting_for = error
        if self.options.optional and isinstance(error, NoKindMatch | ApiError):
            self.absent = self.absent or isinstance(error, NoKindMatch)
            self._settled.set()

    def withdraw(self) -> None:
        """The server has given up the kind: tell that all its objects are gone, and be ready to run again."""
        gone = list(self.store.entries())
        self._forget()
        self.absent = True
        for entry in gone:
            self._tell_all(_gone(entry))
        self._applied()

    def refresh(self, key: NN, live: Entry | None) -> None:
        """Store what a live read found (None: nothing), unless the watch is already further."""
        feed = self.feed_of(key.namespace)
        if feed is not None:
            feed.refresh(key, live)

    # -- handlers ---------------------------------------------------------------------------------------------

    def _tell_all(self, call: Notification, *, repeats: bool = False) -> None:
        for registration in list(self._registrations):
            if repeats and not registration.due:
                continue
            registration.tell(call)

    def _tell(self, handler: ResourceHandler, call: Notification) -> None:
        try:
            call(handler)
        except Exception:  # noqa: BLE001 - one broken handler must not stop the others (RT-IN-05)
            self.handler_failures += 1
            _log.exception("event handler failed", kind=self.gvk.kind)


def _gone(entry: Entry) -> Notification:
    return lambda handler: handler.on_delete(Tombstone(entry.header.key, entry))


__all__ = ["Informer", "KindOptions", "Registration", "ResourceHandler", "ResourceNotCached"]
