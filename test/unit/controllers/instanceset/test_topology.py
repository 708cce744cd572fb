"""Ordinal window and budgets of a stateful set."""

import pytest

from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSetSpec
from rbgctl.controllers.instanceset.members import Member
from rbgctl.controllers.instanceset.topology import Budgets, budgets, topology


def members(text: str) -> list[Member]:
    """`0o 1o! 4n`: ordinal, revision (o old, n new, m another), `!` not Ready, `~` terminating, `?` not observed."""
    found = []
    for word in text.split():
        ordinal, revision = int(word.rstrip("onm!~?")), next(c for c in word if c in "onm")
        found.append(
            Member(
                ordinal=ordinal,
                revision=revision,
                uid=f"uid-{ordinal}",
                ready="!" not in word,
                terminating="~" in word,
                observed="?" not in word,
            )
        )
    return found


def shape(text: str, *, replicas: int, surge: int, unavailable: int = 0, partition: int = 0, **more: object):
    wanted = Budgets(replicas=replicas, max_surge=surge, max_unavailable=unavailable, partition=partition)
    return topology(wanted, members(text), current="o", update="n", **more)


@pytest.mark.parametrize(
    ("text", "numbers", "paused", "expected"),
    [
        # replicas, maxSurge, maxUnavailable, partition -> activeSurge, end, inRollout   (SFM-3)
        ("0o 1o 2o 3o", (4, 2, 0, 0), True, (0, 4, False)),
        ("0o 1o 2o 3o 4n 5n", (4, 2, 0, 0), True, (2, 6, False)),
        ("0o 1o 2o 3o 4m 5m", (4, 2, 0, 0), True, (0, 4, False)),
        ("0o 1o 2o 3o", (4, 2, 0, 0), False, (2, 6, True)),
        ("0o! 1o!", (2, 2, 0, 0), False, (0, 2, True)),
        ("0o 1o 2o 3o", (4, 2, 2, 0), False, (2, 6, True)),
        ("0o 1o 2o 3o", (4, 2, 0, 2), False, (2, 6, True)),
        ("0m! 1m! 2m 3m", (2, 2, 0, 0), False, (0, 2, True)),
        ("0o 1o 2n 3n 4n 5n", (4, 2, 0, 2), False, (0, 4, True)),
        ("0o 1o 2n 3n", (4, 2, 0, 1), False, (1, 5, True)),
        ("0o 1o! 2n 3n", (2, 2, 0, 0), False, (2, 4, True)),
    ],
)
def test_window_grows_by_what_the_rollout_needs_and_keeps_surge_until_the_base_is_done(text, numbers, paused, expected):
    """SFM-3"""
    replicas, surge, unavailable, partition = numbers
    found = shape(text, replicas=replicas, surge=surge, unavailable=unavailable, partition=partition, paused=paused)
    assert (found.active_surge, found.end, found.in_rollout) == expected


def test_no_rollout_when_all_follow_the_only_revision():
    """SFM-3"""
    wanted = Budgets(replicas=4, max_surge=2, max_unavailable=0)
    found = topology(wanted, members("0n 1n 2n 3n"), current="n", update="n")
    assert (found.active_surge, found.end, found.in_rollout) == (0, 4, False)


def test_instances_left_at_a_reverted_revision_are_a_rollout_although_current_equals_update():
    """SFM-21, defect D2: after A → B → A both revisions are A"""
    wanted = Budgets(replicas=3, max_unavailable=1)
    assert topology(wanted, members("0n 1n 2m"), current="n", update="n").in_rollout
    held_back = Budgets(replicas=3, max_unavailable=1, partition=3)
    assert not topology(held_back, members("0n 1n 2m"), current="n", update="n").in_rollout


def test_surge_of_a_reverted_rollout_stays_until_the_base_serves():
    """SFM-21, defect D2"""
    wanted = Budgets(replicas=2, max_surge=1, max_unavailable=0)
    busy = topology(wanted, members("0n 1n! 2n"), current="n", update="n")
    assert (busy.active_surge, busy.in_rollout) == (1, True)
    done = topology(wanted, members("0n 1n 2n"), current="n", update="n")
    assert (done.active_surge, done.in_rollout) == (0, False)


def test_base_that_was_not_observed_at_its_newest_spec_is_not_done():
    """SFM-3"""
    assert shape("0n 1n? 2n", replicas=2, surge=1).active_surge == 1
    assert shape("0n 1n 2n", replicas=2, surge=1).active_surge == 0


def test_terminating_instances_are_neither_healthy_nor_valid_surge():
    """SFM-3"""
    assert shape("0o 1o~ 2o", replicas=3, surge=3).active_surge == 2
    assert shape("0o! 1o! 2n~ 3n", replicas=2, surge=2).active_surge == 1


def read(strategy: dict[str, object], replicas: int | None = 5, **spec: object) -> Budgets:
    raw = {"updateStrategy": strategy, **({} if replicas is None else {"replicas": replicas}), **spec}
    return budgets(RoleInstanceSetSpec.decode(raw))


@pytest.mark.parametrize(
    ("strategy", "replicas", "expected"),
    [
        ({"maxUnavailable": "30%", "maxSurge": 0}, 3, 1),
        ({"maxUnavailable": "30%", "maxSurge": 1}, 3, 0),
        ({"maxUnavailable": "30%"}, 4, 2),
        ({"maxUnavailable": 0}, 3, 1),
        ({"maxUnavailable": 0, "maxSurge": 1}, 3, 0),
        ({}, 20, 2),
        ({}, 5, 1),
        ({"maxSurge": 1}, 20, 2),
        ({"maxUnavailable": -3, "maxSurge": 1}, 3, 0),
    ],
)
def test_max_unavailable_rounds_against_the_user_and_never_blocks_a_rollout_without_surge(strategy, replicas, expected):
    """SFM-3"""
    assert read(strategy, replicas).max_unavailable == expected


@pytest.mark.parametrize(("value", "expected"), [("30%", 2), (-1, 0), (7, 7), (None, 0)])
def test_max_surge_rounds_up(value, expected):
    """SFM-3"""
    assert read({"maxSurge": value} if value is not None else {}, 5).max_surge == expected


@pytest.mark.parametrize(
    ("value", "replicas", "expected"),
    [("50%", 5, 2), ("99%", 4, 3), ("1%", 4, 0), ("50", 4, 2), (9, 4, 4), (-1, 4, 0), (None, 4, 0), ("100%", 4, 4)],
)
def test_partition_rounds_down_and_stays_within_the_replicas(value, replicas, expected):
    """SFM-3 and the vectors of 04 §20: text without % is a percentage too"""
    assert read({} if value is None else {"partition": value}, replicas).partition == expected


def test_replicas_default_to_one():
    """RIS-9"""
    assert read({}, None).replicas == 1


@pytest.mark.parametrize("field", ["maxSurge", "maxUnavailable", "partition"])
def test_text_that_is_no_percentage_is_refused_with_the_field_named(field):
    """SFM-3"""
    with pytest.raises(ValueError, match=rf"spec\.updateStrategy\.{field}: .*many"):
        read({field: "many"})
