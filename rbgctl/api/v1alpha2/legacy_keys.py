"""Annotations that users set under the keys of releases up to v0.6 (OLD-12).

A key of today counts whenever it is there, also when it is empty; only where it is absent does its predecessor
count. Nothing here rewrites an object: what was stored under the old key stays there, so conversions remain exact.
"""

from collections.abc import Mapping

from rbgctl.api import annotations

Annotations = Mapping[str, str] | None


def either(found: Annotations, key: str, predecessor: str) -> str | None:
    """The value under `key`, else under `predecessor`, else None. HF-24, OLD-12"""
    found = found or {}
    return found.get(key, found.get(predecessor))


def exclusive_topology(group_annotations: Annotations) -> str | None:
    """Node topology key that the group wants for itself; None: it does not. An empty key is an error. HF-9, ANN-1"""
    return either(group_annotations, annotations.GROUP_EXCLUSIVE_TOPOLOGY, annotations.LEGACY_EXCLUSIVE_TOPOLOGY)


def exclusive_topology_disabled(template_annotations: Annotations) -> bool:
    """Whether a pod template stays out of its group's exclusive topology: any value that is not empty. ANN-2"""
    key, predecessor = annotations.ROLE_DISABLE_EXCLUSIVE, annotations.LEGACY_DISABLE_EXCLUSIVE_TOPOLOGY
    return bool(either(template_annotations, key, predecessor))


def instance_pattern(role_annotations: Annotations) -> str:
    """Stateful, Stateless or what else the user wrote, on a role or a RoleInstanceSet; Stateful when empty. ANN-12"""
    key, predecessor = annotations.ROLE_INSTANCE_PATTERN, annotations.LEGACY_INSTANCE_PATTERN
    return either(role_annotations, key, predecessor) or annotations.PATTERN_STATEFUL
