"""What Leases say about shards and members, and what follows from it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.lease_record import LeaseRecord
from rbgctl.runtime.sharding.leases import (
    MEMBER_LABEL,
    SHARDS_LABEL,
    Decision,
    Holder,
    LeaseBook,
    View,
    decide,
    lease_name,
    member_name,
)

BASE = "op"


def lease(name: str, holder: str, *, shards: int = 0, member: bool = False, renewed: int = 0, **meta: Any) -> RawObject:
    labels = {SHARDS_LABEL: str(shards)} if shards else {}
    if member:
        labels[MEMBER_LABEL] = BASE
    record = LeaseRecord(holder=holder, seconds=15 if holder else 1, renew_time=str(renewed))
    return record.written_to({"metadata": {"name": name, "uid": name, **meta, "labels": labels}}, {})


def member(identity: str, shards: int, **fields: Any) -> RawObject:
    return lease(member_name(BASE, identity), identity, shards=shards, member=True, **fields)


def shard(number: int, holder: str, shards: int = 3, **fields: Any) -> RawObject:
    return lease(lease_name(BASE, number), holder, shards=shards, **fields)


# ---- reading Leases ----


def test_the_first_shard_uses_the_lease_of_an_undivided_manager() -> None:
    assert [lease_name("rbg-controller", s) for s in range(3)] == [
        "rbg-controller",
        "rbg-controller-1",
        "rbg-controller-2",
    ]


def test_member_leases_have_names_that_kubernetes_accepts() -> None:
    name = member_name("op", "Host_1.example_5f0c8a3e-0000-4000-8000-000000000001")
    assert name == "op-member-host-1-example-5f0c8a3e-0000-4000-8000-000000000001"
    assert len(member_name("op", "h" * 300 + "_x")) < 253


def test_a_holder_lives_for_its_duration_after_its_record_was_seen_to_change() -> None:  # RT-LE-14
    book = LeaseBook(BASE)
    for now, renewed, alive in (
        (0, 1, True),
        (14, 1, True),
        (15, 1, False),
        (16, 2, True),
        (30, 2, True),
        (31, 2, False),
    ):
        view = book.look([member("a", 3, renewed=renewed), shard(1, "a", renewed=renewed)], now)
        assert (view.members == {"a": 3}, view.holders == {1: Holder("a", 3)}) == (alive, alive), now


def test_a_lease_that_was_released_is_free_at_once() -> None:
    view = LeaseBook(BASE).look([shard(0, "")], 0.0)
    assert view.holders == {}
    assert view.leases[0][1] == 0.0


def test_it_is_known_for_how_long_a_lease_has_not_changed() -> None:
    book = LeaseBook(BASE)
    book.look([shard(1, "a")], 100.0)
    assert book.look([shard(1, "a")], 107.0).leases[1][1] == 7.0


def test_other_leases_of_the_namespace_are_none_of_our_business() -> None:
    others = [lease(n, "x") for n in ("op-01", "op--1", "op-x", "opx", "op-1x", "other", "op-member-y", "op-0", "op-²")]
    view = LeaseBook(BASE).look(others, 0.0)
    assert view == View()


def test_a_holder_without_membership_does_not_divide_the_work() -> None:
    """The label stays on the Lease when another manager takes it: it says nothing about the holder."""
    book = LeaseBook(BASE)
    assert book.look([shard(0, "go", shards=3)], 0.0).holders == {0: Holder("go", 1)}
    assert book.look([shard(0, "a", shards=3), member("a", 4)], 1.0).holders == {0: Holder("a", 4)}


def test_a_holder_whose_member_lease_is_gone_is_remembered() -> None:
    book = LeaseBook(BASE)
    book.look([shard(0, "a"), member("a", 3)], 0.0)
    assert book.look([shard(0, "a", renewed=1)], 2.0).holders == {0: Holder("a", 3)}


def test_only_members_that_are_gone_and_lead_nothing_are_buried() -> None:
    book = LeaseBook(BASE)
    leases = [member("dead", 3), member("busy", 3), shard(1, "busy")]
    assert book.look(leases, 0.0).expired == ()
    still = [member("dead", 3), member("busy", 3), shard(1, "busy", renewed=1)]
    book.look(still, 10.0)
    assert [m["metadata"]["name"] for m in book.look(still, 20.0).expired] == ["op-member-dead"]


# ---- deciding ----

A, B = Holder("a", 3), Holder("b", 3)


@pytest.mark.parametrize(
    ("view", "held", "take", "keep"),
    [
        (View(), set(), {0}, {0, 1, 2}),
        (View(holders={0: A}), {0}, {1, 2}, {0, 1, 2}),
        (View(holders={0: A}, members={"a": 3, "b": 3}), {0}, {1}, {0, 1}),
        (View(holders={0: B}, members={"a": 3, "b": 3}), set(), {1}, {1}),
        (View(holders={0: B, 1: B, 2: B}, members={"a": 3, "b": 3}), set(), set(), {2}),
        (View(holders={0: A, 1: A, 2: A}, members={"a": 3, "b": 3}), {0, 1, 2}, set(), {0, 1}),
        (View(holders={1: B}, members={"a": 3, "b": 3}), set(), {0}, {0}),
        (View(members={"b": 3}), set(), {0}, {0, 1}),
        (View(holders={0: A}), set(), {0, 1, 2}, {0, 1, 2}),
    ],
    ids=[
        "alone: the first shard before all others",
        "alone and leading: the rest",
        "with another: half of what is free",
        "the other leads the first shard: a share of the rest",
        "wait for what the other still holds",
        "keep the share, give the rest away",
        "nobody leads the first shard: only that one",
        "a newcomer is no hindrance",
        "won, but not noticed yet",
    ],
)
def test_what_to_take_and_to_keep(view: View, held: set[int], take: set[int], keep: set[int]) -> None:
    assert decide(view, "a", 3, held) == Decision(take=frozenset(take), keep=frozenset(keep))


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (
            View(holders={0: Holder("go", 1)}),
            "go leads shard 0 and does not divide the work, this manager divides it into 3",
        ),
        (View(holders={0: A, 1: Holder("c", 4)}), "c leads shard 1 and divides the work into 4 shards"),
        (View(holders={7: Holder("c", 8)}), "c leads shard 7 and divides the work into 8 shards"),
        (View(holders={2: Holder("c", 0)}), "c leads shard 2 and does not say into how many"),
    ],
)
def test_nothing_is_led_beside_somebody_who_divides_differently(view: View, says: str) -> None:
    decision = decide(view, "a", 3, {0})
    assert says in decision.refused
    assert (decision.take, decision.keep) == (frozenset(), frozenset())


def test_members_with_another_number_that_lead_nothing_get_no_share() -> None:
    view = View(holders={0: A}, members={"a": 3, "new": 4})
    assert decide(view, "a", 3, {0}) == Decision(take=frozenset({1, 2}), keep=frozenset({0, 1, 2}), strangers=("new",))


@given(st.data())
def test_managers_that_see_the_same_never_want_the_same_shard(data: st.DataObject) -> None:
    shards = data.draw(st.integers(2, 6))
    members = data.draw(st.sets(st.sampled_from("abcd"), min_size=1))
    holders = data.draw(st.dictionaries(st.integers(0, shards - 1), st.sampled_from(sorted(members))))
    view = View(
        holders={s: Holder(h, shards) for s, h in holders.items()}, members=dict.fromkeys(sorted(members), shards)
    )
    wanted: list[int] = []
    for me in members:
        held = {s for s, h in holders.items() if h == me}
        decision = decide(view, me, shards, held)
        assert not decision.refused
        assert not decision.take & holders.keys()
        wanted += decision.keep
    assert sorted(wanted) == list(range(shards))
