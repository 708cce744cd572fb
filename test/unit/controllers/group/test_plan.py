"""What the group controller decides."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.controllers.group.world import World, group, role

from rbgctl.api import annotations
from rbgctl.machinery.plan import Apply, Create, Delete, MergePatch

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "basic_rbg_base.json").read_text())["objects"]


def applied(done: list[Any]) -> list[str]:
    return [f"{w.obj['kind']}/{w.obj['metadata']['name']}{w.subresource}" for w in done if isinstance(w, Apply)]


def test_first_pass_makes_revision_mode_config_and_the_roles_without_dependencies() -> None:
    """RBG-26, RBG-44, RBG-45, RBG-65."""
    world = World(group(role("web"), role("api", 2, "web")))
    decided, done = world.step()
    assert [type(w) for w in done[:3]] == [Create, MergePatch, Apply]
    assert applied(done) == [
        "ConfigMap/shop",
        "RoleInstanceSet/shop-web",
        "Service/s-shop-web",
        "RoleBasedGroup/shopstatus",
    ]
    assert world.group["metadata"]["annotations"] == {annotations.DISCOVERY_CONFIG_MODE: "refine"}
    assert [e.reason for e in decided.events] == ["DependencyNotMet"]


def test_a_role_starts_when_its_dependency_is_ready_and_the_message_says_what_is_waited_for() -> None:
    """RBG-65, RBG-66."""
    world = World(group(role("web"), role("api", 2, "web")))
    world.step()
    world.act("shop-web", ready=0)
    world.step()
    assert world.ready["message"] == "role web: 0/1 ready; role api waits for web (0/1 ready)"
    assert "shop-api" not in world.workloads
    world.act("shop-web")
    world.step()
    assert "shop-api" in world.workloads


def test_a_settled_group_is_left_alone() -> None:
    """No write at rest; avoided writes are counted."""
    world = World(group(role("web"), role("api", 2, "web")))
    world.settle()
    decided, done = world.step()
    assert done == []
    assert decided.events == []
    assert decided.avoided_writes == 5
    assert world.ready["status"] == "True"
    assert world.ready["reason"] == "AllRolesReady"
    assert world.ready["message"] == "All roles are ready"


def test_ready_and_observed_generation_speak_of_the_spec_that_workloads_carry() -> None:
    """A new spec is not Ready before its workloads acted on it (RBG-47, RBG-48)."""
    world = World(group(role("web", 2)))
    world.settle()
    world.group["spec"]["roles"][0] = role("web", 2, image="a:2")
    world.group["metadata"]["generation"] = 2
    world.step()
    assert world.ready["status"] == "False"
    assert world.group["status"]["observedGeneration"] == 1
    world.step()
    assert world.group["status"]["observedGeneration"] == 2
    assert world.ready["status"] == "False", "the set has not observed its new generation"
    world.act("shop-web")
    world.step()
    assert world.ready["status"] == "True"


def test_scaling_makes_no_revision_and_patches_workload_service_and_config() -> None:
    """RBG-38, RBG-110, RBG-46."""
    world = World(group(role("web", 1)))
    world.settle()
    world.group["spec"]["roles"][0]["replicas"] = 3
    world.group["metadata"]["generation"] = 2
    _, done = world.step()
    assert applied(done) == [
        "ConfigMap/shop",
        "RoleInstanceSet/shop-web",
        "Service/s-shop-web",
        "RoleBasedGroup/shopstatus",
    ]
    assert len(world.revisions) == 1


def test_a_changed_role_gets_a_new_revision_label_and_the_others_keep_theirs() -> None:
    """RBG-40."""
    world = World(group(role("web"), role("api")))
    world.settle()
    before = {n: w["metadata"]["labels"] for n, w in world.workloads.items()}
    world.group["spec"]["roles"][1] = role("api", image="a:2")
    world.group["metadata"]["generation"] = 2
    _, done = world.step()
    assert applied(done) == ["RoleInstanceSet/shop-api", "RoleBasedGroup/shopstatus"]
    assert len(world.revisions) == 2
    after = {n: w["metadata"]["labels"] for n, w in world.workloads.items()}
    assert after["shop-web"] == before["shop-web"]
    assert after["shop-api"] != before["shop-api"]


def test_a_removed_role_is_deleted_even_while_others_wait_and_leaves_the_status() -> None:
    """RBG-116, RBG-49, RBG-27."""
    world = World(group(role("web"), role("old")))
    world.settle()
    world.act("shop-web", ready=0)
    world.group["spec"]["roles"] = [role("web"), role("api", 1, "web")]
    world.group["metadata"]["generation"] = 2
    _, done = world.step()
    assert [w.key.name for w in done if isinstance(w, Delete)] == ["shop-old"]
    assert [s["name"] for s in world.group["status"]["roleStatuses"]] == ["web", "api"]


def test_workloads_of_others_with_our_label_are_not_deleted() -> None:
    """RBG-116: only what this group controls."""
    world = World(group(role("web")))
    world.settle()
    foreign = json.loads(json.dumps(world.workloads["shop-web"]))
    foreign["metadata"].update(name="foreign", ownerReferences=[{"uid": "other", "controller": True}])
    world.workloads["foreign"] = foreign
    _, done = world.step()
    assert done == []


def test_the_oldest_revisions_go() -> None:
    """RBG-41: five stay."""
    world = World(group(role("web")))
    for number in range(8):
        world.group["spec"]["roles"][0] = role("web", image=f"a:{number}")
        world.group["metadata"]["generation"] = number + 1
        world.settle()
    assert [r["revision"] for r in world.revisions] == [4, 5, 6, 7, 8]


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
    assert again.failure is not None


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"leaderWorkerPattern": {"size": 2}, "standalonePattern": None}, "leaderWorkerPattern"),
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
    assert decided.failure is not None


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


def test_mode_is_kept_or_told_from_the_past() -> None:
    """RBG-44."""
    legacy = World(group(role("web"), annotations={annotations.DISCOVERY_CONFIG_MODE: "legacy"}))
    _, done = legacy.step()
    assert not any(isinstance(w, MergePatch) for w in done)
    assert "ConfigMap/shop" in applied(done), "pods mount it in both modes"
    old = World({**group(role("web")), "status": {"observedGeneration": 1, "roleStatuses": []}})
    old.step()
    assert old.group["metadata"]["annotations"][annotations.DISCOVERY_CONFIG_MODE] == "legacy"
    stripped = World(group(role("web")))
    stripped.settle()
    stripped.group["metadata"]["annotations"] = {}
    stripped.step()
    assert stripped.group["metadata"]["annotations"][annotations.DISCOVERY_CONFIG_MODE] == "refine"


def test_an_edited_config_map_is_applied_again_and_an_untouched_one_is_not() -> None:
    """RBG-46, RBG-23."""
    world = World(group(role("web")))
    world.settle()
    assert world.config is not None
    world.config["metadata"]["resourceVersion"] = "edited"
    _, done = world.step()
    assert applied(done) == ["ConfigMap/shop"]
    world.applied = None
    _, done = world.step()
    assert applied(done) == ["ConfigMap/shop"], "after a restart once"


def test_a_live_workload_keeps_the_service_name_it_uses() -> None:
    """RBG-5."""
    world = World(group(role("web")))
    world.services["shop-web"] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop-web", "uid": "s"},
        "spec": {"clusterIP": "None"},
    }
    world.step()
    component = world.workloads["shop-web"]["spec"]["roleInstanceTemplate"]["components"][0]
    assert component["serviceName"] == "shop-web"
    del world.services["shop-web"]
    world.settle()
    component = world.workloads["shop-web"]["spec"]["roleInstanceTemplate"]["components"][0]
    assert component["serviceName"] == "shop-web"


def test_a_user_service_with_an_address_is_not_taken_for_the_old_layout() -> None:
    """RBG-5."""
    world = World(group(role("web")))
    world.services["shop-web"] = {"metadata": {"name": "shop-web", "uid": "s"}, "spec": {"clusterIP": "10.0.0.9"}}
    _, done = world.step()
    assert "Service/s-shop-web" in applied(done)


def test_workloads_and_services_are_the_recorded_ones() -> None:
    """RBG-12, RBG-82..87, RBG-107: names, labels, annotations, owner and spec, but for what the server fills in."""
    recorded_group = GOLDEN["rolebasedgroups.v1alpha2.workloads.x-k8s.io"][0]
    text = json.dumps({k: v for k, v in recorded_group.items() if k != "status"}).replace("<ns>", "rec-a0-001")
    raw = json.loads(text)
    raw["metadata"].update(uid="<uid:RoleBasedGroup/storefront>", generation=1)
    world = World(raw)
    world.settle()
    for recorded in GOLDEN["roleinstancesets.workloads.x-k8s.io"]:
        ours = world.workloads[recorded["metadata"]["name"]]
        for field in ("labels", "annotations", "ownerReferences"):
            assert ours["metadata"][field] == recorded["metadata"][field]
        defaulted = {k: v for k, v in recorded["spec"].items() if k != "revisionHistoryLimit"}
        assert ours["spec"] == defaulted
    for recorded in GOLDEN["services"]:
        ours = world.services[recorded["metadata"]["name"]]
        assert ours["metadata"]["labels"] == recorded["metadata"]["labels"]
        assert ours["metadata"]["annotations"] == recorded["metadata"]["annotations"]
        assert ours["spec"].items() <= recorded["spec"].items()


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sets(st.integers(0, 4), max_size=2), st.integers(0, 2)), min_size=1, max_size=5
    ),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)), max_size=6),
)
@settings(max_examples=150, deadline=None)
def test_any_history_of_edits_converges_and_then_rests(
    shape: list[tuple[int, set[int], int]], edits: list[tuple[int, int, int]]
) -> None:
    """Always comes to rest Ready, and never starts a role before its dependencies exist."""

    def made(index: int, replicas: int, image: int) -> dict[str, Any]:
        wanted = sorted(f"r{d}" for d in shape[index][1] if d < index)
        return role(f"r{index}", replicas, *wanted, image=f"a:{image}")

    world = World(group(*(made(i, replicas, image) for i, (replicas, _, image) in enumerate(shape))))
    for index, replicas, image in edits:
        world.step()
        if world.workloads:
            world.act(sorted(world.workloads)[index % len(world.workloads)])
        target = index % len(shape)
        world.group["spec"]["roles"][target] = made(target, replicas, image)
        world.group["metadata"]["generation"] += 1
    world.settle()
    assert world.ready["status"] == "True"
    assert set(world.workloads) == {f"shop-r{i}" for i in range(len(shape))}
    assert world.step()[1] == []
