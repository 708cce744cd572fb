"""The queue between a reflector and its store: every event in arrival order, never merged (RT-QF-01..12)."""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

import msgspec

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.store import Entry, Known, Tombstone


class DeltaType(Enum):
    """What happened, as the reflector saw it."""

    ADDED = "Added"
    UPDATED = "Updated"
    DELETED = "Deleted"
    REPLACED = "Replaced"
    SYNC = "Sync"


class Delta(msgspec.Struct, frozen=True, gc=False):
    """One queued event. A progress mark has neither entry nor tombstone, only `rv` (RT-QF-12).

    rv: how far the store is once this is applied. listed_rv: of the list that this entry or absence was found in.
    """

    type: DeltaType
    item: Entry | Tombstone | None
    rv: str = ""
    initial: bool = False
    listed_rv: str = ""

    @property
    def key(self) -> NN | None:
        """Of the object; None for a progress mark."""
        item = self.item
        if isinstance(item, Entry):
            return item.header.key
        return item.key if item is not None else None


class OrderedFifo:
    """Filled by one reflector, drained by one informer on the same loop; who fills it says so to who drains it.

    `known` is the store the informer fills: `replace` turns what is there but not in the list into deletions.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._queue: deque[Delta] = deque()
        self._last: dict[NN, DeltaType] = {}
        self._pending: dict[NN, int] = {}
        self._last_item: dict[NN, Entry] = {}
        self._populated = False
        self._initial = 0

    def add(self, kind: DeltaType, entry: Entry) -> None:
        """An event for one object. A DELETED of an unknown key is delivered too (RT-QF-07)."""
        self._populated = True
        self._push(Delta(kind, entry, entry.header.rv))

    def progress(self, rv: str) -> None:
        """Everything up to `rv` has been queued (bookmarks)."""
        self._push(Delta(DeltaType.SYNC, None, rv))

    def replace(self, entries: Iterable[Entry], rv: str) -> None:
        """The complete state of the server at `rv`: deletions of what is missing first, then every item."""
        items = list(entries)
        present = {e.header.key for e in items}
        handled: set[NN] = set()
        for key, kind in list(self._last.items()):
            if key not in present and self._pending.get(key):
                handled.add(key)
                if kind is not DeltaType.DELETED:
                    self._push(Delta(DeltaType.DELETED, Tombstone(key, self._last_item.get(key)), listed_rv=rv))
        for key in list(self._known.keys()):
            if key not in present and key not in handled:
                self._push(Delta(DeltaType.DELETED, Tombstone(key, self._known.get(key)), listed_rv=rv))
        for entry in items:
            self._push(Delta(DeltaType.REPLACED, entry, initial=not self._populated, listed_rv=rv))
        if not self._populated:
            self._populated = True
            self._initial = len(self._queue)
        self._push(Delta(DeltaType.SYNC, None, rv))

    def resync(self) -> None:
        """Deliver every stored object again, except those with something pending (RT-QF-08)."""
        for entry in list(self._known.entries()):
            if not self._pending.get(entry.header.key):
                self._push(Delta(DeltaType.SYNC, entry))

    @property
    def has_synced(self) -> bool:
        """The first list has been queued and taken out again completely (RT-QF-04)."""
        return self._populated and self._initial <= 0

    def __len__(self) -> int:
        return len(self._queue)

    def pop(self, process: Callable[[Delta], None]) -> None:
        """Take the oldest delta and process it, without giving way in between (RT-QF-09)."""
        delta = self._queue.popleft()
        if self._initial > 0:
            self._initial -= 1
        key = delta.key
        if key is not None:
            left = self._pending[key] - 1
            if left:
                self._pending[key] = left
            else:
                del self._pending[key]
                self._last.pop(key, None)
                self._last_item.pop(key, None)
        process(delta)

    def _push(self, delta: Delta) -> None:
        self._queue.append(delta)
        key = delta.key
        if key is not None:
            self._pending[key] = self._pending.get(key, 0) + 1
            self._last[key] = delta.type
            if isinstance(delta.item, Entry):
                self._last_item[key] = delta.item
