"""What the group controller does not act on, and how it says so."""

from datetime import UTC, datetime
from typing import Any

import pytest
from unit.controllers.group.world import World, applied, group, role

from rbgctl.api import annotations
from rbgctl.controllers.group.plan import plan
from rbgctl.machinery.plan import Apply, Delete, writes


@pytest.mark.parametrize(
    ("roles", "reason", "text"),
    [
        ([role("a", 1, "b"), role("b", 1, "a")], "InvalidRoleDependency", "cycle"),
        ([role("a", 1, "nobody")], "InvalidRoleDependency", "nobody"),
        (
            [role("a", annotations={annotations.ROLE_WORKLOAD_TYPE: "batch/v1/Job"})],
            "FailedReconcileWorkload",
            "batch/v1/Job",
        ),
    ],
)
def test_a_group_that_cannot_work_says_why_once_and_touches_nothing(
    roles: list[dict[str, Any]], reason: str, text: str
) -> None:
    """RBG-27, RBG-30, RBG-64: the event is not repeated while nothing changes."""
    world = World(group(*roles))
    decided, done = world.step()
    assert applied(done) == ["RoleBasedGroup/shopstatus"]
    assert [e.reason for e in decided.events] == [reason]
    assert text in decided.events[0].message
    assert text in world.ready["message"]
    assert "observedGeneration" not in world.group["status"]
    again, done = world.step()
    assert done == []
    assert list(again.events) == []
    assert text in again.refused


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"engineRuntimes": [{"profileName": "p"}]}, "engineRuntimes"),
        ({"scalingAdapter": {"enable": True}}, "scalingAdapter"),
        ({"annotations": {annotations.ROLE_WORKLOAD_TYPE: "apps/v1/Deployment"}}, "apps/v1/Deployment"),
        ({"annotations": {annotations.ROLE_INSTANCE_PATTERN: "Stateless"}}, "stateless"),
    ],
)
def test_what_is_not_carried_out_is_refused_by_name_and_the_other_roles_go_on(
    fields: dict[str, Any], feature: str
) -> None:
    refused = {k: v for k, v in role("special", **fields).items() if v is not None}
    world = World(group(role("web"), refused))
    decided, _ = world.step()
    assert set(world.workloads) == {"shop-web"}
    assert feature in world.ready["message"]
    assert [e.reason for e in decided.events] == ["FailedReconcileWorkload"]
    assert feature in decided.refused


def test_a_refused_role_keeps_the_workload_it_has() -> None:
    """RBG-117: nothing would take its place."""
    world = World(group(role("web"), role("api")))
    world.settle()
    world.group["spec"]["roles"][1] = role("api", annotations={annotations.ROLE_WORKLOAD_TYPE: "apps/v1/Deployment"})
    world.group["metadata"]["generation"] = 2
    _, done = world.step()
    assert not any(isinstance(w, Delete) for w in done)
    assert "apps/v1/Deployment" in world.ready["message"]
    assert world.group["status"]["observedGeneration"] == 1


def test_an_unsupported_workload_type_is_told_per_role_in_upstreams_words() -> None:
    """RBG-30.4, RBG-131."""
    bad = {annotations.ROLE_WORKLOAD_TYPE: "batch/v1/Job"}
    decided, _ = World(group(role("a", annotations=bad), role("b"), role("c", annotations=bad))).step()
    assert [e.message.split(": ")[:2] for e in decided.events] == [
        ["Failed to validate role a, err", "unsupported workload type"],
        ["Failed to validate role c, err", "unsupported workload type"],
    ]


def test_a_spec_that_cannot_be_read_is_refused_with_its_field_and_nothing_is_touched() -> None:
    """Schemaless fields reach us unchecked: RBG-74."""
    world = World(group(role("web")))
    world.settle()
    before = world.group["status"]["roleStatuses"]
    reference = {"templateRef": {"name": "t", "patch": "text"}}
    world.group["spec"]["roles"] = [role("web", standalonePattern=reference)]
    world.group["metadata"]["generation"] = 2
    decided, done = world.step()
    assert applied(done) == ["RoleBasedGroup/shopstatus"]
    assert "spec.roles[0].standalonePattern.templateRef.patch" in world.ready["message"]
    assert [e.reason for e in decided.events] == ["FailedReconcileWorkload"]
    assert decided.refused
    assert world.group["status"]["roleStatuses"] == before
    again, done = world.step()
    assert done == []
    assert list(again.events) == []


@pytest.mark.parametrize(
    ("rolling", "replicas", "works"),
    [
        ({"maxUnavailable": 0, "maxSurge": 0}, 2, False),
        ({"maxUnavailable": 0, "maxSurge": 0}, 0, True),
        ({"maxUnavailable": "0%", "maxSurge": "10%"}, 2, True),
        ({"maxUnavailable": "x"}, 2, False),
    ],
)
def test_a_rollout_that_could_never_move_is_refused(rolling: dict[str, Any], replicas: int, works: bool) -> None:
    """RBG-84."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    world = World(group(role("web", replicas, rolloutStrategy=strategy)))
    world.step()
    assert ("shop-web" in world.workloads) == works


def test_a_group_that_was_refused_first_is_no_group_of_an_old_release() -> None:
    """RBG-44: what is said about it before its mode is recorded must not decide the mode."""
    world = World(group(role("a", 1, "b"), role("b", 1, "a")))
    world.settle()
    assert not world.group["status"]["roleStatuses"]
    assert "observedGeneration" not in world.group["status"]
    world.group["spec"] = group(role("a"), role("b"))["spec"]
    world.settle()
    assert world.group["metadata"]["annotations"][annotations.DISCOVERY_CONFIG_MODE] == annotations.DISCOVERY_REFINE


def test_a_first_pass_that_fails_does_not_make_it_one_either() -> None:
    """RBG-44."""
    observed = World(group(role("a"))).observed()
    decided = plan(observed, datetime(2026, 1, 1, tzinfo=UTC), lambda _: None)
    assert decided.finally_ is not None
    (status,) = writes(decided.finally_((OSError("no connection"),)))
    assert isinstance(status, Apply)
    assert status.obj["status"].keys() == {"roleStatuses", "conditions"}
    assert status.obj["status"]["roleStatuses"] == []
