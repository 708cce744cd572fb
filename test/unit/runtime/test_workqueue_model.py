"""The work queue against a model that scans everything: any order of calls, same hand-outs."""

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.testing.clocks import ManualClock
from rbgctl.runtime.workqueue import AGE_AFTER, AGE_EVERY, WorkQueue

KEYS = st.sampled_from("abcdefgh")
PRIORITIES = st.sampled_from([-100, 0, 0, 7])
DELAYS = st.sampled_from([0.0, 0.0, 0.5, 1.0, 10.0, 40.0])


@dataclass
class Item:
    priority: int
    counter: int
    due: float | None
    ready_at: float = 0.0
    age: int = 0
    delayed: int = 0  # order in which delays were set: equal due times keep it


@dataclass
class Wish:
    """What was asked for a key since it was last handed out: the earliest time, the highest priority."""

    due: float
    priority: int


class Depth:
    def __init__(self) -> None:
        self.by_priority: dict[int, int] = {}
        self.retries = 0

    def _change(self, priority: int, by: int) -> None:
        self.by_priority[priority] = self.by_priority.get(priority, 0) + by

    def ready(self, priority: int) -> None:
        self._change(priority, 1)

    def raised(self, before: int, after: int) -> None:
        self._change(before, -1)
        self._change(after, 1)

    def handed_out(self, priority: int, waited: float) -> None:
        assert waited >= 0
        self._change(priority, -1)

    def dropped(self, priority: int) -> None:
        self._change(priority, -1)

    def done(self, worked: float) -> None:
        assert worked >= 0

    def retried(self) -> None:
        self.retries += 1


class QueueAgainstModel(RuleBasedStateMachine):
    """RT-WQ-05, RT-WQ-10, RT-PQ-02, RT-PQ-03, RT-PQ-04, RT-PQ-05, RT-PQ-09 in any combination."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.depth = Depth()
        self.queue: WorkQueue[str] = WorkQueue(self.clock, ItemExponential(1.0, 4.0), self.depth)
        self.items: dict[str, Item] = {}
        self.processing: list[str] = []
        self.failures: dict[str, int] = {}
        self.wishes: dict[str, Wish] = {}
        self.latest: dict[str, int] = {}  # of takeable keys: the hand-out by which ageing must have taken them
        self.retries = 0
        self.down = False
        self.counter = 0
        self.hand_outs = 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self._nothing_is_lost())
        self.loop.close()

    async def _nothing_is_lost(self) -> None:
        """Whatever happened, everything queued is handed out once all delays are over, and depth returns to 0."""
        self.clock.time += 1000
        expected = set(self.items)
        for key in self.processing:
            self.queue.done(key)
        handed = set()
        while len(self.queue):
            key, _ = await self.queue.get()
            self.queue.done(key)
            assert key not in handed
            handed.add(key)
        assert handed == expected
        assert not any(self.depth.by_priority.values())

    def next(self) -> int:
        self.counter += 1
        return self.counter

    def aged(self) -> list[str]:
        """Takeable keys, oldest first."""
        ready = self.takeable()
        return sorted(ready, key=lambda k: ready[k].age)

    def note_positions(self) -> None:
        """A key is taken within 16 hand-outs per place by age; one that gets in before it moves it back (RT-PQ-09)."""
        aged = self.aged()
        for new in [n for n, key in enumerate(aged) if key not in self.latest]:
            for behind in aged[new + 1 :]:
                if behind in self.latest:
                    self.latest[behind] += AGE_EVERY
            self.latest[aged[new]] = self.hand_outs + AGE_EVERY * (new + 1)

    def promote(self) -> None:
        due = [(i.due, i.delayed, i) for i in self.items.values() if i.due is not None and i.due <= self.clock.time]
        for at, _, item in sorted(due, key=lambda d: d[:2]):
            item.due = None
            item.counter = self.next()
            item.age = self.next()
            item.ready_at = at
        self.note_positions()

    @rule(key=KEYS, after=DELAYS, limited=st.booleans(), priority=PRIORITIES)
    def add(self, key: str, after: float, limited: bool, priority: int) -> None:
        self.queue.add(key, after=after, rate_limited=limited, priority=priority)
        if not self.down:
            self.promote()
            self.added(key, after, limited, priority)
            self.note_positions()

    def added(self, key: str, after: float, limited: bool, priority: int) -> None:
        if limited:
            failures = self.failures.get(key, 0)
            self.failures[key] = failures + 1
            limit = min(2.0**failures, 4.0)
            after = limit if after == 0 or after > limit else after
        self.retries += after > 0
        item = self.items.get(key)
        now = self.clock.time
        wish = self.wishes.setdefault(key, Wish(now + after, priority))
        wish.due, wish.priority = min(wish.due, now + after), max(wish.priority, priority)
        if item is None:
            item = self.items[key] = Item(priority, self.next(), now + after if after else None)
            if after:
                item.delayed = self.next()
            else:
                item.ready_at, item.age = now, self.next()
            return
        if priority > item.priority:
            item.priority, item.counter = priority, self.next()
        if item.due is not None:
            if not after:
                item.due, item.ready_at, item.age = None, now, self.next()
            elif now + after < item.due:
                item.due, item.delayed = now + after, self.next()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds
        self.promote()

    def takeable(self) -> dict[str, Item]:
        return {k: i for k, i in self.items.items() if i.due is None and k not in self.processing}

    @precondition(lambda self: self.takeable())
    @rule()
    def get(self) -> None:
        self.hand_outs += 1
        ready = self.takeable()
        oldest = min(ready, key=lambda k: ready[k].age)
        if self.hand_outs % AGE_EVERY == 0 or self.clock.time - ready[oldest].ready_at > AGE_AFTER:
            expected = oldest
        else:
            expected = min(ready, key=lambda k: (-ready[k].priority, ready[k].counter))
        got = self.loop.run_until_complete(self.queue.get())
        assert got == (expected, ready[expected].priority)
        # The same again without the model of the order: not early, not lowered, not starved.
        wish = self.wishes.pop(expected)
        assert self.clock.time >= wish.due
        assert got[1] == wish.priority
        assert self.hand_outs <= self.latest.pop(expected)
        del self.items[expected]
        self.processing.append(expected)

    @precondition(lambda self: not self.takeable() and not self.down)
    @rule()
    def get_waits(self) -> None:
        async def attempt() -> None:
            getter = asyncio.ensure_future(self.queue.get())
            await asyncio.sleep(0)
            assert not getter.done()
            getter.cancel()
            await asyncio.wait([getter])

        self.loop.run_until_complete(attempt())

    @precondition(lambda self: self.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.processing))
        self.queue.done(key)
        self.processing.remove(key)
        self.note_positions()

    @precondition(lambda self: self.hand_outs > 5)
    @rule()
    def shut_down(self) -> None:
        self.queue.shut_down()
        self.down = True
        self.items.clear()
        self.latest.clear()

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @invariant()
    def counts_agree(self) -> None:
        ready = [i for i in self.items.values() if i.due is None]
        assert len(self.queue) == len(ready)
        assert self.queue.waiting == len(self.items) - len(ready)
        assert self.queue.processing == len(self.processing)
        expected: dict[int, int] = {}
        for item in ready:
            expected[item.priority] = expected.get(item.priority, 0) + 1
        assert {p: n for p, n in self.depth.by_priority.items() if n} == expected
        assert self.depth.retries == self.retries


QueueAgainstModel.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestQueueAgainstModel = QueueAgainstModel.TestCase


@given(
    listed=st.integers(1, 40),
    busy=st.lists(st.tuples(PRIORITIES, st.integers(0, 3)), min_size=700, max_size=700),
)
@settings(max_examples=25, deadline=None)
def test_a_stream_of_changes_starves_nothing(listed: int, busy: list[tuple[int, int]]) -> None:
    """RT-PQ-09: the n-th oldest of `listed` low keys comes within 16 n hand-outs though better ones never run out."""

    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue(ManualClock(), ItemExponential())
        for n in range(1, listed + 1):
            queue.add(f"listed-{n}", priority=-100)
        for n in range(20):
            queue.add(f"first-{n}", priority=7)
        for count, (priority, more) in enumerate(busy, 1):
            queue.add(f"busy-{count}", priority=max(priority, 0))
            for extra in range(more):
                queue.add(f"busy-{count}-{extra}", priority=max(priority, 0))
            key, _ = await queue.get()
            queue.done(key)
            kind, _, number = key.partition("-")
            if kind == "listed":
                assert count <= AGE_EVERY * int(number)
                left.discard(int(number))
        assert not left

    left = set(range(1, listed + 1))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(run())
