"""Clocks for tests: one that follows the (virtual) time of the event loop, one that moves when told to."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

START = datetime(2026, 1, 1, tzinfo=UTC)


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


@pytest.fixture
async def loop_clock() -> LoopClock:
    return LoopClock()


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()
