"""Which instances may be moved to the update revision in one pass."""

from datetime import UTC, datetime, timedelta

import pytest
from unit.controllers.instanceset.test_topology import members

from rbgctl.controllers.instanceset.health import STABLE_AFTER, Timers, stable_in, stably_unhealthy, track
from rbgctl.controllers.instanceset.members import NEVER, Member
from rbgctl.controllers.instanceset.rollout import ordered_escape, rollout
from rbgctl.controllers.instanceset.scale import layout
from rbgctl.controllers.instanceset.topology import Budgets, Topology
from rbgctl.machinery.gvk import NN

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=STABLE_AFTER)


def shape(replicas: int, surge: int = 0, unavailable: int = 0, partition: int = 0, *, rolling: bool = True) -> Topology:
    wanted = Budgets(replicas=replicas, max_surge=surge, max_unavailable=unavailable, partition=partition)
    return Topology(budgets=wanted, active_surge=surge, in_rollout=rolling)


def decide(where: Topology, found: list[Member], *, stable: bool = False, min_ready: int = 0):
    since = {m.uid: LONG_AGO if stable else NOW for m in found if not m.ready}
    return rollout(
        where, layout(found, where.end), update="n", min_ready_seconds=min_ready, unhealthy_since=since, now=NOW
    )


def taken(decision) -> list[int]:
    return [m.ordinal for m in decision.update]


@pytest.mark.parametrize(
    ("text", "where", "stable", "expected"),
    [
        ("0o 1o 2n 3n", shape(2, 2), False, [1, 0]),
        ("0o! 1o!", shape(2), True, [1, 0]),
        ("0o! 1o!", shape(2), False, []),
        ("0o 1o", shape(2), False, []),
        ("0o 1o!", shape(2), True, [1]),
        ("0o 1o 2o 3o 4m 5m", shape(4, 2), False, [5, 4]),
        ("0o 1o 2o 3o 4m! 5m!", shape(4, 2), False, [5, 4]),
        ("0o 1o 2o 3o", shape(4, 0, 1, partition=2), False, [3]),
    ],
)
def test_budget_vectors(text, where, stable, expected):
    """SFM-15"""
    assert taken(decide(where, members(text), stable=stable)) == expected


def test_highest_ordinals_go_first_and_those_below_the_partition_never():
    """SFM-14"""
    assert taken(decide(shape(6, 0, 2), members("0o 1o 2o 3o 4o 5o"))) == [5, 4]
    assert taken(decide(shape(6, 0, 6, partition=4), members("0o 1o 2o 3o 4o 5o"))) == [5, 4]


def test_blocked_target_does_not_hide_the_free_one_below_it():
    """SFM-21: the loop goes on past 3, defect D3"""
    decision = decide(shape(4), members("0o 1o! 2o 3o"), stable=True)
    assert taken(decision) == [1]
    assert [m.ordinal for m in decision.blocked] == [3, 2, 0]


def test_unavailable_ordinals_below_the_partition_use_up_the_budget():
    """SFM-13"""
    assert taken(decide(shape(4, 0, 1, partition=2), members("0o! 1o 2o 3o"))) == []
    assert taken(decide(shape(4, 0, 2, partition=2), members("0o! 1o 2o 3o"))) == [3]


@pytest.mark.parametrize("missing_or_bad", ["1o 2o", "0n! 1o 2o", "0n~ 1o 2o"])
def test_missing_unready_and_terminating_instances_are_unavailable(missing_or_bad):
    """SFM-13"""
    decision = decide(shape(3, 0, 1), members(missing_or_bad))
    assert (taken(decision), decision.unavailable) == ([], 1)


def test_instance_whose_update_is_not_complete_is_unavailable():
    """SFM-13, IPI-3"""
    found = [*members("1o 2o"), Member(ordinal=0, revision="n", uid="u", ready=True, complete=False)]
    assert taken(decide(shape(3, 0, 1), found)) == []


def test_instance_that_is_ready_for_less_than_min_ready_seconds_is_unavailable():
    """SFM-13"""
    fresh = Member(ordinal=0, revision="n", uid="u", ready=True, ready_since=NOW - timedelta(seconds=29))
    assert taken(decide(shape(2, 0, 1), [fresh, *members("1o")], min_ready=30)) == []
    assert taken(decide(shape(2, 0, 1), [fresh, *members("1o")], min_ready=29)) == [1]


def test_surge_counts_only_while_it_serves_the_update_revision():
    """SFM-12"""
    assert decide(shape(2, 3), members("0o 1o 2n 3n! 4n~")).budget == 1
    assert decide(shape(2, 2), members("0o 1o 2m 3n")).budget == 1
    half = Member(ordinal=2, revision="n", uid="u", ready=True, complete=False)
    assert decide(shape(2, 1), [*members("0o 1o"), half]).budget == 0


def test_terminating_targets_are_left_alone():
    """SFM-15"""
    assert taken(decide(shape(3, 0, 3), members("0o 1o~ 2o"))) == [2, 0]


def test_blocked_unhealthy_target_asks_for_another_look_when_its_ten_seconds_are_over():
    """SFM-4"""
    found = members("0o! 1o")
    since = {"uid-0": NOW - timedelta(seconds=4)}
    where = shape(2, 0, 1)
    decision = rollout(where, layout(found, 2), update="n", min_ready_seconds=0, unhealthy_since=since, now=NOW)
    assert (taken(decision), decision.look_again_in) == ([], 6.0)


def test_nothing_is_taken_outside_a_rollout():
    """SFM-20"""
    assert taken(decide(shape(2, 0, 2, rolling=False), members("0o 1o"))) == []


def escape(text: str, where: Topology, waiting_for: int, age: float):
    found = members(text)
    since = {m.uid: NOW - timedelta(seconds=age) for m in found if not m.ready}
    return ordered_escape(where, layout(found, where.end), waiting_for, update="n", unhealthy_since=since, now=NOW)


def test_ordered_ready_replaces_the_broken_ordinal_it_waits_for():
    """SFM-21, defect D12"""
    assert taken(escape("0o! 1o", shape(2, 0, 1), 0, 10)) == [0]


def test_ordered_ready_gives_the_ordinal_its_ten_seconds_and_comes_back():
    """SFM-21, SFM-4"""
    decision = escape("0o! 1o", shape(2, 0, 1), 0, 7)
    assert (taken(decision), decision.look_again_in) == ([], 3.0)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("0n! 1o", shape(2, 0, 1)),
        ("0o~! 1o", shape(2, 0, 1)),
        ("0o! 1o", shape(2, 0, 1, partition=1)),
        ("0o! 1o", shape(2, 0, 1, rolling=False)),
        ("1o", shape(2, 0, 1)),
    ],
)
def test_ordered_ready_waits_for_ordinals_that_a_replacement_would_not_help(text, where):
    """SFM-21"""
    decision = escape(text, where, 0, 60)
    assert (taken(decision), decision.look_again_in) == ([], NEVER)


class TestStablyUnhealthy:
    """SFM-4"""

    sick = Member(ordinal=0, uid="a")

    def test_after_ten_seconds_and_not_before(self):
        assert stable_in({"a": NOW - timedelta(seconds=9)}, self.sick, NOW) == 1.0
        assert not stably_unhealthy({"a": NOW - timedelta(seconds=9)}, self.sick, NOW)
        assert stably_unhealthy({"a": LONG_AGO}, self.sick, NOW)

    def test_never_seen_or_not_created_is_not(self):
        assert stable_in({}, self.sick, NOW) == NEVER
        assert stable_in({"": LONG_AGO}, Member(ordinal=0), NOW) == NEVER

    def test_ready_observation_starts_over_and_vanished_instances_are_forgotten(self):
        well = Member(ordinal=0, uid="a", ready=True)
        assert track({"a": LONG_AGO, "gone": LONG_AGO}, [well], NOW) == {}
        assert track({"a": LONG_AGO}, [self.sick], NOW) == {"a": LONG_AGO}
        assert track({}, [self.sick], NOW) == {"a": NOW}

    def test_clock_set_back_does_not_keep_the_gate_closed(self):
        assert track({"a": NOW + timedelta(hours=1)}, [self.sick], NOW) == {"a": NOW}

    def test_one_set_does_not_forget_the_timers_of_another(self):
        timers = Timers()
        timers.look(NN("ns", "one"), "1", [self.sick], LONG_AGO)
        timers.look(NN("ns", "two"), "2", [], NOW)
        assert timers.look(NN("ns", "one"), "1", [self.sick], NOW) == {"a": LONG_AGO}

    def test_set_made_anew_under_the_same_name_inherits_nothing(self):
        timers = Timers()
        timers.look(NN("ns", "one"), "1", [self.sick], LONG_AGO)
        assert timers.look(NN("ns", "one"), "2", [self.sick], NOW) == {"a": NOW}

    def test_deleted_set_is_forgotten(self):
        """RIS-6"""
        timers = Timers()
        timers.look(NN("ns", "one"), "1", [self.sick], LONG_AGO)
        timers.forget(NN("ns", "one"))
        assert len(timers) == 0
