"""The stop of a manager, in the order in which others wait for what it gives up (RT-MG-29, RT-LE-39).

others, leader group, events, elector, caches, webhooks, http servers; all within one budget
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rbgctl.runtime.controller import Controller
from rbgctl.runtime.events import FLUSH_SECONDS, Broadcaster
from rbgctl.runtime.groups import RunnableGroup
from rbgctl.runtime.leadership import Leadership
from rbgctl.runtime.tracing import SHUTDOWN_SECONDS, Tracing
from rbgctl.runtime.transport import Transport

REAP_SECONDS = 0.5
LAST_WORDS_SECONDS = 0.5
"""For events of a leader to go out while others wait for its lease."""


class ShutdownTimeout(Exception):
    """Some runnables did not end within the graceful shutdown budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """What a manager has that must end. budget: seconds for all of it, None for ever, 0 waits for nothing."""

    groups: Mapping[str, RunnableGroup]
    controllers: Mapping[str, Controller]
    events: Broadcaster
    leadership: Leadership | None
    tracing: Tracing
    transport: Transport
    budget: float | None

    async def run(self, starting: "asyncio.Task[None]", events: "asyncio.Task[None]") -> ShutdownTimeout | None:
        """Stop everything, and the tasks of start-up and of event delivery; what did not end in time is returned."""
        budget = self.budget
        loop = asyncio.get_running_loop()
        ends = None if budget is None else loop.time() + budget

        def left() -> float | None:
            return None if ends is None else max(0.0, ends - loop.time())

        starting.cancel()
        for group in self.groups.values():
            group.close()
        warmup = asyncio.create_task(self.groups["warmup"].stop(left()))
        stuck: list[str] = []
        for name in ("other", "leader"):
            stuck += await self.groups[name].stop(left())
        for controller in self.controllers.values():
            # Those that were warmed up but never elected.
            if not controller.running:
                await controller.close()
        # Events need the write gate open, so they go out before leadership is given up; and that comes before all
        # that other replicas do not wait for (RT-MG-29).
        await self.events.stop(_least(left(), FLUSH_SECONDS if self.leadership is None else LAST_WORDS_SECONDS))
        if self.leadership is not None:
            stuck += await self.leadership.end(left(), release=not stuck and budget != 0)
        for name in ("cache", "webhook", "http"):
            stuck += await self.groups[name].stop(left())
        stuck += await warmup
        events.cancel()
        await self._reap([starting, events])
        await self.tracing.shutdown(_least(left(), SHUTDOWN_SECONDS))
        await self.transport.close()
        if self.leadership is not None:
            await self.leadership.close(left())
        if stuck and budget != 0:
            return ShutdownTimeout(
                f"failed waiting for all runnables to end within grace period of {budget:g}s: {', '.join(stuck)}"
            )
        return None

    async def _reap(self, tasks: "list[asyncio.Task[None]]") -> None:
        """Let what was cancelled unwind, so that no task outlives the manager."""
        tasks += [task for group in self.groups.values() for task in group.unfinished()]
        pending = [t for t in tasks if not t.done()]
        if pending:
            await asyncio.wait(pending, timeout=REAP_SECONDS)


def _least(left: float | None, most: float) -> float:
    return most if left is None else min(left, most)
