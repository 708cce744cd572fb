"""The work queue in virtual time."""

import asyncio
from typing import Any

import pytest

from rbgctl.runtime.ratelimit import ItemExponential, RateLimiter
from rbgctl.runtime.workqueue import PRIORITY_LOW, QueueShutDown, WorkQueue


class Counts:
    """Queue metrics that can be asked."""

    def __init__(self) -> None:
        self.adds = 0
        self.depth: dict[int, int] = {}
        self.waits: list[float] = []
        self.works: list[float] = []
        self.retries = 0

    def ready(self, priority: int) -> None:
        self.adds += 1
        self.depth[priority] = self.depth.get(priority, 0) + 1

    def raised(self, before: int, after: int) -> None:
        self.depth[before] -= 1
        self.depth[after] = self.depth.get(after, 0) + 1

    def handed_out(self, priority: int, waited: float) -> None:
        self.depth[priority] -= 1
        self.waits.append(waited)

    def dropped(self, priority: int) -> None:
        self.depth[priority] -= 1

    def done(self, worked: float) -> None:
        self.works.append(worked)

    def retried(self) -> None:
        self.retries += 1


def queue_of(clock: Any, counts: Counts | None = None, limiter: RateLimiter[str] | None = None) -> WorkQueue[str]:
    return WorkQueue(clock, limiter or ItemExponential(), counts)


async def taken(queue: WorkQueue[str], count: int) -> list[str]:
    """The next keys; each is done at once."""
    keys = []
    for _ in range(count):
        key, _ = await asyncio.wait_for(queue.get(), 1e6)
        queue.done(key)
        keys.append(key)
    return keys


# A loop of its own for each test: virtual time adds up on a shared one until timers lose their precision.
pytestmark = pytest.mark.looptime


async def test_keys_come_in_order_and_once(loop_clock: Any) -> None:  # RT-WQ-02
    queue = queue_of(loop_clock)
    for key in ("a", "b", "a", "c", "b"):
        queue.add(key)
    assert len(queue) == 3
    assert await taken(queue, 3) == ["a", "b", "c"]
    assert len(queue) == 0


async def test_many_adds_while_processing_make_one_more_run_after_done(loop_clock: Any) -> None:  # RT-WQ-05
    queue = queue_of(loop_clock)
    queue.add("a")
    key, _ = await queue.get()
    for _ in range(5):
        queue.add("a")
    other = asyncio.create_task(queue.get())
    await asyncio.sleep(10)
    assert not other.done()
    queue.done(key)
    assert (await other)[0] == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_locked_key_does_not_block_the_keys_behind_it(loop_clock: Any) -> None:  # RT-PQ-05
    queue = queue_of(loop_clock)
    queue.add("a")
    await queue.get()
    queue.add("a", priority=10)
    queue.add("b")
    assert await queue.get() == ("b", 0)
    assert len(queue) == 1


async def test_fifty_workers_never_hold_a_key_twice_and_lose_none(loop_clock: Any) -> None:  # RT-WQ-05
    queue = queue_of(loop_clock)
    held: set[str] = set()
    runs: dict[str, int] = {}

    async def worker() -> None:
        while True:
            try:
                key, _ = await queue.get()
            except QueueShutDown:
                return
            assert key not in held
            held.add(key)
            runs[key] = runs.get(key, 0) + 1
            await asyncio.sleep(0.01)
            held.discard(key)
            queue.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(50)]
    for round_ in range(20):
        for n in range(100):
            queue.add(f"k{n}", after=0.003 * (n % 3) if round_ % 2 else 0.0)
        await asyncio.sleep(0.004)
    await asyncio.sleep(10)
    assert len(runs) == 100
    assert len(queue) == queue.waiting == queue.processing == 0
    queue.shut_down()
    await asyncio.gather(*workers)


async def test_delay_is_never_early_and_the_getter_wakes_on_time(loop_clock: Any) -> None:  # RT-WQ-08
    queue = queue_of(loop_clock)
    began = loop_clock.monotonic()
    queue.add("late", after=50.0)
    queue.add("soon", after=10.0)
    assert len(queue) == 0
    assert queue.waiting == 2
    assert (await queue.get())[0] == "soon"
    assert 10.0 <= loop_clock.monotonic() - began < 10.0 + 0.5
    assert (await queue.get())[0] == "late"
    assert 50.0 <= loop_clock.monotonic() - began < 50.0 + 0.5


@pytest.mark.parametrize(("first", "second", "due"), [(30.0, 10.0, 10.0), (10.0, 30.0, 10.0), (30.0, 0.0, 0.0)])
async def test_the_earlier_of_two_delays_wins(loop_clock: Any, first: float, second: float, due: float) -> None:
    # RT-PQ-02
    queue = queue_of(loop_clock)
    began = loop_clock.monotonic()
    queue.add("a", after=first)
    queue.add("a", after=second)
    await queue.get()
    assert loop_clock.monotonic() - began == pytest.approx(due, abs=0.01)
    queue.done("a")
    await asyncio.sleep(100)
    assert len(queue) == 0


async def test_an_undelayed_key_is_not_delayed_by_a_later_add(loop_clock: Any) -> None:  # RT-PQ-02
    queue = queue_of(loop_clock)
    queue.add("a")
    queue.add("a", after=60.0)
    assert len(queue) == 1
    assert queue.waiting == 0


@pytest.mark.parametrize("delay", [0.0, -5.0])
async def test_zero_and_negative_delay_mean_now(loop_clock: Any, delay: float) -> None:  # RT-WQ-08
    queue = queue_of(loop_clock)
    queue.add("a", after=delay)
    assert len(queue) == 1


async def test_thousands_of_delayed_keys_come_in_time_order(loop_clock: Any) -> None:
    queue = queue_of(loop_clock)
    for n in range(5000):
        queue.add(f"{(n * 7919) % 5000:04}", after=1.0 + ((n * 7919) % 5000) * 0.01)
    keys = await taken(queue, 5000)
    assert keys == sorted(keys)


async def test_rate_limited_adds_back_off_until_forgotten(loop_clock: Any) -> None:  # RT-WQ-09
    queue = queue_of(loop_clock, limiter=ItemExponential(1.0, 100.0))
    gaps = []
    for _ in range(4):
        began = loop_clock.monotonic()
        queue.add("a", rate_limited=True)
        await taken(queue, 1)
        gaps.append(loop_clock.monotonic() - began)
    assert gaps == pytest.approx([1.0, 2.0, 4.0, 8.0], abs=0.02)
    assert queue.num_requeues("a") == 4
    queue.forget("a")
    queue.add("a", rate_limited=True)
    began = loop_clock.monotonic()
    await taken(queue, 1)
    assert 1.0 <= loop_clock.monotonic() - began < 1.0 + 0.5


@pytest.mark.parametrize(("after", "waits"), [(0.0, 4.0), (9.0, 4.0), (2.0, 2.0)])
async def test_the_limiter_wins_unless_the_delay_is_shorter(loop_clock: Any, after: float, waits: float) -> None:
    # RT-PQ-01
    queue = queue_of(loop_clock, limiter=ItemExponential(4.0, 100.0))
    queue.add("a", after=after, rate_limited=True)
    assert queue.num_requeues("a") == 1
    began = loop_clock.monotonic()
    await queue.get()
    assert loop_clock.monotonic() - began == pytest.approx(waits, abs=0.01)


# ---- priorities ----


async def test_user_changes_overtake_the_initial_list(loop_clock: Any) -> None:  # RT-PQ-03
    queue = queue_of(loop_clock)
    for n in range(5):
        queue.add(f"listed{n}", priority=PRIORITY_LOW)
    queue.add("changed")
    assert await taken(queue, 3) == ["changed", "listed0", "listed1"]


async def test_priority_only_rises_and_a_raised_key_joins_the_tail_of_its_class(loop_clock: Any) -> None:  # RT-PQ-03
    queue = queue_of(loop_clock)
    queue.add("low", priority=PRIORITY_LOW)
    queue.add("a")
    queue.add("low")
    queue.add("low", priority=-500)
    queue.add("b")
    assert [await queue.get() for _ in range(3)] == [("a", 0), ("low", 0), ("b", 0)]


async def test_an_expired_delay_joins_the_tail_of_its_class(loop_clock: Any) -> None:  # RT-PQ-03
    queue = queue_of(loop_clock)
    queue.add("delayed", after=1.0)
    queue.add("a")
    await asyncio.sleep(2)
    queue.add("b")
    assert await taken(queue, 3) == ["a", "delayed", "b"]


async def test_a_waiting_key_made_ready_by_an_add_keeps_its_place(loop_clock: Any) -> None:  # RT-PQ-03
    queue = queue_of(loop_clock)
    queue.add("first", after=100.0)
    queue.add("second")
    queue.add("first")
    assert await taken(queue, 2) == ["first", "second"]


async def test_a_delayed_high_priority_key_is_invisible_until_ready_and_then_first(loop_clock: Any) -> None:  # RT-PQ-04
    queue = queue_of(loop_clock)
    queue.add("high", priority=10, after=1.0)
    queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    assert await taken(queue, 1) == ["a"]
    await asyncio.sleep(1.5)
    assert await taken(queue, 2) == ["high", "b"]


async def test_every_sixteenth_hand_out_takes_the_oldest(loop_clock: Any) -> None:  # RT-PQ-09
    queue = queue_of(loop_clock)
    queue.add("starved", priority=PRIORITY_LOW)
    handed = []
    for n in range(40):
        queue.add(f"busy{n}")
        queue.add(f"more{n}")
        handed += await taken(queue, 1)
    assert handed.index("starved") == 15


async def test_a_key_ready_for_more_than_thirty_seconds_goes_next(loop_clock: Any) -> None:  # RT-PQ-09
    queue = queue_of(loop_clock)
    queue.add("old", priority=PRIORITY_LOW)
    queue.add("older-class", priority=PRIORITY_LOW - 1)
    await asyncio.sleep(31)
    queue.add("urgent", priority=100)
    assert await taken(queue, 3) == ["old", "older-class", "urgent"]


# ---- the end ----


async def test_shutdown_wakes_all_getters_and_drops_what_is_left(loop_clock: Any) -> None:  # RT-PQ-12
    counts = Counts()
    queue = queue_of(loop_clock, counts)
    getters = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shut_down()
    results = await asyncio.gather(*getters, return_exceptions=True)
    assert [type(r) for r in results] == [QueueShutDown] * 3

    full = queue_of(loop_clock, counts)
    full.add("a")
    full.add("b", after=5.0)
    full.shut_down()
    with pytest.raises(QueueShutDown):
        await full.get()
    full.add("c")
    assert len(full) == full.waiting == 0
    assert all(depth == 0 for depth in counts.depth.values())


async def test_drain_waits_for_queue_and_processing_including_readds(loop_clock: Any) -> None:  # RT-WQ-07
    queue = queue_of(loop_clock)
    queue.add("a")
    queue.add("b")
    queue.add("delayed", after=5.0)
    await queue.get()
    queue.add("a")  # runs once more after done
    drain = asyncio.create_task(queue.shut_down_with_drain())
    await asyncio.sleep(1)
    queue.add("late")
    assert await queue.get() == ("b", 0)
    queue.done("b")
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(1)
    assert not waiting.done()
    queue.done("a")
    assert await waiting == ("a", 0)
    await asyncio.sleep(1)
    assert not drain.done()
    queue.done("a")
    await asyncio.wait_for(drain, 1)
    with pytest.raises(QueueShutDown):
        await queue.get()


async def test_getters_end_when_the_drain_leaves_nothing_to_take(loop_clock: Any) -> None:  # RT-WQ-07
    queue = queue_of(loop_clock)
    queue.add("a")
    await queue.get()
    idle = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    drain = asyncio.create_task(queue.shut_down_with_drain())
    with pytest.raises(QueueShutDown):
        await asyncio.wait_for(idle, 1)
    assert not drain.done()
    queue.done("a")
    await asyncio.wait_for(drain, 1)


async def test_a_plain_shutdown_ends_a_drain(loop_clock: Any) -> None:  # RT-WQ-07
    queue = queue_of(loop_clock)
    queue.add("a")
    await queue.get()
    drain = asyncio.create_task(queue.shut_down_with_drain())
    await asyncio.sleep(100)
    assert not drain.done()
    queue.shut_down()
    await asyncio.wait_for(drain, 1)


async def test_a_cancelled_getter_loses_no_key(loop_clock: Any) -> None:
    queue = queue_of(loop_clock)
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()  # it was woken for the key already
    assert await asyncio.wait_for(second, 1) == ("a", 0)
    assert first.cancelled()


# ---- metrics ----


async def test_metrics_count_ready_keys_once_per_stay(loop_clock: Any) -> None:  # RT-PQ-13
    counts = Counts()
    queue = queue_of(loop_clock, counts)
    queue.add("a", after=10.0)
    queue.add("a", after=5.0)
    assert counts.adds == 0
    assert counts.retries == 2
    await asyncio.sleep(7)
    assert (counts.adds, counts.depth) == (1, {0: 1})
    queue.add("a", priority=5)
    queue.add("a")
    assert (counts.adds, counts.depth) == (1, {0: 0, 5: 1})
    await queue.get()
    assert counts.waits == pytest.approx([2.0], abs=0.01)
    assert queue.unfinished_seconds() == 0
    await asyncio.sleep(3)
    assert queue.unfinished_seconds() == queue.longest_running_seconds() == pytest.approx(3.0, abs=0.01)
    queue.done("a")
    assert counts.works == pytest.approx([3.0], abs=0.01)
    assert counts.depth == {0: 0, 5: 0}
    assert counts.retries == 2


async def test_memory_stays_bounded_under_endless_raises(loop_clock: Any) -> None:
    queue = queue_of(loop_clock)
    for n in range(5000):
        queue.add("a", priority=n)
        queue.add("b", after=1e6 - n)
    assert len(queue._by_priority) < 200
    assert len(queue._by_due) < 200
