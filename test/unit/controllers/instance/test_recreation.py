"""The restart policy at work: all pods of an instance made anew, told in its status, never twice for one crash."""

import dataclasses
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.controllers.instance.world import NAME, World, _Run, component

from rbgctl.api import annotations
from rbgctl.api.v1alpha2.defaults import instance_restart_policy
from rbgctl.controllers.instance.observed import Observed
from rbgctl.controllers.instance.plan import plan
from rbgctl.controllers.instance.restart_policy import Recreation, Tracking, in_force, needs_live_read
from rbgctl.controllers.instance.status import baselines_of
from rbgctl.machinery.gvk import RawObject
from rbgctl.machinery.plan import Delete, MergePatch, SingleWrite

RECREATE = {"restartPolicyConfig": {"type": "RecreateRoleInstanceOnPodRestart", "baseDelaySeconds": 90}}
LEADER, WORKER = f"{NAME}-leader-0", f"{NAME}-worker-0"


class Recreating(World):
    """A world whose controller keeps recreations in mind, as observe.py does."""

    def __init__(self, *components: RawObject, **more: Any) -> None:
        super().__init__(*(components or (component("leader"), component("worker"))), spec=RECREATE, **more)
        self.memory: Recreation | None = None
        self.told: list[str] = []
        self.next_look: float | None = None

    def observe(self) -> Observed:
        seen = super().observe()
        stored = Tracking.of(seen.instance.status)
        if self.memory is not None and self.memory.over(seen.instance.metadata.uid, stored, seen.pods, self.now):
            self.memory = None
        baselines = in_force(baselines_of(seen.instance.status), seen.pods)
        live = stored if needs_live_read(instance_restart_policy(seen.instance.spec), seen.pods, baselines) else None
        return dataclasses.replace(seen, live=live, recreation=self.memory)

    def remember(self, recreation: Recreation) -> None:
        self.memory = recreation

    def pass_(self, observed: Observed | None = None) -> list[SingleWrite]:
        self.dirty = False
        before = len(self.log)
        planned = plan(observed or self.observe(), self.now, self.remember)
        run = _Run(self)
        run.steps(planned.steps)
        assert planned.finally_ is not None
        run.steps(planned.finally_(tuple(run.errors)))
        self.failures = [*run.errors, *([planned.failure] if planned.failure else [])]
        self.next_look = planned.requeue_after
        self.dirty = self.dirty or bool(self.failures)
        return self.log[before:]

    def containers(self, name: str, restarts: int, image_id: str = "i1", **more: Any) -> None:
        """What the kubelet reports of the only container of a pod."""
        status = {"name": "main", "restartCount": restarts, "imageID": image_id, **more}
        self.set("Pod", name, lambda p: p["status"].update(containerStatuses=[status]))

    def uids(self) -> dict[str, str]:
        return {name: p["metadata"]["uid"] for name, p in self.pods().items()}

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.dirty = True

    def reasons(self, kind: str = "Normal") -> list[str]:
        return [reason for type_, reason in self.events if type_ == kind]

    def ready(self) -> bool:
        return bool(self.condition("RoleInstanceReady").get("status") == "True")


def served(**more: Any) -> Recreating:
    world = Recreating(**more)
    world.to_rest()
    assert world.ready()
    return world


def deleted(done: list[SingleWrite]) -> list[str]:
    return [w.key.name for w in done if isinstance(w, Delete) and w.gvk.kind == "Pod"]


def test_one_failed_pod_takes_all_pods_of_the_instance_with_it() -> None:  # RST-1, RST-9, RST-10
    world = served()
    before = world.uids()
    world.fail_pod(WORKER)
    done = world.pass_()
    assert deleted(done) == [LEADER, WORKER]
    assert world.condition("Restarting") | {"lastTransitionTime": ""} == {
        "type": "Restarting",
        "status": "True",
        "reason": "RestartPolicyTriggered",
        "message": "Instance is being recreated due to restart policy",
        "lastTransitionTime": "",
    }
    assert not world.ready(), "in the same write, or the next look would see an instance that serves and crashed"
    assert world.status["restartCount"] == 1
    world.to_rest()
    after = world.uids()
    assert sorted(after) == sorted(before)
    assert not set(after.values()) & set(before.values())
    assert world.ready()
    assert world.condition("Restarting") == {}  # STA-5
    assert world.reasons().count("ReCreateInstance") == 1


def test_a_restarted_container_does_the_same_although_its_pod_is_ready_again() -> None:  # RST-1
    world = served()
    before = world.uids()
    world.containers(LEADER, 1)
    world.to_rest()
    assert not set(world.uids().values()) & set(before.values())
    assert world.status["restartCount"] == 1


def test_restarts_before_the_first_ready_are_remembered_and_not_held_against_it() -> None:  # RST-1, RST-2, D7
    world = Recreating()
    world.pass_()
    world.pass_()
    world.containers(LEADER, 3)
    before = world.uids()
    world.to_rest()
    assert world.ready()
    assert world.uids() == before
    assert world.status["inPlaceUpdateContainerBaselines"] == {LEADER: {"main": {"restartCount": 3, "imageID": "i1"}}}
    assert world.status["restartCount"] == 0
    world.containers(LEADER, 4)
    world.to_rest()
    assert not set(world.uids().values()) & set(before.values())


def test_a_crash_while_not_ready_counts_once_the_instance_has_served() -> None:  # RST-1
    """Only restarts before the first Ready are excused, not those behind any later loss of Ready."""
    world = served()
    before = world.uids()
    world.conditions(LEADER, ContainersReady="False", Ready="False")
    world.pass_()
    world.pass_()
    assert not world.ready()
    world.containers(LEADER, 1)
    world.to_rest()
    assert not set(world.uids().values()) & set(before.values())


def test_the_next_crash_waits_and_nothing_is_touched_meanwhile() -> None:  # RST-5, RST-8, RST-11
    world = served()
    world.fail_pod(WORKER)
    world.to_rest()
    begun = world.status["lastRestartTime"]
    before = world.uids()
    world.fail_pod(LEADER)
    world.to_rest()
    assert world.uids() == before
    assert world.next_look is not None
    assert 0 < world.next_look <= 90
    world.wait(world.next_look - 2)
    assert deleted(world.pass_()) == []
    world.wait(3)
    world.to_rest()
    assert not set(world.uids().values()) & set(before.values())
    assert world.status["restartCount"] == 2
    assert world.status["lastRestartTime"] > begun


def test_the_count_starts_again_after_the_stable_period() -> None:  # RST-7, RST-10
    world = served()
    for _ in range(2):
        world.fail_pod(WORKER)
        world.to_rest()
        world.wait(1300)
        world.to_rest()
    assert world.status["restartCount"] == 1


def test_a_changed_template_ends_the_wait() -> None:  # RST-5, the walk-through W8
    world = served()
    world.fail_pod(WORKER)
    world.to_rest()
    world.fail_pod(LEADER)
    world.to_rest()

    def change(raw: RawObject) -> None:
        for each in raw["spec"]["components"]:
            each["template"]["spec"]["containers"][0]["image"] = "web:2"

    world.set("RoleInstance", NAME, change)
    world.to_rest()
    assert world.ready()
    assert {p["spec"]["containers"][0]["image"] for p in world.pods().values()} == {"web:2"}
    assert world.status["restartCount"] == 1


def test_when_no_pod_can_be_deleted_nothing_is_stored_and_the_next_pass_tries_again() -> None:  # RST-9, D22
    world = served()
    world.fail_pod(WORKER)
    world.fail = lambda w: isinstance(w, Delete)
    world.pass_()
    assert world.condition("Restarting") == {}
    assert world.status["restartCount"] == 0
    assert "ReCreateInstance" not in world.reasons()
    world.fail = lambda _: False
    assert deleted(world.pass_()) == [LEADER, WORKER]
    assert world.status["restartCount"] == 1


def test_what_one_pass_cannot_delete_the_next_one_does() -> None:  # RST-9
    world = served()
    before = world.uids()
    world.containers(WORKER, 1)
    world.fail = lambda w: isinstance(w, Delete) and w.key.name == LEADER
    world.pass_()
    assert world.condition("Restarting")["status"] == "True"
    world.fail = lambda _: False
    world.to_rest()
    assert not set(world.uids().values()) & set(before.values())
    assert world.status["restartCount"] == 1
    assert world.reasons().count("ReCreateInstance") == 1


def test_a_lost_status_write_is_made_up_for() -> None:  # RST-9, RST-12
    world = served()
    world.fail_pod(WORKER)
    world.fail = lambda w: isinstance(w, MergePatch)
    world.pass_()
    assert world.status["restartCount"] == 0
    world.fail = lambda _: False
    world.to_rest()
    assert world.status["restartCount"] == 1
    assert world.reasons().count("ReCreateInstance") == 1
    assert world.ready()


def test_a_restarted_manager_does_not_recreate_again() -> None:  # RST-9
    world = served()
    world.fail_pod(WORKER)
    world.pass_()
    world.memory = None
    world.to_rest()
    assert world.status["restartCount"] == 1


def test_an_ignored_pod_is_replaced_alone() -> None:  # RST-13
    ignored = component("leader")
    ignored["template"]["metadata"] = {"annotations": {annotations.RESTART_TRIGGER_POLICY: "Ignore"}}
    world = Recreating(ignored, component("worker"))
    world.to_rest()
    before = world.uids()
    world.fail_pod(LEADER)
    world.to_rest()
    assert world.uids()[WORKER] == before[WORKER]
    assert world.uids()[LEADER] != before[LEADER]
    assert world.status["restartCount"] == 0


def test_fractions_of_a_second_do_not_keep_a_recreation_in_mind() -> None:  # RST-9
    world = served()
    world.now += timedelta(milliseconds=700)
    world.fail_pod(WORKER)
    world.to_rest()
    assert world.observe().recreation is None
    assert world.memory is None


def test_baselines_of_pods_that_are_no_more_go_once_the_instance_is_complete() -> None:  # RST-4, STA-2
    gone = {"main": {"restartCount": 1, "imageID": "i0"}}
    stays = {"main": {"restartCount": 0, "imageID": "i0"}}
    world = Recreating(status={"inPlaceUpdateContainerBaselines": {"gone": gone, LEADER: stays}})
    world.pass_()
    world.pass_()
    assert set(world.status["inPlaceUpdateContainerBaselines"]) == {"gone", LEADER}
    world.to_rest()
    assert world.status["inPlaceUpdateContainerBaselines"] == {LEADER: stays}


def test_an_instance_taken_over_while_it_serves_is_not_excused_for_its_restarts() -> None:  # RST-1, D7
    ignored = component("leader")
    ignored["template"]["metadata"] = {"annotations": {annotations.RESTART_TRIGGER_POLICY: "Ignore"}}
    world = Recreating(ignored, component("worker"))
    world.to_rest()
    world.set("RoleInstance", NAME, lambda raw: raw["status"].pop("restartCount"))
    world.containers(LEADER, 2)
    world.to_rest()
    assert world.status["restartCount"] == 0
    assert "inPlaceUpdateContainerBaselines" not in world.status


def test_without_the_policy_the_status_keeps_no_count() -> None:  # RST-1
    world = World()
    world.to_rest()
    assert not {"restartCount", "lastRestartTime", "inPlaceUpdateContainerBaselines"} & set(world.status)


def test_a_restart_begun_by_another_operator_ends_when_the_instance_serves() -> None:  # STA-5
    restarting = {"type": "Restarting", "status": "True", "reason": "RestartPolicyTriggered"}
    world = World(status={"conditions": [restarting]})
    world.to_rest()
    assert world.condition("Restarting") == {}


def test_the_event_says_what_crashed() -> None:  # RST-1
    world = served()
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    world.containers(LEADER, 1, lastState=ended)
    done = world.pass_()
    said = [w.on_success.message for w in done if w.on_success and w.on_success.reason == "ReCreateInstance"]
    assert said == [
        f"recreating all pods of the instance: container main of pod {LEADER} restarted: "
        "container main ended with exit code 137 (OOMKilled)"
    ]


ACTIONS = st.tuples(
    st.sampled_from(["pass", "kubelet", "kubelet", "fail", "crash", "break API", "mend API", "lose memory", "wait"]),
    st.integers(0, 3),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=40))
def test_every_history_of_crashes_ends_serving_with_at_most_one_recreation_per_crash(
    actions: list[tuple[str, int]],
) -> None:  # RST-5, RST-9, RST-11
    world = Recreating()
    crashes = 0
    for what, value in actions:
        names = list(world.pods())
        name = names[value % len(names)] if names else ""
        match what:
            case "pass":
                world.pass_()
            case "break API":
                world.fail = lambda w, n=value: hash((type(w).__name__, n)) % 2 == 0
            case "mend API":
                world.fail = lambda _: False
            case "lose memory":
                world.memory = None
            case "wait":
                world.wait(value * 60)
            case _ if not name:
                continue
            case "kubelet":
                world.kubelet(name)
            case "fail":
                world.fail_pod(name)
                crashes += 1
            case "crash":
                old = (world.pods()[name]["status"].get("containerStatuses") or [{"restartCount": 0}])[0]
                world.containers(name, old["restartCount"] + 1)
                crashes += 1
    world.fail = lambda _: False
    for _ in range(10):
        world.to_rest()
        if world.next_look is None:
            break
        world.wait(world.next_look + 1)
    assert sorted(world.pods()) == [LEADER, WORKER]
    assert world.ready()
    assert world.condition("Restarting") == {}
    assert world.status["restartCount"] <= crashes
    assert world.reasons().count("ReCreateInstance") <= crashes
