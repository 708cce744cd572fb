"""What a controller must assume where a field is absent, as pure functions.

The API server fills most defaults (see `Schema(default=…)` on the models), but not inside schemaless nodes
(API-06) and not in objects stored under older schemas. Nothing here is ever written back (IMP-2).
"""

from dataclasses import dataclass
from typing import Final

from rbgctl.api.v1alpha2 import restart_policy as rp
from rbgctl.api.v1alpha2.component import Component
from rbgctl.api.v1alpha2.patterns import (
    SELECT_ALL,
    SELECT_LEADER_ONLY,
    CustomComponentsPattern,
    LeaderWorkerPattern,
)
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.roleinstance import ALL_POD_READY, RoleInstanceSpec
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSetSpec
from rbgctl.api.v1alpha2.rollout import IN_PLACE_IF_POSSIBLE, PARALLEL
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.machinery.int_or_string import IntOrString, scaled

SET_MAX_UNAVAILABLE: Final = "10%"
"""updateStrategy.maxUnavailable of a RoleInstanceSet. SET-9"""
SET_REVISION_HISTORY_LIMIT: Final = 10


def role_replicas(role: RoleSpec | None) -> int:
    """Instances of a role: 1 when unset, 0 for a role that does not exist. HF-33, IMP-6"""
    if role is None:
        return 0
    return 1 if role.replicas is None else role.replicas


def leader_worker_size(pattern: LeaderWorkerPattern) -> int:
    """Pods per instance, leader included. GRP-44, IMP-6"""
    return 1 if pattern.size is None else pattern.size


def component_size(component: Component | None) -> int:
    """Pods of a component: 1 when unset, 0 for a component that does not exist. HF-32, GRP-55, RI-3"""
    if component is None:
        return 0
    return 1 if component.size is None else component.size


def pods_per_instance(role: RoleSpec) -> int:
    """Pods that one instance of the role consists of. HF-4"""
    if role.standalone_pattern is None and role.leader_worker_pattern is not None:
        return leader_worker_size(role.leader_worker_pattern)
    if role.standalone_pattern is None and role.custom_components_pattern is not None:
        return sum(component_size(c) for c in role.custom_components_pattern.components or ())
    return 1


def group_size(group: RoleBasedGroup) -> int:
    """Pods that the whole group consists of, custom components included. HF-4, RBG-15"""
    return sum(pods_per_instance(role) * role_replicas(role) for role in group.roles)


def role_restart_policy(role: RoleSpec | None) -> rp.RestartPolicy:
    """Restart policy of a role's instances.

    Leader-worker, else custom components, else no recreation; an unset policy of these two recreates. RP-5
    """
    pattern = _restartable(role)
    if pattern is None:
        return rp.RestartPolicy(type=rp.NONE)
    return rp.resolve(pattern.restart_policy_config, pattern.restart_policy, default=rp.RECREATE_INSTANCE)


def role_raw_restart_policy(role: RoleSpec | None) -> str:
    """The type as stored, for conversion; empty when nothing is stored. RP-6"""
    pattern = _restartable(role)
    return "" if pattern is None else rp.raw_type(pattern.restart_policy_config, pattern.restart_policy)


def _restartable(role: RoleSpec | None) -> LeaderWorkerPattern | CustomComponentsPattern | None:
    return None if role is None else role.leader_worker_pattern or role.custom_components_pattern


def instance_restart_policy(spec: RoleInstanceSpec | None) -> rp.RestartPolicy:
    """Restart policy of one instance; type is empty when none is set: no recreation. RP-7, RP-8"""
    if spec is None:
        return rp.RestartPolicy(type="")
    return rp.resolve(spec.restart_policy_config, spec.restart_policy, default="")


def shared_service_selection(role: RoleSpec | None) -> str:
    """Which pods the role's headless Service selects: All or LeaderOnly. HF-31"""
    if role is None or role.leader_worker_pattern is None:
        return SELECT_ALL
    if not workload_type(role.annotations).is_role_instance_set:
        return SELECT_ALL
    return role.leader_worker_pattern.shared_service_selection or SELECT_LEADER_ONLY


@dataclass(frozen=True, slots=True)
class Rollout:
    """A role's update strategy with nothing left unset. Int-or-strings are as the user wrote them."""

    type: str = IN_PLACE_IF_POSSIBLE
    paused: bool = False
    partition: IntOrString = 0
    max_unavailable: IntOrString = 1
    max_surge: IntOrString = 0
    grace_period_seconds: int | None = None
    """None when no inPlaceUpdateStrategy is given; 0 when it is given empty."""


def role_rollout(role: RoleSpec) -> Rollout:
    """Update strategy of a role. HF-40, HF-41, RBG-84"""
    rolling = role.rollout_strategy.rolling_update if role.rollout_strategy else None
    if rolling is None:
        return Rollout()
    in_place = rolling.in_place_update_strategy
    return Rollout(
        type=rolling.type or IN_PLACE_IF_POSSIBLE,
        paused=bool(rolling.paused),
        partition=0 if rolling.partition is None else rolling.partition,
        max_unavailable=1 if rolling.max_unavailable is None else rolling.max_unavailable,
        max_surge=0 if rolling.max_surge is None else rolling.max_surge,
        grace_period_seconds=None if in_place is None else in_place.grace_period_seconds or 0,
    )


def budgets(max_unavailable: IntOrString, max_surge: IntOrString, replicas: int) -> tuple[int, int]:
    """(maxUnavailable, maxSurge) as counts: surge rounded up; unavailable rounded down if there is surge, else up.

    Raises ValueError for text that is no percentage. HF-40, SET-9
    """
    surge = scaled(max_surge, replicas, round_up=True)
    return scaled(max_unavailable, replicas, round_up=surge == 0), surge


def set_replicas(spec: RoleInstanceSetSpec) -> int:
    """Instances of a set. SET-1, IMP-6"""
    return 1 if spec.replicas is None else spec.replicas


def set_max_unavailable(spec: RoleInstanceSetSpec) -> IntOrString:
    """updateStrategy.maxUnavailable of a set. SET-9"""
    value = spec.update_strategy.max_unavailable
    return SET_MAX_UNAVAILABLE if value is None else value


def set_revision_history_limit(spec: RoleInstanceSetSpec) -> int:
    """Old revisions that a set keeps. SET-13"""
    value = spec.revision_history_limit
    return SET_REVISION_HISTORY_LIMIT if value is None else value


def set_is_parallel(spec: RoleInstanceSetSpec) -> bool:
    """Whether a stateful set makes and deletes instances at once: only for exactly `Parallel`. SET-4"""
    return spec.pod_management_policy == PARALLEL


def ready_policy(spec: RoleInstanceSpec) -> str:
    """When an instance counts as ready. RI-7"""
    return spec.ready_policy or ALL_POD_READY
