"""Names that would not fit where they are used: labels, label keys, host names (NAM-30, VAL-1, RBG-9)."""

from collections import Counter
from typing import Final

from rbgctl.api import names
from rbgctl.api.v1alpha2 import defaults
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import is_stateful, workload_type
from rbgctl.api.validation.pod_names import POD_SHARED
from rbgctl.api.validation.problem import FieldError, shown
from rbgctl.machinery.dns_label import dns_label_problem

ROLE_TAKEN: Final = "role name taken"
ROLE_LENGTH: Final = "role name length"
ROLE_LABEL: Final = "role name"
WORKLOAD_SHARED: Final = "workload name shared"
POD_LENGTH: Final = "pod name length"
NAMES: Final = frozenset({ROLE_LENGTH, ROLE_LABEL, WORKLOAD_SHARED, POD_LENGTH, POD_SHARED})
"""Checks of which an existing role is only warned (NAM-30): its name cannot be changed without losing it."""


def group_label(group: RoleBasedGroup) -> list[FieldError]:
    """The name of a new group must be a DNS label. VAL-1, VLD-1"""
    name = group.metadata.name
    detail = dns_label_problem(name)
    text = f'"{shown(name)}" is not a valid DNS label: {detail}'
    return [FieldError("metadata.name", text, check="group name")] if detail else []


def group_name(group: RoleBasedGroup) -> FieldError | None:
    """A group's name is a label value of everything it makes, its revisions included; the CRD admits 253. RBG-9"""
    name = group.metadata.name
    if len(name) <= names.MAX_NAME:
        return None
    detail = f'"{name}" has {len(name)} characters, a label value has at most {names.MAX_NAME}: use a shorter name'
    return FieldError("metadata.name", detail)


def role_names(group: RoleBasedGroup) -> list[FieldError]:
    """Role names that are taken, malformed or too long for the names and label keys made of them. NAM-30"""
    errors: list[FieldError] = []
    taken = Counter(role.name for role in group.roles)
    workloads = Counter(names.workload_name(group.metadata.name, role) for role in taken)
    for index, role in enumerate(group.roles):
        path = f"spec.roles[{index}].name"
        workload = names.workload_name(group.metadata.name, role.name)
        if taken[role.name] > 1:
            errors.append(FieldError(path, f'duplicate role name "{shown(role.name)}"', role.name, ROLE_TAKEN))
        if len(role.name) > names.MAX_ROLE_NAME:
            errors.append(
                FieldError(
                    path,
                    f'"{role.name}" has {len(role.name)} characters, at most {names.MAX_ROLE_NAME} fit into'
                    " the label key that carries its revision",
                    role.name,
                    ROLE_LENGTH,
                )
            )
        elif detail := dns_label_problem(role.name):
            text = f'"{shown(role.name)}" is not a valid DNS label: {detail}'
            errors.append(FieldError(path, text, role.name, ROLE_LABEL))
        if workloads[workload] > 1:
            errors.append(
                FieldError(
                    path,
                    f'"{role.name}" shares the workload name "{workload}" with another role after cutting to'
                    f" {names.MAX_NAME} characters: use a shorter group or role name",
                    role.name,
                    WORKLOAD_SHARED,
                )
            )
        longest = longest_pod_name(group.metadata.name, role)
        if len(longest) > names.MAX_NAME:
            errors.append(
                FieldError(
                    path,
                    f'"{role.name}" leads to pod name "{longest}" of {len(longest)} characters, a host name'
                    f" has at most {names.MAX_NAME}: use a shorter group or role name",
                    role.name,
                    POD_LENGTH,
                )
            )
    return errors


def longest_pod_name(group: str, role: RoleSpec) -> str:
    """The longest name among the pods of a role run by a RoleInstanceSet; empty for other workloads. NAM-10 ff."""
    if not workload_type(role.annotations).is_role_instance_set:
        return ""
    workload = names.workload_name(group, role.name)
    if is_stateful(role.annotations):
        instance = names.stateful_instance_name(workload, max(defaults.role_replicas(role) - 1, 0))
    else:
        instance = names.stateless_instance_name(workload, "x" * names.ID_LENGTH)
    if role.standalone_pattern is not None:
        return instance
    if role.leader_worker_pattern is not None:
        return f"{instance}-{max(defaults.leader_worker_size(role.leader_worker_pattern) - 1, 0)}"
    parts = role.custom_components_pattern.components if role.custom_components_pattern else None
    pods = (f"{instance}-{c.name}-{max(defaults.component_size(c) - 1, 0)}" for c in parts or ())
    return max(pods, key=len, default=instance)
