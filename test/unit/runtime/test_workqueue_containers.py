"""The work queue as the three containers it stands for, and what that means for getters, drains and metrics."""

import asyncio
from collections import deque
from typing import Any

import looptime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.testing.clocks import LoopClock, ManualClock
from rbgctl.runtime.workqueue import AGE_EVERY, QueueShutDown, WorkQueue

KEYS = st.sampled_from("abcdef")


class Containers(RuleBasedStateMachine):
    """RT-WQ-01, RT-WQ-02, RT-WQ-03, RT-WQ-04, RT-WQ-06: `queue`, `dirty` and `processing`, without delays.

    One thing is as the priority queue wants it (RT-PQ-05): a key that was added while it was being processed waits
    at the place of that add, not at the tail it would get when it is done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.real: WorkQueue[str] = WorkQueue(ManualClock(), ItemExponential())
        self.queue: list[str] = []
        self.dirty: list[str] = []
        self.processing: set[str] = set()
        self.getter: asyncio.Task[tuple[str, int]] | None = None

    def teardown(self) -> None:
        if self.getter is not None:
            self.getter.cancel()
            self.turn()
        self.loop.close()

    def turn(self) -> None:
        async def give_way() -> None:
            for _ in range(3):
                await asyncio.sleep(0)

        self.loop.run_until_complete(give_way())

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.real.add(key)
        if key in self.dirty:
            return
        self.dirty.append(key)
        if key not in self.processing:
            self.enqueue(key)

    def enqueue(self, key: str) -> None:
        self.queue.append(key)
        self.queue.sort(key=self.dirty.index)

    @precondition(lambda self: self.getter is None)
    @rule()
    def ask(self) -> None:
        self.getter = self.loop.create_task(self.real.get())

    @precondition(lambda self: self.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.processing)))
        self.real.done(key)
        self.processing.remove(key)
        if key in self.dirty:
            self.enqueue(key)

    @rule()
    def done_of_what_was_not_handed_out(self) -> None:
        self.real.done("nobody")

    @invariant()
    def a_getter_has_the_front_of_the_queue_or_waits(self) -> None:
        self.turn()
        if self.getter is None:
            return
        assert self.getter.done() is bool(self.queue), "it waits although there is a key, or the other way round"
        if self.queue:
            front = self.queue.pop(0)
            self.dirty.remove(front)
            self.processing.add(front)
            assert self.getter.result() == (front, 0)
            self.getter = None

    @invariant()
    def sizes_agree(self) -> None:
        """Handed-out keys do not count as queued; one that will run again does."""
        assert len(self.real) == len(self.dirty)
        assert self.real.processing == len(self.processing)
        assert self.real.waiting == 0


# Ageing takes the oldest, which without priorities is the front anyway.
TestContainers = Containers.TestCase
TestContainers.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


# -- the same with workers that wait ----------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS, st.sampled_from([0.0, 0.0, 0.3, 2.0]), st.sampled_from([-100, 0, 5])),
        st.tuples(st.just("pause"), st.sampled_from([0.0, 0.1, 1.0])),
        st.tuples(st.just("cancel"), st.integers(1, 3)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@example(steps=[("add", "a", 0.0, 0), ("pause", 1.0), ("add", "b", 0.0, 0), ("cancel", 1)], work=[0.0])
@given(steps=STEPS, work=st.lists(st.sampled_from([0.0, 0.2, 1.5]), min_size=1, max_size=5))
def test_no_wake_up_is_lost_and_no_key_is_held_twice(steps: list[Any], work: list[float]) -> None:
    """§13.8: after its last add every key is handed out, not before its delay, whatever getters come and go."""

    async def run() -> None:
        clock = LoopClock()
        queue: WorkQueue[str] = WorkQueue(clock, ItemExponential())
        times = deque(work)
        held: set[str] = set()
        owed: dict[str, float] = {}  # since its last hand-out: the earliest time at which it may come

        async def worker() -> None:
            while True:
                key, _ = await queue.get()
                assert key not in held
                assert clock.monotonic() >= owed.pop(key) - 1e-6, "early"
                held.add(key)
                times.rotate()
                try:
                    await asyncio.sleep(times[0])
                finally:
                    held.discard(key)
                    queue.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(4)]
        for step in steps:
            match step:
                case ("add", key, after, priority):
                    queue.add(key, after=after, priority=priority)
                    due = clock.monotonic() + after
                    owed[key] = min(owed.get(key, due), due)
                case ("pause", seconds):
                    await asyncio.sleep(seconds)
                case ("cancel", number):
                    workers[number].cancel()  # for good: a key it was woken for must go to another one
        await asyncio.sleep(1000)
        assert not owed
        assert len(queue) == queue.waiting == queue.processing == 0
        for task in workers:
            assert not task.done() or task.cancelled(), f"a worker failed: {task}"
            task.cancel()
        await asyncio.wait(workers)

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        runner.run(run())


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_a_getter_drains_what_is_queued_and_then_sees_the_shutdown() -> None:
    """RT-WQ-03: what is queued goes first, in order, is locked and no longer queued; then the end is told."""
    queue: WorkQueue[str] = WorkQueue(ManualClock(), ItemExponential())
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add("a")
    assert (await waiting)[0] == "a"
    queue.add("b")
    queue.add("c")
    drain = asyncio.create_task(queue.shut_down_with_drain())
    await asyncio.sleep(0)
    assert [(await queue.get())[0] for _ in range(2)] == ["b", "c"]
    assert (len(queue), queue.processing) == (0, 3)
    with pytest.raises(QueueShutDown):
        await queue.get()
    for key in ("a", "b", "c"):
        await asyncio.sleep(0.01)
        assert not drain.done()
        queue.done(key)
    await asyncio.wait_for(drain, 1)


async def test_done_runs_a_dirty_key_again_and_only_the_last_one_ends_a_drain() -> None:
    """RT-WQ-04: also after a shutdown; a key that is not dirty just leaves."""
    queue: WorkQueue[str] = WorkQueue(ManualClock(), ItemExponential())
    queue.add("again")
    queue.add("once")
    for _ in range(2):
        await queue.get()
    queue.add("again")
    drain = asyncio.create_task(queue.shut_down_with_drain())
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.done("once")
    await asyncio.sleep(0)
    assert not getter.done()
    queue.done("again")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert getter.done(), "done does not wake a getter for the key that runs again"
    assert await getter == ("again", 0)
    await asyncio.sleep(0)
    assert not drain.done()
    queue.done("again")
    await asyncio.wait_for(drain, 1)
    assert queue.processing == len(queue) == 0


async def test_length_counts_what_is_queued_only() -> None:
    """RT-WQ-06: neither delayed keys nor those being processed."""
    clock = ManualClock()
    queue: WorkQueue[str] = WorkQueue(clock, ItemExponential())
    queue.add("delayed", after=10)
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert len(queue) == 2
    await queue.get()
    assert (len(queue), queue.waiting, queue.processing) == (1, 1, 1)
    clock.time = 10
    assert (len(queue), queue.waiting) == (2, 0)


# -- metrics -----------------------------------------------------------------------------------------------------------


class Retries:
    """Asks the queue in every callback, as a gauge that is computed when it is read does."""

    def __init__(self) -> None:
        self.queue: WorkQueue[str] | None = None
        self.retries = 0
        self.asked = 0

    def _look(self) -> None:
        self.asked += 1
        assert self.queue is not None
        assert len(self.queue) >= 0
        assert self.queue.waiting >= 0
        assert self.queue.unfinished_seconds() >= 0

    def ready(self, priority: int) -> None:
        self._look()

    def raised(self, before: int, after: int) -> None:
        self._look()

    def handed_out(self, priority: int, waited: float) -> None:
        self._look()

    def dropped(self, priority: int) -> None:
        self._look()

    def done(self, worked: float) -> None:
        self._look()

    def retried(self) -> None:
        self.retries += 1
        self._look()


def measured(clock: ManualClock) -> tuple[WorkQueue[str], Retries]:
    metrics = Retries()
    queue: WorkQueue[str] = WorkQueue(clock, ItemExponential(1.0, 4.0), metrics)
    metrics.queue = queue
    return queue, metrics


async def test_every_delayed_add_is_a_retry_until_the_shutdown() -> None:
    """RT-WQ-10, as far as RT-PQ-05 lets it: also requeues that are no failure, also of a key that is queued or being
    processed; adds without a delay do not count.
    """
    queue, metrics = measured(ManualClock())
    counted = []
    for how in ({"after": 30.0}, {"after": 5.0}, {"rate_limited": True}, {}, {"after": -1.0}):
        queue.add("a", **how)  # type: ignore[arg-type]
        counted.append(metrics.retries)
    assert counted == [1, 2, 3, 3, 3]
    await queue.get()
    queue.add("a", after=1.0)
    assert metrics.retries == 4
    queue.shut_down()
    queue.add("a", after=1.0)
    queue.add("b", rate_limited=True)
    assert metrics.retries == 4
    assert queue.num_requeues("b") == 0, "an ignored add is no failure either"


@pytest.mark.parametrize("drain", [False, True])
async def test_no_getter_is_left_behind_by_a_shutdown_and_metrics_may_ask_the_queue(drain: bool) -> None:
    """RT-PQ-08: the two defects of the priority queue that this one was modelled on."""
    clock = ManualClock()
    queue, metrics = measured(clock)
    getters = [asyncio.create_task(queue.get()) for _ in range(2 * AGE_EVERY)]
    await asyncio.sleep(0)
    queue.add("a", priority=-100)
    queue.add("a", priority=7)
    queue.add("b", after=1.0)
    queue.add("c", rate_limited=True)
    clock.time = 2.0
    assert len(queue) + queue.processing + queue.waiting == 3
    for _ in range(5):
        await asyncio.sleep(0)
    ending = asyncio.create_task(queue.shut_down_with_drain()) if drain else None
    if ending is None:
        queue.shut_down()
    for key in ("a", "b", "c"):
        await asyncio.sleep(0)
        queue.done(key)
    done, left = await asyncio.wait(getters, timeout=2)
    assert not left, f"{len(left)} getters wait for ever"
    assert {type(getter.exception()) for getter in done} == {type(None), QueueShutDown}
    if ending is not None:
        await asyncio.wait_for(ending, 1)
    assert metrics.asked >= 5
