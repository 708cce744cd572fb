"""Which instances to move to the update revision now (SFM-12 … SFM-15).

    availableSurge = surge instances that serve at the update revision and are complete
    budget         = maxUnavailable + availableSurge
    unavailable    = base ordinals, those below the partition included, whose instance is missing, not Ready,
                     terminating, not complete, or Ready for less than minReadySeconds
    targets        = instances of the window from partition on at another revision, highest ordinal first

A target is *free* when replacing it takes nothing away: it is a surge instance, terminating, or stably unhealthy.
Free targets are always taken; the others only while

    unavailable + (those taken that were not free) < budget

A target that is blocked does not hide the free ones below it. A target that has just become unhealthy is neither
free nor new to `unavailable`: it waits for its 10 s, and that wait is reported so that somebody looks again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rbgctl.controllers.instanceset.health import UnhealthySince, stable_in
from rbgctl.controllers.instanceset.members import NEVER, Member
from rbgctl.controllers.instanceset.scale import Layout
from rbgctl.controllers.instanceset.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The decision.

    update: instances to move, in order; none of them is terminating.
    blocked: targets that must wait for the budget.
    unavailable, budget: what was counted.
    look_again_in: seconds until a blocked target becomes free; NEVER when only an event can help.
    """

    update: Sequence[Member] = ()
    blocked: Sequence[Member] = ()
    unavailable: int = 0
    budget: int = 0
    look_again_in: float = NEVER


def rollout(
    shape: Topology,
    found: Layout,
    *,
    update: str,
    min_ready_seconds: int,
    unhealthy_since: UnhealthySince,
    now: datetime,
) -> Rollout:
    """The next instances to move to revision `update`; none outside a rollout."""
    if not shape.in_rollout:
        return Rollout()
    replicas = shape.budgets.replicas
    surge = sum(m.serving and m.complete and m.revision == update for o, m in found.slots.items() if o >= replicas)
    budget = shape.budgets.max_unavailable + surge
    unavailable = sum(not _available(found.slots.get(o), min_ready_seconds, now) for o in range(replicas))
    taken: list[Member] = []
    blocked: list[Member] = []
    costly = 0
    for target in _targets(shape, found, update):
        if target.terminating:
            continue
        free = target.ordinal >= replicas or stable_in(unhealthy_since, target, now) == 0.0
        if not free and unavailable + costly >= budget:
            blocked.append(target)
            continue
        taken.append(target)
        costly += not free
    return Rollout(
        update=taken,
        blocked=blocked,
        unavailable=unavailable,
        budget=budget,
        look_again_in=min((stable_in(unhealthy_since, m, now) for m in blocked), default=NEVER),
    )


def ordered_escape(
    shape: Topology,
    found: Layout,
    waiting_for: int,
    *,
    update: str,
    unhealthy_since: UnhealthySince,
    now: datetime,
) -> Rollout:
    """The way out for OrderedReady when the ordinal it waits for is broken at a revision that is no longer wanted.

    Otherwise a repaired template would never reach it: its successors, and with them the rollout, wait for it.
    """
    target = found.slots.get(waiting_for)
    if (
        not shape.in_rollout
        or target is None
        or target.ready
        or target.terminating
        or target.revision == update
        or target.ordinal < shape.budgets.partition
    ):
        return Rollout()
    wait = stable_in(unhealthy_since, target, now)
    if wait > 0.0:
        return Rollout(blocked=[target], look_again_in=wait)
    return Rollout(update=[target])


def _targets(shape: Topology, found: Layout, update: str) -> list[Member]:
    ordinals = range(shape.end - 1, shape.budgets.partition - 1, -1)
    return [m for o in ordinals if (m := found.slots.get(o)) is not None and m.revision != update]


def _available(slot: Member | None, min_ready_seconds: int, now: datetime) -> bool:
    return slot is not None and slot.serving and slot.complete and slot.available_in(min_ready_seconds, now) == 0.0
