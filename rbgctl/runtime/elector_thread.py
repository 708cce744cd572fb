"""Elections on a thread of their own, so that a busy or stuck process still keeps, or gives up, what it holds.

    main thread and loop                     election thread and loop              watchdog thread
    Election.run(on_started) ---submit--->   Elector.run: renews, gives up         ends the process when a leader's
    Election.remaining() <---one float----   own Transport, two connections        time is over (RT-LE-33)
                                             and one per watch of a standby

One thread carries any number of elections, each on a Lease of its own. It shares nothing with the rest of the process:
neither connections nor credentials nor a rate limiter (RT-LE-31). It begins with the first election that runs and ends
with the last one that is closed.
"""

import asyncio
import contextlib
import os
import random
import select
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import structlog

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.events import FLUSH_SECONDS, Broadcaster
from rbgctl.runtime.leaderelection import ElectionConfig, ElectionObserver, Elector
from rbgctl.runtime.lease_requests import LeaseRequests, LeaseWatch
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.elector_thread")

USER_AGENT_SUFFIX = "/leader-election"
WATCHDOG_SECONDS = 0.25
END_SECONDS = 1.0
EXPIRED_STATUS = 1


class BootClock(SystemClock):
    """The machine's clocks; on Linux the monotonic one goes on while the machine is suspended."""

    def monotonic(self) -> float:
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if clock is None else time.clock_gettime(clock)


class ElectorThread:
    """Makes elections and carries them.

    config: with credentials that nothing else uses. user_agent: of the process, gets the suffix /leader-election.
    exit_process: ends the process at once; called by the watchdog.
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        user_agent: str = "rbgctl",
        registry: Registry | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        exit_process: Callable[[int], Any] = os._exit,
    ) -> None:
        self._registry = registry or Registry()
        self._clock = clock or BootClock()
        self._rng = rng or random.Random(os.urandom(16))
        self._exit_process = exit_process
        self._user_agent = user_agent + USER_AGENT_SUFFIX
        self._transport = Transport(config, clock=self._clock, observer=self._registry.observe_request)
        self._elections: list[Election] = []
        self._serving: _Serving | None = None
        self._stays = False

    def stay(self) -> None:
        """Keep the threads, once they run, while there is no election: more will come. They end with `end`."""
        self._stays = True

    async def end(self, seconds: float) -> None:
        """No more elections will come; events get `seconds` to go out."""
        self._stays = False
        await self._end_if_idle(seconds)

    def election(self, config: ElectionConfig) -> "Election":
        """One more election, not running yet. Raises ValueError for a Lease that has one in this process."""
        if any((e.config.namespace, e.config.name) == (config.namespace, config.name) for e in self._elections):
            raise ValueError(f"there already is an election on the Lease {config.namespace}/{config.name}")
        election = Election(self, config, self._clock)
        self._elections.append(election)
        return election

    # -- for Election -----------------------------------------------------------------------------------------

    def elector(self, config: ElectionConfig) -> Elector:
        """The algorithm of an election, with what it needs to talk and to be seen."""
        requests = LeaseRequests(self._transport, config.namespace, config.name, self._user_agent)
        observer = _Observer(self, config)
        watch = LeaseWatch(requests, clock=self._clock, rng=self._rng)
        return Elector(config, requests, clock=self._clock, rng=self._rng, observer=observer, hints=watch)

    @property
    def registry(self) -> Registry:
        return self._registry

    def record(self, identity: str, lease: RawObject, message: str) -> None:
        """On the election thread: an event with the identity as its component (RT-LE-04, RT-ID-07)."""
        serving = self._serving
        if serving is not None:
            serving.events.recorder(identity).event(lease, "Normal", "LeaderElection", message)

    async def submit(self, work: Coroutine[Any, Any, None]) -> "Running":
        """Run `work` on the election thread, which is started if need be."""
        if self._serving is None:
            self._serving = _Serving(self._transport, self._user_agent, self._clock, self._rng)
            self._serving.start(self._watch)
        return self._serving.submit(work)

    async def close(self, election: "Election", seconds: float) -> None:
        """Forget an election; the threads end with the last one, its events get `seconds` to go out."""
        if election in self._elections:
            self._elections.remove(election)
        await self._end_if_idle(seconds)

    async def _end_if_idle(self, seconds: float) -> None:
        if not self._elections and not self._stays and self._serving is not None:
            serving, self._serving = self._serving, None
            await serving.end(seconds)

    def _watch(self) -> None:
        """One round of the watchdog: end the process if a leadership is over that was not given up (RT-LE-33)."""
        now = self._clock.monotonic()
        for election in self._elections.copy():
            if now >= election.expires_at:
                # No logging: it may be what the process is stuck in.
                text = (
                    f"leader election: the lease {election.config.name} was not renewed in time, ending the process\n"
                )
                try:
                    # A pipe that nobody reads must not hold it up, nor a closed one end this thread.
                    if select.select([], [2], [], 0)[1]:
                        os.write(2, text.encode())
                except (OSError, ValueError):
                    pass
                finally:
                    self._exit_process(EXPIRED_STATUS)


class Election:
    """One election as the main loop sees it: a `LeaderElector`. Made by `ElectorThread.election`.

    To give leadership up in order: `shut()`, wait for the writes under way, `stop(release=True)`, `close()` (RT-LE-39).
    """

    def __init__(self, thread: ElectorThread, config: ElectionConfig, clock: Clock) -> None:
        self.config = config
        self._thread = thread
        self._elector = thread.elector(config)
        self._running: Running | None = None

    async def run(
        self, on_started: Callable[[], Awaitable[None]], on_new_leader: Callable[[str], None] | None = None
    ) -> None:
        """Call `on_started` here when elected; return when leadership is lost or `stop` was called.

        Raises what `on_started` raises, and RuntimeError when called twice. A cancellation only ends the waiting: the
        election goes on until `stop`. `on_new_leader` is called on this loop with every holder of the Lease.
        """
        if self._running is not None:
            raise RuntimeError("an election runs once")
        loop = asyncio.get_running_loop()
        elected = asyncio.Event()

        async def started() -> None:
            loop.call_soon_threadsafe(elected.set)

        def new_leader(holder: str) -> None:
            if on_new_leader is not None:
                loop.call_soon_threadsafe(on_new_leader, holder)

        self._running = await self._thread.submit(self._elector.run(started, lambda: None, new_leader))
        ended = asyncio.ensure_future(self._running.wait())
        leading = asyncio.ensure_future(_when(elected, on_started))
        try:
            await asyncio.wait({ended, leading}, return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                leading.result()
            await ended
        finally:
            ended.cancel()
            leading.cancel()

    def seen(self, lease: RawObject, seconds: float) -> None:
        """See `Elector.seen`."""
        self._elector.seen(lease, seconds)

    def remaining(self) -> float:
        """Seconds for which writes are safe; zero means not leading. From any thread, without locks."""
        return self._elector.remaining()

    def is_leader(self) -> bool:
        return self._elector.is_leader()

    def healthy(self, tolerance: float) -> bool:
        """See `Elector.healthy`."""
        return self._elector.healthy(tolerance)

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen; empty for nobody."""
        return self._elector.holder

    @property
    def expires_at(self) -> float:
        """See `Elector.expires_at`."""
        return self._elector.expires_at

    def shut(self) -> None:
        """Refuse all writes from now on; renewals go on until `stop`."""
        self._elector.shut()

    async def stop(self, *, release: bool) -> None:
        """End the election; a Lease that is held is given back when `release` says that nothing writes any more."""
        self._elector.shut()
        if not release:
            self._elector.keep()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(Exception):
                await self._running.wait()

    async def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Everything that wrote as this leader is gone: the watchdog may forget it, the thread end.

        seconds: at most so long for the election's events to go out.
        """
        self._elector.disarm()
        if self._running is not None:
            self._elector.keep()
            self._running.cancel()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(END_SECONDS):
                    await self._running.wait()
        await self._thread.close(self, seconds)


class _Observer(ElectionObserver):
    """Metrics and events of one election (RT-MT-30, RT-MT-31, RT-LE-04)."""

    def __init__(self, thread: ElectorThread, config: ElectionConfig) -> None:
        self._thread = thread
        self._identity = config.identity
        self._gauge = thread.registry.leader.labels(config.name)
        self._slow = thread.registry.leader_slowpath.labels(config.name)
        self._gauge.set(0)

    def leads(self, leading: bool) -> None:
        self._gauge.set(1 if leading else 0)

    def slow_path(self) -> None:
        self._slow.inc()

    def event(self, lease: RawObject, message: str) -> None:
        self._thread.record(self._identity, lease, message)


class Running:
    """Work on the election thread, seen from another one. Never cancelled by those who wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._done: Future[None] = Future()
        loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._done.set_exception(error)
        else:
            self._done.set_result(None)

    def cancel(self) -> None:
        """Once to let it end in order, again to end it at once."""
        if not self._done.done():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def wait(self) -> None:
        """Until it ended. Raises what ended it, but not for a cancellation."""
        await asyncio.shield(asyncio.wrap_future(self._done))


class _Serving:
    """The two threads while there are elections."""

    def __init__(self, transport: Transport, user_agent: str, clock: Clock, rng: random.Random) -> None:
        self._transport = transport
        self._loop = asyncio.new_event_loop()
        self._stopping = threading.Event()
        self._ended: Future[None] = Future()
        self._delivery: asyncio.Task[None] | None = None
        client = LiveClient(transport, RestMapper(transport), user_agent=user_agent, gated=False)
        self.events = Broadcaster(client, clock=clock, rng=rng)

    def start(self, watch: Callable[[], None]) -> None:
        threading.Thread(target=self._run, name="leader election", daemon=True).start()
        threading.Thread(target=self._guard, args=(watch,), name="leader watchdog", daemon=True).start()

    def submit(self, work: Coroutine[Any, Any, None]) -> Running:
        return Running(self._loop, work)

    def _run(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            # Kept: a loop itself only has weak references to its tasks.
            self._delivery = self._loop.create_task(self.events.run(), name="election events")
            self._loop.run_forever()
        finally:
            self._loop.close()
            self._ended.set_result(None)

    def _guard(self, watch: Callable[[], None]) -> None:
        while not self._stopping.wait(WATCHDOG_SECONDS):
            # Whatever goes wrong in one round: without the next one nothing would end a stuck process.
            with contextlib.suppress(Exception):
                watch()

    async def end(self, seconds: float) -> None:
        """Flush events, close connections, end the threads; a thread that does not react is left behind."""
        self._stopping.set()
        asyncio.run_coroutine_threadsafe(self._finish(seconds), self._loop)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, FLUSH_SECONDS) + END_SECONDS):
                await asyncio.shield(asyncio.wrap_future(self._ended))

    async def _finish(self, seconds: float) -> None:
        await self.events.stop(seconds)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._transport.close()
        self._loop.stop()


async def _when(event: asyncio.Event, then: Callable[[], Awaitable[None]]) -> None:
    await event.wait()
    await then()
