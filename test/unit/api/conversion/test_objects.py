"""Whole objects: kinds, versions, status, and what goes through both kinds alike."""

import copy
from typing import Any

import orjson
import pytest
from unit.api.conversion.objects import ROLE_INSTANCE_SET, TEMPLATE, V1, V2, WT, down, group, group_set, up

from rbgctl.api.conversion import NotConvertible, convert

STATUS = {
    "observedGeneration": 3,
    "conditions": [{"type": "Ready", "status": "True"}],
    "roleStatuses": [{"name": "w", "readyReplicas": 1, "replicas": 2, "updatedReplicas": 0}],
}


def test_status_of_a_group() -> None:
    """CV-15, CV-39, CV-4"""
    stray = {**STATUS, "roleStatuses": [{**STATUS["roleStatuses"][0], "stray": 1}], "stray": 2}  # type: ignore[dict-item]
    for version, convert_ in ((V1, up), (V2, down)):
        assert convert_({**group(version), "status": stray})["status"] == STATUS
        assert convert_({**group(version), "status": {"observedGeneration": 1}})["status"] == {
            "observedGeneration": 1,
            "roleStatuses": [],
        }
        assert convert_({**group(version), "status": {"roleStatuses": None}})["status"] == {"roleStatuses": []}
        assert "status" not in convert_({**group(version), "status": None})
        assert "status" not in convert_(group(version))


@pytest.mark.parametrize("kind", ["RoleBasedGroupScalingAdapter", "ClusterEngineRuntimeProfile"])
def test_kinds_of_one_schema_get_another_api_version(kind: str) -> None:
    """A1-2"""
    obj = {"apiVersion": V1, "kind": kind, "metadata": {"name": "a"}, "spec": {"replicas": None, "any": [1]}}
    assert convert(obj, V2) == {**obj, "apiVersion": V2}
    assert convert(convert(obj, V2), V1) == obj


@pytest.mark.parametrize("kind", ["RoleBasedGroup", "RoleBasedGroupSet", "RoleBasedGroupScalingAdapter", "InstanceSet"])
def test_the_same_version_changes_nothing(kind: str) -> None:
    """CR-6"""
    obj = {"apiVersion": V1, "kind": kind, "metadata": {"annotations": {"a": "b"}}, "spec": {"x": None}, "y": 1}
    assert convert(copy.deepcopy(obj), V1) == obj


@pytest.mark.parametrize(
    ("api_version", "kind", "desired"),
    [
        (V1, "RoleBasedGroups", V2),
        (V1, "Unknown", V1),
        ("apps/v1", "RoleBasedGroup", V2),
        (V1, "RoleBasedGroup", "workloads.x-k8s.io/v1alpha3"),
        ("workloads.x-k8s.io/v1beta1", "RoleBasedGroup", V1),
        (V2, "RoleInstanceSet", V1),
        (V1, "InstanceSet", V2),
        (None, None, V2),
        ({}, [], V2),
    ],
)
def test_unknown_kinds_and_versions_are_refused(api_version: object, kind: object, desired: str) -> None:
    """CR-7"""
    with pytest.raises(NotConvertible, match=r"there is no conversion of .* to workloads\.x-k8s\.io"):
        convert({"apiVersion": api_version, "kind": kind}, desired)


@pytest.mark.parametrize("kind", ["group", "set"])
def test_order_of_lists_is_kept_and_the_result_the_same_each_time(kind: str) -> None:
    """CV-5: of every list, in both directions; none of them is in the order of its names."""
    names = ["z", "a", "m"]
    each = [{"name": n, "template": TEMPLATE} for n in names]
    shared = {
        "dependencies": ["y", "b"],
        "servicePorts": [{"name": n, "port": 1} for n in names],
        "engineRuntimes": [{"profileName": n} for n in names],
    }
    rules = [{"name": n, "roles": ["z", "a"]} for n in names]
    v1_spec: dict[str, Any] = {
        "roles": [{"name": n, "workload": ROLE_INSTANCE_SET, "components": each, **shared} for n in names],
        "roleTemplates": each,
        "coordination": rules,
    }
    pattern = {"components": each, "restartPolicyConfig": {}}
    annotations = {WT: f"{V2}/RoleInstanceSet"}
    v2_spec = {
        "roles": [{"name": n, "annotations": annotations, "customComponentsPattern": pattern, **shared} for n in names],
        "roleTemplates": each,
    }
    if kind == "group":
        before = group(V1, annotations={}) | {"spec": v1_spec}
        hub = up(before)
        assert hub["spec"] == v2_spec
        read = down(hub)["spec"]
    else:
        before = group_set(V1, {}, template=v1_spec)
        hub = up(before)
        assert hub["spec"]["groupTemplate"]["spec"] == v2_spec
        read = down(hub)["spec"]["template"]
    assert read["coordination"] == rules
    assert read["roleTemplates"] == each
    assert read["roles"] == [{**role, "annotations": annotations} for role in v1_spec["roles"]]
    status = {**STATUS, "roleStatuses": [{**STATUS["roleStatuses"][0], "name": n} for n in names]}  # type: ignore[dict-item]
    if kind == "group":
        assert up({**before, "status": status})["status"] == status
        assert down({**hub, "status": status})["status"] == status
    texts = [orjson.dumps(convert(copy.deepcopy(obj), v)) for obj, v in ((before, V2), (hub, V1)) for _ in range(3)]
    assert len(set(texts[:3])) == len(set(texts[3:])) == 1


def test_conversion_neither_fills_in_defaults_nor_validates() -> None:
    """CR-8, A1-12"""
    bad = group(V1, {"name": "", "replicas": -1, "rolloutStrategy": {"type": "Never"}, "leaderWorkerSet": {}})
    assert up(bad)["spec"]["roles"] == [
        {
            "name": "",
            "replicas": -1,
            "rolloutStrategy": {"type": "Never"},
            "leaderWorkerPattern": {"restartPolicyConfig": {}},
        }
    ]


def test_a_group_without_spec_stays_one() -> None:
    """A1-14, CV-4"""
    for version, convert_ in ((V1, up), (V2, down)):
        bare = group(version)
        del bare["spec"]
        assert convert_(bare) == {**bare, "apiVersion": V2 if version == V1 else V1}


def test_unknown_fields_of_spec_and_status_are_dropped() -> None:
    """CV-2"""
    for version, convert_ in ((V1, up), (V2, down)):
        assert convert_({**group(version, stray=1), "stray": 2})["spec"] == {"roles": []}
        assert "stray" not in convert_({**group(version), "stray": 2})
        spec = convert_(group_set(version, stray=1, replicas=1))["spec"]
        assert spec == {"replicas": 1}
