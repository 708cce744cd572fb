"""Takes turns at reading whole collections: few at once, and one that stalls makes way for the others (RT-RF-17)."""

import asyncio
from types import TracebackType
from typing import Self

LISTS_AT_ONCE = 4
PATIENCE = 10.0
"""Seconds without progress after which a list no longer counts. It goes on; a hanging server has no work with it."""


class ListTurn:
    """One turn: `async with ListTurn(gate) as turn`, and `turn.progress()` whenever something has come."""

    def __init__(self, gate: asyncio.Semaphore) -> None:
        self._gate = gate
        self._held = False
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._gate.acquire()
        self._held = True
        self._loop = asyncio.get_running_loop()
        self.progress()
        self._timer = self._loop.call_at(self._due, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_up()

    def progress(self) -> None:
        """Another `PATIENCE` seconds from now."""
        self._due = self._loop.time() + PATIENCE

    def _look(self) -> None:
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._look)
        else:
            self._give_up()

    def _give_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held:
            self._held = False
            self._gate.release()
