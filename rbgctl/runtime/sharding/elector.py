"""Leader election when the work is divided: takes, keeps and gives away shards so that every manager has its share.

Every `retry` seconds a manager renews its member Lease, looks at all Leases and follows `leases.decide`:

    free and mine       take part in the election of the shard; once won, and confirmed by another look, open it
    held and mine       keep it
    held, not mine      drain it, let its writes end, release its Lease: the manager that it belongs to takes it at once

The elections themselves, their safety and their timing are those of `leaderelection`, one per shard. A shard that is
lost instead of given away ends the process, as lost leadership does; at once, whatever request is under way, for the
watchdog allows two seconds.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import structlog

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.events import Broadcaster
from rbgctl.runtime.lease_record import LEASE
from rbgctl.runtime.manager_options import LeaderElector
from rbgctl.runtime.sharding.leases import Decision, LeaseBook, View, decide
from rbgctl.runtime.sharding.led_shards import Shards
from rbgctl.runtime.sharding.membership import Membership
from rbgctl.runtime.writes_under_way import WritesUnderWay

_log = structlog.get_logger("rbgctl.runtime.sharding")

DRAIN_SECONDS = 20.0
WRITES_SECONDS = 15.0
CLOSE_SECONDS = 2.0
JITTER = 0.1


class Elections(Protocol):
    """Makes the elections of shards; `assembly.ThreadElections` does."""

    def of(self, shard: int, lease: RawObject | None, seconds: float) -> LeaderElector:
        """A new one; `lease` is known to have been unchanged for `seconds`, so that need not be watched again."""
        ...

    async def end(self, seconds: float) -> None:
        """There will be no more."""
        ...


class _Campaign:
    """Taking part in the election of one shard, from the try to the release. changed: called when it has been won, has
    ended, or its hand-over has.
    """

    def __init__(self, shard: int, election: LeaderElector, changed: Callable[[], None]) -> None:
        self.shard = shard
        self.election = election
        self.won = False
        self.given_up = False
        self.leaving: asyncio.Task[None] | None = None
        self._changed = changed
        self._task = asyncio.create_task(election.run(self._started), name=f"election of shard {shard}")
        self._task.add_done_callback(lambda _: changed())

    async def _started(self) -> None:
        self.won = True
        self._changed()

    @property
    def lost(self) -> bool:
        """Whether the election ended although nobody gave it up."""
        return self._task.done() and not self.given_up

    @property
    def error(self) -> BaseException | None:
        """Why it ended, or could not be handed over."""
        for task in (self.leaving, self._task):
            if task is not None and task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    def hand_over(self, how: Coroutine[Any, Any, None]) -> None:
        """Begin it, in a task of its own: what becomes of the look that decided it is of no account."""
        self.leaving = asyncio.create_task(how, name=f"hand-over of shard {self.shard}")
        self.leaving.add_done_callback(lambda _: self._changed())

    async def stop(self, *, release: bool) -> None:
        """Withdraw, or release what was won."""
        self.given_up = True
        await self.election.stop(release=release)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def end(self, *, release: bool) -> None:
        """`stop`, also in the middle of a hand-over: one that still drains is broken off, one that gives the Lease
        back already ends by itself, for a second stop would interrupt the release.
        """
        if self.leaving is not None:
            if not self.given_up:
                self.leaving.cancel()
            await asyncio.wait([self.leaving])
        if not self.given_up:
            await self.stop(release=release and not self.lost)


class ShardedElector:
    """A `LeaderElector` for `shards`. `run` it on the loop of the controllers.

    retry: seconds between looks. drain_seconds: given to running reconciles of a shard that is handed over; what still
    runs then is cancelled. writes: those of the shards; none may be under way when a shard is given away. events: where
    it is said why nothing may be led; not gated, and run from here.
    """

    def __init__(
        self,
        shards: Shards,
        membership: Membership,
        elections: Elections,
        writes: WritesUnderWay,
        *,
        base: str,
        identity: str,
        clock: Clock,
        rng: random.Random,
        retry: float = 2.0,
        request_timeout: float = 5.0,
        drain_seconds: float = DRAIN_SECONDS,
        events: Broadcaster | None = None,
    ) -> None:
        self._shards = shards
        self._membership = membership
        self._elections = elections
        self._writes = writes
        self._identity = identity
        self._clock = clock
        self._rng = rng
        self._retry = retry
        self._request_timeout = request_timeout
        self._drain_seconds = drain_seconds
        self._events = events
        self._lease = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"namespace": membership.namespace, "name": base},
        }
        self._book = LeaseBook(base)
        self._campaigns: dict[int, _Campaign] = {}
        self._wake = asyncio.Event()
        self._lost = asyncio.Event()
        self._told: tuple[str, tuple[str, ...]] = ("", ())
        self._task: asyncio.Task[None] | None = None
        self._delivery: asyncio.Task[None] | None = None
        self._log = _log.bind(lease=base, identity=identity)

    def remaining(self) -> float:
        """See `Shards.remaining`."""
        return self._shards.remaining()

    def healthy(self, tolerance: float) -> bool:
        """Whether all shards that are led are renewed in time."""
        return all(c.election.healthy(tolerance) for c in self._campaigns.values())

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        """Call `on_started` at once: workers drop all keys until a shard is open. Return when a shard was lost, or
        after `stop`; a cancellation only ends the waiting.
        """
        self._task = asyncio.create_task(self._rounds(on_started), name="shards")
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def _rounds(self, on_started: Callable[[], Awaitable[None]]) -> None:
        if self._events is not None:
            self._delivery = asyncio.create_task(self._events.run(), name="events about shards")
        await on_started()
        while not self._lost.is_set():
            self._wake.clear()
            await self._unless_lost(self._turn())
            await self._unless_lost(self._next_turn_is_due())

    async def _unless_lost(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry it out. When a shard is lost meanwhile let nothing be written any more, and break it off."""
        task = asyncio.create_task(work, name="look at the shards")
        lost = asyncio.create_task(self._lost.wait(), name="loss of a shard")
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.is_set():
                self._shards.shut()
            else:
                task.result()
        finally:
            task.cancel()
            lost.cancel()
            await asyncio.wait({task, lost})

    async def _next_turn_is_due(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._retry * self._rng.uniform(1 - JITTER, 1 + JITTER)):
                await self._wake.wait()

    def _changed(self) -> None:
        """Something about a campaign."""
        self._wake.set()
        for campaign in self._campaigns.values():
            if not self._lost.is_set() and (campaign.lost or campaign.error is not None):
                self._log.error("shard lost", shard=campaign.shard, error=str(campaign.error or ""))
                self._lost.set()

    async def stop(self, *, release: bool) -> None:
        """Give back all shards, then the place among the members, when `release` says that nothing writes any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._shards.shut()
        await asyncio.gather(*(c.end(release=release) for c in self._campaigns.values()))
        if release:
            try:
                async with asyncio.timeout(self._request_timeout):
                    await self._membership.leave()
            except Exception as error:  # noqa: BLE001 - the Lease runs out by itself
                self._log.info("own member Lease not deleted", error=str(error) or type(error).__name__)

    async def close(self, seconds: float) -> None:
        """Forget all elections: nothing of the process can write any more."""
        await asyncio.gather(*(c.election.close(seconds) for c in self._campaigns.values()))
        self._campaigns.clear()
        await self._elections.end(seconds)
        if self._events is not None and self._delivery is not None:
            await self._events.stop(seconds)
            self._delivery.cancel()
            await asyncio.wait([self._delivery])

    async def _turn(self) -> None:
        """One look and what follows from it. May be cancelled at any await: elections and hand-overs are tasks of their
        own, which are begun in one step, and a shard of which only some controllers have heard is about to be shut.
        """
        self._settle()
        won_before = {s for s, c in self._campaigns.items() if c.won}
        try:
            async with asyncio.timeout(self._request_timeout):
                await self._membership.renew()
            async with asyncio.timeout(self._request_timeout):
                leases = await self._membership.look()
        except Exception as error:  # noqa: BLE001 - no credential, no answer: the elections' deadlines decide
            self._log.warning("shards of other managers not seen", error=str(error) or type(error).__name__)
            return
        view = self._book.look(leases, self._clock.monotonic())
        for shard in self._act(view, won_before):
            self._log.info("shard opened", shard=shard)
            await self._shards.open(shard, self._campaigns[shard].election.remaining)
        try:
            async with asyncio.timeout(self._request_timeout):
                await self._membership.bury(view.expired)
        except Exception as error:  # noqa: BLE001 - somebody else will do it
            self._log.info("Leases of gone members not deleted", error=str(error) or type(error).__name__)

    def _act(self, view: View, won_before: set[int]) -> list[int]:
        """Begin the hand-overs and elections that a look asks for; names the shards to open. won_before: held already
        when the look began.
        """
        held = {s for s, c in self._campaigns.items() if c.won}
        decision = decide(view, self._identity, self._shards.count, held)
        self._tell(decision)
        opening = []
        for shard, campaign in self._campaigns.items():
            if campaign.leaving is not None and decision.refused:
                self._shards.hurry(shard)
            if campaign.leaving is not None or campaign.lost:
                continue
            if not (campaign.won or shard in decision.take) or (campaign.won and shard not in decision.keep):
                # Beside somebody who works on the same keys already there is no time for what runs.
                campaign.hand_over(self._hand_over(campaign, 0.0 if decision.refused else self._drain_seconds))
            elif shard in won_before and not self._shards.serves(shard):
                opening.append(shard)
        for shard in sorted(decision.take - self._campaigns.keys()):
            lease, seconds = view.leases.get(shard, (None, 0.0))
            self._campaigns[shard] = _Campaign(shard, self._elections.of(shard, lease, seconds), self._changed)
        return opening

    def _settle(self) -> None:
        for shard, campaign in list(self._campaigns.items()):
            if campaign.leaving is not None and campaign.leaving.done() and campaign.leaving.exception() is None:
                del self._campaigns[shard]

    async def _hand_over(self, campaign: _Campaign, seconds: float) -> None:
        if campaign.won:
            self._log.info("handing over shard", shard=campaign.shard)
        await self._shards.drain(campaign.shard, seconds)
        await campaign.stop(release=await self._written(campaign.shard))
        await campaign.election.close(CLOSE_SECONDS)

    async def _written(self, shard: int) -> bool:
        """Whether all writes of a drained shard have ended, those included that nobody waits for (RT-LE-39)."""
        try:
            async with asyncio.timeout(WRITES_SECONDS):
                await self._writes.ended(shard)
        except TimeoutError:
            self._log.error("writes of a shard do not end, its lease has to run out", shard=shard)
            return False
        return True

    def _tell(self, decision: Decision) -> None:
        told, self._told = self._told, (decision.refused, decision.strangers)
        if decision.refused and decision.refused != told[0]:
            self._log.warning("no shard may be led", reason=decision.refused)
            if self._events is not None:
                recorder = self._events.recorder(self._identity)
                recorder.event(self._lease, "Warning", "NotSharing", decision.refused)
        elif told[0] and not decision.refused:
            self._log.info("shards may be led again")
        if decision.strangers and decision.strangers != told[1]:
            self._log.warning("managers with another number of shards wait", members=decision.strangers)
