"""A handler that may wait: its events queue up for it, and nobody else is delayed (RT-IN-01).

    async with QueuedHandler(mine) as handler:
        informer.add_handler(handler)

Handlers that only put keys into work queues need none of this: they are called directly.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

import structlog

from rbgctl.runtime.feed import BACKLOG_WARNING
from rbgctl.runtime.store import Entry, Tombstone

_log = structlog.get_logger("rbgctl.runtime.handler")


class WaitingHandler(Protocol):
    """Like `ResourceHandler`, but each call is awaited before the next event is handed over."""

    async def on_add(self, entry: Entry, *, initial: bool) -> None: ...

    async def on_update(self, old: Entry, new: Entry) -> None: ...

    async def on_delete(self, last: Entry | Tombstone) -> None: ...


class QueuedHandler:
    """Feeds `handler` in order from a queue without bounds while the block runs; what is left then is dropped.

    pending: events not handled yet. has_heard_initial: everything of the first list was handled (RT-IN-03).
    """

    def __init__(self, handler: WaitingHandler) -> None:
        self._handler = handler
        self._queue: deque[tuple[Callable[[], Awaitable[None]], bool]] = deque()
        self._wake = asyncio.Event()
        self._initial = 0
        self._backlog = False
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        return len(self._queue)

    @property
    def has_heard_initial(self) -> bool:
        return self._initial == 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._consume(), name="handler queue")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _consume(self) -> None:
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            call, initial = self._queue[0]
            try:
                await call()
            except Exception:  # noqa: BLE001 - one event must not stop those behind it (RT-IN-05)
                _log.exception("event handler failed")
            self._queue.popleft()
            self._initial -= initial

    def _push(self, call: Callable[[], Awaitable[None]], *, initial: bool = False) -> None:
        self._queue.append((call, initial))
        self._initial += initial
        if len(self._queue) > BACKLOG_WARNING and not self._backlog:
            _log.warning("a handler does not keep up", pending=len(self._queue))
        self._backlog = len(self._queue) > BACKLOG_WARNING
        self._wake.set()

    # -- what the informer calls ------------------------------------------------------------------------------

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._push(lambda: self._handler.on_add(entry, initial=initial), initial=initial)

    def on_update(self, old: Entry, new: Entry) -> None:
        self._push(lambda: self._handler.on_update(old, new))

    def on_delete(self, last: Entry | Tombstone) -> None:
        self._push(lambda: self._handler.on_delete(last))
