"""Letting others run."""

import asyncio

import pytest

from rbgctl import runtime
from rbgctl.runtime import fairness


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    await asyncio.sleep(0.001)  # the slice of an earlier test is over
    made = Time()
    monkeypatch.setattr(fairness, "perf_counter", made)
    return made


async def test_a_long_computation_gives_way_when_the_slice_is_used_up(time: Time) -> None:  # RT-CT-25
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    seen = []
    for _ in range(35):
        await runtime.checkpoint()
        seen.append(turns)
        time.now += 0.001  # a piece of work
    task.cancel()
    # 10 ms at a stretch, then one turn for everybody else, and a slice that begins anew.
    assert [seen.count(n) for n in sorted(set(seen))] == [10, 11, 11, 3]


async def test_tasks_of_a_loop_share_its_slice(time: Time) -> None:  # RT-CT-25
    order: list[str] = []

    async def work(name: str, seconds: float) -> None:
        order.append(f"{name} begins")
        await runtime.checkpoint()
        time.now += seconds
        await runtime.checkpoint()
        order.append(f"{name} ends")

    await asyncio.gather(work("a", 0.008), work("b", 0.008), work("c", 0.0))
    # Together a and b used the slice up, so b gives way to c, and c to b.
    assert order == ["a begins", "a ends", "b begins", "c begins", "b ends", "c ends"]
