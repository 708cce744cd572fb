"""Writes that go on when nobody waits for them any more."""

import asyncio

import pytest

from rbgctl.runtime.writes_under_way import WritesUnderWay, write_scope

pytestmark = pytest.mark.looptime


async def test_the_answer_and_the_error_of_a_write_reach_who_waits() -> None:
    writes = WritesUnderWay()
    assert await writes.carry(asyncio.sleep(1, "answer")) == "answer"

    async def refused() -> None:
        raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        await writes.carry(refused())
    await writes.ended()


async def test_a_cancelled_writer_leaves_its_write_under_way() -> None:
    writes = WritesUnderWay()
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await writes.carry(asyncio.sleep(5))
    await writes.ended()
    assert asyncio.get_running_loop().time() - began >= 5


async def test_each_scope_is_waited_for_alone_and_the_process_for_all() -> None:
    writes = WritesUnderWay()
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = []
    for shard, seconds in ((0, 3), (1, 9), (None, 12)):
        write_scope.set(shard)
        tasks.append(asyncio.create_task(writes.carry(asyncio.sleep(seconds))))
    await asyncio.sleep(0)
    took = {}
    for scope in (2, 0, 1, None):
        await writes.ended(scope)
        took[scope] = round(loop.time() - began)
    assert took == {2: 0, 0: 3, 1: 9, None: 12}


async def test_a_write_that_lost_its_connection_is_under_way_while_the_server_may_carry_it_out() -> None:
    """In the scope in which it was begun; who waits for its answer is told at once."""
    writes = WritesUnderWay()
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def cut_off() -> None:
        await asyncio.sleep(1)
        writes.unanswered(12)
        raise OSError("cut off")

    write_scope.set(1)
    with pytest.raises(OSError, match="cut off"):
        await writes.carry(cut_off())
    assert loop.time() - began == pytest.approx(1)
    write_scope.set(2)
    await writes.ended(2)
    assert loop.time() - began == pytest.approx(1)
    await writes.ended(1)
    assert loop.time() - began == pytest.approx(13)
    with pytest.raises(OSError, match="cut off"):
        await writes.carry(cut_off())
    await writes.close()
    assert loop.time() - began == pytest.approx(14)


async def test_closing_gives_up_waiting() -> None:
    writes = WritesUnderWay()
    waiting = asyncio.create_task(writes.carry(asyncio.sleep(1e6)))
    await asyncio.sleep(0)
    await writes.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
