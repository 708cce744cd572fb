"""Runnables that start together and stop together (RT-MG-01 to RT-MG-09).

A runnable is stopped by cancelling it. It may take the first cancellation as a request to finish what it has begun;
the second one, when the shutdown budget is used up, is final.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

_log = structlog.get_logger("rbgctl.runtime.groups")

LAST_GRACE = 0.01


class Runnable(Protocol):
    """Something that runs until it is done or cancelled. `str()` of it names it in errors."""

    async def run(self) -> None: ...


async def all_of(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines side by side. The first error cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


@dataclass(frozen=True, slots=True)
class FunctionRunnable:
    """A coroutine function as a Runnable."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]

    def __str__(self) -> str:
        return self.name


def ready_within(seconds: float, name: str, ready: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """A ready check that raises TimeoutError, naming the runnable, after `seconds`."""

    async def wait() -> None:
        try:
            async with asyncio.timeout(seconds):
                await ready()
        except TimeoutError:
            raise TimeoutError(f"{name} was not ready after {seconds:g} s") from None

    return wait


class StopEngaged(RuntimeError):
    """Nothing can be added any more."""

    def __init__(self) -> None:
        super().__init__("can't accept new runnable as stop procedure is already engaged")


@dataclass(slots=True)
class _Member:
    runnable: Runnable
    ready: Callable[[], Awaitable[None]] | None
    task: asyncio.Task[None] | None = None


class RunnableGroup:
    """`failed` is told of every error that ends a member; a member that returns is simply finished."""

    def __init__(self, name: str, failed: Callable[[str, BaseException], None]) -> None:
        self.name = name
        self._failed = failed
        self._members: list[_Member] = []
        self._started = False
        self._stopping = False

    def add(self, runnable: Runnable, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Start it with the group, or at once when the group runs. Raises StopEngaged while stopping."""
        if self._stopping:
            raise StopEngaged
        member = _Member(runnable, ready)
        self._members.append(member)
        if self._started:
            self._launch(member)

    async def start(self) -> None:
        """Start all members and wait until each is ready. Raises what a ready check raises."""
        if self._stopping or self._started:
            return
        self._started = True
        members = list(self._members)
        for member in members:
            self._launch(member)
        await all_of(self._until_ready(member) for member in members)

    async def _until_ready(self, member: _Member) -> None:
        if member.ready is None:
            # One turn of the loop, so that members begin in the order of the groups.
            await asyncio.sleep(0)
            return
        await member.ready()

    def _launch(self, member: _Member) -> None:
        member.task = asyncio.create_task(member.runnable.run(), name=str(member.runnable))
        member.task.add_done_callback(lambda task: self._ended(member, task))

    def _ended(self, member: _Member, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if self._stopping:
            _log.error("error while stopping", runnable=str(member.runnable), error=str(error))
        self._failed(str(member.runnable), error)

    def close(self) -> None:
        """Accept no more members; a group that was not started never will be."""
        self._stopping = True

    async def stop(self, seconds: float | None) -> list[str]:
        """Cancel all members and wait for them, at most `seconds` (None: for ever).

        Returns the names of those that did not end in time; they have been cancelled a second time.
        """
        self.close()
        running = [m for m in self._members if m.task is not None and not m.task.done()]
        for member in running:
            if member.task is not None:
                member.task.cancel()
        tasks = [m.task for m in running if m.task is not None]
        if not tasks:
            return []
        # Even without a budget each task has to see the first cancellation before the second one.
        await asyncio.wait(tasks, timeout=seconds if seconds is None else max(seconds, LAST_GRACE))
        stuck = [m for m in running if m.task is not None and not m.task.done()]
        for member in stuck:
            if member.task is not None:
                member.task.cancel()
        return [str(m.runnable) for m in stuck]

    def unfinished(self) -> list[asyncio.Task[None]]:
        """Tasks of members that have not ended."""
        return [m.task for m in self._members if m.task is not None and not m.task.done()]
