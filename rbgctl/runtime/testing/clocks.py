"""Clocks for tests, which own time instead of waiting for it (§13.19).

Which one: `LoopClock` under a loop with virtual time (looptime), where everything waits as usual and nothing takes
long; `FakeClock` to step through what is due and look in between; `ManualClock` when sleeping itself is of no interest.
"""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)

_SETTLE_ROUNDS = 20


class LoopClock:
    """Monotonic time is the loop's; the wall clock shows the start of 2026 when first asked and runs with it."""

    def __init__(self) -> None:
        # Not now: virtual time begins after the fixtures.
        self._began: float | None = None

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        if self._began is None:
            self._began = self.monotonic()
        return START + timedelta(seconds=self.monotonic() - self._began)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """`time` is what the test says; sleeping moves it."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time)

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


class FakeClock:
    """Time stands still until `advance`. For code that sleeps on its Clock; loop timers do not follow it."""

    def __init__(self) -> None:
        self.time = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._count += 1
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, self._count, waking))
        await waking

    @property
    def sleeping(self) -> int:
        """How many sleep now."""
        return sum(not waking.done() for _, _, waking in self._sleepers)

    @property
    def next_due(self) -> float | None:
        """Seconds until the next sleeper wakes, None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self.time if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Let time pass. Sleepers wake one by one, each at its own time and done with what it does then before the
        next one wakes; what they sleep for in turn is honoured too when it ends within `seconds`.
        """
        ends = self.time + seconds
        await self._settle()
        while (due := self.next_due) is not None and self.time + due <= ends:
            at, _, waking = heapq.heappop(self._sleepers)
            self.time = at
            waking.set_result(None)
            await self._settle()
        self.time = ends

    async def _settle(self) -> None:
        for _ in range(_SETTLE_ROUNDS):
            await asyncio.sleep(0)
