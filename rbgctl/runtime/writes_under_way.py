"""Writes that the server may still carry out, whatever has become of those who asked for them (RT-LE-39).

A request cannot be called back: when the task that waits for it is cancelled, the server goes on, and it may do so when
the connection is lost. So a write that needs leadership runs in a task of its own, which only its answer or its time
limit ends; one that ends without an answer stays under way until the server's own time limit for it is over; and
leadership is given away when all that has ended, not when the waiting has.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

Answer = TypeVar("Answer")

write_scope: ContextVar[int | None] = ContextVar("write scope", default=None)
"""The shard in whose name the current task writes; tasks started by it inherit it. None: in that of the process."""


class WritesUnderWay:
    """Of one process. Use it from one event loop."""

    def __init__(self) -> None:
        self._scopes: dict[asyncio.Task[Any], int | None] = {}

    async def carry(self, write: Coroutine[Any, Any, Answer]) -> Answer:
        """Its answer. A cancellation only ends the waiting, so `write` must be bounded in time."""
        task = self._follow(write, "write")
        await asyncio.wait([task])
        return task.result()

    def unanswered(self, seconds: float) -> None:
        """Called by a write that ends without knowing what became of it: the server may carry it out for so long."""
        if seconds > 0:
            self._follow(asyncio.sleep(seconds), "unanswered write")

    def _follow(self, what: Coroutine[Any, Any, Answer], name: str) -> asyncio.Task[Answer]:
        task = asyncio.create_task(what, name=name)
        self._scopes[task] = write_scope.get()
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        del self._scopes[task]
        if not task.cancelled():
            task.exception()  # Whoever wanted to know has been told.

    async def ended(self, scope: int | None = None) -> None:
        """Until none is under way: of one scope, or of any. That is final when no more of them can begin."""
        while running := self._running(scope):
            await asyncio.wait(running)

    def _running(self, scope: int | None) -> list[asyncio.Task[Any]]:
        return [t for t, of in self._scopes.items() if scope in {None, of} and not t.done()]

    async def close(self) -> None:
        """Give up waiting for answers."""
        running = self._running(None)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
