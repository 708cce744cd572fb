"""Declared informers of one process, readable like a client (RT-CA-01..22).

Informers are declared before they are used: reading an undeclared kind raises ResourceNotCached instead of silently
starting a cluster-wide watch.
"""

import asyncio
import contextlib
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
from rbgctl.runtime.indexed_fields import matching_fields
from rbgctl.runtime.informer import Informer, ResourceNotCached
from rbgctl.runtime.kind_options import WATCH_TIMEOUT, CacheDefaults, Form, KindOptions, scopes
from rbgctl.runtime.list_turn import LISTS_AT_ONCE
from rbgctl.runtime.read_your_writes import FENCE_TIMEOUT, ReadYourWrites
from rbgctl.runtime.served_kinds import CRD, ServedKinds
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.cache")

MISSING_KIND_RETRY = 10.0


class CacheNotSynced(Exception):
    """Some informers have not listed within the time allowed; the text names them and their last error."""


class CacheNotStarted(CacheNotSynced):
    """Read before `Cache.run`."""


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
        watch_timeout: tuple[float, float] = WATCH_TIMEOUT,
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
            list_gate=asyncio.Semaphore(LISTS_AT_ONCE),
            user_agent=user_agent,
            watch_timeout=watch_timeout,
            first_list_jitter=first_list_jitter,
            on_relist=on_relist or (lambda _gvk, _reason: None),
            streaming=streaming,
        )
        self._informers: dict[tuple[GVK, Form], Informer] = {}
        live = LiveClient(transport, mapper, user_agent=user_agent)
        self._writes = ReadYourWrites(self._find, live, self._clock, on_stale_read or (lambda: None))
        self.record_write = self._writes.record
        """Note what was written on behalf of a key, see `ReadYourWrites.record`."""
        self._group: asyncio.TaskGroup | None = None
        self._served: ServedKinds | None = None
        self._tasks: dict[Informer, asyncio.Task[None]] = {}

    # -- informers --------------------------------------------------------------------------------------------

    def declare(self, gvk: GVK, options: KindOptions | None = None, *, form: Form | None = None) -> Informer:
        """The informer of a kind in the form of `options`, created on the first call and widened on later ones.

        `form` is for those without options, and ignored with them: the one in that form, else the one that reads go
        to, else all of the kind whole. A kind declared while the cache runs starts at once, one that it follows as
        optional stays so. Raises ValueError when declarations contradict each other, or name
        namespaces for a kind without.
        """
        informer = self._find(gvk, form if options is None else options.form)
        if informer is not None:
            if options is not None:
                informer.configure(options)
            else:
                informer.require()
            return informer
        options = options or KindOptions(form=form or "full")
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
        task = self._tasks.pop(informer, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        informer.remove()

    def served(self, gvk: GVK) -> bool:
        """Whether an optional kind can be relied on: it is installed, and what exists of it has been listed.

        True for other kinds: they are taken for granted. Raises ResourceNotCached for an undeclared kind.
        """
        informer = self.informer(gvk)
        return informer.has_synced or not informer.options.optional

    async def run(self) -> None:
        """Keep all declared informers current until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for informer in list(self._informers.values()):
                self._start(informer)
            await asyncio.Event().wait()

    def _start(self, informer: Informer) -> None:
        assert self._group is not None  # noqa: S101 - only called while running
        informer.followed = True
        name = f"cache {informer.gvk.kind}"
        run = self._run_optional if informer.options.optional else self._run_informer
        self._tasks[informer] = self._group.create_task(run(informer), name=name)

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

    async def _run_optional(self, informer: Informer) -> None:
        """Follow a kind whenever the server serves it (RT-RM-07)."""
        kinds = self._served_kinds()
        while True:
            resource = await kinds.until_served(informer.gvk, informer.cannot_start)
            try:
                scopes(informer.options, self._defaults, resource)
            except ValueError as error:
                informer.cannot_start(error)
                _log.error("kind cannot be followed", kind=str(informer.gvk), error=str(error))
                await kinds.until_gone(resource, informer.lost)
                continue
            in_table = self._mapper.known(informer.gvk) is not None
            self._mapper.add_static(resource)
            informer.lost.clear()
            _log.info("optional kind is served", kind=str(informer.gvk))
            following = asyncio.create_task(informer.run(resource, self._transport))
            gone = asyncio.create_task(kinds.until_gone(resource, informer.lost))
            try:
                await asyncio.wait([following, gone], return_when=asyncio.FIRST_COMPLETED)
            finally:
                following.cancel()
                gone.cancel()
                await asyncio.wait([following, gone])
            if not following.cancelled():
                following.result()
            _log.info("optional kind is no longer served", kind=str(informer.gvk))
            informer.withdraw()
            if not in_table:
                self._mapper.remove_static(informer.gvk)

    def _served_kinds(self) -> ServedKinds:
        if self._served is None:
            assert self._group is not None  # noqa: S101 - only called while running
            crds = Informer(CRD, KindOptions(form="metadata", compress=True), self._settings)
            self._served = ServedKinds(crds, self._transport, self._clock, user_agent=self._settings.user_agent)
            self._group.create_task(self._served.run(), name="served kinds")
        return self._served

    async def wait_for_sync(self, *gvks: GVK, timeout: float = 120.0) -> None:
        """Until the given kinds (all declared ones by default) have listed; not for optional ones that are missing.

        Raises CacheNotSynced after `timeout` s.
        """
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

    def caches(self, gvk: GVK, form: Form | None = None) -> bool:
        """Whether a kind was declared, in that form or any."""
        return self._find(gvk, form) is not None

    def entry(self, gvk: GVK, key: NN, form: Form | None = None) -> Entry | None:
        """The cached entry itself; None when there is none. Raises ResourceNotCached outside the cached namespaces."""
        informer = self.informer(gvk, form)
        if key.namespace and self._is_cluster_scoped(gvk):
            key = NN("", key.name)
        informer.feed_of(key.namespace)
        return informer.store.get(key)

    def _is_cluster_scoped(self, gvk: GVK) -> bool:
        resource = self._mapper.known(gvk)
        return resource is not None and not resource.namespaced

    async def get(self, gvk: GVK, key: NN, form: Form | None = None, *, wait: float = 0.0) -> RawObject:
        """A fresh copy. Raises NotFound (its text names the kind, not the plural, RT-CA-07), CacheNotStarted, or
        CacheNotSynced when the first list has not arrived after `wait` seconds: until then nothing can be said to be
        missing. NoKindMatch for an optional kind that is not installed.
        """
        await self._need_synced(gvk, form, wait)
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
        fields: str = "",
        form: Form | None = None,
    ) -> Sequence[Entry]:
        """Cached entries, narrowed by an index value, a namespace and a selector on headers, sorted by key.

        fields: a field selector of equalities, each of which needs an index, see `indexed_fields`.
        Raises ResourceNotCached for a namespace outside the cached ones (RT-CA-16), KeyError for an unknown index and
        ValueError for a field without one.
        """
        informer = self.informer(gvk, form)
        if namespace and self._is_cluster_scoped(gvk):
            namespace = ""
        if namespace:
            informer.feed_of(namespace)
        store = informer.store
        found = store.by_index(*index) if index is not None else store.entries()
        if fields:
            wanted = matching_fields(store, fields, namespace)
            found = wanted.values() if index is None else [e for e in found if e.header.key in wanted]
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
        fields: str = "",
        limit: int = 0,
        form: Form | None = None,
        wait: float = 0.0,
    ) -> ObjectList:
        """Fresh copies, sorted by key: the first `limit` that match, or all. Raises like `get` and `entries`.

        There is no resourceVersion and there are no further pages: the cache is of no one moment (RT-CL-32).
        """
        await self._need_synced(gvk, form, wait)
        found = self.entries(gvk, namespace=namespace, labels=labels, fields=fields, form=form)
        return ObjectList([e.decode() for e in found[: limit or None]])

    async def _need_synced(self, gvk: GVK, form: Form | None, wait: float) -> None:
        informer = self.informer(gvk, form)
        if self._group is None:
            raise CacheNotStarted("the cache is not started, can not read objects")
        if wait and not informer.settled:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await informer.wait_until_settled()
        if informer.absent:
            raise NoKindMatch(gvk)
        if not informer.has_synced:
            raise CacheNotSynced(
                f"failed waiting for {gvk.group_kind} Informer to sync: it has not been listed yet "
                f"({informer.last_error or 'no answer yet'})"
            )

    # -- write fence ------------------------------------------------------------------------------------------

    async def caught_up(self, owner: Hashable, timeout: float = FENCE_TIMEOUT) -> frozenset[Written]:
        """See `ReadYourWrites.caught_up`."""
        return await self._writes.caught_up(owner, timeout)

    def forget_writes(self, owner: Hashable) -> None:
        """The object of that key is gone, and with it the reason to wait for anything (RT-EX-03)."""
        self._writes.fences.forget(owner)


__all__ = ["Cache", "CacheDefaults", "CacheNotStarted", "CacheNotSynced", "Decoded", "ResourceNotCached"]
