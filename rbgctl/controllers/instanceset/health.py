"""How long an instance has been unhealthy (SFM-4).

An instance that has not been Ready for 10 s may be replaced without using up maxUnavailable: it serves nobody. The
clock starts when this process first sees it not Ready, so a restart of the manager only delays replacement.

    since' = { uid: since.get(uid, now)  for every instance that exists and is not Ready }

Each set has its own map: what is seen of one set says nothing about another's instances.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from rbgctl.controllers.instanceset.members import NEVER, Member
from rbgctl.machinery.gvk import NN

STABLE_AFTER: Final = 10.0
"""Seconds of not being Ready after which an instance counts as stably unhealthy."""

UnhealthySince = Mapping[str, datetime]
"""By uid of the instance, when it was first seen not Ready."""


def track(since: UnhealthySince, members: Iterable[Member], now: datetime) -> dict[str, datetime]:
    """The map after looking at `members`: Ready and vanished instances are forgotten.

    A start that lies in the future (the clock was set back) is moved to now.
    """
    return {m.uid: min(since.get(m.uid, now), now) for m in members if m.created and not m.ready}


def stable_in(since: UnhealthySince, member: Member, now: datetime) -> float:
    """Seconds until `member` counts as stably unhealthy: 0 when it does, NEVER when it was not seen unhealthy."""
    start = since.get(member.uid) if member.created else None
    if start is None:
        return NEVER
    return max(0.0, STABLE_AFTER - (now - start).total_seconds())


def stably_unhealthy(since: UnhealthySince, member: Member, now: datetime) -> bool:
    """Whether `member` has been not Ready for 10 s."""
    return stable_in(since, member, now) == 0.0


class Timers:
    """The maps of all sets, kept by the controller between passes. Lost with the process."""

    def __init__(self) -> None:
        self._by_set: dict[NN, tuple[str, dict[str, datetime]]] = {}

    def look(self, key: NN, uid: str, members: Iterable[Member], now: datetime) -> UnhealthySince:
        """Take note of the instances of the set of that name and uid; a set made anew starts from nothing."""
        known = self._by_set.get(key)
        since = track(known[1] if known is not None and known[0] == uid else {}, members, now)
        if since:
            self._by_set[key] = (uid, since)
        else:
            self._by_set.pop(key, None)
        return since

    def forget(self, key: NN) -> None:
        """The set is gone."""
        self._by_set.pop(key, None)

    def __len__(self) -> int:
        return len(self._by_set)
