"""What the group controller decides."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.controllers.group.world import World, applied, group, role

from rbgctl.api import annotations, conditions, labels
from rbgctl.controllers.group.observe import AppliedConfig, Memory
from rbgctl.controllers.group.role_instance_set import role_instance_set
from rbgctl.machinery.gvk import NN
from rbgctl.machinery.plan import Apply, Create, Delete, InOrder, MergePatch

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "basic_rbg_base.json").read_text())["objects"]


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


def test_an_apply_that_changes_only_who_owns_fields_leaves_a_group_ready() -> None:
    """It makes no new generation, so nothing would ever make the group Ready again (RBG-48)."""
    world = World(group(role("web", 2)))
    world.settle()
    del world.workloads["shop-web"]["metadata"]["managedFields"]
    _, done = world.step()
    assert applied(done) == ["RoleInstanceSet/shop-web"]
    assert world.ready["status"] == "True"


@pytest.mark.parametrize(
    ("name", "roles", "refused"),
    [
        ("g" * 63, ["a", "b"], {"a", "b"}),
        ("g", ["x" * 50, "ok"], {"x" * 50}),
        ("g", ["Upper", "ok"], {"Upper"}),
        ("g" * 60, ["web"], {"web"}),
    ],
)
def test_names_that_make_no_usable_objects_are_refused_with_the_reason(
    name: str, roles: list[str], refused: set[str]
) -> None:
    """RBG-1, RBG-30, RIN-17: two roles with one workload name would overwrite each other for ever."""
    raw = group(*(role(r) for r in roles))
    raw["metadata"]["name"] = name
    world = World(raw)
    decided, _ = world.step()
    assert len(world.workloads) == len(roles) - len(refused)
    assert all(f"role {r}: " in decided.refused for r in refused)
    world.settle()
    assert len(world.workloads) == len(roles) - len(refused)


def test_a_group_name_that_is_no_label_value_stops_everything_before_the_first_write() -> None:
    """RBG-9: even its revision carries the name as a label."""
    raw = group(role("web"))
    raw["metadata"]["name"] = "g" * 64
    world = World(raw)
    decided, written = world.step()
    assert decided.refused.startswith("metadata.name: ")
    assert [w for w in written if not (isinstance(w, Apply) and w.subresource == "status")] == []


def test_what_runs_is_not_given_up_because_its_name_would_be_refused_today() -> None:
    """RBG-1: a pod name that grew too long stops a new role, not a running one."""
    raw = group(role("web", 1))
    raw["metadata"]["name"] = "g" * 57
    world = World(raw)
    world.settle()
    world.group["spec"]["roles"][0]["replicas"] = 11
    world.group["metadata"]["generation"] = 2
    world.settle()
    assert world.workloads[f"{'g' * 57}-web"]["spec"]["replicas"] == 11


def test_status_is_bound_to_the_version_that_was_observed() -> None:
    """It must not land on a successor of the same name; the pass that writes the mode has moved the object itself."""
    world = World(group(role("web"), resourceVersion="7"))
    _, first = world.step()
    world.act("shop-web", ready=0)
    _, second = world.step()
    sent = [
        w.obj["metadata"].get("resourceVersion") for w in [*first, *second] if isinstance(w, Apply) and w.subresource
    ]
    assert sent == [None, "7"]
    modes = [w.patch["metadata"]["uid"] for w in first if isinstance(w, MergePatch)]
    assert modes == ["group-uid"]


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


def test_waiting_is_told_once_and_again_only_for_another_dependency() -> None:
    """RBG-131: progress of a dependency is in the status, not in events."""
    world = World(group(role("db", 2), role("web", 3), role("api", 1, "web", "db")))
    assert [e.message for e in world.step()[0].events] == [
        "dependencies not met for role 'api': waits for web, db",
    ]
    for ready in range(3):
        world.act("shop-web", ready=ready)
        assert list(world.step()[0].events) == []
    world.act("shop-web")
    assert list(world.step()[0].events) == []
    assert world.ready["message"].endswith("role api waits for db (0/2 ready)")
    world.act("shop-db")
    world.step()
    world.act("shop-web", ready=1)
    assert [e.message for e in world.step()[0].events] == ["dependencies not met for role 'api': waits for web"]


def test_roles_are_applied_before_leftovers_go_and_a_failure_stops_neither() -> None:
    """RBG-117, RBG-27."""
    world = World(group(role("old")))
    world.settle()
    world.group["spec"]["roles"] = [role("new")]
    world.group["metadata"]["generation"] = 2
    decided, done = world.step()
    last = decided.steps[-1]
    assert isinstance(last, InOrder)
    assert last.keep_going
    kinds = [type(w).__name__ for w in done if isinstance(w, Delete) or "RoleInstanceSet/" in "".join(applied([w]))]
    assert kinds == ["Apply", "Delete"]


def test_a_dependency_on_its_way_out_is_not_ready() -> None:
    """RBG-66."""
    world = World(group(role("web")))
    world.settle()
    world.workloads["shop-web"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.group["spec"]["roles"] = [role("web"), role("api", 1, "web")]
    world.step()
    assert "shop-api" not in world.workloads
    assert "role api waits for web (being deleted)" in world.ready["message"]
    assert "its workload is being deleted" in world.ready["message"]


def test_leaving_a_field_out_counts_as_a_change_of_spec() -> None:
    """RBG-48: Ready must not speak of a spec whose workload is about to get a new generation."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"inPlaceUpdateStrategy": {"gracePeriodSeconds": 3}}}
    world = World(group(role("web", rolloutStrategy=strategy)))
    world.settle()
    world.group["spec"]["roles"] = [role("web")]
    world.group["metadata"]["generation"] = 2
    world.step()
    assert world.ready["status"] == "False"
    assert world.group["status"]["observedGeneration"] == 1


def test_mode_is_kept_or_told_from_the_past() -> None:
    """HF-12, RBG-44."""
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


def test_a_successor_of_the_same_name_gets_a_config_map_of_its_own() -> None:
    """RBG-45: it says the same, but belongs to another group now."""
    world = World(group(role("web")))
    world.settle()
    world.group["metadata"]["uid"] = "successor"
    _, done = world.step()
    assert "ConfigMap/shop" in applied(done)
    assert world.config is not None
    assert world.config["metadata"]["ownerReferences"][0]["uid"] == "successor"


def test_only_so_many_config_maps_are_remembered() -> None:
    """RBG-46: one that is forgotten is applied once more, that is all."""
    memory = Memory(limit=2)
    for number in (1, 2, 1, 3):
        memory.remember(NN("ns", str(number)), AppliedConfig("u", (), str(number)))
    assert [key.name for key in memory.applied] == ["2", "3"]


def test_a_live_workload_keeps_the_service_name_it_uses() -> None:
    """NAM-4, RBG-5."""
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
    """NAM-4, RBG-5."""
    world = World(group(role("web")))
    world.services["shop-web"] = {"metadata": {"name": "shop-web", "uid": "s"}, "spec": {"clusterIP": "10.0.0.9"}}
    _, done = world.step()
    assert "Service/s-shop-web" in applied(done)


@pytest.mark.parametrize(
    ("kinds", "made"),
    [
        (("Stateless", "Stateless"), False),
        (("Stateless", "Stateful"), True),
        (("Stateful", "Stateful"), True),
        ((None, "Stateless"), True),
    ],
)
def test_a_group_has_a_config_map_when_one_of_its_roles_is_stateful(kinds: tuple[str | None, ...], made: bool) -> None:
    """HF-14."""
    roles = [
        role(f"r{n}", annotations={annotations.ROLE_INSTANCE_PATTERN: kind} if kind else {})
        for n, kind in enumerate(kinds)
    ]
    _, done = World(group(*roles)).step()
    assert ("ConfigMap/shop" in applied(done)) is made


@pytest.mark.parametrize("mode", ["", "Preferred"])
def test_the_uid_of_the_group_is_on_sets_that_keep_their_nodes(mode: str) -> None:
    """LBL-40: LBL-5 is there only with in-place scheduling; the role's own labels cannot replace ours."""
    given = {annotations.ROLE_INPLACE_SCHEDULING: mode} if mode else {}
    observed = World(group(role("web", annotations=given, labels={"team": "a", labels.ROLE_NAME: "mine"}))).observed()
    made = role_instance_set(observed, observed.group.roles[0], service="s", revision="r")
    assert made["metadata"]["labels"] == {
        "team": "a",
        labels.role_revision("web"): "r",
        **labels.common("ns", "shop", "web"),
        labels.ROLE_TYPE: labels.ROLE_TYPE_POD_TEMPLATE,
        **({labels.RBG_OWNER_UID: "group-uid"} if mode else {}),
    }


def test_the_status_is_one_apply_of_all_of_it_and_none_when_nothing_changed() -> None:
    """IMP-5; CND-2: nothing but Ready is ever set."""
    world = World(group(role("web"), role("api", 2, "web")))
    parts = {"observedGeneration", "roleStatuses", "conditions"}
    for _ in range(12):
        _, done = world.step()
        statuses = [w for w in done if getattr(w, "subresource", "") == "status"]
        assert len(statuses) <= 1
        for write in statuses:
            assert isinstance(write, Apply)
            assert write.field_manager == "rbg"
            assert write.obj["status"].keys() | {"observedGeneration"} == parts
            assert [s["name"] for s in write.obj["status"]["roleStatuses"]] in ([], ["web", "api"])
            assert [c["type"] for c in write.obj["status"]["conditions"]] == [conditions.GROUP_READY]
        for name in list(world.workloads):
            world.act(name)
    assert world.ready["status"] == "True"
    assert world.group["status"].keys() == parts
    assert not world.step()[1]


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
