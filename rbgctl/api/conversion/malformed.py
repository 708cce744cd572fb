"""Annotations of a conversion that cannot be read: what admission refuses, or warns about (A1-14)."""

from typing import Any

from rbgctl.api import annotations as a
from rbgctl.api.conversion import coordination, kept_json, pod_group_policy
from rbgctl.api.conversion.preserved import V1ALPHA1_DATA, V1ALPHA2_DATA, Problem, unpacked
from rbgctl.machinery.gvk import RawObject


def malformed_preservation(obj: RawObject) -> list[Problem]:
    """What is wrong with the conversion annotations of an object of either version. Pure; never raises."""
    metadata = obj.get("metadata")
    annotations: Any = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict):
        return []
    problems = []
    for key, shape in (
        (a.CONVERSION_POD_GROUP_POLICY, pod_group_policy.SHAPE),
        (a.CONVERSION_COORDINATION, coordination.SHAPE),
    ):
        if wrong := kept_json.parsed(annotations.get(key), shape)[1]:
            problems.append(Problem(key, wrong))
    for key in (V1ALPHA1_DATA, V1ALPHA2_DATA):
        if key in annotations and isinstance(tree := unpacked(annotations[key]), str):
            problems.append(Problem(key, tree))
    return problems
