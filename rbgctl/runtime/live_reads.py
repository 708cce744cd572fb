"""Objects that an informer stored from a live read, ahead of its watch.

Until the watch has caught up it still delivers the past of such an object. Storing that would take back what a
reconcile has already been shown, so those deltas are recognised here and skipped.
"""

from dataclasses import dataclass, field

from rbgctl.machinery.gvk import NN
from rbgctl.machinery.resource_version import is_before
from rbgctl.runtime.fifo import Delta, DeltaType
from rbgctl.runtime.store import Entry, Tombstone

MAX_AGE = 300.0


@dataclass(slots=True)
class LiveReads:
    """What live reads found, by key: a resourceVersion, or the uid of an object that no longer exists."""

    _versions: dict[NN, tuple[str, float]] = field(default_factory=dict)
    _gone: dict[NN, tuple[str, float]] = field(default_factory=dict)

    def found(self, entry: Entry, now: float) -> None:
        """A live read found `entry`; `now` in monotonic seconds."""
        self._gone.pop(entry.header.key, None)
        self._versions[entry.header.key] = entry.header.rv, now

    def found_gone(self, key: NN, uid: str, now: float) -> None:
        """A live read found that the object `uid` no longer exists."""
        self._versions.pop(key, None)
        self._gone[key] = uid, now

    def forget_old(self, now: float) -> None:
        """Forget what the watch must have shown by now."""
        for found in (self._versions, self._gone):
            for key in [key for key, (_, at) in found.items() if now - at > MAX_AGE]:
                del found[key]

    def outdate(self, delta: Delta, stored: Entry | None) -> bool:
        """Whether `delta` tells of a time before a live read of the object that is `stored` (None: nothing is)."""
        match delta.item:
            case Entry() as entry:
                if self._gone and self._is_gone(entry, delta.type):
                    return True
                if stored is None or not is_older(entry, stored):
                    return False
                # Within one watch versions only grow: what is older than the store comes from before a live read.
                return not delta.listed_rv or self._ahead_of_list(entry.header.key, delta.listed_rv)
            case Tombstone():
                return stored is not None and self._ahead_of_list(delta.item.key, delta.listed_rv)
            case _:
                return False

    def _is_gone(self, entry: Entry, kind: DeltaType) -> bool:
        gone = self._gone.get(entry.header.key)
        if gone is None or gone[0] != entry.header.uid:
            return False
        if kind is DeltaType.DELETED:
            del self._gone[entry.header.key]
        return True

    def _ahead_of_list(self, key: NN, listed_rv: str) -> bool:
        # Once only: after a restore from a backup all versions are smaller, and the next list must win.
        version = self._versions.pop(key, None)
        return version is not None and is_before(listed_rv, version[0])


def is_older(a: Entry, b: Entry) -> bool:
    """Whether `a` is of an earlier time than `b`, which is stored under the same key."""
    return is_before(a.header.rv, b.header.rv)
