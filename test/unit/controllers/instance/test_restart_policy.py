"""When the restart policy recreates an instance, waits, or leaves it alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.controllers.instance.world import pod as raw_pod

from rbgctl.api.v1alpha2.restart_policy import RestartPolicy
from rbgctl.api.v1alpha2.roleinstance import RoleInstanceStatus
from rbgctl.controllers.instance.pods import Pod
from rbgctl.controllers.instance.restart_policy import (
    UNCAPPED,
    Decision,
    Facts,
    Tracking,
    backoff,
    crash,
    decide,
    delay,
    in_force,
    needs_live_read,
    recreated,
    restarts_so_far,
    stable_after,
    unexpected_restart,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECREATE = "RecreateRoleInstanceOnPodRestart"
POLICY = RestartPolicy(RECREATE)
NEVER = Tracking()


def ago(seconds: float, count: int = 1, *, restarting: bool = False) -> Tracking:
    return Tracking(count, NOW - timedelta(seconds=seconds), restarting)


def pod(name: str = "p", restarts: int = 0, image_id: str = "i1", **more: Any) -> Pod:
    status = {"name": "main", "restartCount": restarts, "imageID": image_id, **more.pop("container", {})}
    return Pod(raw_pod(name, status={"containerStatuses": [status], **more.pop("status", {})}, **more))


def facts(*pods: Pod, **more: Any) -> Facts:
    given = {"policy": POLICY, "tracking": NEVER, "served": True, "settled": True, "baselines": {}, **more}
    return Facts(pods=pods, **given)


@pytest.mark.parametrize(
    ("base", "limit", "count", "seconds"),
    [
        (30, 600, 1, 30),
        (30, 600, 2, 60),
        (30, 600, 3, 120),
        (30, 600, 4, 240),
        (30, 600, 5, 480),
        (30, 600, 6, 600),
        (30, 600, 60, 600),
        (10, 0, 5, 160),
        (10, 0, 60, UNCAPPED),
        (30, 600, 0, 0),
        (0, 600, 3, 0),
    ],
)
def test_delay_doubles_up_to_the_maximum(base: int, limit: int, count: int, seconds: int) -> None:  # RST-8
    assert delay(RestartPolicy(RECREATE, base, limit), count) == seconds


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**5))
def test_delay_never_shrinks_with_the_count_and_keeps_the_maximum(base: int, limit: int, count: int) -> None:  # RST-8
    policy = RestartPolicy(RECREATE, base, limit)
    assert 0 <= delay(policy, count) <= delay(policy, count + 1) <= (limit or UNCAPPED)


@pytest.mark.parametrize(
    ("count", "image_id", "baseline", "crashed"),
    [
        (1, "new", (0, "old"), False),
        (2, "new", (0, "old"), True),
        (1, "old", (0, "old"), True),
        (6, "new", (5, "old"), False),
        (7, "new", (5, "old"), True),
        (2, "new", (5, "old"), True),
        (5, "old", (5, "old"), False),
        (1, "new", None, True),
        (0, "new", None, False),
    ],
)
def test_restart_is_expected_only_where_an_update_explains_it(
    count: int, image_id: str, baseline: tuple[int, str] | None, crashed: bool
) -> None:  # RST-3, the vectors of the golden table
    stored = {"main": {"restartCount": baseline[0], "imageID": baseline[1]}} if baseline else {}
    assert unexpected_restart(pod(restarts=count, image_id=image_id), stored) == ("main" if crashed else "")


def test_one_container_with_an_unexplained_restart_is_enough() -> None:  # RST-3
    found = [{"name": "a", "restartCount": 1, "imageID": "n"}, {"name": "b", "restartCount": 1, "imageID": "n"}]
    both = Pod(raw_pod("p", status={"containerStatuses": found}))
    assert unexpected_restart(both, {"a": {"restartCount": 0, "imageID": "o"}}) == "b"


def test_restarts_of_init_containers_do_not_count() -> None:  # RST-3
    init = [{"name": "init", "restartCount": 3, "imageID": "i"}]
    assert crash([Pod(raw_pod("p", status={"initContainerStatuses": init}))], {}) == ""


def test_a_failed_pod_and_a_restarted_container_trigger() -> None:  # RST-1
    assert decide(facts(pod("a"), pod("b", phase="Failed")), NOW).recreate
    assert decide(facts(pod("a"), pod("b", restarts=1)), NOW).recreate
    assert decide(facts(pod("a"), pod("b")), NOW) == Decision()
    assert decide(facts(), NOW) == Decision()


def test_without_the_policy_nothing_triggers() -> None:  # RST-1
    for policy in ("", "None"):
        assert decide(facts(pod(phase="Failed"), policy=RestartPolicy(policy)), NOW) == Decision()


def test_a_succeeded_pod_does_not_trigger() -> None:  # RST-1
    assert decide(facts(pod(phase="Succeeded")), NOW) == Decision()


def test_nothing_triggers_before_the_instance_first_served() -> None:  # RST-2
    assert decide(facts(pod(restarts=3), served=False), NOW) == Decision()
    assert decide(facts(pod(phase="Failed"), served=False), NOW) == Decision()


def test_nothing_triggers_or_waits_while_the_spec_is_unseen_or_rolled_out() -> None:  # RST-2, RST-5
    assert decide(facts(pod(phase="Failed"), settled=False), NOW) == Decision()
    assert decide(facts(pod(phase="Failed"), settled=False, tracking=ago(1)), NOW) == Decision()


def test_after_a_recent_recreation_it_triggers_without_being_ready() -> None:  # RST-1, RST-7
    assert decide(facts(pod(phase="Failed"), served=False, tracking=ago(700)), NOW).recreate
    assert decide(facts(pod(phase="Failed"), served=False, tracking=ago(1200)), NOW).recreate
    assert not decide(facts(pod(phase="Failed"), served=False, tracking=ago(1201)), NOW).recreate


def test_terminating_pods_do_not_trigger() -> None:  # RST-1, D7
    assert crash([pod(restarts=2, deleted=True), pod(phase="Failed", deleted=True)], {}) == ""


def test_pods_that_say_ignore_do_not_trigger_and_only_the_exact_word_counts() -> None:  # RST-1
    def annotated(value: str) -> Pod:
        return pod(restarts=1, annotations={"rbg.workloads.x-k8s.io/restart-trigger-policy": value})

    assert crash([annotated("Ignore")], {}) == ""
    assert crash([annotated("ignore")], {})
    assert crash([annotated("Inherit")], {})


def test_a_pod_in_an_in_place_update_does_not_trigger() -> None:  # RST-1
    assert crash([pod(restarts=1, conditions={"InPlaceUpdateReady": "False"})], {}) == ""
    assert crash([pod(restarts=1, conditions={"InPlaceUpdateReady": "True"})], {})


def test_the_first_crash_is_answered_at_once_and_the_next_after_the_delay() -> None:  # RST-5, RST-11
    crashed = pod(phase="Failed")
    assert decide(facts(crashed), NOW).recreate
    assert decide(facts(crashed, tracking=ago(10, count=2)), NOW) == Decision(wait=50)
    assert decide(facts(crashed, tracking=ago(60, count=2)), NOW).recreate


def test_a_failed_pod_that_triggers_nothing_waits_for_the_delay_too() -> None:  # RST-5, RST-13
    ignored = pod(phase="Failed", annotations={"rbg.workloads.x-k8s.io/restart-trigger-policy": "Ignore"})
    assert decide(facts(ignored, tracking=ago(10)), NOW) == Decision(wait=20)
    assert decide(facts(ignored, tracking=ago(30)), NOW) == Decision()


def test_healthy_pods_never_wait() -> None:  # RST-5
    assert decide(facts(pod(), tracking=ago(1)), NOW) == Decision()


def test_both_delays_zero_turn_the_back_off_off() -> None:  # RST-5
    assert backoff(RestartPolicy(RECREATE, 0, 0), ago(0, count=9), NOW) == 0
    assert backoff(RestartPolicy(RECREATE, 30, 0), ago(0, count=1), NOW) == 30


def test_while_a_recreation_is_going_on_no_other_begins_and_nothing_waits() -> None:  # RST-9, RST-11
    crashed = pod(phase="Failed")
    assert decide(facts(crashed, tracking=ago(1, restarting=True)), NOW) == Decision()


@pytest.mark.parametrize(("limit", "seconds"), [(600, 1200), (0, 600), (60, 600), (301, 602)])
def test_a_recreation_is_long_ago_after_twice_the_maximum_or_ten_minutes(limit: int, seconds: int) -> None:  # RST-7
    assert stable_after(RestartPolicy(RECREATE, 0, limit)) == seconds


def test_the_count_goes_on_within_the_stable_period_and_starts_again_after_it() -> None:  # RST-10
    assert recreated(POLICY, NEVER, NOW) == Tracking(1, NOW, restarting=True)
    assert recreated(POLICY, ago(1200, count=4), NOW).count == 5
    assert recreated(POLICY, ago(1201, count=4), NOW).count == 1


@pytest.mark.parametrize(
    ("cached", "live", "wanted"),
    [
        (ago(60, 2), None, ago(60, 2)),
        (NEVER, ago(60, 3), ago(60, 3)),
        (ago(60, 5), ago(30, 1), ago(30, 1)),  # later, although its count is lower
        (ago(60, 2), ago(60, 4), ago(60, 4)),
        (ago(60, 2), ago(90, 1), ago(60, 2)),  # earlier: the live copy lags
        (ago(60, 2), ago(90, 7), ago(60, 7)),  # the count alone
    ],
)
def test_a_live_read_wins_where_it_knows_more(cached: Tracking, live: Tracking | None, wanted: Tracking) -> None:
    # RST-6
    assert cached.synced(live) == wanted


def test_restarting_is_what_the_live_read_says() -> None:  # RST-9
    assert NEVER.synced(Tracking(restarting=True)).restarting
    assert not Tracking(restarting=True).synced(NEVER).restarting


def test_live_reads_happen_only_when_something_crashed() -> None:  # RST-6
    assert not needs_live_read(POLICY, [pod(), pod(phase="Succeeded")], {})
    assert not needs_live_read(RestartPolicy("None"), [pod(phase="Failed")], {})
    assert needs_live_read(POLICY, [pod(), pod(restarts=1)], {})


def test_tracking_is_read_from_the_status() -> None:  # RST-5
    stored = RoleInstanceStatus.decode(
        {
            "restartCount": 2,
            "lastRestartTime": "2026-01-01T11:59:00Z",
            "conditions": [{"type": "Restarting", "status": "True"}],
        }
    )
    assert Tracking.of(stored) == ago(60, 2, restarting=True)
    assert Tracking.of(RoleInstanceStatus.decode({"lastRestartTime": "nonsense"})) == NEVER


def test_restarts_from_before_the_first_ready_become_baselines_and_then_explain_themselves() -> None:  # RST-1, D7
    pods = [pod("a", restarts=2), pod("b")]
    stored = restarts_so_far(pods)
    assert stored == {"a": {"main": {"restartCount": 2, "imageID": "i1"}}}
    assert crash(pods, stored) == ""
    assert crash([pod("a", restarts=3), pod("b")], stored)


def test_a_pod_made_anew_does_not_inherit_the_baseline_of_its_predecessor() -> None:  # RST-3, D20
    stored = {"p": {"main": {"restartCount": 1, "imageID": "i1"}}}
    assert in_force(stored, [pod(restarts=0)]) == {}
    assert in_force({"p": {"main": {"restartCount": 0, "imageID": "i1"}}}, [pod(image_id="i2")]) == {}
    assert in_force(stored, [pod(restarts=1)]) == stored
    assert in_force(stored, []) == stored


def test_the_baseline_of_a_pod_updated_in_place_stays() -> None:  # RST-3, RST-4
    stored = {"p": {"main": {"restartCount": 0, "imageID": "i1"}}}
    state = {"rbg.workloads.x-k8s.io/inplace-update-state": "{}"}
    assert in_force(stored, [pod(restarts=1, image_id="i2", annotations=state)]) == stored


def test_the_cause_names_pod_container_exit_code_and_reason() -> None:  # RST-1
    ended = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    assert crash([pod(restarts=1, container=ended)], {}) == (
        "container main of pod p restarted: container main ended with exit code 137 (OOMKilled)"
    )
    evicted = pod(phase="Failed", status={"reason": "Evicted"})
    assert crash([evicted], {}) == "pod p failed (Evicted)"
