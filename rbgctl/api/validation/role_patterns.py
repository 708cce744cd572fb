"""The shape of a role's instances: one pattern, sizes, components, restart policies (GRP-60, GRP-61, IMP-6)."""

from collections.abc import Iterator
from typing import Final

from rbgctl.api import annotations
from rbgctl.api.v1alpha2 import restart_policy
from rbgctl.api.v1alpha2.patterns import CustomComponentsPattern, LeaderWorkerPattern
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup, RoleSpec
from rbgctl.api.validation.problem import FieldError, shown
from rbgctl.machinery.dns_label import dns_label_problem

ONE_PATTERN: Final = "one pattern"


def has_roles(group: RoleBasedGroup) -> list[FieldError]:
    """A group without roles is nothing. GRP-60"""
    if group.roles:
        return []
    found = "the group has no spec" if "spec" not in group.model_fields_set else "the group has no roles"
    return [FieldError("spec.roles", f"{found}: name at least one role", check="roles")]


def patterns(group: RoleBasedGroup) -> list[FieldError]:
    """Roles that do not say exactly one shape. GRP-61"""
    errors: list[FieldError] = []
    for index, role in enumerate(group.roles):
        given = {
            "standalonePattern": role.standalone_pattern,
            "leaderWorkerPattern": role.leader_worker_pattern,
            "customComponentsPattern": role.custom_components_pattern,
        }
        found = [name for name, pattern in given.items() if pattern is not None]
        if len(found) != 1:
            errors.append(
                FieldError(
                    f"spec.roles[{index}]",
                    f"has {', '.join(found) or 'no pattern'}; exactly one of {', '.join(given)} is needed",
                    role.name,
                    ONE_PATTERN,
                )
            )
    return errors


def instance_shapes(group: RoleBasedGroup) -> list[FieldError]:
    """Sizes below what an instance needs, components that cannot be told apart, delays that cannot be waited."""
    return [problem for index, role in enumerate(group.roles) for problem in _shape(f"spec.roles[{index}]", role)]


def _shape(path: str, role: RoleSpec) -> Iterator[FieldError]:
    wanted = role.annotation(annotations.ROLE_INSTANCE_PATTERN)
    if wanted not in {"", annotations.PATTERN_STATEFUL, annotations.PATTERN_STATELESS}:
        text = (
            f'unknown pattern "{shown(wanted)}"; use {annotations.PATTERN_STATEFUL} or {annotations.PATTERN_STATELESS}'
        )
        where = f'{path}.annotations["{annotations.ROLE_INSTANCE_PATTERN}"]'
        yield FieldError(where, text, role.name, "instance pattern", wanted)
    if role.leader_worker_pattern is not None:
        where, size = f"{path}.leaderWorkerPattern", role.leader_worker_pattern.size
        if size is not None and size < 1:
            text = f"{size} leaves no room for the leader: use 1 or more"
            yield FieldError(f"{where}.size", text, role.name, "leader-worker size", size)
        yield from _delays(where, role, role.leader_worker_pattern)
    if role.custom_components_pattern is not None:
        where = f"{path}.customComponentsPattern"
        yield from _components(where, role, role.custom_components_pattern)
        yield from _delays(where, role, role.custom_components_pattern)


def _components(path: str, role: RoleSpec, pattern: CustomComponentsPattern) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, part in enumerate(pattern.components or ()):
        where, name = f"{path}.components[{index}]", part.name
        if not name:
            yield FieldError(f"{where}.name", "must not be empty", role.name, "component name missing")
        elif name in seen:
            text = f'duplicate component name "{shown(name)}": pods could not be told apart'
            yield FieldError(f"{where}.name", text, role.name, "component name taken", name)
        elif detail := dns_label_problem(name):
            text = f'"{shown(name)}" is not a valid DNS label: {detail}'
            yield FieldError(f"{where}.name", text, role.name, "component name", name)
        seen.add(name)
        if part.size is not None and part.size < 0:
            text = f"{part.size} is no number of pods: use 0 or more"
            yield FieldError(f"{where}.size", text, role.name, "component size", f"{name} {part.size}")


def _delays(path: str, role: RoleSpec, pattern: LeaderWorkerPattern | CustomComponentsPattern) -> Iterator[FieldError]:
    config = restart_policy.stored_config(pattern.restart_policy_config, pattern.restart_policy)
    if config is None:
        return
    where = f"{path}.restartPolicyConfig"
    base, limit = config.base_delay_seconds, config.max_delay_seconds
    for field, value in (("baseDelaySeconds", base), ("maxDelaySeconds", limit)):
        if value is not None and value < 0:
            text = f"{value} s cannot be waited: use 0 or more"
            yield FieldError(f"{where}.{field}", text, role.name, f"restart {field}", value)
    if base is not None and limit is not None and 0 <= limit < base:
        text = f"{limit} is less than baseDelaySeconds {base}: must be greater than or equal to it"
        yield FieldError(f"{where}.maxDelaySeconds", text, role.name, "restart delays", f"{base} {limit}")
