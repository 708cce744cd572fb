"""Typed encoding (RBG-36, RBG-141, REV-2). test/golden/typed_encoding.jsonl holds what Go made of pod templates."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from rbgctl.machinery.canonical_json import canonical_json
from rbgctl.planning.typed_encoding import (
    TypedEncodingError,
    comparable,
    encode,
    rendered,
    rendered_pod_template,
    without_nulls,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "typed_encoding.jsonl"
EMPTY_TEMPLATE = {"metadata": {}, "spec": {"containers": None}}
CASES = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").strip().split("\n")]


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i", **fields}


def pod(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [container(**fields)]}}


def encoded_container(**fields: Any) -> dict[str, Any]:
    result: dict[str, Any] = encode("PodTemplateSpec", pod(**fields))["spec"]["containers"][0]
    return result


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_pod_templates_equal_go(case: dict[str, Any]) -> None:
    # HSH-6, RBG-36, REV-2: random templates with unknown fields, zero values, nulls and odd quantities
    assert canonical_json(encode("PodTemplateSpec", case["given"])).decode() == case["go"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_rendering_is_idempotent_and_the_input_stays(case: dict[str, Any]) -> None:
    before = copy.deepcopy(case["given"])
    once = rendered_pod_template(case["given"])
    assert case["given"] == before
    assert rendered_pod_template(once) == once
    assert "null" not in {json.dumps(v) for v in _map_values(once)}


def _map_values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [found for v in value.values() for found in [v, *_map_values(v)]]
    if isinstance(value, list):
        return [found for v in value for found in _map_values(v)]
    return []


def test_what_an_empty_template_always_has() -> None:
    # RBG-36: metadata without creationTimestamp, spec, and containers (null)
    assert encode("PodTemplateSpec", {}) == EMPTY_TEMPLATE
    assert rendered_pod_template({}) == {"metadata": {}, "spec": {}}


def test_zero_values_go_and_pointers_stay() -> None:
    # HSH-6, RBG-36
    assert encoded_container(
        env=[{"name": "A", "value": ""}], tty=False, args=[], workingDir="", securityContext={"privileged": False}
    ) == {
        "name": "c",
        "image": "i",
        "resources": {},
        "env": [{"name": "A"}],
        "securityContext": {"privileged": False},
    }


def test_references_keep_explicit_optional_and_lose_empty_names() -> None:
    # RBG-36: optional is a pointer, the name of a configMap is not
    source = {"configMapKeyRef": {"name": "", "key": "k", "optional": False}}
    assert encoded_container(env=[{"name": "A", "valueFrom": source}])["env"] == [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"key": "k", "optional": False}}}
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "r"}}}]}, '"divisor":"0"'),
        ({"livenessProbe": {"grpc": {"port": 1}}}, '"grpc":{"port":1,"service":null}'),
        ({"livenessProbe": {"httpGet": {}}}, '"httpGet":{"port":0}'),
    ],
)
def test_fields_that_are_always_there(fields: dict[str, Any], expected: str) -> None:
    # RBG-36
    assert expected in canonical_json(encode("PodTemplateSpec", pod(**fields))).decode()


def test_volumes_and_affinity_have_their_required_parts() -> None:
    # RBG-36: projected.sources, the claim template and preferences
    claim = {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}}
    affinity = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]},
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]},
    }
    spec = encode(
        "PodTemplateSpec", {"spec": {"volumes": [{"name": "p", "projected": {}}, claim], "affinity": affinity}}
    )["spec"]
    assert spec["volumes"] == [
        {"name": "p", "projected": {"sources": None}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {"metadata": {}, "spec": {"resources": {}}}}},
    ]
    assert spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] == [
        {"weight": 1, "preference": {}}
    ]
    assert spec["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] == [
        {"weight": 1, "podAffinityTerm": {"topologyKey": ""}}
    ]


def test_fields_later_than_kubernetes_1_34_are_unknown() -> None:
    # RBG-36, API-08: the Go operator is built with 1.34 and drops them
    assert encode("PodTemplateSpec", {"spec": {"schedulingGroup": {"podGroupName": "g"}, "nodeName": "n"}})["spec"] == {
        "containers": None,
        "nodeName": "n",
    }


def test_role_keeps_its_always_emitted_fields() -> None:
    # RBG-36
    assert encode("RoleSpec", {}) == {"name": "", "replicas": None}
    assert encode("RoleSpec", {"name": "r", "rolloutStrategy": {}, "engineRuntimes": [{}]}) == {
        "name": "r",
        "replicas": None,
        "rolloutStrategy": {"type": ""},
        "engineRuntimes": [{"profileName": ""}],
    }


@pytest.mark.parametrize(
    ("type_name", "always"),
    [
        ("RoleSpec", {"name": "", "replicas": None}),
        ("Component", {"name": "", "template": EMPTY_TEMPLATE}),
        ("RoleTemplate", {"name": "", "template": EMPTY_TEMPLATE}),
        ("TemplateRef", {"name": ""}),
        ("RolloutStrategy", {"type": ""}),
        ("EngineRuntime", {"profileName": ""}),
        ("RoleInstanceSpec", {"components": None}),
        ("RoleInstanceReadinessGate", {"conditionType": ""}),
    ],
)
def test_what_the_structs_of_our_kinds_always_have(type_name: str, always: dict[str, Any]) -> None:
    """API-10: as far as revisions consist of it; nothing else of ours is ever written as a whole object."""
    assert encode(type_name, {}) == always


def test_role_drops_zero_values_and_keeps_zero_pointers() -> None:
    # RBG-36
    role = {
        "name": "r",
        "replicas": 0,
        "unknown": 1,
        "minReadySeconds": 0,
        "scalingAdapter": {"enable": False},
        "servicePorts": [{"port": 1}],
        "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "paused": False}},
        "leaderWorkerPattern": {
            "size": 0,
            "templateRef": {"name": "t", "patch": {}},
            "workerTemplatePatch": {"spec": None, "x": 1.0},
        },
        "customComponentsPattern": {"components": [{"size": 0}]},
    }
    assert encode("RoleSpec", role) == {
        "name": "r",
        "replicas": 0,
        "scalingAdapter": {},
        "servicePorts": [{"port": 1, "targetPort": 0}],
        "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "leaderWorkerPattern": {
            "size": 0,
            "templateRef": {"name": "t", "patch": {}},
            "workerTemplatePatch": {"spec": None, "x": 1.0},
        },
        "customComponentsPattern": {
            "components": [{"name": "", "size": 0, "template": {"metadata": {}, "spec": {"containers": None}}}]
        },
    }


def test_restart_policy_given_as_an_object_is_its_configuration() -> None:
    # RP-3
    policy = {"type": "None", "baseDelaySeconds": 0}
    assert encode("RoleInstanceSpec", {"restartPolicy": policy}) == {"components": None, "restartPolicyConfig": policy}
    both = {"restartPolicy": policy, "restartPolicyConfig": {"maxDelaySeconds": 9}}
    assert encode("RoleInstanceSpec", both)["restartPolicyConfig"] == {"maxDelaySeconds": 9}


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ([], "template"),
        ({"spec": {"containers": {}}}, "template.spec.containers"),
        (pod(image=1), "template.spec.containers[0].image"),
        (pod(tty="yes"), "template.spec.containers[0].tty"),
        (pod(resources={"limits": {"cpu": "lots"}}), "template.spec.containers[0].resources.limits[cpu]"),
        (pod(ports=[{"containerPort": 1.5}]), "template.spec.containers[0].ports[0].containerPort"),
        (pod(ports=[{"containerPort": 2**31}]), "template.spec.containers[0].ports[0].containerPort"),
        (pod(ports=[{"containerPort": True}]), "template.spec.containers[0].ports[0].containerPort"),
        (pod(env=["A=1"]), "template.spec.containers[0].env[0]"),
        ({"metadata": {"creationTimestamp": "today"}}, "template.metadata.creationTimestamp"),
    ],
)
def test_a_wrong_type_names_the_field(template: Any, path: str) -> None:
    with pytest.raises(TypedEncodingError) as caught:
        rendered_pod_template(template)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} must be ")


def test_times_are_utc_seconds_and_the_zero_time_is_absent() -> None:
    # RBG-36, REV-2
    assert rendered("ObjectMeta", {"creationTimestamp": "2024-05-01T10:00:00.5+02:00"}) == {
        "creationTimestamp": "2024-05-01T08:00:00Z"
    }
    assert encode("ObjectMeta", {"creationTimestamp": "0001-01-01T00:00:00Z"}) == {}
    assert encode("ObjectMeta", {"creationTimestamp": None}) == {}


def test_integral_floats_are_integers() -> None:
    assert encoded_container(ports=[{"containerPort": 80.0}])["ports"] == [{"containerPort": 80}]


def test_comparable_knows_quantities_by_value_only() -> None:
    # REV-6
    spellings = [pod(resources={"limits": {"cpu": cpu}}) for cpu in ("1500m", "1.500", 1.5, "15e-1")]
    assert len({canonical_json(comparable("PodTemplateSpec", s)) for s in spellings}) == 1
    other = comparable("PodTemplateSpec", pod(resources={"limits": {"cpu": "1501m"}}))
    assert canonical_json(other) != canonical_json(comparable("PodTemplateSpec", spellings[0]))


def test_nulls_are_taken_out_of_maps_only() -> None:
    # RBG-141
    assert without_nulls({"a": None, "b": [None, {"c": None}], "d": 0}) == {"b": [None, {}], "d": 0}


def test_unknown_types_are_an_error_of_the_caller() -> None:
    with pytest.raises(KeyError):
        encode("NoSuchType", {})
