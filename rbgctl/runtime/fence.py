"""Read your own writes: what a key has written and its cache has not shown yet (RT-CA-20..22)."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.machinery.resource_version import is_ordered, newer_or_equal
from rbgctl.runtime.client import Form

MAX_AGE = 300.0
MAX_OWNERS = 100_000

Written = tuple[GVK, NN]

Showing = tuple[GVK, NN, Form]
"""An object in one of the informers that show it: each has a fence of its own."""


@dataclass(slots=True)
class Fence:
    """What must be visible of one object: a resourceVersion, an absence, or (unknown outcome) a live read."""

    rv: str = ""
    gone_uid: str = ""
    unknown: bool = False
    at: float = 0.0

    def merge(self, *, rv: str, gone_uid: str, unknown: bool, at: float) -> None:
        """The highest resourceVersion stays, an absence is added to it (RT-CA-21).

        A write after an absence made the object anew; whoever has seen its resourceVersion has seen the absence too.
        """
        if rv and (not self.rv or newer_or_equal(rv, self.rv)):
            self.rv = rv
            self.gone_uid = ""
        self.gone_uid = gone_uid or self.gone_uid
        self.unknown = self.unknown or unknown
        self.at = at

    @property
    def needs_live_read(self) -> bool:
        return self.unknown or bool(self.rv and not is_ordered(self.rv))

    def met(self, applied_rv: str, stored_uid: str, stored_rv: str) -> bool:
        """Given how far the informer is and what it stores under this key (empty uid: nothing)."""
        if self.needs_live_read:
            return False
        if self.gone_uid and stored_uid and self.gone_uid in {stored_uid, "*"}:
            return False
        if not self.rv:
            return True
        return any(is_ordered(seen) and newer_or_equal(seen, self.rv) for seen in (applied_rv, stored_rv))


@dataclass(slots=True)
class Fences:
    """All fences, by the key on whose behalf the writes were made: those of the `limit` that wrote last (RT-EX-03)."""

    limit: int = MAX_OWNERS
    _by_owner: OrderedDict[Hashable, dict[Showing, Fence]] = field(default_factory=OrderedDict)
    _pruned_at: float = float("-inf")
    _longest: float = MAX_AGE

    def record(self, owner: Hashable, what: Showing, *, rv: str, gone_uid: str, unknown: bool, at: float) -> None:
        if at - self._pruned_at > self._longest:
            # Owners that never reconcile again would otherwise be remembered for ever.
            self._pruned_at = at
            for other in list(self._by_owner):
                self.pending(other, at, self._longest)
        fence = self._by_owner.setdefault(owner, {}).setdefault(what, Fence())
        fence.merge(rv=rv, gone_uid=gone_uid, unknown=unknown, at=at)
        self._by_owner.move_to_end(owner)
        if len(self._by_owner) > self.limit:
            self._by_owner.popitem(last=False)

    def pending(self, owner: Hashable, now: float, age: float = MAX_AGE) -> dict[Showing, Fence]:
        """The owner's fences of the last `age` seconds: older ones do not matter any more."""
        self._longest = max(self._longest, age)
        mine = self._by_owner.get(owner)
        if mine is None:
            return {}
        for what in [w for w, f in mine.items() if now - f.at > age]:
            del mine[what]
        if not mine:
            del self._by_owner[owner]
        return dict(mine)

    def drop(self, owner: Hashable, what: Showing) -> None:
        mine = self._by_owner.get(owner)
        if mine is not None:
            mine.pop(what, None)
            if not mine:
                del self._by_owner[owner]

    def forget(self, owner: Hashable) -> None:
        """Drop all fences of an owner."""
        self._by_owner.pop(owner, None)

    def __contains__(self, owner: Hashable) -> bool:
        return owner in self._by_owner

    def __len__(self) -> int:
        return sum(len(f) for f in self._by_owner.values())
