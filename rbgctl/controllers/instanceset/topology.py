"""How many instances there may be and how many may be out of service (SFM-3).

    maxSurge        = ceil(updateStrategy.maxSurge), at least 0
    maxUnavailable  = updateStrategy.maxUnavailable (10% when absent), a percentage rounded up without surge, down
                      with it; at least 1 without surge, else at least 0
    partition       = floor(updateStrategy.partition), between 0 and replicas

    base            = ordinals [0, replicas), of which [partition, replicas) follow the update revision
    healthyOld      = base instances from partition on that serve at another revision
    validSurge      = instances in [replicas, replicas + maxSurge) at the update revision, not terminating
    baseDone        = every base ordinal from partition on serves at the update revision and was observed so
    unfinished      = current ≠ update, or a base instance from partition on is at another revision,
                      or validSurge > 0 and not baseDone
    inRollout       = unfinished and not paused

    activeSurge     = min(maxSurge, max(healthyOld − maxUnavailable, 0 if baseDone else validSurge, 0))  in a rollout
                      min(maxSurge, validSurge)                                                  paused in the middle
                      0                                                                                    otherwise
    window          = ordinals [0, replicas + activeSurge)

`unfinished` asks the instances, not only the two revisions: after A → B → A both revisions are A again while some
instances are still at B. Surge stays until the last base instance is Ready, so capacity never falls below replicas.
All of it comes from the API server, nothing from memory.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rbgctl.api.v1alpha2.defaults import set_max_unavailable, set_replicas
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSetSpec
from rbgctl.controllers.instanceset.members import Member
from rbgctl.machinery.int_or_string import scaled, scaled_legacy


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """The numbers a user sets, as counts of instances."""

    replicas: int
    partition: int = 0
    max_unavailable: int = 1
    max_surge: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Which ordinals shall exist now, and whether instances are being moved to the update revision."""

    budgets: Budgets
    active_surge: int
    in_rollout: bool

    @property
    def end(self) -> int:
        """First ordinal that shall not exist."""
        return self.budgets.replicas + self.active_surge


def budgets(spec: RoleInstanceSetSpec) -> Budgets:
    """The budgets of a set; replicas absent counts as 1 (RIS-9).

    Raises ValueError naming the field for text that is no percentage.
    """
    strategy = spec.update_strategy
    replicas = max(0, set_replicas(spec))
    surge = max(0, _count("maxSurge", lambda: scaled(strategy.max_surge or 0, replicas, round_up=True)))
    unavailable = _count("maxUnavailable", lambda: scaled(set_max_unavailable(spec), replicas, round_up=surge == 0))
    partition = _count("partition", lambda: scaled_legacy(strategy.partition or 0, replicas))
    return Budgets(
        replicas=replicas,
        partition=min(max(partition, 0), replicas),
        max_unavailable=max(unavailable, 1 if surge == 0 else 0),
        max_surge=surge,
    )


def topology(
    wanted: Budgets, members: Iterable[Member], *, current: str, update: str, paused: bool = False
) -> Topology:
    """The window and whether to roll. `current` and `update` are full names of revisions."""
    by_ordinal = {m.ordinal: m for m in members}
    replicas, surge = wanted.replicas, wanted.max_surge
    following = [by_ordinal.get(o) for o in range(wanted.partition, replicas)]
    healthy_old = sum(m is not None and m.serving and m.revision != update for m in following)
    base_done = all(m is not None and m.serving and m.revision == update and m.observed for m in following)
    valid_surge = sum(
        m.revision == update and not m.terminating for o, m in by_ordinal.items() if replicas <= o < replicas + surge
    )
    unfinished = (
        current != update
        or any(m is not None and m.revision != update for m in following)
        or (valid_surge > 0 and not base_done)
    )
    if not unfinished:
        active = 0
    elif paused:
        active = min(surge, valid_surge)
    else:
        active = min(surge, max(healthy_old - wanted.max_unavailable, 0 if base_done else valid_surge, 0))
    return Topology(budgets=wanted, active_surge=active, in_rollout=unfinished and not paused)


def _count(field: str, resolve: Callable[[], int]) -> int:
    try:
        return resolve()
    except ValueError as error:
        raise ValueError(f"spec.updateStrategy.{field}: {error}") from None
