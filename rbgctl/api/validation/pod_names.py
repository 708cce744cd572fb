"""Pods of two roles that would have the same name: the second never gets its own (NAM-10, NAM-12 … NAM-14).

Names of pods are made by joining with dashes what may contain dashes itself: the second instance of role `a` has a
worker `a-1-1`, and so has role `a-1` its second instance. Only stateful roles are looked at; the ids in the names of
stateless instances are drawn at random.
"""

import re
from collections.abc import Iterator
from typing import Final

from rbgctl.api import names
from rbgctl.api.labels import COMPONENT_LEADER, COMPONENT_WORKER, ROLE_TYPE_LEADER_WORKER_SET, ROLE_TYPE_POD_TEMPLATE
from rbgctl.api.v1alpha2 import defaults
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import is_stateful, workload_type
from rbgctl.api.validation.problem import FieldError

POD_SHARED: Final = "pod name shared"

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_PODS_LOOKED_AT: Final = 4096
"""Of one instance; more make no difference to whether names are well chosen."""


def shared_pod_names(group: RoleBasedGroup) -> list[FieldError]:
    """One problem for each role that would make a pod which another role makes too, with the numbers as they are."""
    by_workload = {
        names.workload_name(group.metadata.name, role.name): role
        for role in group.roles
        if workload_type(role.annotations).is_role_instance_set and is_stateful(role.annotations)
    }
    errors: list[FieldError] = []
    for index, role in enumerate(group.roles):
        longer = names.workload_name(group.metadata.name, role.name)
        if by_workload.get(longer) is not role:
            continue
        for shorter in _beginnings(longer):
            other = by_workload.get(shorter)
            if other is not None and (pod := _common_pod(shorter, other, longer, role)):
                text = f'"{role.name}" and role "{other.name}" both make a pod "{pod}": choose another name'
                errors.append(FieldError(f"spec.roles[{index}].name", text, role.name, POD_SHARED))
                break
    return errors


def _beginnings(name: str) -> Iterator[str]:
    return (name[: dash.start()] for dash in re.finditer("-", name))


def _common_pod(shorter: str, one: RoleSpec, longer: str, other: RoleSpec) -> str:
    """The first pod of `one` that `other` makes too, empty if there is none."""
    number = longer[len(shorter) + 1 :].partition("-")[0]
    if not _NUMBER.fullmatch(number) or int(number) >= defaults.role_replicas(one):
        return ""
    pods = _pods_of(names.stateful_instance_name(shorter, int(number)), one)
    return next((pod for pod in pods if pod.startswith(f"{longer}-") and _makes(longer, other, pod)), "")


def _makes(workload: str, role: RoleSpec, pod: str) -> bool:
    number = pod[len(workload) + 1 :].partition("-")[0]
    if not _NUMBER.fullmatch(number) or int(number) >= defaults.role_replicas(role):
        return False
    return pod in _pods_of(names.stateful_instance_name(workload, int(number)), role)


def _pods_of(instance: str, role: RoleSpec) -> Iterator[str]:
    """Names of the pods of one instance, in the order of precedence of the patterns (GRP-61)."""
    if role.standalone_pattern is not None:
        yield names.pod_name(instance, ROLE_TYPE_POD_TEMPLATE, role.name, 0)
    elif role.leader_worker_pattern is not None:
        yield names.pod_name(instance, ROLE_TYPE_LEADER_WORKER_SET, COMPONENT_LEADER, 0)
        for number in range(min(defaults.leader_worker_size(role.leader_worker_pattern) - 1, _PODS_LOOKED_AT)):
            yield names.pod_name(instance, ROLE_TYPE_LEADER_WORKER_SET, COMPONENT_WORKER, number)
    elif role.custom_components_pattern is not None:
        for component in role.custom_components_pattern.components or ():
            for number in range(min(defaults.component_size(component), _PODS_LOOKED_AT)):
                yield names.pod_name(instance, None, component.name, number)
