"""Manifests of which it is recorded what the Go operator made of them: none that it accepts is refused by us."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbgctl.api import kinds
from rbgctl.api.conversion import convert
from rbgctl.api.validation.judgement import (
    GroupView,
    Judgement,
    SetView,
    judge_group_create,
    judge_group_update,
    judge_set_create,
    judge_set_update,
)
from rbgctl.machinery.gvk import RawObject

MANIFESTS = Path(__file__).parents[2] / "golden" / "manifests.jsonl"

WARNED = {
    # The group keeps its old annotation key, which is read as the new one. OLD-12
    "basic_rbg_scheduling_exclusive-topology": ["old key rolebasedgroup.workloads.x-k8s.io/exclusive-topology"],
    # injectContainers is read by nobody. GRP-30
    "basic_engine-runtime_engine-runtime-profile": ["injectContainers: is not read"] * 2,
    # The annotation counts on the pod template only. ANN-2
    "extra_group-exclusive-topology": ["annotations[role-disable-exclusive]: has no effect here"],
    # v1alpha1 InstanceSets are run as RoleInstanceSets. DW-6
    "extra_v1alpha1-instanceset-inplace": ["v1alpha1 InstanceSet is run as"] * 2,
}
"""What our admission says to manifests that it accepts; to all others nothing."""

BY_SCHEMA = {
    "basic_rbgs_rbgs-base",  # spec.groupTemplate.metadata is not declared: server-side apply refuses it
    "basic_rbgs_rbgs-exclusive-topology",
    "deprecated_v1alpha1_basics_restart-policy",  # a retired value, OLD-11
    "extra_v1alpha1-roleinstanceset-components",  # A1-8
}
"""Refused by the Go operator's schema, and so by ours; admission never sees them."""


def recorded() -> Iterator[tuple[str, RawObject]]:
    for line in MANIFESTS.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        obj = record["object"]
        if obj["kind"] in {kinds.KIND_GROUP, kinds.KIND_GROUP_SET} and record["from"] not in BY_SCHEMA:
            yield record["from"], stored(obj)


def stored(obj: RawObject) -> RawObject:
    """As validators see it: with the v1alpha1 default of the workload, in v1alpha2."""
    if obj["apiVersion"].endswith("v1alpha1"):
        spec = obj["spec"].get("template", obj["spec"])
        for role in spec["roles"]:
            role.setdefault("workload", {"apiVersion": "apps/v1", "kind": "StatefulSet"})
        obj = convert(obj, kinds.API_VERSION)
    return obj


def judged(obj: RawObject) -> list[Judgement]:
    """When it is made, and when it is written again."""
    if obj["kind"] == kinds.KIND_GROUP:
        view = GroupView.of(obj)
        return [judge_group_create(view), judge_group_update(view, view)]
    row = SetView.of(obj)
    return [judge_set_create(row), judge_set_update(row, row)]


@pytest.mark.parametrize(("name", "obj"), list(recorded()))
def test_what_the_go_operator_accepts_is_accepted(name: str, obj: RawObject) -> None:
    """VLD-23 (references without patch), HF-20 and DW-6 (unknown workload types), OLD-12, GRP-30."""
    for judgement in judged(obj):
        assert list(judgement.errors) == []
        expected = WARNED.get(name, [])
        assert len(judgement.warnings) == len(expected), judgement.warnings
        assert all(text in warning for text, warning in zip(expected, judgement.warnings, strict=True))
