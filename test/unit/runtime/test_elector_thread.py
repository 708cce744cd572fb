"""Elections on their own thread: real threads, real sockets, and processes that get stuck."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import pytest
from unit.runtime.lease_store import LeaseServer, LeaseStore, config

from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import BootClock, Election, ElectorThread
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.transport import Transport

FAST: dict[str, Any] = {"lease": 4, "renew": 2.0, "retry": 0.4, "margin": 1.0}


class Exits:
    """Stands in for os._exit in this process."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def __call__(self, code: int) -> None:
        self.codes.append(code)


@pytest.fixture
async def server() -> AsyncIterator[LeaseServer]:
    async with LeaseServer(LeaseStore()).running() as server:
        yield server


class Rig:
    """A thread with one election, and what became of it."""

    def __init__(self, server: LeaseServer, **changes: Any) -> None:
        self.exits = Exits()
        self.registry = Registry()
        self.thread = ElectorThread(
            ClusterConfig(server.url), user_agent="manager/v1", registry=self.registry, exit_process=self.exits
        )
        self.election = self.thread.election(config(**{**FAST, **changes}))
        self.leads = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def on_started(self) -> None:
        self.leads.set()

    def start(self) -> "asyncio.Task[None]":
        self.task = asyncio.create_task(self.election.run(self.on_started))
        return self.task

    async def lead(self) -> "asyncio.Task[None]":
        task = self.start()
        async with asyncio.timeout(20):
            await self.leads.wait()
        return task

    def metric(self, name: str) -> float | None:
        return self.registry.collectors.get_sample_value(name, {"name": "lock"})


@pytest.fixture
async def rig(server: LeaseServer) -> AsyncIterator[Rig]:
    rig = Rig(server)
    yield rig
    await rig.election.close()
    if rig.task is not None:
        rig.task.cancel()
        await asyncio.wait([rig.task])


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("leader")}


async def gone(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a thread that ends tells nobody
            await asyncio.sleep(0.01)


async def test_the_callback_runs_on_the_callers_loop_and_the_threads_end_with_the_election(
    rig: Rig, server: LeaseServer
) -> None:  # RT-LE-31
    caller: list[threading.Thread] = []

    async def started() -> None:
        caller.append(threading.current_thread())
        rig.leads.set()

    task = asyncio.create_task(rig.election.run(started))
    async with asyncio.timeout(20):
        await rig.leads.wait()
    assert caller == [threading.main_thread()]
    assert threads() == {"leader election", "leader watchdog"}
    assert rig.metric("leader_election_master_status") == 1  # RT-MT-30
    assert rig.metric("leader_election_slowpath_total") == 0  # RT-MT-31
    assert 0 < rig.election.remaining() <= 3.0
    rig.election.shut()
    assert rig.election.remaining() == 0
    await rig.election.stop(release=True)
    assert server.store.spec["holderIdentity"] == ""
    assert rig.metric("leader_election_master_status") == 0
    await asyncio.wait_for(task, 5)
    await rig.election.close()
    await gone(lambda: not threads())
    assert rig.exits.codes == []


async def test_the_gauge_of_a_standby_is_there_and_zero(rig: Rig, server: LeaseServer) -> None:  # RT-MT-30
    server.store.held_by("other")
    rig.start()
    await server.until(lambda: len(server.asked) >= 2)
    assert rig.metric("leader_election_master_status") == 0
    assert b'leader_election_slowpath_total{name="lock"} 0.0' in rig.registry.text()  # RT-MT-31


async def test_a_renewal_that_has_to_read_first_is_counted(rig: Rig, server: LeaseServer) -> None:  # RT-MT-31
    await rig.lead()
    assert server.store.lease is not None
    meta = {**server.store.lease["metadata"], "labels": {"by": "admin"}}
    server.store.update({**server.store.lease, "metadata": meta})
    count = len(server.asked)
    await server.until(lambda: any(a[0] == "GET" for a in server.asked[count:]) and len(server.asked) >= count + 3)
    assert rig.metric("leader_election_slowpath_total") == 1


async def test_events_name_the_identity_as_component(rig: Rig, server: LeaseServer) -> None:  # RT-LE-04, RT-LE-38
    await rig.lead()
    await rig.election.stop(release=True)
    await rig.election.close()
    events = {e["message"]: e for e in server.events}
    assert set(events) == {"me became leader", "me stopped leading"}
    for event in events.values():
        assert (event["type"], event["reason"], event["reportingComponent"]) == ("Normal", "LeaderElection", "me")
        assert event["source"]["component"] == "me"
        involved = event["involvedObject"]
        assert (involved["apiVersion"], involved["kind"]) == ("coordination.k8s.io/v1", "Lease")
        assert (involved["namespace"], involved["name"], involved["uid"]) == ("ns", "lock", "lease-uid")


async def test_it_has_two_connections_of_its_own_and_a_user_agent(rig: Rig, server: LeaseServer) -> None:
    # RT-LE-31, RT-LE-03
    server.pace = 0.05
    async with Transport(ClusterConfig(server.url)) as main:
        await main.request("GET", "/elsewhere")
        others = [rig.thread.election(config(name=f"lock-{n}", **FAST)) for n in range(6)]
        tasks = [asyncio.create_task(election.run(rig.on_started)) for election in others]
        await server.until(lambda: len(server.asked) > 20)
        await main.request("GET", "/elsewhere")
        assert server.busiest == 2
        for election in others:
            await election.close()
        await asyncio.gather(*tasks, return_exceptions=True)
    lease_peers = {peer for _, path, peer, _ in server.asked if "/leases" in path}
    main_peers = {peer for _, path, peer, _ in server.asked if path == "/elsewhere"}
    assert not lease_peers & main_peers
    assert {agent for _, path, _, agent in server.asked if "/leases" in path} == {"manager/v1/leader-election"}


async def test_a_main_loop_that_is_busy_for_five_seconds_keeps_the_lease(rig: Rig) -> None:  # RT-LE-31
    """Longer than the lease of 4 s; the server answers from another thread, as a real one does."""
    store = LeaseStore()
    served: Future[tuple[str, Callable[[], Any]]] = Future()

    async def serve() -> None:
        async with LeaseServer(store).running() as server:
            loop, stop = asyncio.get_running_loop(), asyncio.Event()
            served.set_result((server.url, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    serving = threading.Thread(target=lambda: asyncio.run(serve()))
    serving.start()
    url, end_serving = served.result(10)
    exits = Exits()
    thread = ElectorThread(ClusterConfig(url), exit_process=exits)
    election = thread.election(config(**FAST))
    leads = asyncio.Event()

    async def started() -> None:
        leads.set()

    task = asyncio.create_task(election.run(started))
    try:
        async with asyncio.timeout(20):
            await leads.wait()
        writes = len(store.writes)
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            sum(range(1000))
        assert election.remaining() > 0
        assert election.is_leader()
        assert len(store.writes) - writes >= 5
        assert exits.codes == []
        assert not task.done()
    finally:
        await election.close()
        task.cancel()
        end_serving()
        serving.join()


async def test_a_lost_lease_ends_run_and_leaves_the_watchdog_armed(rig: Rig, server: LeaseServer) -> None:
    # RT-LE-33, RT-LE-39
    task = await rig.lead()
    server.answering.clear()
    await asyncio.wait_for(task, 10)
    assert rig.election.remaining() == 0
    assert rig.exits.codes == []
    await gone(lambda: rig.exits.codes != [])
    assert rig.exits.codes[0] == 1
    assert server.store.spec["holderIdentity"] == "me"


async def test_an_election_that_was_closed_in_time_lets_the_process_live(rig: Rig, server: LeaseServer) -> None:
    rounds: list[float] = []
    look = rig.thread._watch

    def watch() -> None:
        began = BootClock().monotonic()
        look()
        rounds.append(began)

    rig.thread._watch = watch  # type: ignore[method-assign]
    task = await rig.lead()
    other = rig.thread.election(config(name="other", **FAST))
    standing_by = asyncio.create_task(other.run(rig.on_started))
    server.answering.clear()
    await asyncio.wait_for(task, 10)
    would_end = rig.election.expires_at
    await rig.election.close()
    await gone(lambda: rounds[-1] > would_end)  # the watchdog has looked after the time at which it ends a process
    assert rig.exits.codes == []
    await other.close()
    standing_by.cancel()


async def test_one_thread_carries_many_elections(server: LeaseServer) -> None:
    """Two on Leases of their own; a second one on the same Lease is refused."""
    rig = Rig(server)
    with pytest.raises(ValueError, match="already is an election on the Lease ns/lock"):
        rig.thread.election(config(identity="again"))
    await rig.election.close()


async def test_a_stuck_release_does_not_hold_up_close(rig: Rig, server: LeaseServer) -> None:
    await rig.lead()
    server.answering.clear()
    stopping = asyncio.create_task(rig.election.stop(release=True))
    await asyncio.sleep(0.2)
    assert not stopping.done()
    began = time.monotonic()
    await rig.election.close(0.0)
    assert time.monotonic() - began < 2.0
    await asyncio.wait_for(stopping, 2)


async def test_what_the_callback_raises_is_raised_and_the_lease_can_still_be_released(
    rig: Rig, server: LeaseServer
) -> None:
    async def fails() -> None:
        raise OSError("boom")

    with pytest.raises(OSError, match="boom"):
        await asyncio.wait_for(rig.election.run(fails), 10)
    assert rig.election.remaining() > 0
    await rig.election.stop(release=True)
    assert server.store.spec["holderIdentity"] == ""
    with pytest.raises(RuntimeError, match="runs once"):
        await rig.election.run(fails)


def test_time_asleep_counts(monkeypatch: pytest.MonkeyPatch) -> None:  # RT-LE-30
    asked: list[int] = []
    monkeypatch.setattr(time, "clock_gettime", lambda clock: asked.append(clock) or 42.0)
    assert BootClock().monotonic() == 42.0
    assert asked == [time.CLOCK_BOOTTIME]


def test_an_election_uses_the_clock_that_counts_time_asleep() -> None:  # RT-LE-30
    thread = ElectorThread(ClusterConfig("http://127.0.0.1:1"))
    assert isinstance(thread._clock, BootClock)
    assert not isinstance(SystemClock(), BootClock)
    election: Election = thread.election(config())
    assert election.remaining() == 0
    assert not election.is_leader()


# -- the watchdog, in a process of its own -----------------------------------------------------------------------

STUCK = """
import asyncio, os, sys, time
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.leaderelection import ElectionConfig

async def stuck():
    print("leads", flush=True)
    sys.stdin.readline()
    while True:  # the main loop never gets control again
        sum(range(1000))

async def main():
    thread = ElectorThread(ClusterConfig(sys.argv[1]))
    election = thread.election(ElectionConfig(
        namespace="ns", name="lock", identity="stuck", lease=4, renew=2.0, retry=0.4, margin=1.0))
    await election.run(stuck)

asyncio.run(main())
"""


async def test_the_watchdog_ends_a_process_whose_main_loop_is_stuck(server: LeaseServer) -> None:  # RT-LE-33
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STUCK,
        server.url,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while await process.stdout.readline() != b"leads\n":
                assert process.returncode is None
        process.stdin.write(b"\n")
        await process.stdin.drain()
        count = len(server.store.writes)
        await server.until(lambda: len(server.store.writes) >= count + 8)  # stuck, but it renews
        assert process.returncode is None
        server.answering.clear()
        last = time.monotonic()
        assert await asyncio.wait_for(process.wait(), 30) == 1
        # Not before the gate has shut (3 s after sending), and before another could lead (4 s) on a quiet machine.
        assert time.monotonic() - last >= 2.0
        assert b"the lease lock was not renewed in time, ending the process" in await process.stderr.read()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


WATCHDOG = """
import os, sys
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.leaderelection import ElectionConfig

thread = ElectorThread(ClusterConfig("http://127.0.0.1:1"))
election = thread.election(ElectionConfig(namespace="ns", name="lock"))
election._elector._expires_at = 0.0  # a leader's time was over long ago
thread._watch()
"""


@pytest.mark.parametrize("pipe", ["closed", "full"])
def test_a_broken_or_stuck_stderr_does_not_keep_the_watchdog_from_ending_the_process(pipe: str) -> None:  # RT-LE-33
    reading, writing = os.pipe()
    if pipe == "full":
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
    else:
        os.close(reading)
    process = subprocess.Popen([sys.executable, "-c", WATCHDOG], stderr=writing)
    try:
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
        os.close(writing)
        if pipe == "full":
            os.close(reading)
