"""What one pass, and a few passes in a row, do to a stateful set."""

import pytest
from unit.controllers.instanceset.world import GATE, NAME, World, created, deleted, patched, replaced, template

from rbgctl.api import annotations, conditions, labels
from rbgctl.api.kinds import ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.controllers.instanceset.plan import plan
from rbgctl.machinery.plan import Create, Together, writes

MANAGER = "instanceset-manager"


def rested(**kwargs) -> World:
    world = World(**kwargs)
    world.settle()
    return world


class TestCreation:
    def test_first_pass_makes_the_revision_then_all_instances_then_one_status(self):
        """SFM-9, SFM-21: 1 + 3 + 1 writes, and the status already counts what was just created"""
        world = World(replicas=3)
        done = world.pass_()
        assert [type(w).__name__ for w in done] == ["Create"] * 4 + ["MergePatch"]
        assert created(done, "ControllerRevision") == [world.status["updateRevision"]]
        assert created(done) == [f"{NAME}-{o}" for o in range(3)]
        assert (world.status["replicas"], world.status["readyReplicas"]) == (3, 0)
        assert world.events == [("Normal", "SuccessfulCreate")] * 3
        world.passes()
        assert world.last is not None
        assert not writes(world.last.steps)

    def test_every_write_names_its_manager_and_creations_start_slowly(self):
        """04 §16, RIS-3"""
        world = World(replicas=3)
        steps = world.plan().steps
        assert {w.field_manager for w in world.pass_()} == {MANAGER}
        assert [s.slow_start for s in steps if isinstance(s, Together)] == [1]

    def test_each_instance_carries_its_own_ordinal(self):
        """SFM-10, defect D1"""
        world = World(replicas=3)
        world.pass_()
        for ordinal in range(3):
            instance = world.instances()[f"{NAME}-{ordinal}"]
            own = {labels.ROLE_INSTANCE_INDEX: str(ordinal), labels.STATEFULSET_POD_NAME: f"{NAME}-{ordinal}"}
            pod = instance["spec"]["components"][0]["template"]["metadata"]["labels"]
            assert pod == own
            assert own.items() <= instance["metadata"]["labels"].items()

    def test_instance_takes_over_labels_and_the_listed_annotations_only(self):
        """RIS-1, SFM-10"""
        world = World(replicas=1)
        copied = {
            annotations.ROLE_INSTANCE_GANG_SCHEDULING: "true",
            annotations.ROLE_INPLACE_SCHEDULING: "Preferred",
            annotations.ROLE_INPLACE_SCHEDULING_GRANULARITY: "Pod",
            annotations.ROLE_INPLACE_SCHEDULING_AVOID: "a",
            annotations.INPLACE_UPDATE_GRACE_PERIOD_SECONDS: "5",
        }
        world.change("RoleInstanceSet", NAME, {"metadata": {"annotations": {**copied, "other": "x"}}})
        world.pass_()
        meta = world.instances()[f"{NAME}-0"]["metadata"]
        assert meta["annotations"] == copied
        assert world.raw["metadata"]["labels"].items() <= meta["labels"].items()
        assert meta["labels"][labels.CONTROLLER_REVISION_HASH] == world.status["updateRevision"]
        assert "finalizers" not in meta
        assert "generateName" not in meta
        owner = meta["ownerReferences"][0]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (
            world.raw["metadata"]["uid"],
            True,
            True,
        )

    def test_replicas_absent_means_one(self):
        """RIS-9"""
        assert rested(replicas=None).ordinals() == [0]

    def test_ordered_ready_creates_the_next_when_the_last_is_ready(self):
        """SFM-9"""
        world = World(replicas=3, parallel=False)
        world.passes()
        assert world.ordinals() == [0]
        assert world.status["replicas"] == 1  # STA-10
        world.make_ready()
        world.passes()
        assert world.ordinals() == [0, 1]

    def test_instance_of_that_name_is_as_good_as_created_when_it_is_ours(self):
        """SFM-9"""
        world = World(replicas=1)
        create = next(
            w for w in writes(world.plan().steps) if isinstance(w, Create) and w.obj["kind"] == "RoleInstance"
        )
        assert create.accept_existing is not None
        assert create.accept_existing(create.obj)
        foreign = {**create.obj["metadata"]["ownerReferences"][0], "uid": "another"}
        assert not create.accept_existing({"metadata": {"ownerReferences": [foreign]}})
        assert not create.accept_existing({"metadata": {}})

    def test_refused_creation_is_told_and_counted_as_not_made(self):
        """SFM-9, SFM-21"""
        world = World(replicas=2)
        world.pass_()
        world.fail = lambda w: isinstance(w, Create)
        world.edit(replicas=3)
        world.pass_()
        assert ("Warning", "FailedCreate") in world.events
        assert (world.status["replicas"], world.status["observedGeneration"]) == (2, 2)

    def test_status_never_names_a_revision_that_could_not_be_made(self):
        """REV-7"""
        world = rested(replicas=1)
        world.fail = lambda w: isinstance(w, Create) and w.obj["kind"] == "ControllerRevision"
        before = world.status
        world.edit_image("web:2")
        world.pass_()
        assert world.status == before


class TestScaling:
    def test_scale_down_removes_the_highest_ordinals(self):
        """SFM-9, SFM-19"""
        world = rested(replicas=4)
        uids = world.uids()
        world.edit(replicas=2)
        assert deleted(world.pass_()) == [f"{NAME}-3", f"{NAME}-2"]
        assert world.uids() == {o: uids[o] for o in (0, 1)}
        assert (world.status["replicas"], world.status["readyReplicas"]) == (2, 2)
        assert world.events[-2:] == [("Normal", "SuccessfulDelete")] * 2

    def test_terminating_instances_are_not_counted(self):
        """STA-10"""
        world = rested(replicas=2)
        world.change("RoleInstance", f"{NAME}-1", {"metadata": {"finalizers": ["keep/me"]}})
        world.delete("RoleInstance", f"{NAME}-1")
        assert deleted(world.pass_()) == []
        assert (world.status["replicas"], world.status["readyReplicas"], world.status["updatedReplicas"]) == (1, 1, 1)

    def test_deletions_name_the_uid_that_was_seen(self):
        world = rested(replicas=2)
        world.edit(replicas=1)
        (delete,) = [w for w in world.pass_() if w.__class__.__name__ == "Delete"]
        assert delete.uid


class TestRecreation:
    def test_one_at_a_time_from_the_top_with_max_unavailable_one(self):
        """SFM-14, SFM-15, SFM-16"""
        world = rested(replicas=3)
        world.edit_image("web:2")
        assert deleted(world.pass_()) == [f"{NAME}-2"]
        assert created(world.pass_()) == [f"{NAME}-2"]
        world.passes()
        assert world.images() == {0: "web:1", 1: "web:1", 2: "web:2"}
        world.make_ready()
        assert deleted(world.pass_()) == [f"{NAME}-1"]

    def test_current_revision_advances_one_pass_after_all_are_updated(self):
        """SFM-18"""
        world = rested(replicas=1)
        old = world.status["currentRevision"]
        world.edit_image("web:2")
        world.passes()
        world.make_ready()
        assert world.status["updatedReadyReplicas"] == 0
        world.pass_()
        new = world.status["updateRevision"]
        assert (world.status["currentRevision"], world.status["currentReplicas"]) == (new, 1)
        assert new != old

    def test_current_revision_waits_for_the_stored_status_to_say_that_all_are_updated(self):
        """SFM-18"""
        world = rested(replicas=1)
        old = world.status["currentRevision"]
        world.edit_image("web:2")
        world.passes()
        world.make_ready()
        world.change("RoleInstanceSet", NAME, {"status": {"updatedReplicas": 0}}, subresource="status")
        world.pass_()
        assert world.status["currentRevision"] == old
        world.pass_()
        assert world.status["currentRevision"] != old

    def test_partition_keeps_low_ordinals_and_the_current_revision(self):
        """SFM-14, SFM-18, 04 §17.4"""
        world = rested(replicas=4, strategy={"partition": 2, "maxUnavailable": 2})
        old = world.status["currentRevision"]
        world.edit_image("web:2")
        world.settle()
        assert world.images() == {0: "web:1", 1: "web:1", 2: "web:2", 3: "web:2"}
        status = world.status
        assert (status["currentRevision"], status["currentReplicas"], status["updatedReplicas"]) == (old, 2, 2)
        assert status["expectedUpdatedReplicas"] == 2
        world.edit(updateStrategy={"partition": 0})
        world.settle()
        assert set(world.images().values()) == {"web:2"}
        assert world.status["currentRevision"] == world.status["updateRevision"]
        assert {i["metadata"]["labels"][labels.CONTROLLER_REVISION_HASH] for i in world.instances().values()} == {
            world.status["updateRevision"]
        }

    def test_missing_ordinals_come_back_at_the_revision_of_their_side_of_the_partition(self):
        """SFM-10"""
        world = rested(replicas=4, strategy={"partition": 2, "maxUnavailable": 2})
        world.edit_image("web:2")
        world.settle()
        world.delete("RoleInstance", f"{NAME}-1")
        world.delete("RoleInstance", f"{NAME}-3")
        world.settle()
        assert world.images() == {0: "web:1", 1: "web:1", 2: "web:2", 3: "web:2"}

    def test_surge_replaces_without_ever_serving_less(self):
        """SFM-3, SFM-12, 04 §17.1"""
        world = rested(replicas=3, strategy={"maxSurge": 2, "maxUnavailable": 0})
        uids = world.uids()
        world.edit_image("web:2")
        world.passes()
        assert world.ordinals() == [0, 1, 2, 3, 4]
        assert {o: u for o, u in world.uids().items() if o < 3} == uids
        world.run_to_rest(lambda names: names[-1], check=lambda: self.check_capacity(world))
        assert world.images() == {0: "web:2", 1: "web:2", 2: "web:2"}

    @staticmethod
    def check_capacity(world: World) -> None:
        assert sum(world.serving(o) for o in world.ordinals()) >= 3
        assert len(world.ordinals()) <= 5

    def test_paused_set_updates_nothing_but_refills_at_the_update_revision(self):
        """SFM-20"""
        world = rested(replicas=3)
        old = world.status["currentRevision"]
        world.edit(roleInstanceTemplate=template("web:2"), updateStrategy={"paused": True})
        world.settle()
        assert set(world.images().values()) == {"web:1"}
        world.delete("RoleInstance", f"{NAME}-1")
        world.settle()
        assert world.images() == {0: "web:1", 1: "web:2", 2: "web:1"}
        assert world.status["currentRevision"] == old
        world.edit(updateStrategy={"paused": False})
        world.settle()
        assert set(world.images().values()) == {"web:2"}

    def test_revert_in_the_middle_takes_back_what_was_updated_and_makes_no_new_revision(self):
        """SFM-21, REV-6, defect D2"""
        world = rested(replicas=3)
        first = world.status["updateRevision"]
        world.edit_image("web:2")
        world.passes()
        world.make_ready()
        world.passes()
        assert set(world.images().values()) == {"web:1", "web:2"}
        world.edit_image("web:1")
        world.settle()
        assert set(world.images().values()) == {"web:1"}
        assert world.status["updateRevision"] == world.status["currentRevision"] == first
        assert len(world.revisions()) == 2

    def test_broken_instance_is_replaced_when_its_ten_seconds_are_over_although_the_budget_is_used_up(self):
        """SFM-4, SFM-15: a broken template that gets repaired"""
        world = rested(replicas=3)
        world.healthy = lambda image: image != "web:broken"
        world.edit_image("web:broken")
        world.settle()
        assert world.images() == {0: "web:1", 1: "web:1", 2: "web:broken"}
        began = world.now
        world.edit_image("web:3")
        world.settle()
        assert set(world.images().values()) == {"web:3"}
        assert (world.now - began).total_seconds() == 10

    def test_freshly_unhealthy_instance_blocks_the_budget_only_for_its_ten_seconds(self):
        """SFM-4: nothing but the timer brings the next pass"""
        world = rested(replicas=2)
        world.healthy = lambda image: image != "web:1"
        world.break_(0)
        world.edit_image("web:2")
        world.passes()
        assert world.last is not None
        assert world.last.requeue_after == 10.0
        assert set(world.images().values()) == {"web:1"}
        world.settle()
        assert set(world.images().values()) == {"web:2"}

    def test_ordered_ready_gets_out_of_a_broken_revision(self):
        """SFM-21, defect D12"""
        world = rested(replicas=3, parallel=False)
        world.healthy = lambda image: image != "web:broken"
        world.edit_image("web:broken")
        world.settle()
        assert world.images()[2] == "web:broken"
        world.edit_image("web:3")
        world.settle()
        assert set(world.images().values()) == {"web:3"}

    def test_min_ready_seconds_hold_the_next_replacement_and_the_set_comes_back_for_it(self):
        """SFM-13, STA-10; waits of more than 300 s are kept too (SFM-21)"""
        world = rested(replicas=2, minReadySeconds=400)
        assert world.status["availableReplicas"] == 2
        world.edit_image("web:2")
        world.passes()
        world.make_ready()
        world.passes()
        assert (world.status["readyReplicas"], world.status["availableReplicas"]) == (2, 1)
        assert world.last is not None
        assert world.last.requeue_after == 400.0
        assert world.images() == {0: "web:1", 1: "web:2"}
        began = world.now
        world.settle()
        assert (world.now - began).total_seconds() == 800
        assert (world.status["availableReplicas"], world.images()) == (2, {0: "web:2", 1: "web:2"})

    def test_terminating_instance_is_waited_for(self):
        """SFM-15, SFM-16"""
        world = rested(replicas=2)
        world.change("RoleInstance", f"{NAME}-1", {"metadata": {"finalizers": ["keep/me"]}})
        world.edit_image("web:2")
        assert deleted(world.pass_()) == [f"{NAME}-1"]
        world.passes()
        assert world.images() == {0: "web:1", 1: "web:1"}
        world.change("RoleInstance", f"{NAME}-1", {"metadata": {"finalizers": None}})
        world.delete("RoleInstance", f"{NAME}-1")
        world.settle()
        assert world.images() == {0: "web:2", 1: "web:2"}


class TestInPlace:
    @pytest.fixture
    def world(self) -> World:
        return rested(replicas=2, strategy={"type": "InPlaceIfPossible"})

    def test_instance_stays_and_gets_the_new_template_with_its_own_identity(self, world):
        """IPI-1, IPI-5, defect D1"""
        uids = world.uids()
        world.edit_image("web:2")
        done = world.pass_()
        assert deleted(done) == []
        world.settle()
        assert (world.uids(), set(world.images().values())) == (uids, {"web:2"})
        for ordinal in range(2):
            instance = world.instances()[f"{NAME}-{ordinal}"]
            pod = instance["spec"]["components"][0]["template"]["metadata"]["labels"]
            assert pod[labels.ROLE_INSTANCE_INDEX] == str(ordinal)
            assert instance["metadata"]["labels"][labels.CONTROLLER_REVISION_HASH] == world.status["updateRevision"]

    def test_patch_carries_label_state_spec_and_gate_and_the_version_it_was_computed_from(self, world):
        """IPI-5, IPI-7"""
        rv = world.instances()[f"{NAME}-1"]["metadata"]["resourceVersion"]
        world.edit_image("web:2")
        (patch,) = patched(world.pass_(), ROLE_INSTANCE)
        revision = world.status["updateRevision"]
        assert patch.field_manager == MANAGER
        assert patch.patch["metadata"]["resourceVersion"] == rv
        assert patch.patch["metadata"]["labels"] == {labels.CONTROLLER_REVISION_HASH: revision}
        assert patch.patch["metadata"]["annotations"] == {
            annotations.INPLACE_UPDATE_STATE: (
                f'{{"revision":"{revision}","updateTimestamp":"2026-01-01T00:00:00Z","lastContainerStatuses":null}}'
            )
        }
        assert patch.patch["spec"]["readinessGates"] == [{"conditionType": GATE}]
        assert world.last is not None
        assert world.status["readyReplicas"] == 1  # what was patched is not observed yet

    def test_gate_opens_when_the_update_is_complete_and_closes_before_the_next(self, world):
        """IPI-3, IPI-4, IPI-5.1, IPI-6"""
        world.edit_image("web:2")
        world.settle()
        gate = self.condition(world, 1, GATE)
        assert (gate["status"], "reason" in gate, "message" in gate) == ("True", False, False)
        world.edit_image("web:3")
        done = [w for w in world.pass_() if getattr(w, "gvk", None) == ROLE_INSTANCE]
        assert [w.subresource for w in done] == ["status", ""]
        closing, update = done
        states = {c["type"]: (c["status"], c.get("reason")) for c in closing.patch["status"]["conditions"]}
        assert states[GATE] == ("False", conditions.START_IN_PLACE_UPDATE)
        assert states[conditions.INSTANCE_READY] == ("False", conditions.READINESS_GATES_NOT_READY)
        assert "resourceVersion" in closing.patch["metadata"]
        assert "resourceVersion" not in update.patch["metadata"]

    def test_gate_that_nobody_opened_is_opened_outside_rollouts_too(self, world):
        """SFM-8"""
        name = f"{NAME}-0"
        world.change("RoleInstance", name, {"spec": {"readinessGates": [{"conditionType": GATE}]}})
        world.settle()
        assert self.condition(world, 0, GATE)["status"] == "True"
        assert self.condition(world, 0, conditions.INSTANCE_READY)["status"] == "True"

    def test_change_that_pods_do_not_notice_needs_no_gate(self, world):
        """IPI-8"""
        world.edit(roleInstanceTemplate=template(restartPolicyConfig={"type": "None", "baseDelaySeconds": 5}))
        world.settle()
        for instance in world.instances().values():
            assert "readinessGates" not in instance["spec"]
            assert instance["spec"]["restartPolicyConfig"] == {"type": "None", "baseDelaySeconds": 5}
            assert instance["metadata"]["labels"][labels.CONTROLLER_REVISION_HASH] == world.status["updateRevision"]

    def test_gate_that_is_there_stays_when_pods_notice_nothing(self, world):
        """IPI-8"""
        world.edit_image("web:2")
        world.settle()
        world.edit(roleInstanceTemplate=template("web:2", restartPolicyConfig={"type": "None"}))
        done = world.pass_()
        assert patched(done, ROLE_INSTANCE, "status") == []
        world.settle()
        assert all(i["spec"]["readinessGates"] == [{"conditionType": GATE}] for i in world.instances().values())

    def test_fields_that_the_new_template_lacks_are_removed(self):
        """IPI-5.2: the spec is replaced, not merged"""
        world = World(replicas=1, strategy={"type": ""}, roleInstanceTemplate=template(restartPolicy="None"))
        world.settle()
        world.edit(roleInstanceTemplate=None)
        world.edit_image("web:2")
        world.settle()
        spec = world.instances()[f"{NAME}-0"]["spec"]
        assert ("restartPolicy" in spec, spec["readyPolicy"]) == (False, "AllPodReady")

    def test_changed_component_sizes_need_a_new_instance(self, world):
        """IPI-2"""
        world.edit(roleInstanceTemplate=template("web:1", size=2))
        assert deleted(world.pass_()) == [f"{NAME}-1"]

    def test_unknown_old_revision_needs_a_new_instance(self, world):
        """IPI-2, SFM-16"""
        patch = {"metadata": {"labels": {labels.CONTROLLER_REVISION_HASH: "gone"}}}
        world.change("RoleInstance", f"{NAME}-1", patch)
        assert deleted(world.pass_()) == [f"{NAME}-1"]

    @pytest.mark.parametrize("type_", ["", "InPlaceOnly", "Odd", "InPlaceIfPossible"])
    def test_only_recreate_pod_always_replaces_the_instance(self, type_):
        """IPI-2, SET-7, 04 §1.1"""
        world = rested(replicas=1, strategy={"type": type_})
        world.edit_image("web:2")
        assert deleted(world.pass_()) == []
        assert len(patched(world.pass_(), ROLE_INSTANCE)) == 0

    @pytest.mark.parametrize("type_", ["RecreatePod", "Recreate"])
    def test_recreate_pod_and_its_old_spelling_replace_the_instance(self, type_):
        """IPI-2, CV-14"""
        world = rested(replicas=1, strategy={"type": type_})
        world.edit_image("web:2")
        assert deleted(world.pass_()) == [f"{NAME}-0"]

    def test_next_instance_waits_until_the_pods_of_this_one_follow(self, world):
        """SFM-13, IPI-3"""
        world.edit_image("web:2")
        world.passes()
        assert world.images() == {0: "web:1", 1: "web:2"}
        world.instance_step(f"{NAME}-1")
        world.passes()
        assert world.images() == {0: "web:1", 1: "web:2"}

    def test_instance_that_is_updated_again_is_not_opened_in_the_same_pass(self, world):
        """SFM-11: one pass, one decision about the gate"""
        world.edit_image("web:2")
        world.passes()
        name = f"{NAME}-1"
        for _ in range(2):
            world.instance_step(name)  # complete, its gate still closed
        world.edit(roleInstanceTemplate=template("web:3"), updateStrategy={"maxUnavailable": 2})
        states = [
            {c["type"]: c["status"] for c in w.patch["status"]["conditions"]}[GATE]
            for w in patched(world.pass_(), ROLE_INSTANCE, "status")
            if w.key.name == name
        ]
        assert (states, world.failures) == (["False"], [])
        world.settle()
        assert set(world.images().values()) == {"web:3"}

    @staticmethod
    def condition(world: World, ordinal: int, type_: str) -> dict:
        found = world.instances()[f"{NAME}-{ordinal}"]["status"]["conditions"]
        return next(c for c in found if c["type"] == type_)


class TestMetadata:
    def test_listed_annotations_and_role_revision_follow_the_set_without_a_rollout(self):
        """RIS-1"""
        world = rested(replicas=2)
        uids, generations = world.uids(), [i["metadata"]["generation"] for i in world.instances().values()]
        key = annotations.INPLACE_UPDATE_GRACE_PERIOD_SECONDS
        world.change(
            "RoleInstanceSet",
            NAME,
            {
                "metadata": {
                    "annotations": {key: "30", "x": "y"},
                    "labels": {labels.role_revision("web"): "r2", "l": "m"},
                }
            },
        )
        world.settle()
        for instance in world.instances().values():
            assert instance["metadata"]["annotations"] == {key: "30"}
            assert instance["metadata"]["labels"][labels.role_revision("web")] == "r2"
            assert "l" not in instance["metadata"]["labels"]
        assert (world.uids(), [i["metadata"]["generation"] for i in world.instances().values()]) == (uids, generations)
        world.change("RoleInstanceSet", NAME, {"metadata": {"annotations": {key: None}}})
        world.settle()
        assert not any(i["metadata"].get("annotations") for i in world.instances().values())

    def test_instance_that_stays_behind_keeps_its_role_revision(self):
        """RIS-1"""
        world = rested(replicas=2, strategy={"partition": 1, "type": "InPlaceIfPossible"})
        world.change(
            "RoleInstanceSet",
            NAME,
            {
                "metadata": {"labels": {labels.role_revision("web"): "r2"}},
                "spec": {"roleInstanceTemplate": template("web:2")},
            },
        )
        world.settle()
        found = [i["metadata"]["labels"][labels.role_revision("web")] for _, i in sorted(world.instances().items())]
        assert found == ["r1", "r2"]


class TestStatus:
    def test_settled_set_writes_nothing_and_says_so_to_the_metric(self):
        """SFM-21"""
        world = rested(replicas=2)
        assert world.pass_() == []
        assert world.last is not None
        assert (world.last.avoided_writes, world.last.requeue_after) == (1, None)

    def test_only_what_changed_is_sent_with_the_version_it_was_computed_from(self):
        """SFM-21"""
        world = rested(replicas=2)
        meta = world.raw["metadata"]
        world.break_(1)
        (write,) = world.pass_()
        assert (write.gvk, write.subresource) == (ROLE_INSTANCE_SET, "status")
        assert write.patch == {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "status": {"readyReplicas": 1, "availableReplicas": 1, "updatedReadyReplicas": 1},
        }

    def test_conditions_of_others_survive(self):
        """SFM-5"""
        world = rested(replicas=1)
        theirs = [{"type": "Theirs", "status": "True"}]
        world.change("RoleInstanceSet", NAME, {"status": {"conditions": theirs}}, subresource="status")
        world.edit(replicas=2)
        world.settle()
        assert world.status["conditions"] == theirs

    def test_whole_status_of_a_settled_set(self):
        """SFM-5, SFM-17, SFM-23"""
        world = rested(replicas=2)
        revision = world.status["updateRevision"]
        assert world.status == {
            "observedGeneration": 1,
            "replicas": 2,
            "readyReplicas": 2,
            "availableReplicas": 2,
            "currentReplicas": 2,
            "updatedReplicas": 2,
            "updatedReadyReplicas": 2,
            "expectedUpdatedReplicas": 2,
            "currentRevision": revision,
            "updateRevision": revision,
            "collisionCount": 0,
            "labelSelector": f"{labels.GROUP_NAME}=shop,{labels.ROLE_NAME}=web",
        }

    def test_scaled_to_zero_expects_nothing_updated(self):
        """SFM-5: zero is left out, as Go does"""
        world = rested(replicas=1)
        world.edit(replicas=0)
        world.settle()
        assert "expectedUpdatedReplicas" not in world.status
        assert world.status["replicas"] == 0


class TestClaims:
    def orphan(self, world: World, name: str) -> None:
        world.change("RoleInstance", name, {"metadata": {"ownerReferences": None}})

    def test_member_without_a_controller_is_adopted_by_merge_patch(self):
        """SFM-2, defect D8"""
        world = rested(replicas=2)
        uids = world.uids()
        self.orphan(world, f"{NAME}-1")
        (patch,) = world.pass_()
        assert set(patch.patch["metadata"]) == {"uid", "resourceVersion", "ownerReferences"}
        world.settle()
        assert world.uids() == uids
        owners = world.instances()[f"{NAME}-1"]["metadata"]["ownerReferences"]
        assert [o["uid"] for o in owners] == [world.raw["metadata"]["uid"]]

    def test_nothing_is_adopted_unless_a_live_read_confirmed_the_set(self):
        """SFM-2"""
        world = rested(replicas=2)
        self.orphan(world, f"{NAME}-1")
        steps = plan(replaced(world, confirmed=False), world.now).steps
        assert patched(writes(steps), ROLE_INSTANCE) == []

    def test_terminating_orphan_is_not_adopted(self):
        """SFM-2"""
        world = rested(replicas=2)
        self.orphan(world, f"{NAME}-1")
        world.change("RoleInstance", f"{NAME}-1", {"metadata": {"finalizers": ["a/b"]}})
        world.delete("RoleInstance", f"{NAME}-1")
        assert patched(writes(world.plan().steps), ROLE_INSTANCE) == []

    @pytest.mark.parametrize(
        "name", ["other-0", f"{NAME}-x", f"{NAME}-01"], ids=["other set", "no ordinal", "not our way of writing 1"]
    )
    def test_only_names_of_this_set_are_adopted(self, name):
        """SFM-2"""
        world = rested(replicas=1)
        instance = world.instances()[f"{NAME}-0"]
        meta = {"name": name, "namespace": "ns", "labels": instance["metadata"]["labels"]}
        world.put({**instance, "metadata": meta})
        assert world.pass_() == []

    def test_instance_that_left_the_selector_is_released_and_stays(self):
        """SFM-2"""
        world = rested(replicas=2)
        world.change("RoleInstance", f"{NAME}-1", {"metadata": {"labels": {labels.ROLE_NAME: "mine"}}})
        (patch,) = world.pass_()
        assert patch.patch["metadata"]["ownerReferences"] == []
        assert f"{NAME}-1" in world.instances()

    def test_other_owners_stay_in_the_list(self):
        """SFM-2"""
        world = rested(replicas=1)
        also = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c-1"}
        mine = world.instances()[f"{NAME}-0"]["metadata"]["ownerReferences"]
        world.change("RoleInstance", f"{NAME}-0", {"metadata": {"ownerReferences": [also, *mine]}})
        world.change("RoleInstance", f"{NAME}-0", {"metadata": {"labels": {labels.ROLE_NAME: "mine"}}})
        (patch,) = world.pass_()
        assert patch.patch["metadata"]["ownerReferences"] == [also]

    def test_foreign_instances_are_nobodys_business(self):
        """SFM-2"""
        world = rested(replicas=1)
        theirs = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x-1", "controller": True}
        world.change("RoleInstance", f"{NAME}-0", {"metadata": {"ownerReferences": [theirs]}})
        world.pass_()
        assert ("Warning", "FailedCreate") in world.events
        assert world.instances()[f"{NAME}-0"]["metadata"]["ownerReferences"] == [theirs]

    def test_set_without_a_selector_knows_its_instances_by_their_controller(self):
        """REV-5, RIS-7"""
        world = World(replicas=2, selector=None)
        del world.raw["spec"]["selector"]
        world.settle()
        assert world.ordinals() == [0, 1]
        assert "labelSelector" not in world.status
        self.orphan(world, f"{NAME}-1")
        assert patched(writes(world.plan().steps), ROLE_INSTANCE) == []


class TestPattern:
    def test_instances_of_the_other_pattern_go_first_and_nothing_else_happens(self):
        """RIS-7, 04 §17.18"""
        world = rested(replicas=1)
        world.change("RoleInstance", f"{NAME}-0", {"metadata": {"labels": {labels.ROLE_INSTANCE_OWNER: "uid"}}})
        world.edit(replicas=2)
        done = world.pass_()
        assert (deleted(done), len(done)) == ([f"{NAME}-0"], 1)
        assert world.last is not None
        assert world.last.requeue
        world.settle()
        assert world.ordinals() == [0, 1]

    def test_terminating_strays_are_waited_for(self):
        """RIS-7"""
        world = rested(replicas=1)
        meta = {"labels": {labels.ROLE_INSTANCE_OWNER: "uid"}, "finalizers": ["a/b"]}
        world.change("RoleInstance", f"{NAME}-0", {"metadata": meta})
        world.delete("RoleInstance", f"{NAME}-0")
        world.edit(replicas=2)
        assert world.pass_() == []

    def test_strays_that_the_selector_does_not_match_are_not_deleted(self):
        """RIS-7"""
        world = rested(replicas=1)
        meta = {"labels": {labels.ROLE_INSTANCE_OWNER: "uid", labels.ROLE_NAME: "mine"}}
        world.change("RoleInstance", f"{NAME}-0", {"metadata": meta})
        assert deleted(world.pass_()) == []

    @pytest.mark.parametrize("pattern", ["Stateful", ""])
    def test_absent_pattern_is_stateful(self, pattern):
        """RIS-6"""
        world = World(replicas=1)
        world.change(
            "RoleInstanceSet", NAME, {"metadata": {"annotations": {annotations.ROLE_INSTANCE_PATTERN: pattern or None}}}
        )
        world.settle()
        assert world.ordinals() == [0]

    @pytest.mark.parametrize(
        ("pattern", "reason"), [("Sideways", "UnknownRoleInstancePattern"), ("Stateless", "FailedUpdate")]
    )
    def test_pattern_that_cannot_be_served_is_refused_by_name_and_touches_nothing(self, pattern, reason):
        """RIS-6"""
        world = rested(replicas=2)
        world.change(
            "RoleInstanceSet", NAME, {"metadata": {"annotations": {annotations.ROLE_INSTANCE_PATTERN: pattern}}}
        )
        planned = world.plan()
        assert world.pass_() == []
        (event,) = planned.events
        assert (event.type, event.reason) == ("Warning", reason)
        assert f"ns/{NAME}" in planned.refused
        assert pattern in planned.refused
        assert annotations.ROLE_INSTANCE_PATTERN in event.message


class TestRefusal:
    @pytest.mark.parametrize(
        ("spec", "named"),
        [
            ({"updateStrategy": {"maxSurge": "lots"}}, "spec.updateStrategy.maxSurge"),
            ({"selector": {"matchLabels": {"not a key!": "x"}}}, "spec.selector"),
            (
                {"roleInstanceTemplate": {"components": [{"name": "a", "template": {"spec": {"containers": "none"}}}]}},
                "spec.roleInstanceTemplate.components[0].template.spec.containers",
            ),
        ],
    )
    def test_spec_that_cannot_be_acted_on_is_refused_with_the_field_named(self, spec, named):
        """SFM-3, RIS-7"""
        world = rested(replicas=1)
        before = world.status
        world.edit(**spec)
        planned = world.plan()
        assert world.pass_() == []
        assert named in planned.refused
        assert named in planned.events[0].message
        assert world.status == before


class TestDeletion:
    def test_terminating_set_touches_no_child_and_no_status(self):
        """SFM-7, RIS-10"""
        world = rested(replicas=2)
        world.edit(replicas=4, roleInstanceTemplate=template("web:2"))
        world.break_(0)
        world.raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert world.pass_() == []


class TestHistory:
    def test_unused_revisions_beyond_the_limit_go_oldest_first(self):
        """REV-9"""
        world = rested(replicas=1, revisionHistoryLimit=1)
        names = [world.status["updateRevision"]]
        for image in ("web:2", "web:3", "web:4"):
            world.edit_image(image)
            world.settle()
            names.append(world.status["updateRevision"])
        assert [r["metadata"]["name"] for r in world.revisions()] == names[2:]

    def test_revisions_that_instances_still_follow_stay(self):
        """REV-9"""
        world = rested(replicas=2, revisionHistoryLimit=0, strategy={"paused": True})
        first = world.status["updateRevision"]
        for image in ("web:2", "web:3"):
            world.edit_image(image)
            world.settle()
        assert [r["metadata"]["name"] for r in world.revisions()] == [first, world.status["updateRevision"]]
