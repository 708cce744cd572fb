"""Which kind of workload a role asks for: kinds that nobody reconciles, and kinds that this cluster has off."""

from typing import Final

from rbgctl.api import annotations
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import (
    DEPRECATED,
    ROLE_INSTANCE_SET,
    SUPPORTED,
    V1ALPHA1_INSTANCE_SET,
    workload_type,
)
from rbgctl.api.validation.problem import FieldError, aggregate, shown

HINT: Final = (
    "note that the v1alpha1 schema defaults spec.roles[].workload to apps/v1 StatefulSet:"
    " set workload.apiVersion=workloads.x-k8s.io/v1alpha2 and workload.kind=RoleInstanceSet on each role, or turn the"
    " deprecated types on with helm value controller.deprecatedWorkloadTypes.enabled=true"
    " or flag --enable-deprecated-workload-types=true"
)


def workload_types(group: RoleBasedGroup) -> list[FieldError]:
    """Roles that ask for a kind of workload nobody reconciles. VLD-24, RBG-30.4"""
    errors: list[FieldError] = []
    for role in group.roles:
        asked = workload_type(role.annotations)
        if not asked.supported:
            errors.append(
                FieldError(
                    f"role {role.name}",
                    f"unsupported workload type: {asked.text}; supported: {', '.join(sorted(SUPPORTED))}",
                    role.name,
                )
            )
    return errors


def deprecated_types(group: RoleBasedGroup, prefix: str = "") -> str:
    """One text about all roles of a deprecated type, with how to go on; empty when there are none. VAL-4, VLD-5"""
    found = [
        f'{prefix}spec.roles[{index}] (role "{role.name}"): workload type "{kind}" is deprecated'
        " and not enabled on this cluster"
        for index, role in enumerate(group.roles)
        if (kind := workload_type(role.annotations).text) in DEPRECATED
    ]
    return f"{aggregate(found)}; {HINT}" if found else ""


def workload_type_advice(path: str, role: RoleSpec) -> list[str]:
    """Types that name nothing we have, and the old name of one. HF-20, DW-2, DW-6"""
    text = role.annotation(annotations.ROLE_WORKLOAD_TYPE)
    if text == V1ALPHA1_INSTANCE_SET:
        return [f"{path}: v1alpha1 InstanceSet is run as {ROLE_INSTANCE_SET}"]
    if workload_type(role.annotations).supported:
        return []
    return [f'{path}: unknown workload type "{shown(text)}"; use {ROLE_INSTANCE_SET}']
