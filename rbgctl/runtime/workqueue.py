"""The queue between events and reconcilers: deduplicating, delayed, prioritised.

Keys, not events, are queued. A key is handed to one getter at a time; adds that arrive while it is being worked on
collapse into exactly one more hand-out after `done`. Among ready keys the higher priority goes first and equal
priorities go in order of arrival, except that ageing (every 16th hand-out, or a key ready for more than 30 s) takes
the oldest key whatever its priority, so that nothing starves.

    state of a queued key     waiting --delay over--> ready --get--> (handed out, locked)
                                                      parked --done of the earlier hand-out--> ready

`parked` is a ready key whose previous hand-out is still being worked on. The three heaps hold entries that may be
out of date; an entry counts only while it agrees with its item, and heaps are rebuilt when mostly stale.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from enum import Enum
from typing import Generic, Protocol, TypeVar

from rbgctl.runtime.clock import Clock
from rbgctl.runtime.ratelimit import RateLimiter

K = TypeVar("K", bound=Hashable)

PRIORITY_DEFAULT = 0
PRIORITY_LOW = -100
"""Of what only repeats known state: objects of the initial list and updates that changed nothing (RT-PQ-07)."""

AGE_EVERY = 16
AGE_AFTER = 30.0
_STALE_ALLOWANCE = 64
_SHORTEST_TIMER = 0.001


class QueueShutDown(Exception):
    """There will be no more keys from this queue."""


class QueueMetrics(Protocol):
    """What a queue reports; called once per happening, never blocks."""

    def ready(self, priority: int) -> None:
        """A key became ready: one more add, one more in depth (RT-PQ-13)."""
        ...

    def raised(self, before: int, after: int) -> None:
        """A ready key moved to a higher priority."""
        ...

    def handed_out(self, priority: int, waited: float) -> None:
        """A key left the depth after `waited` seconds of being ready."""
        ...

    def dropped(self, priority: int) -> None:
        """A ready key left the depth because the queue shut down."""
        ...

    def done(self, worked: float) -> None:
        """A hand-out ended after `worked` seconds."""
        ...

    def retried(self) -> None:
        """An add with a positive delay (RT-PQ-05)."""
        ...


class _State(Enum):
    WAITING = 1
    READY = 2
    PARKED = 3
    GONE = 4


class _Item(Generic[K]):
    __slots__ = ("age", "counter", "due", "key", "priority", "ready_at", "state")

    def __init__(self, key: K, priority: int, counter: int) -> None:
        self.key = key
        self.priority = priority
        self.counter = counter
        self.age = 0
        self.due = 0.0
        self.ready_at = 0.0
        self.state = _State.WAITING


class WorkQueue(Generic[K]):
    """Keys to reconcile (RT-WQ-05, RT-PQ-01 to RT-PQ-13). Single-threaded: use it from one event loop only."""

    def __init__(self, clock: Clock, limiter: RateLimiter[K], metrics: QueueMetrics | None = None) -> None:
        self._clock = clock
        self._limiter = limiter
        self._metrics = metrics
        self._items: dict[K, _Item[K]] = {}
        self._processing: dict[K, tuple[float, float]] = {}  # when it was handed out, how long it was ready before
        self._by_priority: list[tuple[int, int, _Item[K]]] = []
        self._by_age: list[tuple[int, int, _Item[K]]] = []
        self._by_due: list[tuple[float, int, _Item[K]]] = []
        self._sequence = 0
        self._waiting = 0
        self._hand_outs = 0
        self._getters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._shutting_down = False
        self._draining = False
        self._drained: asyncio.Event | None = None

    # ---- adding ----

    def add(self, key: K, *, after: float = 0.0, rate_limited: bool = False, priority: int = PRIORITY_DEFAULT) -> None:
        """Queue `key`, ready `after` seconds from now; ignored once shutting down.

        With `rate_limited` the limiter is asked too, which counts as a failure of the key, and the shorter of both
        delays holds (`after=0` leaves it to the limiter). A key that is already queued gets the higher of both
        priorities and the earlier of both ready times (RT-PQ-01, RT-PQ-02).
        """
        if self._shutting_down:
            return
        now = self._promote()
        delay = max(after, 0.0)
        if rate_limited:
            limited = self._limiter.when(key)
            if delay <= 0.0 or delay > limited:
                delay = limited
        if delay > 0.0 and self._metrics is not None:
            self._metrics.retried()
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(key, priority, self._next())
            if delay > 0.0:
                self._wait_until(item, now + delay)
            else:
                self._make_ready(item, now)
            return
        if item.state is _State.WAITING:
            if priority > item.priority:
                item.priority = priority
                item.counter = self._next()
            if delay <= 0.0:
                self._waiting -= 1
                self._make_ready(item, now)
            elif now + delay < item.due:
                self._waiting -= 1
                self._wait_until(item, now + delay)
        elif priority > item.priority:
            self._raise(item, priority)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _wait_until(self, item: _Item[K], due: float) -> None:
        item.state = _State.WAITING
        item.due = due
        self._waiting += 1
        heapq.heappush(self._by_due, (due, self._next(), item))
        if len(self._by_due) > 2 * self._waiting + _STALE_ALLOWANCE:
            self._by_due = [e for e in self._by_due if e[2].state is _State.WAITING and e[2].due == e[0]]
            heapq.heapify(self._by_due)
        self._arm()

    def _make_ready(self, item: _Item[K], at: float) -> None:
        item.ready_at = at
        item.age = self._next()
        if self._metrics is not None:
            self._metrics.ready(item.priority)
        if item.key in self._processing:
            item.state = _State.PARKED
        else:
            self._offer(item)

    def _offer(self, item: _Item[K]) -> None:
        item.state = _State.READY
        heapq.heappush(self._by_priority, (-item.priority, item.counter, item))
        heapq.heappush(self._by_age, (item.age, 0, item))
        self._rebuild_if_stale()
        self._wake()

    def _raise(self, item: _Item[K], priority: int) -> None:
        if self._metrics is not None:
            self._metrics.raised(item.priority, priority)
        item.priority = priority
        item.counter = self._next()
        if item.state is _State.READY:
            heapq.heappush(self._by_priority, (-priority, item.counter, item))
            self._rebuild_if_stale()

    def _rebuild_if_stale(self) -> None:
        limit = 2 * len(self._items) + _STALE_ALLOWANCE
        if len(self._by_priority) > limit:
            self._by_priority = [e for e in self._by_priority if e[2].state is _State.READY and e[2].counter == e[1]]
            heapq.heapify(self._by_priority)
        if len(self._by_age) > limit:
            self._by_age = [e for e in self._by_age if e[2].state is _State.READY]
            heapq.heapify(self._by_age)

    # ---- time ----

    def _promote(self) -> float:
        """Make ready what is due, in order of its time; returns the time it looked at."""
        now = self._clock.monotonic()
        heap = self._by_due
        while heap:
            due, _, item = heap[0]
            if item.state is not _State.WAITING or item.due != due:
                heapq.heappop(heap)
                continue
            if due > now:
                break
            heapq.heappop(heap)
            self._waiting -= 1
            # An expired delay joins the tail of its class (RT-PQ-03).
            item.counter = self._next()
            self._make_ready(item, due)
        return now

    def _arm(self) -> None:
        heap = self._by_due
        while heap and (heap[0][2].state is not _State.WAITING or heap[0][2].due != heap[0][0]):
            heapq.heappop(heap)
        if not heap:
            return
        due = heap[0][0]
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
            self._timer = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody can be waiting; the first get arms it
        # A loop's timers may fire up to a tick early: _promote decides by the clock, and the shortest timer
        # keeps the second attempt from spinning.
        delay = max(due - self._clock.monotonic(), _SHORTEST_TIMER)
        self._timer = loop.call_later(delay, self._fire)
        self._timer_due = due

    def _fire(self) -> None:
        self._timer = None
        self._promote()
        self._arm()

    # ---- taking ----

    async def get(self) -> tuple[K, int]:
        """The next key and its priority; waits for one. The key stays locked until `done`.

        Raises QueueShutDown once the queue is shut down (and, when draining, empty).
        """
        while True:
            now = self._promote()
            if self._shutting_down and not self._draining:
                raise QueueShutDown
            item = self._take(now)
            if item is not None:
                return item.key, item.priority
            if self._draining and not self._items:
                raise QueueShutDown
            self._arm()
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.cancelled() or not getter.done():
                    getter.cancel()
                    if getter in self._getters:
                        self._getters.remove(getter)
                else:
                    self._wake()  # it was woken for a key that somebody else has to take now
                raise

    def _take(self, now: float) -> _Item[K] | None:
        oldest = self._peek_oldest()
        if oldest is None:
            return None
        self._hand_outs += 1
        aged = self._hand_outs % AGE_EVERY == 0 or now - oldest.ready_at > AGE_AFTER
        item = oldest if aged else self._pop_highest()
        item.state = _State.GONE
        del self._items[item.key]
        self._processing[item.key] = (now, now - item.ready_at)
        if self._metrics is not None:
            self._metrics.handed_out(item.priority, now - item.ready_at)
        return item

    def _peek_oldest(self) -> _Item[K] | None:
        while self._by_age:
            item = self._by_age[0][2]
            if item.state is _State.READY:
                return item
            heapq.heappop(self._by_age)
        return None

    def _pop_highest(self) -> _Item[K]:
        while True:
            _, counter, item = heapq.heappop(self._by_priority)
            if item.state is _State.READY and item.counter == counter:
                return item

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def done(self, key: K) -> None:
        """The hand-out of `key` has ended: unlock it. A key that is not handed out is ignored."""
        hand_out = self._processing.pop(key, None)
        if hand_out is None:
            return
        now = self._promote()
        if self._metrics is not None:
            self._metrics.done(now - hand_out[0])
        item = self._items.get(key)
        if item is not None and item.state is _State.PARKED:
            self._offer(item)
        self._note_drained()

    # ---- state ----

    def forget(self, key: K) -> None:
        """Tell the limiter that `key` needs no more back-off."""
        self._limiter.forget(key)

    def num_requeues(self, key: K) -> int:
        """Failures the limiter remembers of `key`."""
        return self._limiter.num_requeues(key)

    def __len__(self) -> int:
        """Ready keys, including those whose earlier hand-out is still being worked on; delayed ones do not count."""
        self._promote()
        return len(self._items) - self._waiting

    @property
    def waiting(self) -> int:
        """Keys whose delay is not over yet."""
        self._promote()
        return self._waiting

    @property
    def processing(self) -> int:
        """Keys handed out and not done."""
        return len(self._processing)

    def waited(self, key: K) -> float:
        """Seconds that a key which is handed out now had been ready before; 0 for any other."""
        return self._processing.get(key, (0.0, 0.0))[1]

    def unfinished_seconds(self) -> float:
        """Sum of the ages of all hand-outs that are not done (RT-MT-14)."""
        now = self._clock.monotonic()
        return sum(now - started for started, _ in self._processing.values())

    def longest_running_seconds(self) -> float:
        """Age of the oldest hand-out that is not done (RT-MT-15)."""
        now = self._clock.monotonic()
        return max((now - started for started, _ in self._processing.values()), default=0.0)

    # ---- end ----

    def shut_down(self) -> None:
        """Accept nothing more, drop what is queued, release every getter; ends a running drain (RT-PQ-12)."""
        self._shutting_down = True
        self._draining = False
        self._stop_timer()
        for item in list(self._items.values()):
            self._drop(item)
        self._release()
        if self._drained is not None:
            self._drained.set()

    async def shut_down_with_drain(self) -> None:
        """Accept nothing more, drop what is delayed, and wait until queue and hand-outs are empty (RT-WQ-07).

        Getters keep receiving what is ready. A `shut_down` meanwhile ends the wait.
        """
        if self._shutting_down and not self._draining:
            return
        self._promote()
        self._shutting_down = True
        self._draining = True
        self._stop_timer()
        for item in [i for i in self._items.values() if i.state is _State.WAITING]:
            self._drop(item)
        if self._drained is None:
            self._drained = asyncio.Event()
        self._note_drained()
        await self._drained.wait()

    def _drop(self, item: _Item[K]) -> None:
        if item.state is _State.WAITING:
            self._waiting -= 1
        elif self._metrics is not None:
            self._metrics.dropped(item.priority)
        item.state = _State.GONE
        del self._items[item.key]

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note_drained(self) -> None:
        if self._draining and not self._items:
            self._release()  # nothing will come back: every key left is in its last hand-out
            if not self._processing and self._drained is not None:
                self._drained.set()

    def _release(self) -> None:
        while self._getters:
            self._wake()
