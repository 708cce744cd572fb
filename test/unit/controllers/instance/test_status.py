"""What an instance's status says, row by row (STA-1 to STA-7)."""

import copy
from typing import Any

import pytest
from unit.controllers.instance.world import GATE, NAME, SERVING, component, instance, pod

from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.pods import Pod
from rbgctl.controllers.instance.status import Failures, all_pods_ready, new_status
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.instance_revision import resolve_instance
from rbgctl.planning.revisions import name_of, short_hash

BEFORE, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"


def status_of(raw: RawObject, *pods: RawObject, failures: Failures | None = None) -> RawObject:
    """Pods without a hash of their own follow the instance's update revision."""
    untouched = copy.deepcopy(raw)
    revisions = resolve_instance(raw, [])
    for found in pods:
        if found["metadata"]["labels"]["controller-revision-hash"] == "h":
            found["metadata"]["labels"]["controller-revision-hash"] = short_hash(revisions.update)
    view = RoleInstance.decode(raw)
    result = new_status(raw, view, [Pod(p) for p in pods], revisions, failures or Failures(), NOW)
    assert raw == untouched
    return result


def by_type(status: RawObject) -> dict[str, RawObject]:
    return {c["type"]: c for c in status["conditions"]}


def web(id_: int = 0, **more: Any) -> RawObject:
    return pod(f"{NAME}-web-{id_}", "web", id_, conditions=more.pop("conditions", SERVING), **more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # in this order: size; ready and available; scheduled; updated; updated and ready
        (web(), (1, 1, 1, 1, 1)),
        (web(conditions={**SERVING, "Ready": "False"}), (1, 0, 1, 1, 0)),
        (web(conditions={**SERVING, "InPlaceUpdateReady": "False"}), (1, 0, 1, 1, 0)),
        (web(conditions={"Ready": "True"}), (1, 1, 0, 1, 1)),
        (web(phase="Pending", conditions={}), (1, 0, 0, 1, 0)),
        (web(hash="old"), (1, 1, 1, 0, 0)),
        (web(phase="Failed"), (0, 0, 0, 0, 0)),
        (web(phase="Succeeded"), (0, 0, 0, 0, 0)),
        (web(deleted=True), (0, 0, 0, 0, 0)),
        (pod("x", "gone", 0, conditions=SERVING), (0, 0, 0, 0, 0)),
    ],
)
def test_component_counts(found: RawObject, expected: tuple[int, ...]) -> None:
    # STA-1
    status = status_of(instance(component(), component("idle", 0)), found)
    main, idle = status["componentStatuses"]
    size, ready, scheduled, updated, updated_ready = expected
    assert main == {
        "name": "web",
        "size": size,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "scheduledReplicas": scheduled,
        "updatedReplicas": updated,
        "updatedReadyReplicas": updated_ready,
    }
    assert idle["name"] == "idle"
    assert set(idle.values()) == {"idle", 0}


@pytest.mark.parametrize(
    ("pods", "settled"),
    [
        ([web(0), web(1)], True),
        ([web(0)], False),
        ([web(0), web(1, hash="old")], False),
        ([web(0), web(1), web(2, hash="old")], False),
        ([web(0, phase="Pending", conditions={}), web(1)], True),
    ],
)
def test_current_revision_follows_when_exactly_the_wanted_pods_do(pods: list[RawObject], settled: bool) -> None:
    # STA-2: readiness does not matter
    old = instance(component(image="web:0"))
    first = resolve_instance(old, []).update
    raw = instance(component(size=2), status={"currentRevision": name_of(first)})
    first["metadata"]["uid"] = "r"
    revisions = resolve_instance(raw, [first])
    for found in pods:
        if found["metadata"]["labels"]["controller-revision-hash"] == "h":
            found["metadata"]["labels"]["controller-revision-hash"] = short_hash(revisions.update)
    status = new_status(raw, RoleInstance.decode(raw), [Pod(p) for p in pods], revisions, Failures(), NOW)
    assert status["updateRevision"] == name_of(revisions.update)
    assert status["currentRevision"] == name_of(revisions.update if settled else first)


@pytest.mark.parametrize(
    ("policy", "gate", "pods", "expected"),
    [
        ("AllPodReady", "True", [web()], ("True", "Ready", None)),
        ("AllPodReady", None, [web()], ("False", "InplaceUpdateNotReady", "NotReady")),
        ("AllPodReady", "False", [], ("False", "InplaceUpdateNotReady", "NotReady")),
        ("AllPodReady", "", [web()], ("True", "Ready", None)),
        ("AllPodReady", "", [], ("False", "PodsNotReady", "NotReady")),
        ("Other", "", [], ("False", "PodsNotReady", "NotReady")),
        ("None", "", [], ("True", "Ready", None)),
        ("None", "False", [], ("False", "InplaceUpdateNotReady", "NotReady")),
    ],
)
def test_instance_ready(policy: str, gate: str | None, pods: list[RawObject], expected: tuple[str, ...]) -> None:
    # STA-3, STA-4. gate: "" for an instance without the gate, None for a gate without its condition
    raw = instance(component(), spec={"readyPolicy": policy})
    if gate != "":
        raw["spec"]["readinessGates"] = [{"conditionType": GATE}]
    if gate:
        raw["status"] = {"conditions": [{"type": GATE, "status": gate}]}
    found = by_type(status_of(raw, *pods))
    ready = found["RoleInstanceReady"]
    assert (ready["status"], ready["reason"], ready.get("message")) == expected
    assert ("RoleInstanceAllPodsReady" in found) is (policy == "AllPodReady")


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([web(0), web(1)], ("True", "PodsReady")),
        ([web(0)], ("False", "AtLeastOnePodNotReady")),
        ([web(0), web(1, deleted=True)], ("False", "AtLeastOnePodNotReady")),
        (
            [web(0), web(1, conditions={"Ready": "True", "InPlaceUpdateReady": "False"})],
            ("False", "AtLeastOnePodNotReady"),
        ),
    ],
)
def test_all_pods_ready(pods: list[RawObject], expected: tuple[str, str]) -> None:
    # STA-4
    found = all_pods_ready(RoleInstance.decode(instance(component(size=2))), [Pod(p) for p in pods], NOW)
    assert (found["status"], found["reason"]) == expected
    assert found["message"] == "Ready" if expected[0] == "True" else "web-1" in found["message"]


def test_times_change_with_the_status_only() -> None:
    # STA-6
    raw = instance(component())
    first = status_of(raw, web())
    stored = [{**c, "lastTransitionTime": BEFORE} for c in first["conditions"]]
    raw["status"] = {**first, "conditions": stored}
    assert status_of(raw, web())["conditions"] == stored
    changed = by_type(status_of(raw, web(conditions={})))
    assert changed["RoleInstanceReady"]["lastTransitionTime"] == NOW
    message_only = copy.deepcopy(raw)
    message_only["status"]["conditions"][0]["message"] = "said by somebody else"
    again = by_type(status_of(message_only, web()))
    assert "message" not in again["RoleInstanceReady"]
    assert again["RoleInstanceReady"]["lastTransitionTime"] == BEFORE


@pytest.mark.parametrize("order", [1, -1])
def test_conditions_of_others_stay_and_their_place_in_the_list_costs_no_write(order: int) -> None:
    # STA-5, STA-8
    raw = instance(component())
    first = status_of(raw, web())
    foreign = [
        {"type": "Other", "status": "Unknown", "more": 1},
        {"type": "RoleInstanceCustomReady", "status": "False"},
    ]
    raw["status"] = {**first, "conditions": [*foreign, *first["conditions"]][::order]}
    assert status_of(raw, web()) == raw["status"]
    after = by_type(status_of(raw))
    assert [after[c["type"]] for c in foreign] == foreign


def test_doubled_conditions_are_merged() -> None:
    # STA-8 improvement
    raw = instance(component())
    first = status_of(raw, web())
    raw["status"] = {**first, "conditions": [*first["conditions"], {"type": "X", "status": "True"}] * 2}
    types = [c["type"] for c in status_of(raw, web())["conditions"]]
    assert sorted(types) == sorted(set(types))


def test_failures_are_named_first_and_turned_off_on_success() -> None:
    # CND-9, STA-5
    raw = instance(component())
    raw["status"] = status_of(raw, web(), failures=Failures(scale="no quota", update="conflict"))
    assert [(c["type"], c["status"], c["message"]) for c in raw["status"]["conditions"][:2]] == [
        ("FailedScale", "True", "no quota"),
        ("FailedUpdate", "True", "conflict"),
    ]
    found = by_type(status_of(raw, web()))
    for type_ in ("FailedScale", "FailedUpdate"):
        assert found[type_] == {"type": type_, "status": "False", "lastTransitionTime": NOW}


def test_selector_generation_and_unknown_fields() -> None:
    # HF-60, STA-7 improvement, RIN-3.5
    raw = instance(component(), status={"futureField": {"a": 1}, "restartCount": 3})
    raw["metadata"]["generation"] = 4
    status = status_of(raw)
    assert status["labelSelector"] == f"rbg.workloads.x-k8s.io/role-instance-name={NAME}"
    assert status["observedGeneration"] == 4
    assert status["collisionCount"] == 0
    assert (status["futureField"], status["restartCount"]) == ({"a": 1}, 3)
