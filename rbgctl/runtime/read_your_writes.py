"""Waits until a cache shows what a key wrote, and reads live what it does not show in time (RT-CA-20, RT-CA-21).

This takes the place of expectation stores (RT-EX-01 to RT-EX-04): a controller that waits here before it looks never
decides twice for the same reason. Nothing of it survives the process; a new leader starts without (RT-CA-22).
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import orjson
import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import Form, LiveClient
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import ApiError, NoKindMatch, NotFound
from rbgctl.runtime.feed import Feed
from rbgctl.runtime.fence import MAX_AGE, Fence, Fences, Showing, Written
from rbgctl.runtime.informer import Informer
from rbgctl.runtime.store import Entry

_log = structlog.get_logger("rbgctl.runtime.fence")

FENCE_TIMEOUT = 2.0
FORMS: Final[tuple[Form, ...]] = ("full", "metadata")
_NOTHING_READ: frozenset[Written] = frozenset()


class ReadYourWrites:
    """find: the informer of a kind in a form, None when it is not cached so. on_stale_read: counts live reads.

    A kind cached both whole and as metadata has a fence in either, since reads may go to either.
    """

    def __init__(
        self,
        find: Callable[[GVK, Form], Informer | None],
        live: LiveClient,
        clock: Clock,
        on_stale_read: Callable[[], None],
    ) -> None:
        self._find = find
        self._live = live
        self._clock = clock
        self._on_stale_read = on_stale_read
        self.fences = Fences()

    def record(
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
        now = self._clock.monotonic()
        for form in FORMS:
            informer = self._find(gvk, form)
            if informer is not None and informer.shows(key, labels):
                self.fences.record(owner, (gvk, key, form), rv=rv, gone_uid=gone_uid, unknown=unknown, at=now)

    async def caught_up(
        self, owner: Hashable, timeout: float = FENCE_TIMEOUT, *, age: float = MAX_AGE
    ) -> frozenset[Written]:
        """Wait until the cache shows all that `owner` wrote in the last `age` s, at most `timeout` s.

        What it still does not show then, and at once what had an unknown outcome, is read live and stored; those
        objects are returned. Other owners never wait. Raises what a live read raises, except NotFound.
        """
        if owner not in self.fences:
            return _NOTHING_READ
        ends = self._clock.monotonic() + timeout
        read: set[Written] = set()
        while True:
            waiting = self._unmet(owner, age)
            late = self._clock.monotonic() >= ends
            unknown = [what for what, (_, fence) in waiting.items() if fence.needs_live_read]
            for what in waiting if late else unknown:
                read.add(what[:2])
                self._on_stale_read()
                await self._read_live(waiting[what][0], what[1])
            for what in unknown:
                self.fences.drop(owner, what)
            if late or not waiting:
                return frozenset(read)
            if not unknown:
                await self._any_change({informer for informer, _ in waiting.values()}, ends - self._clock.monotonic())

    def _unmet(self, owner: Hashable, age: float) -> dict[Showing, tuple[Informer, Fence]]:
        waiting: dict[Showing, tuple[Informer, Fence]] = {}
        for what, fence in self.fences.pending(owner, self._clock.monotonic(), age).items():
            informer = self._find(what[0], what[2])
            # A kind that is no longer cached or served will show nothing more.
            if informer is None or informer.absent or _met(informer, what[1], fence):
                self.fences.drop(owner, what)
            else:
                waiting[what] = informer, fence
        return waiting

    async def _any_change(self, informers: set[Informer], timeout: float) -> None:
        waits = [asyncio.ensure_future(informer.changed().wait()) for informer in informers]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _read_live(self, informer: Informer, key: NN) -> None:
        feed = informer.feed_of(key.namespace)
        if feed is None:
            return  # its first list is still to come, and newer than the write
        try:
            live = await self._live_object(informer, feed, key)
        except ApiError:
            _log.warning("live read after an unobserved write failed", kind=informer.gvk.kind, object=str(key))
            raise
        entry: Entry | None = None
        if live is not None:
            entry = feed.decoder.entry(orjson.dumps(live))
            selector = feed.scope.labels
            if selector is not None and not selector.matches(dict(entry.header.labels)):
                entry = None
        informer.refresh(key, entry)

    async def _live_object(self, informer: Informer, feed: Feed, key: NN) -> RawObject | None:
        gvk, form, fields = informer.gvk, informer.options.form, feed.scope.fields
        try:
            if fields:
                # Only the server can tell whether a field selector matches.
                named = f"{fields},metadata.name={key.name}"
                found = await self._live.list(gvk, key.namespace, fields=named, form=form)
                return found.items[0] if found.items else None
            return await self._live.get(gvk, key, form=form)
        except (NotFound, NoKindMatch):
            return None


def _met(informer: Informer, key: NN, fence: Fence) -> bool:
    feed, stored = informer.feed_of(key.namespace), informer.store.get(key)
    header = stored.header if stored is not None else None
    return fence.met(feed.applied_rv if feed else "", header.uid if header else "", header.rv if header else "")
