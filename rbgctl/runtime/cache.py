"""Declared informers of one process, readable like a client (RT-CA-01..22).

Informers are declared before they are used: reading an undeclared kind raises ResourceNotCached instead of silently
starting a cluster-wide watch.
"""

import asyncio
import random
from collections.abc import Callable, Hashable, Mapping, Sequence

import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.client import LiveClient, ObjectList
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.decoded import Decoded
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import NoKindMatch, NotFound
from rbgctl.runtime.feed import FeedSettings
from rbgctl.runtime.fence import Written
from rbgctl.runtime.informer import Informer, ResourceNotCached
from rbgctl.runtime.kind_options import CacheDefaults, Form, KindOptions, scopes
from rbgctl.runtime.read_your_writes import FENCE_TIMEOUT, ReadYourWrites
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.cache")

MISSING_KIND_RETRY = 10.0


class CacheNotSynced(Exception):
    """Some informers have not listed within the time allowed; the text names them and their last error."""


class Cache:
    """Run `run()` as a task, then read.

    defaults: namespaces and options of kinds that say nothing themselves, see `kind_options`.
    watch_timeout: seconds, the range from which each watch request draws its server-side timeout.
    first_list_jitter: seconds over which first lists are spread (RT-RF-17). streaming: see `Reflector`.

    A kind can be cached whole and as metadata only, in two informers (RT-CA-04). Where `form` is left out, reading
    means the one with bodies if there is one.
    """

    def __init__(
        self,
        transport: Transport,
        mapper: RestMapper,
        *,
        defaults: CacheDefaults | None = None,
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
        self._defaults = defaults or CacheDefaults()
        self._clock = clock or SystemClock()
        self._settings = FeedSettings(
            clock=self._clock,
            rng=rng or random.Random(),
            list_gate=asyncio.Semaphore(4),
            user_agent=user_agent,
            watch_timeout=watch_timeout,
            first_list_jitter=first_list_jitter,
            on_relist=on_relist or (lambda _gvk, _reason: None),
            streaming=streaming,
        )
        self._informers: dict[tuple[GVK, Form], Informer] = {}
        live = LiveClient(transport, mapper, user_agent=user_agent)
        self._writes = ReadYourWrites(self._find, live, self._clock, on_stale_read or (lambda: None))
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[Informer, asyncio.Task[None]] = {}

    # -- informers --------------------------------------------------------------------------------------------

    def declare(self, gvk: GVK, options: KindOptions | None = None) -> Informer:
        """The informer of a kind in the form of `options`, created on the first call and widened on later ones.

        Without options: the one that reads go to, or all of the kind whole. A kind declared while the cache runs starts
        at once. Raises ValueError when declarations contradict each other, or name namespaces for a kind without.
        """
        informer = self._find(gvk) if options is None else self._informers.get((gvk, options.form))
        if informer is not None:
            if options is not None:
                informer.configure(options)
            return informer
        options = options or KindOptions()
        resource = self._mapper.known(gvk)
        if resource is not None:
            scopes(options, self._defaults, resource)
        informer = Informer(gvk, options, self._settings, self._defaults)
        self._informers[gvk, options.form] = informer
        if self._group is not None:
            self._start(informer)
        return informer

    def informer(self, gvk: GVK, form: Form | None = None) -> Informer:
        """Raises ResourceNotCached for an undeclared kind."""
        informer = self._find(gvk, form)
        if informer is None:
            what = f"the metadata of {gvk}" if form == "metadata" else str(gvk)
            raise ResourceNotCached(f"{what} is not cached: declare it before reading it")
        return informer

    def _find(self, gvk: GVK, form: Form | None = None) -> Informer | None:
        if form is not None:
            return self._informers.get((gvk, form))
        return self._informers.get((gvk, "full")) or self._informers.get((gvk, "metadata"))

    @property
    def informers(self) -> Mapping[tuple[GVK, Form], Informer]:
        return self._informers

    async def remove_informer(self, gvk: GVK, form: Form | None = None) -> None:
        """Stop following a kind and forget its objects; handlers hear nothing of that (RT-CA-14).

        It can be declared anew. Raises ResourceNotCached when it was not declared.
        """
        informer = self.informer(gvk, form)
        del self._informers[gvk, informer.options.form]
        informer.remove()
        task = self._tasks.pop(informer, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def run(self) -> None:
        """Keep all declared informers current until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for informer in list(self._informers.values()):
                self._start(informer)
            await asyncio.Event().wait()

    def _start(self, informer: Informer) -> None:
        assert self._group is not None  # noqa: S101 - only called while running
        name = f"cache {informer.gvk.kind}"
        self._tasks[informer] = self._group.create_task(self._run_informer(informer), name=name)

    async def _run_informer(self, informer: Informer) -> None:
        while True:
            try:
                resource = await self._mapper.resource(informer.gvk)
                scopes(informer.options, self._defaults, resource)
                break
            except NoKindMatch as error:
                # The CRD may be installed later (RT-CA-15).
                informer.cannot_start(error)
                _log.info("kind is not served yet", kind=str(informer.gvk))
            except Exception as error:  # noqa: BLE001 - discovery is retried whatever went wrong
                informer.cannot_start(error)
                _log.warning("kind cannot be followed yet", kind=str(informer.gvk), error=str(error))
            await self._clock.sleep(MISSING_KIND_RETRY)
        await informer.run(resource, self._transport)

    async def wait_for_sync(self, *gvks: GVK, timeout: float = 120.0) -> None:
        """Until the given kinds (all declared ones by default) have listed. Raises CacheNotSynced after `timeout` s."""
        informers = [self.informer(g) for g in gvks] or list(self._informers.values())
        try:
            async with asyncio.timeout(timeout):
                for informer in informers:
                    await informer.wait_until_settled()
        except TimeoutError:
            late = [i for i in informers if not i.settled]
            names = "; ".join(f"{i.gvk.group_kind} ({i.last_error or 'no answer yet'})" for i in late)
            raise CacheNotSynced(f"timed out after {timeout:g} s waiting for caches to be synced: {names}") from None

    # -- reading ----------------------------------------------------------------------------------------------

    def entry(self, gvk: GVK, key: NN, form: Form | None = None) -> Entry | None:
        """The cached entry itself; None when there is none. Raises ResourceNotCached outside the cached namespaces."""
        informer = self.informer(gvk, form)
        resource = self._mapper.known(gvk)
        if resource is not None and not resource.namespaced and key.namespace:
            key = NN("", key.name)
        informer.feed_of(key.namespace)
        return informer.store.get(key)

    async def get(self, gvk: GVK, key: NN, form: Form | None = None) -> RawObject:
        """A fresh copy. Raises NotFound (its text names the kind, not the plural, RT-CA-07), or CacheNotSynced
        before the first list has arrived: until then nothing can be said to be missing.
        """
        self._need_synced(gvk, form)
        entry = self.entry(gvk, key, form)
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
        form: Form | None = None,
    ) -> Sequence[Entry]:
        """Cached entries, narrowed by an index value, a namespace and a selector on headers, sorted by key.

        Raises ResourceNotCached for a namespace outside the cached ones (RT-CA-16).
        """
        informer = self.informer(gvk, form)
        if namespace:
            informer.feed_of(namespace)
        store = informer.store
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
        form: Form | None = None,
    ) -> Sequence[Header]:
        """Like `entries`, headers only: nothing is decoded."""
        return [e.header for e in self.entries(gvk, index=index, namespace=namespace, labels=labels, form=form)]

    async def list(
        self,
        gvk: GVK,
        namespace: str = "",
        *,
        labels: LabelSelector | None = None,
        form: Form | None = None,
    ) -> ObjectList:
        """Fresh copies, sorted by key. Raises CacheNotSynced like `get`."""
        self._need_synced(gvk, form)
        return ObjectList([e.decode() for e in self.entries(gvk, namespace=namespace, labels=labels, form=form)])

    def _need_synced(self, gvk: GVK, form: Form | None = None) -> None:
        informer = self.informer(gvk, form)
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
        """See `ReadYourWrites.record`."""
        self._writes.record(owner, gvk, key, rv=rv, gone_uid=gone_uid, unknown=unknown, labels=labels)

    async def caught_up(self, owner: Hashable, timeout: float = FENCE_TIMEOUT) -> frozenset[Written]:
        """See `ReadYourWrites.caught_up`."""
        return await self._writes.caught_up(owner, timeout)

    def forget_writes(self, owner: Hashable) -> None:
        """The object of that key is gone, and with it the reason to wait for anything (RT-EX-03)."""
        self._writes.fences.forget(owner)


__all__ = ["Cache", "CacheDefaults", "CacheNotSynced", "Decoded", "ResourceNotCached"]
