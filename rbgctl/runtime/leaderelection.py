"""Leader election on a Lease, compatible with client-go's and safer about time (RT-LE-10 to RT-LE-39).

One process leads: it holds the Lease and renews it every `retry` seconds. The others watch the record and take it once
it stayed unchanged for the duration written in it. Nobody compares clocks: every interval is measured on the own
monotonic clock, the leader's from the moment its successful write was *sent*, the others' from the moment they *saw*
the record, which is later. So with T the moment the last successful renewal was sent (default seconds):

    T + 12    retry + renew           the elector gives up
    T + 13    lease - margin          remaining() is 0: no write begins or is waited for
    T + 14    lease - margin/2        the watchdog ends the process (elector_thread)
    T + 15    lease                   the first moment at which another process may lead

Those who wait look at the record every 2 to 4.4 s, and at once when they hear that its holder gave it up. Hearing is
no knowledge: whether the Lease is free is decided by what the look finds.

A lease that was lost is never released; one that is given up is released only after the owner has ended its writes.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.election_config import ElectionConfig, new_identity
from rbgctl.runtime.errors import Conflict, NotFound
from rbgctl.runtime.lease_record import LEASE, LeaseRecord, micro_time

_log = structlog.get_logger("rbgctl.runtime.leaderelection")

__all__ = ["ElectionConfig", "ElectionObserver", "Elector", "LeaseClient", "ReleaseHints", "new_identity"]

JITTER = 2.2
HERD_SECONDS = 0.2
"""Those who hear of a release spread their tries over so long."""
RELEASE_PAUSE = 0.2
WORTH_A_TRY = 0.001
"""Seconds that a request needs at least: what clocks and timers round away must not become a loop of empty tries."""


class LeaseClient(Protocol):
    """Requests about one Lease. Each raises an ApiError, or TransportError after `timeout` seconds without answer."""

    async def get(self, timeout: float) -> RawObject: ...

    async def create(self, lease: RawObject, timeout: float) -> RawObject: ...

    async def update(self, lease: RawObject, timeout: float) -> RawObject: ...


class ReleaseHints(Protocol):
    """Hears of releases before the next look at the Lease is due.

    Nothing depends on it: a hint makes the elector look at once, and a late, doubled, false or missing one changes only
    when that happens.
    """

    async def follow(self, hint: Callable[[], None]) -> None:
        """Call `hint` whenever the Lease is seen without a holder, until cancelled."""
        ...


class ElectionObserver:
    """Is told what happens in an election; this one does nothing."""

    def leads(self, leading: bool) -> None:
        """Leadership began or ended."""

    def slow_path(self) -> None:
        """A leader's renewal had to read the Lease first."""

    def event(self, lease: RawObject, message: str) -> None:
        """Something to record about the Lease (RT-LE-04)."""


class Elector:
    """Takes part in one election, once. `run` on one event loop; the other methods from any thread, without locks.

    `clock.monotonic` must count the time a suspended machine sleeps, or a leader that wakes up would trust itself.
    """

    def __init__(
        self,
        config: ElectionConfig,
        client: LeaseClient,
        *,
        clock: Clock,
        rng: random.Random,
        observer: ElectionObserver | None = None,
        hints: ReleaseHints | None = None,
    ) -> None:
        self.config = config
        self._client = client
        self._hints = hints
        self._clock = clock
        self._rng = rng
        self._observer = observer or ElectionObserver()
        self._log = _log.bind(lease=f"{config.namespace}/{config.name}", identity=config.identity)
        self._lease: RawObject | None = None
        self._observed_at = 0.0
        self._sent_at = 0.0
        self._safe_until = -math.inf
        self._expires_at = math.inf
        self._leading = False
        self._overtaken = False
        self._may_hold = False
        self._is_shut = False
        self._keeps = not config.release_on_stop
        self._reported = ""
        self._on_new_leader: Callable[[str], None] | None = None

    # -- what others may ask ----------------------------------------------------------------------------------

    def is_leader(self) -> bool:
        """From the acquisition until leadership is lost or given up; `remaining` says whether writing is safe."""
        return self._leading

    def remaining(self) -> float:
        """Seconds for which writes are safe, 0 when they are not (RT-LE-32)."""
        if self._is_shut:
            return 0.0
        return max(0.0, self._safe_until - self._clock.monotonic())

    def healthy(self, tolerance: float) -> bool:
        """False for a leader whose last renewal is older than the lease duration and `tolerance` s (RT-HZ-08)."""
        return not self._leading or self._clock.monotonic() - self._sent_at <= self.config.lease + tolerance

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen; empty for nobody."""
        return LeaseRecord.of(self._lease).holder if self._lease is not None else ""

    @property
    def expires_at(self) -> float:
        """When, on the elector's clock, a process that led here must be gone; infinity if nothing of it is left.

        A lost lease keeps it: the watchdog sees to it that what led really ends (RT-LE-33).
        """
        return self._expires_at

    def shut(self) -> None:
        """Refuse all writes from now on, for good."""
        self._is_shut = True

    def keep(self) -> None:
        """Do not release at the end: the Lease has to run out, because not every writer is known to have ended."""
        self._keeps = True

    def disarm(self) -> None:
        """Nothing that could write is left: the process may live on without this leadership."""
        self._is_shut = True
        self._expires_at = math.inf

    def seen(self, lease: RawObject, seconds: float) -> None:
        """Before `run`: this process has watched the Lease elsewhere, unchanged for `seconds` on the own clock."""
        self._lease = lease
        self._observed_at = self._clock.monotonic() - seconds

    # -- the election -----------------------------------------------------------------------------------------

    async def run(
        self,
        on_started: Callable[[], Awaitable[None]],
        on_stopped: Callable[[], None],
        on_new_leader: Callable[[str], None] | None = None,
    ) -> None:
        """Acquire, lead, and return when leadership is lost. Raises what `on_started` raises.

        Cancel it to give leadership up: call that only when the writes of the leader have ended, for the Lease is
        released then unless `keep` was called. `on_stopped` is called in any case, `on_new_leader` with every holder.
        """
        self._on_new_leader = on_new_leader
        starting: asyncio.Task[None] | None = None
        led = False
        try:
            await self._acquire()
            led = True
            starting = asyncio.create_task(_call(on_started))
            await self._renew(starting)
            self._log.error("leader election lost")
        except asyncio.CancelledError:
            self._is_shut = True
            if not self._keeps:
                self._expires_at = math.inf
                await self._release()
            raise
        finally:
            self._safe_until = -math.inf
            self._leading = False
            if starting is not None:
                starting.cancel()
            if led:
                self._observer.leads(False)
                self._tell("stopped leading")
            on_stopped()

    async def _acquire(self) -> None:
        self._log.info("attempting to acquire leader lease")
        hinted = asyncio.Event()
        following: asyncio.Task[None] | None = None
        try:
            while not await self._try():
                if following is None and self._hints is not None:
                    following = asyncio.create_task(self._follow(self._hints, hinted.set))
                await self._next_try_is_due(hinted)
                # One that comes during the try counts for the next: what the try read may be older.
                hinted.clear()
        finally:
            if following is not None:
                following.cancel()
        self._leading = True
        self._log.info("successfully acquired lease")
        self._observer.leads(True)
        self._tell("became leader")

    async def _next_try_is_due(self, hinted: asyncio.Event) -> None:
        """A random polling interval (RT-LE-10), cut short by a hint."""
        polling = asyncio.ensure_future(self._clock.sleep(self.config.retry * self._rng.uniform(1.0, JITTER)))
        hearing = asyncio.ensure_future(hinted.wait())
        try:
            await asyncio.wait({polling, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if not polling.done():
                await self._clock.sleep(self._rng.uniform(0.0, HERD_SECONDS))
        finally:
            polling.cancel()
            hearing.cancel()

    async def _follow(self, hints: ReleaseHints, hint: Callable[[], None]) -> None:
        try:
            await hints.follow(hint)
        except Exception as error:  # noqa: BLE001 - polling finds releases as well, only later
            self._log.warning("no hints about releases", error=str(error), error_type=type(error).__name__)

    async def _renew(self, starting: "asyncio.Task[None]") -> None:
        retry, renew = self.config.retry, self.config.renew
        while await self._renewed_before(min(self._clock.monotonic() + renew, self._sent_at + retry + renew)):
            await self._clock.sleep(retry)
            if starting.done():
                starting.result()

    async def _renewed_before(self, deadline: float) -> bool:
        while (left := deadline - self._clock.monotonic()) > 0:
            began = self._clock.monotonic()
            try:
                async with asyncio.timeout(left):
                    renewed = await self._try()
            except TimeoutError:
                return False
            now = self._clock.monotonic()
            if renewed and now < deadline:
                return True
            if self._overtaken:
                return False
            await self._clock.sleep(max(0.0, min(began + self.config.retry, deadline) - now))
        return False

    async def _try(self) -> bool:
        """One attempt to get or to keep the Lease (RT-LE-13). Never raises: whatever goes wrong, it has failed."""
        try:
            return await self._attempt()
        except Exception as error:  # noqa: BLE001 - the deadline decides what failed attempts mean
            log = self._log.debug if isinstance(error, Conflict) else self._log.warning
            log("lease not written", error=str(error), error_type=type(error).__name__)
            return False

    async def _attempt(self) -> bool:
        identity = self.config.identity
        now = self._clock.monotonic()
        if self._lease is not None and self.holder == identity and self._valid(self._lease, now):
            try:
                await self._claim(self._lease)
            except Exception as error:  # noqa: BLE001 - read it and try again
                self._log.debug("renewal without reading failed", error=str(error))
            else:
                return True
        if self._leading:
            self._observer.slow_path()
        try:
            async with asyncio.timeout(self.config.request_timeout):
                found = await self._client.get(self.config.request_timeout)
        except NotFound:
            await self._claim(None)
            return True
        self._saw(found)
        holder = self.holder
        if holder != identity:
            self._may_hold = False
            if self._leading:
                # Somebody took it away from us: whatever the reason, we do not lead.
                self._overtaken = True
                self._safe_until = -math.inf
                return False
            if holder and self._valid(found, now):
                return False
        await self._claim(found)
        return True

    def _valid(self, lease: RawObject, now: float) -> bool:
        return self._observed_at + LeaseRecord.of(lease).seconds > now

    async def _claim(self, lease: RawObject | None) -> None:
        """Write the Lease with us as its holder; on success we lead from the moment of sending (RT-LE-30)."""
        now = micro_time(self._clock.now())
        config = self.config
        if lease is None:
            record = LeaseRecord(holder=config.identity, seconds=int(config.lease), acquire_time=now, renew_time=now)
            wanted = record.written_to(
                {"metadata": {"namespace": config.namespace, "name": config.name}}, config.labels
            )
            send = self._client.create
        else:
            record = LeaseRecord.of(lease).claimed(config.identity, int(config.lease), now)
            wanted = record.written_to(lease, config.labels)
            send = self._client.update
        self._may_hold = True
        sent_at = self._clock.monotonic()
        async with asyncio.timeout(config.request_timeout):
            answer = await send(wanted, config.request_timeout)
        self._saw(answer)
        self._sent_at = sent_at
        self._safe_until = sent_at + config.lease - config.margin
        self._expires_at = sent_at + config.lease - config.margin / 2

    def _saw(self, lease: RawObject) -> None:
        if self._lease is None or lease.get("spec") != self._lease.get("spec"):
            self._observed_at = self._clock.monotonic()
        self._lease = lease
        holder = self.holder
        if holder and holder != self._reported:
            self._reported = holder
            self._log.info("leader", holder=holder)
            if self._on_new_leader is not None:
                self._on_new_leader(holder)

    async def _release(self) -> None:
        """Empty the holder if that is still us, within the renew deadline (RT-LE-15)."""
        deadline = self._clock.monotonic() + self.config.renew
        while self._may_hold and (left := deadline - self._clock.monotonic()) > WORTH_A_TRY:
            seconds = min(left, self.config.request_timeout)
            try:
                async with asyncio.timeout(seconds):
                    found = await self._client.get(seconds)
                    if LeaseRecord.of(found).holder != self.config.identity:
                        return
                    now = micro_time(self._clock.now())
                    record = LeaseRecord.of(found).released(now)
                    self._lease = await self._client.update(record.written_to(found, {}), seconds)
            except NotFound:
                return
            except Exception as error:  # noqa: BLE001 - it runs out by itself when it cannot be released
                # A write of ours that was under way may have come in between.
                self._log.info("lease not released yet", error=str(error))
                await self._clock.sleep(min(RELEASE_PAUSE, max(0.0, deadline - self._clock.monotonic())))
            else:
                self._log.info("released the lease")
                return

    def _tell(self, what: str) -> None:
        meta = {"namespace": self.config.namespace, "name": self.config.name}
        lease = self._lease or {"metadata": meta}
        about = {**lease, "apiVersion": LEASE.api_version, "kind": LEASE.kind}
        self._observer.event(about, f"{self.config.identity} {what}")


async def _call(callback: Callable[[], Awaitable[None]]) -> None:
    await callback()
