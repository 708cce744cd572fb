"""Sharing one core: long computations let others run in between (RT-CT-25).

All tasks of a loop share its slice: what one of them computed since the loop last looked at its timers and sockets
delays all others.
"""

import asyncio
import weakref
from time import perf_counter

SLICE = 0.010
"""Seconds that tasks may compute at a stretch before `checkpoint` gives way."""

_began: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()


async def checkpoint() -> None:
    """Let other tasks run if the loop's slice is used up; else return at once. Call it between pieces of long work.

    The slice begins with the first checkpoint after the loop took a turn.
    """
    loop = asyncio.get_running_loop()
    began = _began.get(loop)
    if began is None:
        _began[loop] = perf_counter()
        # Runs with the loop's next turn, when everybody who waited has had theirs.
        loop.call_soon(_began.pop, loop, None)
    elif perf_counter() - began >= SLICE:
        await asyncio.sleep(0)
