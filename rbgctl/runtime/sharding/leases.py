"""What the Leases of a sharded operator say, and what a manager should do about it. Pure: times are arguments.

    <base>                    the Lease of shard 0, also that of a manager that does not divide the work
    <base>-<i>                the Lease of shard i
    <base>-member-<identity>  "I am here and take shards": one per manager

A holder that left its record unchanged for the duration written in it is gone; only intervals of the own clock count
(RT-LE-14). Leases carry the number of shards as a label, because managers that divide the keys differently must not
work side by side:

- The holder of shard 0 decides the number: other shards are tried for only while a manager with our number leads it.
- As long as another manager leads a shard of another number, or holds `<base>` without being a member (a manager that
  does not divide the work, the Go operator for instance), nothing is led here.
- A shard that was acquired is worked on only after a look at the Leases that began after the acquisition. Of two
  managers with different numbers that acquire at the same moment at least one sees the other then.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.lease_record import LeaseRecord
from rbgctl.runtime.sharding.assignment import assign

SHARDS_LABEL: Final = "sharding.rbgctl.io/shards"
"""On every Lease of a sharded operator: how many shards there are."""
MEMBER_LABEL: Final = "sharding.rbgctl.io/member-of"
"""On member Leases: the base name."""

UNDIVIDED: Final = 1
MAX_SHARDS: Final = 32
"""One manager may have to renew the Leases of all, every two seconds, on two connections."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]+")


def lease_name(base: str, shard: int) -> str:
    """Of the Lease that a shard's leader holds."""
    return base if shard == 0 else f"{base}-{shard}"


def member_name(base: str, identity: str) -> str:
    """Of the Lease by which a manager says that it takes part; the end of an identity is what makes it unique."""
    return f"{base}-member-{_NOT_IN_NAMES.sub('-', identity.lower())[-120:].strip('-')}"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who leads a shard, and into how many shards it divides the keys (1: it does not; 0: unknown)."""

    identity: str
    shards: int


@dataclass(frozen=True, slots=True)
class View:
    """What can be seen now.

    holders: the living ones, by shard. members: the living ones, with their number of shards. leases: by shard, with
    the seconds since it last changed. expired: member Leases of managers that are gone and hold nothing.
    """

    holders: Mapping[int, Holder] = field(default_factory=dict)
    members: Mapping[str, int] = field(default_factory=dict)
    leases: Mapping[int, tuple[RawObject, float]] = field(default_factory=dict)
    expired: tuple[RawObject, ...] = ()


@dataclass(slots=True)
class _Observed:
    uid: str
    spec: Any
    since: float


class LeaseBook:
    """Remembers since when each Lease has looked as it does, and who was ever seen as a member."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._observed: dict[str, _Observed] = {}
        self._known: dict[str, int] = {}

    def look(self, leases: Iterable[RawObject], now: float) -> View:
        """The view after a list of all Leases of the namespace, answered at `now`."""
        shards: dict[int, RawObject] = {}
        members: list[RawObject] = []
        for lease in leases:
            shard = self._shard(lease)
            if shard is not None:
                shards[shard] = lease
            elif _labels(lease).get(MEMBER_LABEL) == self._base:
                members.append(lease)
        ours = [*shards.values(), *members]
        self._observe(ours, now)
        for lease in members:
            self._known[LeaseRecord.of(lease).holder] = _number(lease)
        holders: dict[int, Holder] = {}
        for shard, lease in shards.items():
            if self._alive(lease, now):
                identity = LeaseRecord.of(lease).holder
                known = self._known.get(identity, UNDIVIDED if shard == 0 else _number(lease))
                holders[shard] = Holder(identity, known)
        leading = {h.identity for h in holders.values()}
        present = {LeaseRecord.of(m).holder for m in members}
        self._known = {i: n for i, n in self._known.items() if i in present or i in leading}
        return View(
            holders=holders,
            members={LeaseRecord.of(m).holder: _number(m) for m in members if self._alive(m, now)},
            leases={s: (lease, now - self._of(lease).since) for s, lease in shards.items()},
            expired=tuple(m for m in members if not self._alive(m, now) and LeaseRecord.of(m).holder not in leading),
        )

    def _shard(self, lease: RawObject) -> int | None:
        name = lease["metadata"]["name"]
        if name == self._base:
            return 0
        number = name.removeprefix(f"{self._base}-")
        valid = number != name and number.isascii() and number.isdecimal() and not number.startswith("0")
        return int(number) if valid and len(number) < 10 else None

    def _observe(self, leases: Iterable[RawObject], now: float) -> None:
        before, self._observed = self._observed, {}
        for lease in leases:
            name, uid, spec = lease["metadata"]["name"], lease["metadata"].get("uid", ""), lease.get("spec")
            seen = before.get(name)
            if seen is None or (seen.uid, seen.spec) != (uid, spec):
                seen = _Observed(uid, spec, now)
            self._observed[name] = seen

    def _of(self, lease: RawObject) -> _Observed:
        return self._observed[lease["metadata"]["name"]]

    def _alive(self, lease: RawObject, now: float) -> bool:
        record = LeaseRecord.of(lease)
        return bool(record.holder) and self._of(lease).since + record.seconds > now


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    take: shards to try for. keep: shards that may be led here. refused: why nothing may be led, empty if something
    may. strangers: members that divide the keys differently and lead nothing.
    """

    take: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()
    refused: str = ""
    strangers: tuple[str, ...] = ()


def decide(view: View, me: str, shards: int, held: Collection[int]) -> Decision:
    """held: the shards whose Lease this manager has, whatever the view says about them."""
    for shard, holder in sorted(view.holders.items()):
        if holder.identity != me and holder.shards != shards:
            return Decision(refused=_conflict(shard, holder, shards))
    members = {me, *(m for m, number in view.members.items() if number == shards)}
    holders = {s: h.identity for s, h in view.holders.items()} | dict.fromkeys(held, me)
    owners = assign(members, holders, shards)
    mine = frozenset(s for s, owner in enumerate(owners) if owner == me)
    free = frozenset(s for s in mine if s not in held and holders.get(s, me) == me)
    if 0 not in holders:
        free &= {0}
    strangers = tuple(sorted(m for m, number in view.members.items() if number != shards))
    return Decision(take=free, keep=mine, strangers=strangers)


def _conflict(shard: int, holder: Holder, shards: int) -> str:
    if holder.shards == UNDIVIDED:
        how = "does not divide the work"
    elif holder.shards:
        how = f"divides the work into {holder.shards} shards"
    else:
        how = "does not say into how many shards it divides the work"
    return f"{holder.identity} leads shard {shard} and {how}, this manager divides it into {shards}: it leads nothing"


def _labels(lease: RawObject) -> Mapping[str, str]:
    return lease["metadata"].get("labels") or {}


def _number(lease: RawObject) -> int:
    text = _labels(lease).get(SHARDS_LABEL, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
