"""A time limit that is used again and again, for what runs hundreds of times a second and seldom takes long.

    deadline = Deadline(120.0)
    with deadline:
        await work()           # cancelled after 120 s, which ends the block with TimeoutError

`asyncio.timeout` makes a timer each time. This one keeps its timer, which looks at the time again when it fires.
"""

import asyncio
from types import TracebackType
from typing import Self

_ROUNDING = 0.002
"""Seconds that a loop's timers may be early."""


class Deadline:
    """For one task at a time. seconds: how long a block may take; None is for ever, unless it is rescheduled."""

    __slots__ = ("_cancelling", "_due", "_expired", "_loop", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._expired = False
        self._cancelling = 0

    def __enter__(self) -> Self:
        task = self._task = asyncio.current_task()
        assert task is not None  # noqa: S101 - nothing else can wait
        self._cancelling = task.cancelling()
        self._expired = False
        self._due = None if self._seconds is None else self._loop.time() + self._seconds
        if self._timer is None and self._due is not None:
            self._timer = self._loop.call_at(self._due, self._fire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._expired or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def when(self) -> float | None:
        """When the block that runs is over, by the time of the loop."""
        return self._due

    def reschedule(self, when: float) -> None:
        """Let the block that runs end then."""
        if self._task is None or self._expired:
            return
        self._due = when
        if self._timer is not None and self._timer.when() > when:
            self.stop()
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._fire)

    def expired(self) -> bool:
        """Whether the time of the last block ran out."""
        return self._expired

    def stop(self) -> None:
        """It is not used any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if self._task is None or self._due is None or self._expired:
            return  # the next block starts it again
        if self._loop.time() < self._due - _ROUNDING:
            self._timer = self._loop.call_at(self._due, self._fire)
        else:
            self._expired = True
            self._task.cancel()
