"""A limit that is used many times, on virtual time."""

import asyncio
from typing import Any

import pytest

from rbgctl.runtime.deadline import Deadline

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_each_use_has_the_whole_time_and_ends_with_a_timeout() -> None:
    deadline = Deadline(10.0)
    for _ in range(3):
        with deadline:
            await asyncio.sleep(7)
        assert not deadline.expired()
    began = now()
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    assert now() - began == pytest.approx(10.0, abs=0.01)
    assert deadline.expired()
    with deadline:
        await asyncio.sleep(9)
    assert not deadline.expired()


async def test_nothing_happens_between_two_uses() -> None:
    deadline = Deadline(10.0)
    with deadline:
        pass
    await asyncio.sleep(100)
    with deadline:
        await asyncio.sleep(9)


async def test_it_can_be_moved_nearer_and_farther_while_it_runs() -> None:
    loop = asyncio.get_running_loop()
    for seconds, moved in ((10.0, 3.0), (10.0, 30.0), (None, 3.0)):
        deadline, began = Deadline(seconds), now()
        loop.call_later(1.0, deadline.reschedule, began + moved)
        with pytest.raises(TimeoutError), deadline:
            await asyncio.Event().wait()
        assert now() - began == pytest.approx(moved, abs=0.01)
        deadline.reschedule(now())  # too late to mean anything
        await asyncio.sleep(1)


async def test_without_a_time_it_never_ends() -> None:
    deadline = Deadline(None)
    with deadline:
        assert deadline.when() is None
        await asyncio.sleep(1e6)


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def work(deadline: Deadline) -> None:
        with deadline:
            await asyncio.Event().wait()

    for seconds in (5.0, 10.0):  # before its time, and in the same moment
        task = asyncio.create_task(work(Deadline(10.0)))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_what_the_block_itself_raises_is_not_hidden() -> None:
    deadline = Deadline(10.0)

    async def stubborn() -> Any:
        with deadline:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise KeyError("its own") from None

    with pytest.raises(KeyError):
        await stubborn()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(1)


async def test_it_ends_once_even_if_the_block_goes_on() -> None:
    deadline = Deadline(10.0)
    with deadline:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(100)
    assert deadline.expired()
