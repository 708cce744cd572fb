"""The manager's side of an election: who may write, and in which order leadership is given up (RT-LE-32, RT-LE-39)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.manager_options import LeaderElector
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.rbac import PolicyRule
from rbgctl.runtime.sharding.assembly import sharing
from rbgctl.runtime.transport import Transport

if TYPE_CHECKING:
    from rbgctl.runtime.manager import Manager

_log = structlog.get_logger("rbgctl.runtime.leadership")

CLOSE_SECONDS = 2.0

ELECTION_RIGHTS: Final = (PolicyRule("coordination.k8s.io", "leases", ("create", "get", "list", "update", "watch")),)
"""What a replica may do besides its work, for `Builder.permits`; in the namespace of the Lease is enough."""


def elector_of(manager: "Manager", config: ClusterConfig) -> LeaderElector | None:
    """What the options of a manager on this cluster ask for: `elector`, or `leader_election` on a thread of its own."""
    options = manager.options
    if options.elector is not None:
        return options.elector(manager)
    if options.leader_election is None:
        return None

    def thread(manager: "Manager") -> ElectorThread:
        # Credentials serve one event loop; the election runs on another one.
        agent = options.user_agent(options.name)
        return ElectorThread(config.fresh(), user_agent=agent, registry=manager.metrics)

    if options.shards > 1:
        return sharing(thread, options.leader_election)(manager)
    return thread(manager).election(options.leader_election)


class Leadership:
    """Shuts the transport's write gate from the start; opens it while `elector` leads and says that writing is safe."""

    def __init__(self, elector: LeaderElector, transport: Transport, registry: Registry) -> None:
        self._elector = elector
        self._transport = transport
        self._registry = registry
        self._given_up = False
        self._task: asyncio.Task[None] | None = None
        transport.gate = self._gate

    def begin(self, lead: Callable[[], Awaitable[None]], ended: Callable[[BaseException | None], None]) -> None:
        """Take part; `lead` is called when elected, `ended` when leadership is lost or the election fails."""
        self._task = asyncio.create_task(self._elector.run(lead), name="leader election")
        self._task.add_done_callback(lambda task: None if task.cancelled() else ended(task.exception()))

    async def end(self, seconds: float | None, *, release: bool) -> list[str]:
        """Give leadership up within `seconds` (None: for ever); names what did not end in time.

        The controllers have stopped by now, all of them when `release` says so. The gate is shut, what is under way
        ends, and only then may others lead.
        """
        self._given_up = True
        stuck = []
        try:
            async with asyncio.timeout(seconds):
                if release:
                    await self._transport.writes.ended()
                await self._elector.stop(release=release)
        except TimeoutError:
            stuck.append("leader election")
        except Exception as error:  # noqa: BLE001 - the rest of the stop has to go on
            _log.error("leadership not given up in order", error=str(error) or type(error).__name__)
            stuck.append("leader election")
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        return stuck

    async def close(self, seconds: float | None) -> None:
        """When nothing of the manager can write any more."""
        with contextlib.suppress(Exception):
            if seconds is None:
                await self._elector.close(CLOSE_SECONDS)
            else:
                await self._elector.close(min(seconds, CLOSE_SECONDS))

    def _gate(self) -> float:
        safe = 0.0 if self._given_up else self._elector.remaining()
        if safe <= 0:
            self._registry.gate_refusals.inc()
        return safe

    async def check(self, tolerance: float) -> None:
        """Raises RuntimeError when this process leads but has not renewed for far too long (RT-HZ-08)."""
        if not self._elector.healthy(tolerance):
            raise RuntimeError("failed election to renew leadership")
