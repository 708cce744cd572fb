"""The readiness gates of pods, decision by decision (RDY-1 to RDY-4, IPP-5, IPP-7)."""

import json
from typing import Any

import pytest
from unit.controllers.instance.world import GATE, SERVING, component, instance, pod

from rbgctl.api import annotations
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.in_place import update_complete
from rbgctl.controllers.instance.pods import Pod
from rbgctl.controllers.instance.readiness import hold_back, in_place_phase, instance_gate, start_update, update_gate

NOW = "2026-01-01T00:00:00Z"
OURS = '[{"userAgent":"Lifecycle","key":"InstanceReady"}]'
OTHER = '{"userAgent":"Agent","key":"k"}'
BOTH = f"[{OTHER},{OURS[1:]}"


def with_gate(status: str | None, message: str | None = None, reason: str | None = None) -> Pod:
    raw = pod("p")
    if status is not None:
        condition = {"type": "InstancePodReady", "status": status, "message": message, "reason": reason}
        raw["status"]["conditions"] = [{k: v for k, v in condition.items() if v is not None}]
    return Pod(raw)


@pytest.mark.parametrize(
    ("status", "message", "held_back", "expected"),
    [
        (None, None, True, ("False", OURS)),
        (None, None, False, ("False", OURS)),
        ("True", "[]", True, ("False", OURS)),
        ("True", "[]", False, None),
        ("True", None, False, None),
        ("False", OURS, True, None),
        ("False", OURS, False, ("True", "[]")),
        ("False", f"[{OTHER}]", True, ("False", BOTH)),
        ("False", f"[{OTHER}]", False, None),
        ("False", BOTH, True, None),
        ("False", BOTH, False, ("False", f"[{OTHER}]")),
        ("False", None, False, ("True", "[]")),
        ("False", "", True, ("False", OURS)),
        ("False", "not json", False, ("True", "[]")),
        ("True", "not json", True, ("False", OURS)),
    ],
)
def test_our_objection_comes_and_goes(
    status: str | None, message: str | None, held_back: bool, expected: tuple[str, str] | None
) -> None:
    # RDY-2, RDY-4: keys sorted by userAgent; a missing condition is always added closed
    changes = instance_gate(with_gate(status, message), held_back, NOW)
    assert [(c["status"], c["message"]) for c in changes] == ([] if expected is None else [expected])
    assert all(c["type"] == "InstancePodReady" and c["lastTransitionTime"] == NOW for c in changes)


def test_old_reason_is_removed_when_the_gate_opens() -> None:
    [change] = instance_gate(with_gate("False", None, "StartInstanceUpdate"), False, NOW)
    assert change["reason"] is None
    [change] = instance_gate(with_gate("False", OURS), False, NOW)
    assert "reason" not in change


def test_pod_without_the_gate_is_left_alone() -> None:
    # RDY-2
    bare = Pod(pod("p", gates=()))
    assert instance_gate(bare, True, NOW) == update_gate(bare, NOW) == start_update(bare, NOW) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 1), ({"InPlaceUpdateReady": "False"}, 1), ({"InPlaceUpdateReady": "True"}, 0)],
)
def test_update_gate_opens_once_on_a_pod_that_was_never_updated(given: dict[str, str], expected: int) -> None:
    # IPP-5, RDY-1
    changes = update_gate(Pod(pod("p", conditions=given)), NOW)
    assert [(c["type"], c["status"]) for c in changes] == [("InPlaceUpdateReady", "True")] * expected


def in_update(before: str, now: str, *, spec: str = "web:1", status: str = "web:1", **more: str) -> Pod:
    state = json.dumps({"revision": "r", "lastContainerStatuses": {"main": {"imageID": before}}})
    raw = pod("p", annotations={annotations.INPLACE_UPDATE_STATE: state, **more})
    raw["spec"]["containers"][0]["image"] = spec
    raw["status"]["containerStatuses"] = [{"name": "main", "imageID": now, "image": status}]
    return Pod(raw)


@pytest.mark.parametrize(
    ("found", "complete"),
    [
        (in_update("a", "b"), True),
        (in_update("a", "a", spec="web:2", status="web:1"), False),
        (in_update("a", "a", spec="web:2", status="docker.io/library/web:2"), True),
        (in_update("a", "a", spec="web", status="web:latest"), True),
        (in_update("a", "a", spec="team/web:2", status="docker.io/team/web:2"), True),
        (in_update("a", "a", spec="reg.example:5000/web", status="reg.example:5000/web:latest"), True),
        (in_update("a", "b", **{annotations.INPLACE_UPDATE_GRACE: "{}"}), False),
        (Pod(pod("p", annotations={annotations.INPLACE_UPDATE_STATE: '{"lastContainerStatuses":{}}'})), True),
        (Pod(pod("p", annotations={annotations.INPLACE_UPDATE_STATE: '{"lastContainerStatuses":null}'})), True),
        (Pod(pod("p", annotations={annotations.INPLACE_UPDATE_STATE: "nonsense"})), False),
        (Pod(pod("p", annotations={annotations.INPLACE_UPDATE_STATE: "[]"})), False),
        (
            Pod(pod("p", annotations={annotations.INPLACE_UPDATE_STATE: '{"lastContainerStatuses":{"x":{}}}'})),
            False,
        ),
    ],
)
def test_update_is_complete_when_every_changed_container_runs_its_image(found: Pod, complete: bool) -> None:
    # IPP-7
    assert update_complete(found) is complete
    assert bool(update_gate(found, NOW)) is complete


def view(policy: str | None = "AllPodReady", *, gate: bool = False, status: str | None = None) -> RoleInstance:
    raw = instance(component())
    raw["spec"]["readyPolicy"] = policy
    if gate:
        raw["spec"]["readinessGates"] = [{"conditionType": GATE}]
    if status is not None:
        raw["status"] = {"conditions": [{"type": GATE, "status": status}]}
    return RoleInstance.decode(raw)


@pytest.mark.parametrize(
    ("gate", "status", "expected"),
    [
        (False, None, False),
        (False, "False", False),
        (True, None, True),
        (True, "False", True),
        (True, "True", False),
    ],
)
def test_in_place_phase(gate: bool, status: str | None, expected: bool) -> None:
    # RDY-4, STA-3
    found = view(gate=gate, status=status)
    assert in_place_phase(found) is expected
    assert hold_back(found, [Pod(pod("p", conditions=SERVING))]) is expected


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ({}, True),
        ({"Ready": "False"}, True),
        ({"ContainersReady": "False"}, False),
        ({"InPlaceUpdateReady": "False"}, False),
    ],
)
@pytest.mark.parametrize(("policy", "looks"), [("AllPodReady", True), ("", True), (None, True), ("None", False)])
def test_one_pod_that_does_not_run_holds_all_back(change: Any, runs: bool, policy: str | None, looks: bool) -> None:
    # RDY-4
    pods = [Pod(pod("a", conditions=SERVING)), Pod(pod("b", conditions={**SERVING, **change}))]
    assert hold_back(view(policy), pods) is (looks and not runs)
