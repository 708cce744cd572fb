"""Declared informers of one process, readable like a client (RT-CA-01..22).

Informers are declared before they are used: reading an undeclared kind raises ResourceNotCached instead of silently
starting a cluster-wide watch.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import orjson
import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.client import LiveClient, ObjectList
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, NoKindMatch, NotFound
from rbgctl.runtime.fence import Fence, Fences, Written
from rbgctl.runtime.informer import Informer, KindOptions
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.cache")

FENCE_TIMEOUT = 2.0
MISSING_KIND_RETRY = 10.0

T = TypeVar("T")


class ResourceNotCached(Exception):
    """The kind was not declared."""


class CacheNotSynced(Exception):
    """Some informers have not listed within the time allowed; the text names them and their last error."""


class Cache:
    """Run `run()` as a task, then read.

    watch_timeout: seconds, the range from which each watch request draws its server-side timeout.
    first_list_jitter: seconds over which first lists are spread (RT-RF-17). streaming: see `Reflector`.
    """

    def __init__(
        self,
        transport: Transport,
        mapper: RestMapper,
        *,
        user_agent: str = "rbgctl",
        clock: Clock | None = None,
        rng: random.Random | None = None,
        watch_timeout: tuple[float, float] = (300.0, 600.0),
        first_list_jitter: float = 1.0,
        on_relist: Callable[[GVK, str], None] | None = None,
        on_stale_read: Callable[[], None] | None = None,
        streaming: bool | None = None,
    ) -> None:
        self._transport = transport
        self._mapper = mapper
        self._user_agent = user_agent
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._watch_timeout = watch_timeout
        self._jitter = first_list_jitter
        self._on_relist = on_relist or (lambda _gvk, _reason: None)
        self._on_stale_read = on_stale_read or (lambda: None)
        self._streaming = streaming
        self._live = LiveClient(transport, mapper, user_agent=user_agent)
        self._informers: dict[GVK, Informer] = {}
        self._list_gate = asyncio.Semaphore(4)
        self._fences = Fences()
        self._group: asyncio.TaskGroup | None = None

    # -- informers --------------------------------------------------------------------------------------------

    def declare(self, gvk: GVK, options: KindOptions | None = None) -> Informer:
        """The informer of a kind, created on the first call and widened on later ones.

        A kind declared while the cache runs starts at once.
        """
        informer = self._informers.get(gvk)
        if informer is not None:
            if options is not None:
                informer.configure(options)
            return informer
        informer = Informer(
            gvk,
            options or KindOptions(),
            clock=self._clock,
            rng=self._rng,
            list_gate=self._list_gate,
            user_agent=self._user_agent,
            watch_timeout=self._watch_timeout,
            first_list_jitter=self._jitter,
            on_relist=self._on_relist,
            streaming=self._streaming,
        )
        self._informers[gvk] = informer
        if self._group is not None:
            self._start(informer)
        return informer

    def informer(self, gvk: GVK) -> Informer:
        """Raises ResourceNotCached for an undeclared kind."""
        try:
            return self._informers[gvk]
        except KeyError:
            raise ResourceNotCached(f"{gvk} is not cached: declare it before reading it") from None

    @property
    def informers(self) -> Mapping[GVK, Informer]:
        return self._informers

    async def run(self) -> None:
        """Keep all declared informers current until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for informer in list(self._informers.values()):
                self._start(informer)
            await asyncio.Event().wait()

    def _start(self, informer: Informer) -> None:
        assert self._group is not None  # noqa: S101 - only called while running
        self._group.create_task(self._run_informer(informer), name=f"cache {informer.gvk.kind}")

    async def _run_informer(self, informer: Informer) -> None:
        while True:
            try:
                resource = await self._mapper.resource(informer.gvk)
                break
            except NoKindMatch as error:
                # The CRD may be installed later (RT-CA-15).
                informer.last_error = error
                _log.info("kind is not served yet", kind=str(informer.gvk))
            except Exception as error:  # noqa: BLE001 - discovery is retried whatever went wrong
                informer.last_error = error
                _log.warning("discovery failed", kind=str(informer.gvk), error=str(error))
            await self._clock.sleep(MISSING_KIND_RETRY)
        await informer.run(resource, self._transport)

    async def wait_for_sync(self, *gvks: GVK, timeout: float = 120.0) -> None:
        """Until the given kinds (all declared ones by default) have listed. Raises CacheNotSynced after `timeout` s."""
        informers = [self.informer(g) for g in gvks] or list(self._informers.values())
        try:
            async with asyncio.timeout(timeout):
                for informer in informers:
                    await informer.wait_for_sync()
        except TimeoutError:
            late = [i for i in informers if not i.has_synced]
            names = "; ".join(f"{i.gvk.group_kind} ({i.last_error or 'no answer yet'})" for i in late)
            raise CacheNotSynced(f"timed out after {timeout:g} s waiting for caches to be synced: {names}") from None

    # -- reading ----------------------------------------------------------------------------------------------

    def entry(self, gvk: GVK, key: NN) -> Entry | None:
        """The cached entry itself; None when there is none."""
        informer = self.informer(gvk)
        resource = self._mapper.known(gvk)
        if resource is not None and not resource.namespaced and key.namespace:
            key = NN("", key.name)
        return informer.store.get(key)

    async def get(self, gvk: GVK, key: NN) -> RawObject:
        """A fresh copy. Raises NotFound (its text names the kind, not the plural, RT-CA-07), or CacheNotSynced
        before the first list has arrived: until then nothing can be said to be missing.
        """
        self._need_synced(gvk)
        entry = self.entry(gvk, key)
        if entry is None:
            raise NotFound(
                {
                    "status": "Failure",
                    "reason": "NotFound",
                    "code": 404,
                    "message": f'{gvk.group_kind} "{key.name}" not found',
                    "details": {"name": key.name, "group": gvk.group, "kind": gvk.kind},
                }
            )
        return entry.decode()

    def entries(
        self,
        gvk: GVK,
        *,
        index: tuple[str, str] | None = None,
        namespace: str = "",
        labels: LabelSelector | None = None,
    ) -> Sequence[Entry]:
        """Cached entries, narrowed by an index value, a namespace and a selector on headers, sorted by key."""
        store = self.informer(gvk).store
        found = store.by_index(*index) if index is not None else store.entries()
        return sorted(
            (
                e
                for e in found
                if (not namespace or e.header.namespace == namespace)
                and (labels is None or labels.matches(dict(e.header.labels)))
            ),
            key=lambda e: e.header.key,
        )

    def headers(
        self,
        gvk: GVK,
        *,
        index: tuple[str, str] | None = None,
        namespace: str = "",
        labels: LabelSelector | None = None,
    ) -> Sequence[Header]:
        """Like `entries`, headers only: nothing is decoded."""
        return [e.header for e in self.entries(gvk, index=index, namespace=namespace, labels=labels)]

    async def list(self, gvk: GVK, namespace: str = "", *, labels: LabelSelector | None = None) -> ObjectList:
        """Fresh copies, sorted by key. Raises CacheNotSynced like `get`."""
        self._need_synced(gvk)
        return ObjectList([e.decode() for e in self.entries(gvk, namespace=namespace, labels=labels)])

    def _need_synced(self, gvk: GVK) -> None:
        informer = self.informer(gvk)
        if not informer.has_synced:
            raise CacheNotSynced(f"{gvk.group_kind} has not been listed yet ({informer.last_error or 'no answer yet'})")

    # -- write fence ------------------------------------------------------------------------------------------

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
    ) -> None:
        """A write on behalf of `owner`: to `rv`, or gone, or with unknown outcome.

        What the cache will never show gets no fence: kinds not cached, other namespaces, labels that do not match.
        """
        informer = self._informers.get(gvk)
        if informer is None or (informer.options.namespace and informer.options.namespace != key.namespace):
            return
        selector = informer.options.labels
        outside = selector is not None and labels is not None and not selector.matches(labels)
        if outside and informer.store.get(key) is None:
            return
        now = self._clock.monotonic()
        self._fences.record(owner, (gvk, key), rv=rv, gone_uid=gone_uid, unknown=unknown, at=now)

    async def caught_up(self, owner: Hashable, timeout: float = FENCE_TIMEOUT) -> frozenset[Written]:
        """Wait until the cache shows all that `owner` wrote, at most `timeout` s.

        What it still does not show then, and at once what had an unknown outcome, is read live and stored; those
        objects are returned. Other owners never wait. Raises what a live read raises, except NotFound.
        """
        ends = self._clock.monotonic() + timeout
        read: set[Written] = set()
        while True:
            waiting = self._unmet(owner)
            late = self._clock.monotonic() >= ends
            unknown = [what for what, fence in waiting.items() if fence.needs_live_read]
            for what in waiting if late else unknown:
                read.add(what)
                self._on_stale_read()
                await self._read_live(what)
            for what in unknown:
                self._fences.drop(owner, what)
            if late or not waiting:
                return frozenset(read)
            if not unknown:
                await self._any_change({gvk for gvk, _ in waiting}, ends - self._clock.monotonic())

    def _unmet(self, owner: Hashable) -> dict[Written, Fence]:
        waiting = self._fences.pending(owner, self._clock.monotonic())
        for what in [w for w, fence in waiting.items() if self._met(w, fence)]:
            self._fences.drop(owner, what)
            del waiting[what]
        return waiting

    async def _any_change(self, gvks: set[GVK], timeout: float) -> None:
        waits = [asyncio.ensure_future(self._informers[gvk].changed().wait()) for gvk in gvks]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _met(self, what: Written, fence: Fence) -> bool:
        informer = self._informers[what[0]]
        stored = informer.store.get(what[1])
        header = stored.header if stored is not None else None
        return fence.met(informer.applied_rv, header.uid if header else "", header.rv if header else "")

    async def _read_live(self, what: Written) -> None:
        gvk, key = what
        informer = self._informers[gvk]
        try:
            live = await self._live_object(informer, key)
        except ApiError:
            _log.warning("live read after an unobserved write failed", kind=gvk.kind, object=str(key))
            raise
        entry: Entry | None = None
        if live is not None:
            if informer.options.form == "metadata":
                live = {k: live[k] for k in ("apiVersion", "kind", "metadata")}
            entry = informer.decoder().entry(orjson.dumps(live))
            selector = informer.options.labels
            if selector is not None and not selector.matches(dict(entry.header.labels)):
                entry = None
        informer.refresh(key, entry)

    async def _live_object(self, informer: Informer, key: NN) -> RawObject | None:
        fields = informer.options.fields
        if fields:
            # Only the server can tell whether a field selector matches.
            found = await self._live.list(informer.gvk, key.namespace, fields=f"{fields},metadata.name={key.name}")
            return found.items[0] if found.items else None
        try:
            return await self._live.get(informer.gvk, key)
        except NotFound:
            return None


class Decoded(Generic[T]):
    """Parse once per version of an object (RT-MM-05): the last `size` objects asked for, one version of each.

    For own kinds whose models are dear to build. Results are shared between reconciles: treat them as immutable.
    """

    def __init__(self, parse: Callable[[RawObject], T], size: int = 4096) -> None:
        self._parse = parse
        self._size = size
        self._memo: OrderedDict[NN, tuple[tuple[str, str], T]] = OrderedDict()

    def get(self, entry: Entry) -> T:
        key, version = entry.header.key, (entry.header.uid, entry.header.rv)
        known = self._memo.get(key)
        if known is None or known[0] != version:
            known = self._memo[key] = (version, self._parse(entry.decode()))
        self._memo.move_to_end(key)
        if len(self._memo) > self._size:
            self._memo.popitem(last=False)
        return known[1]

    def forget(self, key: NN) -> None:
        """The object is gone."""
        self._memo.pop(key, None)
