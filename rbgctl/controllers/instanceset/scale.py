"""Which instances to create and which to delete so that the window is filled and nothing lies beyond it (SFM-6, SFM-9).

Parallel: every empty ordinal is filled and every instance beyond the window deleted, at once.
OrderedReady: ordinals are looked at from 0 upwards and the first one that does not exist is created, the first one
that is not Ready is waited for; only when all are Ready are the surplus ones deleted, the highest first. A surplus
one that is not Ready holds up the others unless it is the lowest of those that are not.

Instances that are already terminating are left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rbgctl.controllers.instanceset.members import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The instances sorted by where they stand. slots: in the window, by ordinal. condemned: beyond, highest first."""

    end: int
    slots: Mapping[int, Member]
    condemned: Sequence[Member]

    @property
    def missing(self) -> list[int]:
        """Ordinals of the window without an instance, ascending."""
        return [o for o in range(self.end) if o not in self.slots]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What to do. waiting_for: the ordinal that holds up everything else (OrderedReady only), rollouts included."""

    create: Sequence[int] = ()
    delete: Sequence[Member] = ()
    waiting_for: int | None = None


def layout(members: Iterable[Member], end: int) -> Layout:
    """Sort `members` into the window [0, end) and what lies beyond; negative ordinals are nobody's business."""
    known = sorted((m for m in members if m.ordinal >= 0), key=lambda m: m.ordinal)
    return Layout(
        end=end,
        slots={m.ordinal: m for m in known if m.ordinal < end},
        condemned=[m for m in reversed(known) if m.ordinal >= end],
    )


def scale(found: Layout, *, parallel: bool) -> Scaling:
    """The creations and deletions of this pass."""
    if parallel:
        return Scaling(create=found.missing, delete=[m for m in found.condemned if not m.terminating])
    for ordinal in range(found.end):
        slot = found.slots.get(ordinal)
        if slot is None:
            return Scaling(create=[ordinal], waiting_for=ordinal)
        if not slot.ready:
            return Scaling(waiting_for=ordinal)
    first_unhealthy = min((m.ordinal for m in found.condemned if not m.ready), default=None)
    delete: list[Member] = []
    for member in found.condemned:
        if not member.ready and member.ordinal != first_unhealthy:
            return Scaling(delete=delete, waiting_for=member.ordinal)
        if not member.terminating:
            delete.append(member)
    return Scaling(delete=delete)
