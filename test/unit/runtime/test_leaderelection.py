"""The election algorithm in virtual time, against a Lease with optimistic locking."""

import asyncio
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from unit.runtime.conftest import LoopClock
from unit.runtime.lease_store import Fault, LeaseStore, Member, error, leading

from rbgctl.runtime.leaderelection import HERD_SECONDS

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def store() -> LeaseStore:
    return LeaseStore()


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


def down(_: str) -> Fault:
    return Fault(lost=True)


# -- acquire -----------------------------------------------------------------------------------------------------


async def test_a_missing_lease_is_created(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-13, RT-LE-01
    async with leading(store, clock) as member:
        assert store.writes[0]["metadata"] == {
            "namespace": "ns",
            "name": "lock",
            "uid": "lease-uid",
            "resourceVersion": "1",
        }
        assert store.writes[0]["spec"] == {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": "2026-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        }
        assert member.led_at == 0.0
        assert [c.verb for c in member.link.calls][:2] == ["get", "create"]


async def test_losing_the_race_to_create_is_no_leadership(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-13
    member = Member(store, clock)
    member.link.fault = lambda verb: Fault(refused=error(409, "AlreadyExists")) if verb == "create" else Fault()
    member.start()
    await asyncio.sleep(1)
    assert not member.elector.is_leader()
    assert member.elector.remaining() == 0
    await member.stop()


async def test_losing_the_race_to_update_is_no_leadership(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-13
    store.held_by("")
    member = Member(store, clock)

    def overtaken(verb: str) -> Fault:
        if verb == "update":
            store.held_by("other")
        return Fault()

    member.link.fault = overtaken
    member.start()
    await asyncio.sleep(1)
    assert not member.elector.is_leader()
    assert member.elector.remaining() == 0
    await member.stop()
    assert store.spec["holderIdentity"] == "other"


async def test_a_valid_lease_is_left_alone_and_looked_at_at_random_intervals(
    store: LeaseStore, clock: LoopClock
) -> None:  # RT-LE-10, RT-LE-13
    store.held_by("other")
    member = Member(store, clock)
    member.start()
    for _ in range(400):
        await asyncio.sleep(2)
        store.renewed()
    await member.stop()
    assert member.link.times("create", "update") == []
    looks = member.link.times("get")
    assert looks[0] == 0.0
    gaps = [b - a for a, b in pairwise(looks)]
    assert all(2.0 <= g <= 4.4 for g in gaps)
    assert min(gaps) < 2.2
    assert max(gaps) > 4.2
    assert member.leads.is_set() is False


async def test_an_expired_lease_is_taken_and_the_change_of_holder_counted(
    store: LeaseStore, clock: LoopClock
) -> None:  # RT-LE-13, RT-LE-14, RT-LE-21
    """Whatever the times in the record say, it must have stayed unchanged for its whole duration."""
    store.held_by("other", renewTime="1970-01-01T00:00:00.000000Z", leaseDurationSeconds=20)
    async with leading(store, clock) as member:
        assert 20.0 <= member.led_at <= 20.0 + 4.4
        assert store.spec["holderIdentity"] == "me"
        assert store.spec["leaseTransitions"] == 4
        assert store.spec["leaseDurationSeconds"] == 15
        taken = store.writes[1]["spec"]
        assert taken["acquireTime"] == taken["renewTime"] > "2026-01-01"


async def test_a_renewal_that_differs_by_a_microsecond_counts(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-13: records are compared at full resolution."""
    store.held_by("other", renewTime="2026-01-01T00:00:00.000000Z")
    member = Member(store, clock)
    member.start()
    await asyncio.sleep(10)
    store.held_by("other", renewTime="2026-01-01T00:00:00.000001Z")
    await asyncio.sleep(14.9)
    assert not member.leads.is_set()
    await asyncio.sleep(10)
    assert member.leads.is_set()
    await member.stop()


async def test_a_lease_without_holder_is_taken_at_once(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-15
    store.held_by("", leaseDurationSeconds=1)
    async with leading(store, clock) as member:
        assert member.led_at == 0.0
        assert store.spec["leaseTransitions"] == 4


async def test_the_callback_runs_beside_the_renewals(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-10
    member = Member(store, clock)
    begun = asyncio.Event()

    async def for_ever() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(member.elector.run(for_ever, member._stopped))
    await begun.wait()
    assert member.notes.journal == ["gauge 1", "me became leader"]
    await asyncio.sleep(60)
    assert member.elector.remaining() > 10
    task.cancel()
    await asyncio.wait([task])


async def test_what_the_callback_raises_ends_the_election(store: LeaseStore, clock: LoopClock) -> None:
    member = Member(store, clock)

    async def fails() -> None:
        raise OSError("boom")

    with pytest.raises(OSError, match="boom"):
        await member.elector.run(fails, member._stopped)
    assert len(member.stopped) == 1
    assert member.elector.remaining() == 0


async def test_the_holders_are_reported_when_they_change(store: LeaseStore, clock: LoopClock) -> None:
    store.held_by("other")
    member = Member(store, clock)
    member.start()
    await asyncio.sleep(5)
    store.renewed()
    await asyncio.sleep(5)
    store.held_by("third")
    await member.leads.wait()
    await asyncio.sleep(10)
    await member.stop()
    assert member.leaders == ["other", "third", "me"]


# -- hints -------------------------------------------------------------------------------------------------------


class Hints:
    """What a watch would say, at moments that the test chooses."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.following = 0
        self.hint: Callable[[], None] = lambda: None

    async def follow(self, hint: Callable[[], None]) -> None:
        self.following += 1
        self.hint = hint
        try:
            if self.broken:
                raise OSError("no watch")
            await asyncio.Event().wait()
        finally:
            self.following -= 1


async def test_a_release_that_is_heard_of_is_tried_for_at_once(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-23: instead of up to 4.4 s later."""
    for seed in range(20):
        hints = Hints()
        other = Member(store, clock, f"other-{seed}", seed=seed, hints=hints)
        async with leading(store, clock, identity=f"me-{seed}") as member:
            other.start()
            await asyncio.sleep(3 + seed / 10)
            await member.stop()
            released = now()
            hints.hint()
            await other.leads.wait()
            assert now() - released <= HERD_SECONDS
            assert hints.following == 0  # a leader needs none
        await other.stop()


async def test_who_leads_at_once_follows_nothing(store: LeaseStore, clock: LoopClock) -> None:
    hints = Hints()
    async with leading(store, clock, hints=hints):
        await asyncio.sleep(5)
        assert hints.following == 0


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.7])
async def test_false_hints_do_not_take_a_lease_that_is_held(store: LeaseStore, clock: LoopClock, gap: float) -> None:
    """RT-LE-13: however many there are; and they cost a bounded number of requests."""
    store.held_by("other")
    hints = Hints()
    member = Member(store, clock, hints=hints)
    member.start()
    for number in range(300):
        await asyncio.sleep(gap or 0.01)
        hints.hint()
        hints.hint()
        if number % 20 == 0:
            store.renewed()
    lasted = now()
    assert not member.leads.is_set()
    assert member.link.times("create", "update") == []
    assert 2 <= len(member.link.times("get")) <= 2 + lasted / (HERD_SECONDS / 3)
    await member.stop()
    assert hints.following == 0


async def test_a_hint_that_comes_while_the_lease_is_read_counts_for_the_next_try(
    store: LeaseStore, clock: LoopClock
) -> None:
    """What was read may be older than the hint."""
    store.held_by("other")
    hints = Hints()
    member = Member(store, clock, hints=hints)
    slow = False
    member.link.fault = lambda verb: Fault(response=1.0 if slow and verb == "get" else 0.0)
    member.start()
    await asyncio.sleep(0.5)
    slow = True
    hints.hint()
    await asyncio.sleep(0.7)  # the look is under way and has found it held
    slow = False
    store.held_by("")
    hints.hint()
    await member.leads.wait()
    assert member.led_at <= 0.5 + HERD_SECONDS + 1.0 + HERD_SECONDS
    await member.stop()


async def test_without_hints_the_lease_is_looked_at_as_before(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-10: the watch is refused, or says nothing."""
    store.held_by("other")
    members = [
        Member(store, clock, f"m{n}", hints=hints) for n, hints in enumerate([None, Hints(), Hints(broken=True)])
    ]
    for member in members:
        member.start()
    for _ in range(100):
        await asyncio.sleep(2)
        store.renewed()
    looks = [member.link.times("get") for member in members]
    assert looks[0] == looks[1] == looks[2]
    gaps = [b - a for a, b in pairwise(looks[0])]
    assert all(2.0 <= g <= 4.4 for g in gaps)
    for member in members:
        await member.stop()


# -- renew -------------------------------------------------------------------------------------------------------


async def test_renewals_every_two_seconds_need_no_reading_and_keep_who_and_since_when(
    store: LeaseStore, clock: LoopClock
) -> None:  # RT-LE-11, RT-LE-13
    async with leading(store, clock) as member:
        await asyncio.sleep(20.5)
        assert member.link.times("get") == [0.0]
        assert member.link.times("update") == [2.0 * n for n in range(11)]
        specs = [w["spec"] for w in store.writes]
        assert {s["acquireTime"] for s in specs} == {"2026-01-01T00:00:00.000000Z"}
        assert {s["leaseTransitions"] for s in specs} == {0}
        assert specs[-1]["renewTime"] == "2026-01-01T00:00:20.000000Z"
        assert member.notes.slow_paths == 0


async def test_a_conflict_is_solved_by_reading(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-13, RT-MT-31: somebody labelled the Lease; the renewal reads it and keeps the label."""
    async with leading(store, clock) as member:
        await asyncio.sleep(1)
        assert store.lease is not None
        meta = {**store.lease["metadata"], "labels": {"by": "admin"}}
        store.update({**store.lease, "metadata": meta})
        await asyncio.sleep(2)
        assert [c.verb for c in member.link.calls][-3:] == ["update", "get", "update"]
        assert store.lease["metadata"]["labels"] == {"by": "admin"}
        assert store.spec["leaseTransitions"] == 0
        assert member.notes.slow_paths == 1
        assert member.elector.is_leader()


async def test_a_failed_renewal_is_tried_again_every_two_seconds_for_ten(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-11, RT-LE-20: then the leader gives up, at most 12 s after its last success."""
    member = Member(store, clock)
    task = member.start()
    await asyncio.sleep(4.5)
    member.link.fault = down
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), 11.4)
    await asyncio.sleep(0.2)
    assert task.done()
    assert task.exception() is None
    assert member.stopped == [pytest.approx(16.0, abs=0.01)]  # the renewal of second 4 was the last
    assert [t for t in member.link.times("update") if t > 5] == [6.0, 8.0, 10.0, 12.0, 14.0]


async def test_slow_failures_end_no_later(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-30: the budget counts from the moment the last success was sent, however slow its answer was."""
    async with leading(store, clock) as member:
        assert member.task is not None
        await asyncio.sleep(1)
        member.link.fault = lambda _: Fault(response=4.0)  # sent at 2, answered at 6
        await asyncio.sleep(2)
        member.link.fault = lambda _: Fault(request=1e6)
        await asyncio.wait([member.task])
        assert now() == pytest.approx(2 + 12, abs=0.01)


async def test_a_lost_leader_reports_in_order_and_never_releases(store: LeaseStore, clock: LoopClock) -> None:
    # RT-LE-11, RT-LE-12, RT-LE-39
    async with leading(store, clock) as member:
        assert member.task is not None
        member.link.fault = down
        await asyncio.wait([member.task])
        assert member.notes.journal[2:] == ["gauge 0", "me stopped leading", "stopped"]
        member.link.fault = lambda _: Fault()
        await asyncio.sleep(30)
        assert store.spec["holderIdentity"] == "me"
        assert member.elector.remaining() == 0
        assert not member.elector.is_leader()


async def test_a_request_that_hangs_ends_after_five_seconds(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-03: whatever the client does with the time-out it is given."""
    async with leading(store, clock) as member:
        await asyncio.sleep(1)
        hung = iter([Fault(request=1e6)])
        member.link.fault = lambda _: next(hung, Fault())
        await asyncio.sleep(10)
        assert [(c.verb, c.at) for c in member.link.calls if 1 < c.at < 8] == [
            ("update", 2.0),
            ("get", 7.0),
            ("update", 7.0),
        ]
        assert member.elector.is_leader()


async def test_somebody_elses_name_in_the_lease_ends_leadership_at_once(store: LeaseStore, clock: LoopClock) -> None:
    async with leading(store, clock) as member:
        assert member.task is not None
        await asyncio.sleep(1)
        store.held_by("usurper")
        await asyncio.wait([member.task])
        assert now() == 2.0
        assert member.elector.remaining() == 0
        assert store.spec["holderIdentity"] == "usurper"


async def test_foreign_fields_of_the_lease_are_preserved(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-01
    store.held_by("", strategy="OldestEmulationVersion", preferredHolder="somebody")
    async with leading(store, clock, labels={"shard": "1"}) as member:
        await asyncio.sleep(5)
        assert store.lease is not None
        assert store.lease["metadata"]["labels"] == {"shard": "1"}  # RT-LE-05
        await member.stop()
    assert {k: store.spec[k] for k in ("strategy", "preferredHolder", "holderIdentity")} == {
        "strategy": "OldestEmulationVersion",
        "preferredHolder": "somebody",
        "holderIdentity": "",
    }


# -- validity ----------------------------------------------------------------------------------------------------


async def test_validity_counts_from_sending(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-30, RT-LE-24: an answer that took 4.9 s does not prolong the lease; a rival may have seen it at once."""
    member = Member(store, clock)
    member.link.fault = lambda verb: Fault(response=4.9) if verb == "create" else Fault()
    member.start()
    await member.leads.wait()
    assert now() == pytest.approx(4.9)
    assert member.elector.remaining() == pytest.approx(13.0 - 4.9)
    await member.stop()


async def test_the_gate_is_open_for_thirteen_seconds(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-32
    async with leading(store, clock) as member:
        member.link.fault = lambda _: Fault(request=1e6)
        assert member.elector.remaining() == 13.0
        assert member.elector.expires_at - now() == 14.0  # RT-LE-33
        await asyncio.sleep(11.9)
        assert member.elector.remaining() == pytest.approx(1.1)
        await asyncio.sleep(0.2)
        # The elector has given up by now; the watchdog waits for the process to end.
        assert member.elector.remaining() == 0
        assert member.elector.expires_at == 14.0
        member.elector.disarm()
        assert member.elector.expires_at > 1e9


class Stopped(LoopClock):
    """A clock that can jump, as it does for a process that was paused or a machine that slept."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0
        self.wall = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.wall)


async def test_a_leader_that_was_paused_finds_its_gate_shut_and_gives_up(store: LeaseStore) -> None:
    """RT-LE-24, RT-LE-30: nothing fences a Lease, but the gate looks at the clock before each write."""
    clock = Stopped()
    async with leading(store, clock) as member:
        assert member.task is not None
        await asyncio.sleep(5)
        clock.slept += 20
        assert member.elector.remaining() == 0
        await asyncio.wait([member.task])
        assert member.task.exception() is None
        assert now() <= 6.0
        assert [c.at for c in member.link.calls if c.at > 5] == []


async def test_an_answer_that_comes_after_the_budget_is_no_success(store: LeaseStore) -> None:
    """RT-LE-30: the process slept while its renewal was under way; others may lead already."""
    clock = Stopped()
    async with leading(store, clock) as member:
        assert member.task is not None
        await asyncio.sleep(3)
        member.link.fault = lambda _: Fault(response=0.5)
        await asyncio.sleep(1.2)
        clock.slept += 20
        await asyncio.wait([member.task])
        assert now() == pytest.approx(4.5)
        assert member.elector.remaining() == 0


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_wall_clock_jumps_change_nothing(store: LeaseStore, jump: float) -> None:  # RT-LE-17, RT-LE-14
    clock = Stopped()
    other = Member(store, clock, "other", seed=1)
    async with leading(store, clock) as member:
        other.start()
        await asyncio.sleep(7)
        clock.wall += jump
        remaining = member.elector.remaining()
        await asyncio.sleep(40)
        assert remaining > 11
        assert member.elector.is_leader()
        assert not other.elector.is_leader()
        assert member.link.times("update") == [2.0 * n for n in range(24)]
        before = now()
        member.link.fault = down
        clock.wall -= jump
        await other.leads.wait()
        assert 13.0 <= now() - before <= 15 + 4.4 + 4.4
    await other.stop()


async def test_only_a_leader_that_does_not_renew_for_far_too_long_is_unhealthy(store: LeaseStore) -> None:  # RT-HZ-08
    clock = Stopped()
    standby = Member(store, clock, "standby")
    assert standby.elector.healthy(20.0)
    async with leading(store, clock) as member:
        clock.slept += 34.9
        assert member.elector.healthy(20.0)
        clock.slept += 0.2
        assert not member.elector.healthy(20.0)
        assert standby.elector.healthy(20.0)


# -- stopping ----------------------------------------------------------------------------------------------------


async def test_a_clean_stop_releases_and_reports_in_order(store: LeaseStore, clock: LoopClock) -> None:
    # RT-LE-12, RT-LE-15, RT-LE-34
    async with leading(store, clock) as member:
        await asyncio.sleep(3)
        released: list[int] = []
        member.elector._observer.event = lambda *_: released.append(len(store.writes))  # type: ignore[method-assign]
        writes = len(store.writes)
        await member.stop()
        assert released == [writes + 1]  # the event comes after the release
        assert member.notes.journal[-1] == "stopped"
        assert len(member.stopped) == 1
    assert store.spec == {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": "2026-01-01T00:00:03.000000Z",
        "renewTime": "2026-01-01T00:00:03.000000Z",
        "leaseTransitions": 0,
    }


async def test_the_events_name_who(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-04
    async with leading(store, clock) as member:
        await member.stop()
    lease, first = member.notes.events[0]
    assert [first, member.notes.events[1][1]] == ["me became leader", "me stopped leading"]
    assert (lease["apiVersion"], lease["kind"]) == ("coordination.k8s.io/v1", "Lease")
    assert (lease["metadata"]["namespace"], lease["metadata"]["name"]) == ("ns", "lock")
    assert lease["metadata"]["uid"] == "lease-uid"


@pytest.mark.parametrize("how", ["configured", "kept"])
async def test_a_lease_is_not_released_when_that_is_not_wanted(store: LeaseStore, clock: LoopClock, how: str) -> None:
    async with leading(store, clock, release_on_stop=how != "configured") as member:
        if how == "kept":
            member.elector.keep()
        await member.stop()
    assert store.spec["holderIdentity"] == "me"
    assert member.elector.remaining() == 0


async def test_who_does_not_lead_releases_nothing_and_is_told_once(store: LeaseStore, clock: LoopClock) -> None:
    # RT-LE-12, RT-LE-15
    store.held_by("other")
    member = Member(store, clock)
    member.start()
    await asyncio.sleep(5)
    before = len(member.link.calls)
    await member.stop()
    assert len(member.link.calls) == before
    assert store.spec["holderIdentity"] == "other"
    assert member.notes.journal == ["stopped"]


async def test_a_lease_that_somebody_took_meanwhile_is_not_released(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-15: the holder that is read counts, not only the one that was last seen."""
    async with leading(store, clock) as member:
        await asyncio.sleep(1)
        store.held_by("other")
        await member.stop()
    assert store.spec["holderIdentity"] == "other"


async def test_a_stop_in_the_middle_of_acquiring_leaves_no_lease_behind(store: LeaseStore, clock: LoopClock) -> None:
    """The write has arrived, its answer has not: the next leader need not wait for a lease that nobody uses."""
    member = Member(store, clock)
    member.link.fault = lambda verb: Fault(response=3.0) if verb == "create" else Fault()
    member.start()
    await asyncio.sleep(1)
    assert store.spec["holderIdentity"] == "me"
    await member.stop()
    assert store.spec["holderIdentity"] == ""
    assert member.notes.journal == ["stopped"]


async def test_a_release_overtaken_by_the_own_last_renewal_is_repeated(store: LeaseStore, clock: LoopClock) -> None:
    # RT-LE-15
    async with leading(store, clock) as member:
        await asyncio.sleep(1)
        first = iter([Fault(), Fault(refused=error(409, "Conflict"))])
        member.link.fault = lambda _: next(first, Fault())
        await member.stop()
    assert store.spec["holderIdentity"] == ""


async def test_a_release_gives_up_after_the_renew_deadline(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-15
    async with leading(store, clock) as member:
        member.link.fault = lambda _: Fault(request=1e6)
        began = now()
        await member.stop()
        assert 9.5 <= now() - began <= 10.5


async def test_a_release_ends_when_nothing_to_speak_of_is_left(store: LeaseStore, clock: LoopClock) -> None:
    """RT-LE-15: a rounding error is left of the deadline, in which timers end at once and nothing can be answered."""

    class Standing(LoopClock):
        reads = 0

        def monotonic(self) -> float:
            self.reads += 1
            if self.reads > 10:
                pytest.fail("it tries without end")
            return 0.0 if self.reads == 1 else math.nextafter(10.0, 0.0)

    async with leading(store, clock) as member:
        member.link.fault = lambda _: Fault(request=1e6)
        member.elector._clock = Standing()
        await member.elector._release()
        member.elector._clock = clock


async def test_a_clean_release_hands_over_within_one_look(store: LeaseStore, clock: LoopClock) -> None:  # RT-LE-23
    for seed in range(20):
        other = Member(store, clock, f"other-{seed}", seed=seed)
        async with leading(store, clock, identity=f"me-{seed}") as member:
            other.start()
            await asyncio.sleep(3 + seed / 10)
            await member.stop()
            released = now()
            await other.leads.wait()
            assert now() - released <= 4.4
        await other.stop()


async def test_a_crash_hands_over_after_fifteen_to_twenty_four_seconds(store: LeaseStore, clock: LoopClock) -> None:
    # RT-LE-22, RT-LE-21
    waits = []
    for seed in range(40):
        other = Member(store, clock, f"other-{seed}", seed=seed)
        async with leading(store, clock, identity=f"me-{seed}") as member:
            other.start()
            await asyncio.sleep(6 + seed / 20)
            last = [c.at for c in member.link.calls][-1]
            member.elector.keep()
            await member.stop()
            crashed = now()
            await other.leads.wait()
            seen = min(t for t in other.link.times("get") if t >= last)
            assert 15.0 <= now() - seen <= 19.4
            waits.append(now() - crashed)
        await other.stop()
    assert all(13.0 <= w <= 24.0 for w in waits)
