"""Clocks of the test kit."""

import asyncio

import pytest

from rbgctl.runtime.testing.clocks import START, FakeClock


async def test_time_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock()
    woke: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woke.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("late", 9.0))
        group.create_task(sleeper("often", 2.0, 2.0, 3.0))
        group.create_task(sleeper("soon", 1.0))
        await asyncio.sleep(0.01)
        assert (woke, clock.sleeping, clock.next_due) == ([], 3, 1.0)
        await clock.advance(4.5)
        assert woke == [("soon", 1.0), ("often", 2.0), ("often", 4.0)]
        assert clock.monotonic() == 4.5
        assert (clock.now() - START).total_seconds() == 4.5
        assert clock.next_due == pytest.approx(2.5)
        await clock.advance(100)
    assert woke[3:] == [("often", 7.0), ("late", 9.0)]
    assert (clock.sleeping, clock.next_due, clock.time) == (0, None, 104.5)


async def test_a_sleeper_that_was_cancelled_does_not_hold_time_up() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(5.0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (clock.sleeping, clock.next_due) == (0, None)
    await clock.advance(10)
    assert clock.time == 10


async def test_no_time_to_sleep_only_gives_way() -> None:
    clock = FakeClock()
    await clock.sleep(0)
    assert clock.sleeping == 0
