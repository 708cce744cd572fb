"""What new pods look like, in tables and against what the Go operator made."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from unit.controllers.instance.world import NAME, component, instance

from rbgctl.api import labels
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.pod_creation import new_pod
from rbgctl.controllers.instance.pods import slots
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.instance_revision import resolve_instance
from rbgctl.planning.revisions import short_hash

GOLDEN = Path(__file__).parents[3] / "golden" / "basic_rbg_base.json"
OBJECTS = json.loads(GOLDEN.read_text())["objects"]
INSTANCES = OBJECTS["roleinstances.workloads.x-k8s.io"]
RECORDED = {p["metadata"]["name"]: p for p in OBJECTS["pods"]}


def made(raw: RawObject) -> list[RawObject]:
    return [new_pod(raw, slot, "h1") for slot in slots(RoleInstance.decode(raw))]


@pytest.mark.parametrize(
    ("role_type", "components", "indexes"),
    [
        ("LeaderWorkerSet", [component("leader"), component("worker", 2)], ["0", "1", "2"]),
        ("Components", [component("worker", 2)], [None, None]),
        ("PodTemplate", [component()], [None]),
    ],
)
def test_labels_say_which_pod_of_what_it_is(role_type: str, components: Any, indexes: list[str | None]) -> None:
    # LBL-47, RIN-14, RIN-15, RIN-16
    pods = made(instance(*components, role_type=role_type))
    assert [p["metadata"]["labels"].get(labels.COMPONENT_INDEX) for p in pods] == indexes
    for found in pods:
        assert found["metadata"]["labels"][labels.CONTROLLER_REVISION_HASH] == "h1"
        assert found["metadata"]["labels"][labels.ROLE_INSTANCE_NAME] == NAME
        assert found["metadata"]["generateName"] == f"{NAME}-"
    assert [
        (p["metadata"]["labels"][labels.COMPONENT_NAME], p["metadata"]["labels"][labels.COMPONENT_ID]) for p in pods
    ] == [(c["name"], str(i)) for c in components for i in range(c["size"])]


def test_labels_of_the_template_cannot_replace_ours() -> None:
    # LBL-47, RIN-15
    main = component()
    main["template"]["metadata"] = {"labels": {labels.COMPONENT_ID: "7", "app": "web"}}
    found = made(instance(main))[0]["metadata"]["labels"]
    assert found[labels.COMPONENT_ID] == "0"
    assert found["app"] == "web"


def test_metadata_of_the_template_is_taken_over() -> None:
    # RIN-13
    main = component()
    main["template"]["metadata"] = {"annotations": {"a": "b"}, "finalizers": ["x/y"], "name": "ignored"}
    found = made(instance(main))[0]["metadata"]
    assert found["annotations"] == {"a": "b"}
    assert found["finalizers"] == ["x/y"]
    assert found["name"] == f"{NAME}-web-0"


def test_host_name_only_under_a_service() -> None:
    # NAM-20, RIN-17
    without, with_ = made(instance(component("a"), component("b", serviceName="s-b")))
    assert "hostname" not in without["spec"]
    assert (with_["spec"]["hostname"], with_["spec"]["subdomain"]) == (f"{NAME}-b-0", "s-b")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ["InPlaceUpdateReady", "InstancePodReady"]),
        (["mine"], ["mine", "InPlaceUpdateReady", "InstancePodReady"]),
        (["InstancePodReady"], ["InstancePodReady", "InPlaceUpdateReady"]),
    ],
)
def test_gates_are_added_once(given: list[str] | None, expected: list[str]) -> None:
    # RIN-17
    main = component()
    if given is not None:
        main["template"]["spec"]["readinessGates"] = [{"conditionType": g} for g in given]
    raw = instance(main)
    before = copy.deepcopy(raw)
    assert [g["conditionType"] for g in made(raw)[0]["spec"]["readinessGates"]] == expected
    assert raw == before


@pytest.mark.parametrize(
    "recorded", OBJECTS["roleinstances.workloads.x-k8s.io"], ids=lambda o: str(o["metadata"]["name"])
)
def test_pod_is_the_one_that_the_go_operator_made(recorded: RawObject) -> None:
    """RIN-13 to RIN-17, REV-1 to REV-4: labels with the revision hash, owner, gates, host name, containers."""
    name = recorded["metadata"]["name"]
    raw = copy.deepcopy(recorded)
    raw["metadata"]["uid"] = f"<uid:RoleInstance/{name}>"
    del raw["status"]
    slot = slots(RoleInstance.decode(raw))[0]
    ours = new_pod(raw, slot, short_hash(resolve_instance(raw, []).update))
    theirs = RECORDED[name]
    # The zone label comes from the scheduler's binding.
    assert ours["metadata"]["labels"] == {
        k: v for k, v in theirs["metadata"]["labels"].items() if k != "topology.kubernetes.io/zone"
    }
    for field in ("name", "generateName", "namespace", "ownerReferences"):
        assert ours["metadata"][field] == theirs["metadata"][field]
    assert ours["metadata"].get("annotations") == theirs["metadata"].get("annotations")
    for field in ("readinessGates", "hostname", "subdomain"):
        assert ours["spec"].get(field) == theirs["spec"].get(field)
    assert _subset(ours["spec"], theirs["spec"]) == []


def _subset(ours: Any, theirs: Any, path: str = "spec") -> list[str]:
    """Where ours says something else than the stored object; what the API server filled in does not count."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [line for k, v in ours.items() for line in _subset(v, theirs.get(k), f"{path}.{k}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) <= len(theirs):
        return [line for i, v in enumerate(ours) for line in _subset(v, theirs[i], f"{path}[{i}]")]
    return [] if ours == theirs else [f"{path}: {ours!r} != {theirs!r}"]
