"""Simulated clusters of electors: whatever network and clocks do, never two may write, and somebody leads again.

Every process has a clock of its own (offset, up to 1 % too fast or too slow), a network that delays and loses requests
and answers, and may be paused: then none of its timers fire and no answer reaches it, while the clock goes on.
"""

import asyncio
import contextvars
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import looptime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.runtime.conftest import START
from unit.runtime.lease_store import LeaseStore, config

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.errors import ApiError, TransportError
from rbgctl.runtime.leaderelection import Elector

CALM_SECONDS = 30.0
"""25 s, after the requests that were under way when the trouble ended have timed out (5 s)."""

PROCESS: contextvars.ContextVar["Process"] = contextvars.ContextVar("PROCESS")


@dataclass(frozen=True)
class Trouble:
    """Until `until`: shares of lost and of late messages, how late at most, and when the API server is down."""

    until: float
    lost: float
    late: float
    latest: float
    outages: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Nature:
    """Of one machine: seconds of its clock at the beginning, how much it runs too fast, when it stands still.

    pauses: (n, s) stands still for s seconds right after its n-th write was sent, (-n, s) after the n-th was answered.
    """

    offset: float
    drift: float
    pauses: tuple[tuple[int, float], ...]


class DriftingClock:
    def __init__(self, nature: Nature) -> None:
        self._nature = nature

    def monotonic(self) -> float:
        return self._nature.offset + asyncio.get_running_loop().time() * (1 + self._nature.drift)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / (1 + self._nature.drift))


class World:
    def __init__(self, seed: int, trouble: Trouble, natures: tuple[Nature, ...]) -> None:
        self.rng = random.Random(seed)
        self.trouble = trouble
        self.store = LeaseStore()
        self.processes = [Process(self, number, nature) for number, nature in enumerate(natures)]
        self.violations: list[str] = []
        self.leaderships = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def check(self) -> None:
        """Called after every step in which an elector can have gained anything."""
        safe = [p.elector.config.identity for p in self.processes if p.elector and p.elector.remaining() > 0]
        if len(safe) > 1:
            self.violations.append(f"{self.now():.3f} s: {safe} may write")

    def latency(self) -> float | None:
        """Seconds on the way, None for a lost message."""
        if self.now() >= self.trouble.until:
            return self.rng.uniform(0.001, 0.05)
        if any(start <= self.now() < end for start, end in self.trouble.outages):
            return None
        if self.rng.random() < self.trouble.lost:
            return None
        if self.rng.random() < self.trouble.late:
            return self.rng.uniform(0.05, self.trouble.latest)
        return self.rng.uniform(0.001, 0.05)

    async def run(self) -> None:
        asyncio.get_running_loop().call_at = _paused_timers(asyncio.get_running_loop())  # type: ignore[method-assign]
        tasks = [asyncio.create_task(p.live()) for p in self.processes]
        await asyncio.sleep(self.trouble.until + CALM_SECONDS)
        leading = [p for p in self.processes if p.elector and p.elector.remaining() > 0]
        if len(leading) != 1:
            self.violations.append(f"{len(leading)} lead {CALM_SECONDS} s after the trouble")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _paused_timers(loop: asyncio.AbstractEventLoop) -> Callable[..., asyncio.TimerHandle]:
    """`call_at` for which timers of a process that stands still fire when it goes on."""
    original = loop.call_at

    def call_at(when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        context = context or contextvars.copy_context()
        process = context.get(PROCESS)

        def fire() -> None:
            if handle.cancelled():
                return
            if process is not None and loop.time() < process.paused_until:
                original(process.paused_until, fire, context=context)
            else:
                callback(*args)

        handle = original(when, fire, context=context)
        return handle

    return call_at


class Process:
    """Runs one elector after another: each restart has a new identity, as a restarted pod has."""

    def __init__(self, world: World, number: int, nature: Nature) -> None:
        self.world = world
        self.number = number
        self.nature = nature
        self.elector: Elector | None = None
        self.paused_until = 0.0
        self.sent = 0
        self.answered = 0

    def _pause(self, moment: int) -> None:
        for at, seconds in self.nature.pauses:
            if at == moment and self.world.now() < self.world.trouble.until:
                self.paused_until = min(self.world.now() + seconds, self.world.trouble.until)

    async def live(self) -> None:
        PROCESS.set(self)
        rng = self.world.rng
        for start in range(1000):
            identity = f"process-{self.number}-{start}"
            elector = Elector(config(identity), self, clock=DriftingClock(self.nature), rng=random.Random(rng.random()))
            self.elector = elector
            running = asyncio.create_task(elector.run(self._lead, lambda: None))
            try:
                troubled = self.world.now() < self.world.trouble.until
                life = rng.uniform(1.0, 90.0) if troubled else None
                await asyncio.wait([running], timeout=life)
                if not running.done() and self.world.now() < self.world.trouble.until:
                    if rng.random() < 0.5:
                        elector.keep()  # killed, not stopped
                    running.cancel()
                await asyncio.wait([running])
            finally:
                running.cancel()
            await asyncio.sleep(rng.uniform(0.1, 3.0))

    async def _lead(self) -> None:
        self.world.leaderships += 1

    # -- as the LeaseClient of its elector --

    async def get(self, timeout: float) -> RawObject:
        return await self._call(self.world.store.get)

    async def create(self, lease: RawObject, timeout: float) -> RawObject:
        return await self._write(lambda: self.world.store.create(lease))

    async def update(self, lease: RawObject, timeout: float) -> RawObject:
        return await self._write(lambda: self.world.store.update(lease))

    async def _write(self, act: Callable[[], RawObject]) -> RawObject:
        self.sent += 1
        answering = asyncio.ensure_future(self._call(act))
        await asyncio.sleep(0)
        self._pause(self.sent)
        try:
            answer = await answering
        finally:
            answering.cancel()
        self.answered += 1
        self._pause(-self.answered)
        return answer

    async def _call(self, act: Callable[[], RawObject]) -> RawObject:
        """The server acts at its own time, even while the caller stands still; only the answer waits for the caller."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[RawObject] = loop.create_future()
        mine, servers = contextvars.copy_context(), contextvars.Context()

        def deliver(answer: RawObject | Exception) -> None:
            if answered.done():
                return
            if isinstance(answer, Exception):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)
            loop.call_later(1e-5, self.world.check, context=contextvars.Context())

        def arrive() -> None:
            try:
                answer: RawObject | Exception = act()
            except ApiError as refused:
                answer = refused
            back = self.world.latency()
            if back is not None:
                loop.call_later(back, deliver, answer, context=mine)

        there = self.world.latency()
        if there is None:
            if self.world.rng.random() < 0.5:
                raise TransportError("refused", "nobody listens")
        else:
            loop.call_later(there, arrive, context=servers)
        return await answered


SPANS = st.lists(st.tuples(st.floats(0, 80), st.floats(0.5, 40)).map(lambda s: (s[0], s[0] + s[1])), max_size=3).map(
    tuple
)


PAUSES = st.lists(st.tuples(st.integers(-12, 12).filter(bool), st.floats(1, 40)), max_size=4).map(tuple)


def clipped(spans: Iterable[tuple[float, float]], until: float) -> tuple[tuple[float, float], ...]:
    return tuple((start, min(end, until)) for start, end in spans if start < until)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    until = draw(st.floats(20, 100))
    trouble = Trouble(
        until,
        lost=draw(st.sampled_from([0.0, 0.05, 0.3, 0.7])),
        late=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        latest=draw(st.sampled_from([1.0, 4.9, 8.0, 14.5])),
        outages=clipped(draw(SPANS), until),
    )
    natures = draw(
        st.lists(
            st.builds(
                Nature,
                offset=st.floats(0, 1e6),
                drift=st.floats(-0.01, 0.01),
                pauses=PAUSES,
            ),
            min_size=2,
            max_size=5,
        )
    )
    return World(draw(st.integers(0, 2**32)), trouble, tuple(natures))


def simulate(world: World) -> None:
    loop = looptime.new_event_loop(start=0.0)
    try:
        loop.run_until_complete(world.run())
    finally:
        loop.close()
    assert world.violations == []
    for before, after in pairwise(w["spec"] for w in world.store.writes):
        changed = after["holderIdentity"] not in {"", before["holderIdentity"]}
        assert after["leaseTransitions"] == before["leaseTransitions"] + changed
    assert world.leaderships >= 1


@given(world=worlds())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_never_two_may_write_and_somebody_leads_again(world: World) -> None:
    """RT-LE-30, RT-LE-14: the intervals in which `remaining()` is positive never overlap; transitions count holders."""
    simulate(world)


@pytest.mark.nightly
@given(world=worlds())
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_never_two_may_write_in_thousands_of_worlds(world: World) -> None:
    simulate(world)
