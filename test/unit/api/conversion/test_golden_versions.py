"""Groups and sets as the Go operator served them in both versions, against ours.

test/golden/versions.jsonl holds what a real API server answered under that operator: `v1alpha2` is the stored form
(with the values that the schema fills in on reading), `v1alpha1` what its webhook made of it, `input` the manifest
where that was v1alpha1. Every difference is one of those named here, each by the rule that asks for it.
"""

import copy
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.api.conversion.objects import GANG, TOPOLOGY, V1, V1_DATA, V2, V2_DATA, annotations_of, copied, down, up

from rbgctl.machinery.gvk import RawObject

RECORDS = [
    json.loads(line) for line in (Path(__file__).parents[3] / "golden" / "versions.jsonl").open(encoding="utf-8")
]
CONTROLLER_WRITTEN = "rbg.workloads.x-k8s.io/discovery-config-mode"


def group_spec(obj: RawObject) -> RawObject:
    """The spec with the roles, in either kind and version."""
    spec: RawObject = obj["spec"]
    return spec.get("template") or (spec["groupTemplate"]["spec"] if "groupTemplate" in spec else spec)


def templates(spec: RawObject) -> Iterator[RawObject]:
    """All pod templates of a group spec that the schema knows, in either version."""
    for role in spec["roles"]:
        for holder in (role, role.get("standalonePattern", {}), role.get("leaderWorkerPattern", {})):
            if "template" in holder:
                yield holder["template"]
        for component in (role.get("customComponentsPattern") or role).get("components", ()):
            yield component["template"]
    for template in spec.get("roleTemplates", ()):
        yield template["template"]


def without_noise(obj: RawObject) -> RawObject:
    """Less the empty structs that Go adds to typed core objects. CV-3"""
    obj = copy.deepcopy(obj)
    spec = group_spec(obj)
    for template in templates(spec):
        if template.get("metadata") == {}:
            del template["metadata"]
        for container in template["spec"]["containers"]:
            if container.get("resources") == {}:
                del container["resources"]
    for role in spec["roles"]:
        for port in role.get("servicePorts", ()):
            if port.get("targetPort") == 0:
                del port["targetPort"]
    return obj


def less_annotations(obj: RawObject, *keys: str) -> RawObject:
    obj = copy.deepcopy(obj)
    kept = {k: v for k, v in obj["metadata"].pop("annotations", {}).items() if k not in keys}
    if kept:
        obj["metadata"]["annotations"] = kept
    return obj


def without_zeros(obj: RawObject) -> RawObject:
    obj = copy.deepcopy(obj)
    for role in group_spec(obj)["roles"]:
        if role.get("minReadySeconds") == 0:
            del role["minReadySeconds"]
        if role.get("scalingAdapter", {}).get("enable") is False:
            role["scalingAdapter"] = {}
    return obj


def with_status_of_nothing(obj: RawObject) -> RawObject:
    return obj if "status" in obj else {**obj, "status": {}}


def without_status_of_nothing(obj: RawObject) -> RawObject:
    return {k: v for k, v in obj.items() if k != "status" or v not in ({}, {"roleStatuses": []})}


def explained(ours: RawObject, theirs: RawObject) -> set[str]:
    """Rules by which our v1alpha1 form differs from the recorded one. Fails when any difference is left."""
    rules = set()
    for rule, change in (
        ("CV-51", lambda o: less_annotations(o, V2_DATA)),
        ("A1-9", without_zeros),
        ("CV-38", lambda o: less_annotations(o, GANG, GANG + "-timeout", GANG + "-volcano-queue", TOPOLOGY)),
        ("CV-4", without_status_of_nothing),
        ("CV-3", without_noise),
    ):
        plain_ours, plain_theirs = change(ours), change(theirs)
        if (plain_ours == ours) != (plain_theirs == theirs) or (plain_ours == plain_theirs and ours != theirs):
            rules.add(rule)
        ours, theirs = plain_ours, plain_theirs
    assert ours == theirs
    return rules


def test_stored_objects_are_served_in_v1alpha1_as_upstream_does() -> None:
    """CV-30 to CV-39, CV-41, A1-9; the differences are those of CV-3, CV-4, CV-38 and CV-51."""
    found = Counter[str]()
    for record in RECORDS:
        found.update(explained(down(record["v1alpha2"]), record["v1alpha1"]))
    assert found == {"A1-9": 66, "CV-51": 48, "CV-3": 45, "CV-4": 3, "CV-38": 3}


@pytest.mark.parametrize("record", [r for r in RECORDS if "input" not in r], ids=lambda r: r["record"])
def test_a_v1alpha1_write_of_what_was_read_changes_nothing(record: Any) -> None:
    """CV-51, A1-14"""
    stored = record["v1alpha2"]
    read = down(stored)
    assert without_read_defaults(up(copied(read))) == without_read_defaults(stored)
    assert down(up(copied(read))) == read


def defaulted(manifest: RawObject) -> RawObject:
    """A v1alpha1 manifest after the defaulting of its schema (§2.1)."""
    obj = copy.deepcopy(manifest)
    spec = group_spec(obj)
    for role in spec["roles"]:
        role.setdefault("replicas", 1)
        role.setdefault("minReadySeconds", 0)
        workload = role.setdefault("workload", {})
        workload.setdefault("apiVersion", "apps/v1")
        workload.setdefault("kind", "StatefulSet")
        if "leaderWorkerSet" in role:
            role["leaderWorkerSet"].setdefault("size", 1)
        if "scalingAdapter" in role:
            role["scalingAdapter"].setdefault("enable", False)
        if "rolloutStrategy" in role:
            role["rolloutStrategy"].setdefault("type", "RollingUpdate")
        rolling = role.get("rolloutStrategy", {}).get("rollingUpdate")
        if rolling is not None:
            for key, value in (("partition", 0), ("maxUnavailable", 1), ("maxSurge", 0)):
                rolling.setdefault(key, value)
    schemaless = {id(c["template"]) for role in spec["roles"] for c in role.get("components", ())}
    for template in templates(spec):
        for container in template["spec"]["containers"] if id(template) not in schemaless else ():
            for port in container.get("ports", ()):
                port.setdefault("protocol", "TCP")
    kube = spec.get("podGroupPolicy", {}).get("kubeScheduling")
    if kube is not None:
        kube.setdefault("scheduleTimeoutSeconds", 60)
    for rule in spec.get("coordination", ()):
        if "scaling" in rule.get("strategy", {}):
            rule["strategy"]["scaling"].setdefault("progression", "OrderScheduled")
    if obj["kind"] == "RoleBasedGroupSet":
        obj["spec"].setdefault("replicas", 1)
    return obj


def without_read_defaults(obj: RawObject) -> RawObject:
    """The stored form: the v1alpha2 schema fills these in on each read. A1-12"""
    obj = copy.deepcopy(obj)
    for role in group_spec(obj)["roles"]:
        if role.get("podManagementPolicy") == "Parallel":
            del role["podManagementPolicy"]
        for pattern in ("leaderWorkerPattern", "customComponentsPattern"):
            config = role.get(pattern, {}).get("restartPolicyConfig", {})
            for key, value in (("baseDelaySeconds", 30), ("maxDelaySeconds", 600)):
                if config.get(key) == value:
                    del config[key]
    return obj


@pytest.mark.parametrize("record", [r for r in RECORDS if "input" in r], ids=lambda r: r["record"])
def test_v1alpha1_manifests_are_stored_as_upstream_does(record: Any) -> None:
    """CV-8 to CV-15, CV-20 to CV-23, CV-40, A1-12; sets inherit (CV-42), no noise (CV-3)."""
    ours, theirs = up(defaulted(record["input"])), record["v1alpha2"]
    assert V1_DATA not in annotations_of(ours)
    if ours["kind"] == "RoleBasedGroupSet":
        inherited = ours["spec"]["groupTemplate"].pop("annotations", {})
        assert (inherited != {}) == (record["record"] in INHERITED_IN)
    assert annotations_of(ours) == annotations_of(less_annotations(theirs, CONTROLLER_WRITTEN))
    assert without_noise(ours)["spec"] == without_noise(without_read_defaults(theirs))["spec"]
    assert (ours["apiVersion"], record["v1alpha1"]["apiVersion"]) == (V2, V1)


INHERITED_IN = {"deprecated_v1alpha1_rbgs_exclusive-topology"}
