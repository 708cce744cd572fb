"""Repeating a read-modify-write that lost a race."""

import random

import pytest
from unit.runtime.conftest import ManualClock

from rbgctl.runtime.conflict_retry import DEFAULT_BACKOFF, DEFAULT_RETRY, Steps, retry_on_conflict
from rbgctl.runtime.errors import Conflict, NotFound


class Clock(ManualClock):
    """Notes what was slept for."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(seconds)


class Loses:
    """Conflicts so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise Conflict({"message": f"number {self.calls}"})
        return "written"


@pytest.mark.parametrize(
    ("steps", "waits"), [(DEFAULT_RETRY, [0.01, 0.01, 0.01, 0.01]), (DEFAULT_BACKOFF, [0.01, 0.05, 0.25])]
)
async def test_the_presets_wait_as_long_as_those_of_others(steps: Steps, waits: list[float]) -> None:
    """RT-CL-23: five attempts 10 ms apart, or four with a factor of five; up to a tenth longer each."""
    clock, fn = Clock(), Loses(100)
    with pytest.raises(Conflict, match=f"number {len(waits) + 1}"):
        await retry_on_conflict(fn, steps, clock=clock, rng=random.Random(1))
    assert fn.calls == len(waits) + 1
    assert all(wait <= slept <= 1.1 * wait for wait, slept in zip(waits, clock.slept, strict=True))
    assert clock.slept != waits


async def test_a_race_that_is_won_in_the_end_is_no_error() -> None:
    """RT-CL-23: five attempts unless told otherwise."""
    assert await retry_on_conflict(Loses(4), clock=Clock()) == "written"
    with pytest.raises(Conflict):
        await retry_on_conflict(Loses(5), clock=Clock())


async def test_only_conflicts_are_worth_another_try() -> None:
    """RT-CL-23."""
    calls = 0

    async def fails() -> None:
        nonlocal calls
        calls += 1
        raise NotFound({})

    with pytest.raises(NotFound):
        await retry_on_conflict(fails, clock=Clock())
    assert calls == 1
