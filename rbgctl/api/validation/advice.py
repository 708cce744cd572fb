"""What is legal in a group and has no effect, another one than it seems, or no future: worth a warning.

Every function looks at one role or one set of annotations. Texts are short: the path, what is the matter, what to
write instead (AR-5).
"""

from collections.abc import Iterator, Mapping
from typing import Final

from rbgctl.api import annotations
from rbgctl.api.v1alpha2 import restart_policy
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.rollout import IN_PLACE_IF_POSSIBLE, IN_PLACE_ONLY, RECREATE_POD, RETIRED_RECREATE
from rbgctl.api.validation.pod_templates import container_names
from rbgctl.api.validation.problem import shown
from rbgctl.api.validation.workload_kinds import workload_type_advice
from rbgctl.machinery.int_or_string import IntOrString, scaled

V1ALPHA1_KEYS: Final[Mapping[str, str]] = {
    "workload": "annotation role-workload-type",
    "template": "standalonePattern.template",
    "templateRef": "standalonePattern.templateRef",
    "templatePatch": "templateRef.patch",
    "leaderWorkerSet": "leaderWorkerPattern",
    "components": "customComponentsPattern",
    "restartPolicy": "restartPolicyConfig of the pattern",
}
"""Keys of a v1alpha1 role, which v1alpha2 keeps and never reads, with what it reads instead. A1-10"""

HONOURED: Final[Mapping[str, str]] = {
    annotations.LEGACY_EXCLUSIVE_TOPOLOGY: annotations.GROUP_EXCLUSIVE_TOPOLOGY,
    "instance.rolebasedgroup.workloads.x-k8s.io/pattern": annotations.ROLE_INSTANCE_PATTERN,
    annotations.LEGACY_DISABLE_EXCLUSIVE_TOPOLOGY: annotations.ROLE_DISABLE_EXCLUSIVE,
}
"""Old annotation keys that are still read where the new one is missing. OLD-12"""

_CURRENT: Final = frozenset(
    {annotations.PORT_ALLOCATOR, annotations.COMPONENT_DISCOVERY, annotations.COMPONENT_DEPENDS_ON}
)
"""Keys that carry the old prefix to this day."""
_OLD_PREFIXES: Final = (
    annotations.LEGACY_PREFIX,
    "instance.rolebasedgroup.workloads.x-k8s.io/",
    "role.rolebasedgroup.workloads.x-k8s.io/",
    "component.rolebasedgroup.workloads.x-k8s.io/",
    "rolebasedgroupset.workloads.x-k8s.io/",
)


def group_advice(group: RoleBasedGroup, at: str = "metadata.annotations") -> Iterator[str]:
    """Warnings about a group; `at`: where its annotations stand."""
    yield from _group_annotations(group.metadata.annotations or {}, at)
    for index, role in enumerate(group.roles):
        path = f"spec.roles[{index}]"
        yield from _unknown_keys(path, role)
        yield from workload_type_advice(path, role)
        yield from _role_annotations(path, role)
        yield from _runtimes(path, group, role)
        yield from _restart_policy(path, role)
        yield from _rollout(path, role)
        yield from _numbers(path, role)
        yield from _components(path, role)


def set_annotation_advice(own: Mapping[str, str], template: Mapping[str, str]) -> Iterator[str]:
    """Annotations of a set that its groups do not get. CV-42"""
    for key in (annotations.GROUP_EXCLUSIVE_TOPOLOGY, annotations.GROUP_GANG_SCHEDULING):
        if own.get(key) and key not in template:
            yield f"metadata.annotations[{_short(key)}]: has no effect here; use spec.groupTemplate.annotations"
    for key in own:
        if key.startswith(_OLD_PREFIXES) and key not in HONOURED:
            yield f"metadata.annotations: old key {shown(key)} has no effect"


def _unknown_keys(path: str, role: RoleSpec) -> Iterator[str]:
    """API-07, A1-10"""
    for key in role.model_extra or {}:
        if key in V1ALPHA1_KEYS:
            yield f"{path}.{key}: is v1alpha1 and has no effect; use {V1ALPHA1_KEYS[key]}"
        else:
            yield f"{path}.{shown(key)}: unknown field, has no effect"


def _group_annotations(given: Mapping[str, str], at: str) -> Iterator[str]:
    yield from _old_keys(given, at)
    topology = given.get(annotations.GROUP_EXCLUSIVE_TOPOLOGY)
    if topology == "":
        yield f"{at}[group-exclusive-topology]: is empty and has no effect; name a node label key"
    yield from _switch(given, annotations.GROUP_GANG_SCHEDULING, at)
    timeout = given.get(annotations.GROUP_GANG_SCHEDULING_TIMEOUT)
    if timeout is not None and not timeout.isdecimal():
        yield f'{at}[group-gang-scheduling-timeout]: "{shown(timeout)}" is no number of seconds, 60 is used'
    if (
        annotations.ROLE_INSTANCE_GANG_SCHEDULING in given
        and given.get(annotations.GROUP_GANG_SCHEDULING) != annotations.TRUE
    ):
        yield f"{at}[role-instance-gang-scheduling]: has no effect here; set it on roles"


def _role_annotations(path: str, role: RoleSpec) -> Iterator[str]:
    given, at = role.annotations or {}, f"{path}.annotations"
    yield from _old_keys(given, at)
    yield from _switch(given, annotations.ROLE_INSTANCE_GANG_SCHEDULING, at)
    if annotations.ROLE_DISABLE_EXCLUSIVE in given:
        yield f"{at}[role-disable-exclusive]: has no effect here; set it in the pod template"
    if annotations.ROLE_SIZE in given:
        yield f"{at}[role-size]: is written by the operator, this value has no effect"
    for key, values in (
        (
            annotations.ROLE_INPLACE_SCHEDULING,
            (annotations.INPLACE_SCHEDULING_PREFERRED, annotations.INPLACE_SCHEDULING_REQUIRED),
        ),
        (
            annotations.ROLE_INPLACE_SCHEDULING_GRANULARITY,
            (annotations.INPLACE_GRANULARITY_POD, annotations.INPLACE_GRANULARITY_COMPONENT),
        ),
    ):
        value = given.get(key, "")
        if value and value not in values:
            yield f'{at}[{_short(key)}]: "{shown(value)}" has no effect; use {" or ".join(values)}'


def _switch(given: Mapping[str, str], key: str, at: str) -> Iterator[str]:
    value = given.get(key, "")
    if value not in {"", annotations.TRUE, "false"}:
        yield f'{at}[{_short(key)}]: "{shown(value)}" is off; only "true" turns it on'


def _old_keys(given: Mapping[str, str], at: str) -> Iterator[str]:
    for key, value in given.items():
        if not key.startswith(_OLD_PREFIXES) or key in _CURRENT:
            continue
        new = HONOURED.get(key)
        if new is None:
            yield f"{at}: old key {shown(key)} has no effect"
        elif new not in given:
            yield f"{at}: old key {shown(key)}; write {_short(new)}"
        elif given[new] != value:
            yield f"{at}: old key {shown(key)}; {_short(new)} counts"


def _short(key: str) -> str:
    return key.rpartition("/")[2]


def _runtimes(path: str, group: RoleBasedGroup, role: RoleSpec) -> Iterator[str]:
    """GRP-30"""
    for index, runtime in enumerate(role.engine_runtimes or ()):
        if not runtime.inject_containers:
            continue
        where = f"{path}.engineRuntimes[{index}].injectContainers"
        unknown = [name for name in runtime.inject_containers if name not in container_names(group, role)]
        if unknown:
            yield f'{where}: no container is called "{shown(unknown[0])}", and the field is not read'
        else:
            yield f"{where}: is not read, the profile goes into the whole pod"


def _restart_policy(path: str, role: RoleSpec) -> Iterator[str]:
    """GRP-48, OLD-11"""
    for name, pattern in (
        ("leaderWorkerPattern", role.leader_worker_pattern),
        ("customComponentsPattern", role.custom_components_pattern),
    ):
        if pattern is None:
            continue
        if pattern.restart_policy is not None:
            yield f"{path}.{name}.restartPolicy: is deprecated; use restartPolicyConfig.type"
        config = restart_policy.stored_config(pattern.restart_policy_config, pattern.restart_policy)
        text = pattern.restart_policy if isinstance(pattern.restart_policy, str) else ""
        kind = (config.type if config else None) or text
        if kind == restart_policy.RETIRED_RECREATE_GROUP:
            yield f"{path}.{name}: {kind} is retired and read as {restart_policy.RECREATE_INSTANCE}"


def _rollout(path: str, role: RoleSpec) -> Iterator[str]:
    """GRP-17, VAL-2"""
    rolling = role.rollout_strategy.rolling_update if role.rollout_strategy else None
    if rolling is None:
        return
    where = f"{path}.rolloutStrategy.rollingUpdate"
    known = (RECREATE_POD, IN_PLACE_IF_POSSIBLE, IN_PLACE_ONLY)
    if rolling.type == RETIRED_RECREATE:
        yield f"{where}.type: {RETIRED_RECREATE} is the v1alpha1 spelling; use {RECREATE_POD}"
    elif rolling.type and rolling.type not in known:
        yield f'{where}.type: unknown "{shown(rolling.type)}" counts as {IN_PLACE_IF_POSSIBLE}'
    budgets = {
        "maxSurge": rolling.max_surge,
        "maxUnavailable": rolling.max_unavailable,
        "partition": rolling.partition,
    }
    for field, value in budgets.items():
        if negative(value):
            yield f"{where}.{field}: {shown(value)} is negative; use 0 or more"
    in_place = rolling.in_place_update_strategy
    if in_place is not None and negative(in_place.grace_period_seconds):
        yield f"{where}.inPlaceUpdateStrategy.gracePeriodSeconds: is negative; use 0 or more"


def _numbers(path: str, role: RoleSpec) -> Iterator[str]:
    if negative(role.min_ready_seconds):
        yield f"{path}.minReadySeconds: {role.min_ready_seconds} is negative; use 0 or more"


def _components(path: str, role: RoleSpec) -> Iterator[str]:
    pattern = role.custom_components_pattern
    if pattern is None:
        return
    if not pattern.components:
        yield f"{path}.customComponentsPattern: has no components, instances have no pods"
    for index, part in enumerate(pattern.components or ()):
        if part.size == 0:
            yield f"{path}.customComponentsPattern.components[{index}]: size 0, it has no pods"


def negative(value: IntOrString | None) -> bool:
    """Whether a number or a percentage is below zero."""
    if value is None:
        return False
    try:
        return scaled(value, 100, round_up=False) < 0
    except ValueError:
        return False
