"""Whole passes over one instance: what is written, in which order, and what happens when something fails."""

import copy
from typing import Any

import pytest
from unit.controllers.instance.world import GATE, NAME, World, component, pod

from rbgctl.api import annotations, labels
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Create, Delete, MergePatch, SingleWrite, StrategicPatch


def shown(write: SingleWrite) -> str:
    """`verb kind name`, with /status where it goes there."""
    match write:
        case Create():
            return f"create {write.obj['kind']} {write.obj['metadata']['name']}"
        case Delete():
            return f"delete {write.gvk.kind} {write.key.name}"
        case MergePatch() | StrategicPatch():
            return f"patch {write.gvk.kind}{'/status' if write.subresource else ''} {write.key.name}"
    raise AssertionError(write)


def kinds(found: list[SingleWrite]) -> list[str]:
    return [" ".join(shown(w).split()[:2]) for w in found]


def test_one_pod_costs_seven_writes() -> None:
    # Revision, pod, both gates at once, the gate that waits for the containers, and a status for each of: there is a
    # pod, it has a node, it is ready. Neither the pass that creates the pod nor one that moves a gate writes status.
    world = World(role_type="PodTemplate")
    world.to_rest()
    assert kinds(world.log) == [
        "create ControllerRevision",
        "create Pod",
        "patch Pod/status",
        "patch RoleInstance/status",
        "patch RoleInstance/status",
        "patch Pod/status",
        "patch RoleInstance/status",
    ]
    assert world.condition("RoleInstanceReady")["status"] == "True"
    assert world.events == [("Normal", "SuccessfulCreate")]


def test_deletion_and_creation_never_share_a_pass() -> None:
    # RIN-6: the failed pod goes, a later pass makes its successor and the other missing one
    world = World(component(size=2))
    world.to_rest()
    world.fail_pod(f"{NAME}-web-0")
    world.gone("Pod", f"{NAME}-web-1")
    old = world.store["Pod", f"{NAME}-web-0"]["metadata"]["uid"]
    assert [shown(w) for w in world.pass_()] == [f"delete Pod {NAME}-web-0"]
    assert [shown(w) for w in world.pass_()] == [f"create Pod {NAME}-web-0", f"create Pod {NAME}-web-1"]
    assert world.store["Pod", f"{NAME}-web-0"]["metadata"]["uid"] != old
    assert ("Normal", "SuccessfulDelete") in world.events


def test_succeeded_and_terminating_pods_keep_their_slots() -> None:
    # RIN-6.5, RIN-12
    world = World(component(size=2))
    world.to_rest()
    world.set("Pod", f"{NAME}-web-0", lambda p: p["status"].update(phase="Succeeded"))
    world.delete_pod(f"{NAME}-web-1")
    written = world.pass_()
    assert not [w for w in written if isinstance(w, Create | Delete)]


def test_name_held_by_another_owners_pod_is_waited_for() -> None:
    # RIN-12, STA-4: the predecessor's pod neither counts nor is touched
    world = World(role_type="PodTemplate")
    world.put(pod(NAME, owner="predecessor", conditions={"Ready": "True"}))
    written = [*world.pass_(), *world.pass_()]
    assert world.failures == []
    assert {shown(w).split()[1] for w in written} == {"ControllerRevision", "RoleInstance/status"}
    assert list(world.pods()) == [NAME]
    assert world.condition("RoleInstanceAllPodsReady")["reason"] == "AtLeastOnePodNotReady"
    assert world.condition("RoleInstanceReady")["status"] == "False"
    world.gone("Pod", NAME)
    world.to_rest()
    assert world.condition("RoleInstanceReady")["status"] == "True"


def test_stale_view_creates_no_second_pod() -> None:
    # RIN-4: AlreadyExists with our owner reference is success
    world = World(role_type="PodTemplate")
    world.pass_()
    stale = world.observe()
    stale = type(stale)(raw=stale.raw, instance=stale.instance, foreign={}, revisions=stale.revisions)
    world.pass_(stale)
    assert world.failures == []
    assert "FailedScale" not in str(world.status)


def test_stale_view_of_a_foreign_pod_fails_and_says_so() -> None:
    world = World(role_type="PodTemplate")
    world.pass_()
    stale = world.observe()
    world.gone("Pod", NAME)
    world.put(pod(NAME, owner="somebody"))
    world.pass_(type(stale)(raw=stale.raw, instance=stale.instance, foreign={}, revisions=stale.revisions))
    assert len(world.failures) == 1
    assert world.condition("FailedScale")["status"] == "True"
    assert ("Warning", "FailedCreate") in world.events


def test_deletion_never_hits_a_successor_of_the_same_name() -> None:
    # RIN-10: uid precondition
    world = World(role_type="PodTemplate")
    world.to_rest()
    world.fail_pod(NAME)
    stale = world.observe()
    world.gone("Pod", NAME)
    successor = world.put(pod(NAME, uid="new"))
    world.pass_(stale)
    assert world.store["Pod", NAME]["metadata"]["uid"] == successor["metadata"]["uid"] == "new"
    assert "deletionTimestamp" not in world.store["Pod", NAME]["metadata"]


def test_failed_create_is_reported_once_and_cleared_later() -> None:
    # RIN-4, STA-5
    quota = True
    world = World(component(size=2), fail=lambda w: quota and isinstance(w, Create) and w.obj["kind"] == "Pod")
    world.pass_()
    world.pass_()
    assert world.condition("FailedScale")["status"] == "True"
    assert world.condition("FailedScale")["message"]
    assert not [w for w in world.pass_() if isinstance(w, MergePatch)]
    quota = False
    world.to_rest()
    cleared = world.condition("FailedScale")
    assert cleared["status"] == "False"
    assert not cleared.get("message")


def test_slow_start_ends_after_the_first_batch_that_fails() -> None:
    # RIN-12, RIS-3
    world = World(component(size=8), fail=lambda w: isinstance(w, Create) and shown(w).endswith("web-1"))
    world.pass_()
    assert list(world.pods()) == [f"{NAME}-web-0", f"{NAME}-web-2"]


def test_pod_that_cannot_be_made_does_not_keep_the_others_from_serving() -> None:
    # RIN-4: an error that changed nothing leaves the update pass running
    world = World(component(size=2), fail=lambda w: isinstance(w, Create) and shown(w).endswith("web-1"))
    for _ in range(10):
        world.pass_()
        world.kubelet(f"{NAME}-web-0")
    gates = {c["type"]: c["status"] for c in world.store["Pod", f"{NAME}-web-0"]["status"]["conditions"]}
    assert gates["InPlaceUpdateReady"] == gates["InstancePodReady"] == gates["Ready"] == "True"


def test_failed_revision_stops_the_pass() -> None:
    world = World(fail=lambda w: isinstance(w, Create) and w.obj["kind"] == "ControllerRevision")
    assert world.pass_() == []
    assert len(world.failures) == 1


@pytest.mark.parametrize("field", ["command", "image"])
def test_changed_template_recreates_all_outdated_pods_at_once(field: str) -> None:
    # RIN-19, RIN-20: no event for these deletions; names stay
    world = World(component(size=3))
    world.to_rest()
    before = {n: p["metadata"]["uid"] for n, p in world.pods().items()}
    world.events.clear()

    def change(raw: RawObject) -> None:
        raw["spec"]["components"][0]["template"]["spec"]["containers"][0][field] = "x" if field == "image" else ["x"]

    world.set("RoleInstance", NAME, change)
    assert kinds(world.pass_()) == ["create ControllerRevision", *["delete Pod"] * 3]
    assert world.events == []
    world.to_rest()
    after = {n: p["metadata"]["uid"] for n, p in world.pods().items()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert world.status["currentRevision"] == world.status["updateRevision"]


def test_component_that_did_not_change_only_gets_the_new_label() -> None:
    # IPP-8: its gate closes first, then the label; afterwards it opens again (RDY improvement)
    world = World(component("a"), component("b"))
    world.to_rest()
    kept = world.store["Pod", f"{NAME}-b-0"]["metadata"]["uid"]

    def change(raw: RawObject) -> None:
        raw["spec"]["components"][0]["template"]["spec"]["containers"][0]["command"] = ["x"]

    world.set("RoleInstance", NAME, change)
    written = world.pass_()
    of_b = [w for w in written if shown(w).endswith("-b-0")]
    assert [shown(w) for w in of_b] == [f"patch Pod/status {NAME}-b-0", f"patch Pod {NAME}-b-0"]
    assert isinstance(of_b[0], StrategicPatch)
    closed = of_b[0].patch["status"]["conditions"]
    assert [(c["type"], c["status"], c["reason"]) for c in closed] == [
        ("InstancePodReady", "False", "StartInstanceUpdate")
    ]
    assert ("Normal", "SuccessfulUpdatePodInPlace") in world.events
    world.to_rest()
    b = world.store["Pod", f"{NAME}-b-0"]
    assert b["metadata"]["uid"] == kept
    gate = next(c for c in b["status"]["conditions"] if c["type"] == "InstancePodReady")
    assert gate["status"] == "True"
    assert "reason" not in gate


def test_pod_of_an_unknown_revision_is_replaced_with_a_warning() -> None:
    # RIN-20
    world = World(role_type="PodTemplate")
    world.to_rest()
    world.set("Pod", NAME, lambda p: p["metadata"]["labels"].update({labels.CONTROLLER_REVISION_HASH: "lost"}))
    assert [shown(w) for w in world.pass_()] == [f"delete Pod {NAME}"]
    assert ("Warning", "RevisionNotFound") in world.events


def test_pods_of_a_removed_component_go_with_the_update() -> None:
    # RIN-9, RIN-20
    world = World(component("a"), component("b"))
    world.to_rest()
    world.set("RoleInstance", NAME, lambda raw: raw["spec"]["components"].pop())
    world.to_rest()
    assert list(world.pods()) == [f"{NAME}-a-0"]
    assert [c["name"] for c in world.status["componentStatuses"]] == ["a"]


def test_moved_to_another_service_means_another_pod() -> None:
    # RIN-20
    world = World(component(serviceName="s-a"))
    world.to_rest()
    world.set("RoleInstance", NAME, lambda raw: raw["spec"]["components"][0].update(serviceName="s-b"))
    world.to_rest()
    assert world.store["Pod", f"{NAME}-web-0"]["spec"]["subdomain"] == "s-b"


def test_two_components_of_one_name_are_refused() -> None:
    # RIN-8, RIN-4: nothing is created, deleted or updated; the failed pod stays
    world = World(component("a", 2))
    world.to_rest()
    world.fail_pod(f"{NAME}-a-0")
    world.set("RoleInstance", NAME, lambda raw: raw["spec"]["components"].append(component("a")))
    written = [w for _ in range(3) for w in world.pass_()]
    assert not [w for w in written if shown(w).split()[1] == "Pod"]
    assert len(world.failures) == 1
    assert "'a'" in world.condition("FailedScale")["message"]
    assert world.pass_() == []


def test_in_place_phase_holds_all_pods_back_until_the_set_ends_it() -> None:
    # RDY-4, RDY-5, STA-3
    world = World(component(size=2), spec={"readinessGates": [{"conditionType": GATE}]})
    world.to_rest()
    assert world.condition("RoleInstanceReady")["reason"] == "InplaceUpdateNotReady"
    assert world.status["componentStatuses"][0]["updatedReplicas"] == 2
    assert {_gate(p, "InstancePodReady") for p in world.pods().values()} == {"False"}

    def opened(raw: RawObject) -> None:
        raw["status"]["conditions"].append({"type": GATE, "status": "True"})

    world.set("RoleInstance", NAME, opened)
    world.to_rest()
    assert world.condition("RoleInstanceReady")["status"] == "True"
    assert world.condition(GATE) == {"type": GATE, "status": "True"}


def test_old_revisions_go_when_more_than_five_are_unused() -> None:
    # REV-9
    world = World(role_type="PodTemplate")
    for tag in range(9):

        def change(raw: RawObject, image: str = f"web:{tag}") -> None:
            raw["spec"]["components"][0]["template"]["spec"]["containers"][0]["image"] = image

        world.set("RoleInstance", NAME, change)
        world.to_rest()
    revisions = [o for (kind, _), o in world.store.items() if kind == "ControllerRevision"]
    assert len(revisions) == 6
    assert world.status["updateRevision"] in {r["metadata"]["name"] for r in revisions}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"metadata": {"annotations": {annotations.ROLE_INSTANCE_GANG_SCHEDULING: "true"}}}, "gang"),
        ({"metadata": {"annotations": {annotations.ROLE_INPLACE_SCHEDULING: "Preferred"}}}, "in-place scheduling"),
        ({"component": {"annotations": {annotations.COMPONENT_DEPENDS_ON: '{"startAfter":["x"]}'}}}, "ordering"),
        ({"template": {annotations.COMPONENT_DISCOVERY: "{}"}}, "discovery"),
        ({"template": {annotations.PORT_ALLOCATOR: "{}"}}, "port"),
    ],
)
def test_what_is_not_supported_yet_is_said_once(change: dict[str, Any], named: str) -> None:
    main = component(**change.get("component", {}))
    main["template"]["metadata"] = {"annotations": change.get("template", {})}
    more = {k: copy.deepcopy(v) for k, v in change.items() if k in {"metadata", "spec"}}
    if "metadata" in more:
        more["metadata"]["labels"] = {labels.ROLE_TYPE: "Components"}
    world = World(main, **more)
    world.to_rest()
    warnings = [e for e in world.events if e[0] == "Warning"]
    assert warnings == [("Warning", "UnsupportedFeature")]
    said = [w.on_success.message for w in world.log if w.on_success and w.on_success.reason == "UnsupportedFeature"]
    assert named in said[0]
    assert world.condition("RoleInstanceReady")["status"] == "True"


def _gate(found: RawObject, type_: str) -> str:
    return next((c["status"] for c in found["status"]["conditions"] if c["type"] == type_), "")
