"""Which requests of a group this version does not carry out, so that none is silently ignored."""

from rbgctl.api import annotations
from rbgctl.api.v1alpha2.legacy_keys import exclusive_topology, instance_pattern
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.controllers.group.workload_kinds import KINDS


def unsupported(group: RoleBasedGroup, role: RoleSpec) -> str:
    """What the role asks for and does not get, and what would work; empty when everything is carried out."""
    for feature, wanted in _role_features(role) + _group_features(group):
        if wanted:
            return f"{feature} is not supported by this version"
    return ""


def _role_features(role: RoleSpec) -> list[tuple[str, bool]]:
    kind = workload_type(role.annotations)
    stateless = instance_pattern(role.annotations) == annotations.PATTERN_STATELESS
    return [
        (f"workload type {kind.text} (use RoleInstanceSet)", kind.text not in KINDS),
        ("stateless instances (leave the role-instance-pattern annotation out)", stateless),
        ("engineRuntimes", bool(role.engine_runtimes)),
        ("scalingAdapter", bool(role.scaling_adapter and role.scaling_adapter.enable)),
        ("in-place scheduling", bool(role.annotation(annotations.ROLE_INPLACE_SCHEDULING))),
        (
            "gang scheduling of instances",
            role.annotation(annotations.ROLE_INSTANCE_GANG_SCHEDULING) == annotations.TRUE,
        ),
    ]


def _group_features(group: RoleBasedGroup) -> list[tuple[str, bool]]:
    meta = group.metadata
    return [
        ("gang scheduling", meta.annotation(annotations.GROUP_GANG_SCHEDULING) == annotations.TRUE),
        ("exclusive topology", exclusive_topology(meta.annotations) is not None),
        ("coordination", bool(meta.annotation(annotations.CONVERSION_COORDINATION))),
    ]
