"""Lets a controller work on the keys of its process's shards and drop all others.

Every process sees all events; keys of shards that it does not lead leave the queue without a reconcile, so that the
queue never holds more than what has just happened. When a shard is opened all its keys are queued, at low priority
like those of a first list: whatever happened to them while somebody else, or nobody, led the shard is found then.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.deadline import Deadline
from rbgctl.runtime.informer import ResourceNotCached
from rbgctl.runtime.registration import Registration
from rbgctl.runtime.sharding.assignment import ShardKey, shard_of
from rbgctl.runtime.sharding.led_shards import Shards
from rbgctl.runtime.source import Source
from rbgctl.runtime.store import Entry, Header, Tombstone
from rbgctl.runtime.workqueue import PRIORITY_LOW, WorkQueue

REMEMBERED_DELETIONS = 10_000
KEYS_PER_TURN = 1000
"""Looked at before other tasks get their turn."""


class ShardFilter:
    """One per sharded controller; also a handler of the informer of its kind.

    forgets: told of every key of a shard that was given away, to drop what the controller remembers of it.
    """

    def __init__(
        self,
        shards: Shards,
        shard_key: ShardKey,
        kind: GVK | None,
        cache: Cache,
        queue: WorkQueue[NN],
        sources: Sequence[Source],
        forgets: Callable[[NN], None] | None = None,
    ) -> None:
        self.shards = shards
        self._shard_key = shard_key
        self._kind = kind
        self._cache = cache
        self._queue = queue
        self._sources = sources
        self._forgets = forgets
        self._deleted: OrderedDict[NN, Header] = OrderedDict()
        self._registration: Registration | None = None

    async def start(self) -> None:
        """Before the sources: of a deleted object they only bring the key, and the shard may be in its labels."""
        if self._kind is not None:
            self._registration = self._cache.informer(self._kind).add_handler(self)
            await self._registration.wait_until_told()
        await self.shards.subscribe(opened=self._opened, closed=self._closed)

    def stop(self) -> None:
        if self._registration is not None:
            self._registration.informer.remove_handler(self._registration)
            self._registration = None

    def shard(self, key: NN) -> int:
        """Of a key, whether its object exists or was deleted just now."""
        header = self._header(key) or self._deleted.get(key)
        return shard_of(self._shard_key(key, header), self.shards.count)

    def _header(self, key: NN) -> Header | None:
        if self._kind is None:
            return None
        try:
            entry = self._cache.entry(self._kind, key)
        except ResourceNotCached:  # in a namespace that is not ours
            return None
        return entry.header if entry is not None else None

    def serves(self, key: NN) -> bool:
        """Whether the shard of the key is open here."""
        return self.shards.serves(self.shard(key))

    def admits(self, key: NN) -> bool:
        """Whether a worker may take the key; one that it may not is forgotten."""
        if self.serves(key):
            return True
        self._queue.forget(key)
        return False

    @contextlib.contextmanager
    def working(self, key: NN, deadline: Deadline) -> Iterator[None]:
        """Around the reconcile of an admitted key, see `Shards.working`."""
        # A deletion stays remembered: a retry of its key, and whoever asks after it, must find the same shard.
        with self.shards.working(self.shard(key), deadline):
            yield

    # -- listeners --------------------------------------------------------------------------------------------

    async def _opened(self, shard: int) -> None:
        if self._kind is None:
            # There is no kind to enumerate: repeat what a first list would have brought.
            for source in self._sources:
                source.replay()
            return
        async for key in self._keys(shard):
            self._queue.add(key, priority=PRIORITY_LOW)

    async def _closed(self, shard: int) -> None:
        if self._forgets is not None and self._kind is not None:
            async for key in self._keys(shard):
                self._forgets(key)

    async def _keys(self, shard: int) -> AsyncIterator[NN]:
        assert self._kind is not None  # noqa: S101 - both callers made sure
        keys = [entry.header.key for entry in self._cache.informer(self._kind).store.entries()]
        for turn in range(0, len(keys), KEYS_PER_TURN):
            for key in keys[turn : turn + KEYS_PER_TURN]:
                if self.shard(key) == shard:
                    yield key
            await asyncio.sleep(0)

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._deleted.pop(entry.header.key, None)

    def on_update(self, old: Entry, new: Entry) -> None:
        """Its header is in the cache."""

    def on_delete(self, last: Entry | Tombstone) -> None:
        known = last if isinstance(last, Entry) else last.last
        if known is None:
            return
        self._deleted[known.header.key] = known.header
        self._deleted.move_to_end(known.header.key)
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
