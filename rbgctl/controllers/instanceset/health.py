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
