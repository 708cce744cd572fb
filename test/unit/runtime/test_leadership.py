"""A manager, its real elector and a real HTTP server: what is sent in which order when leadership ends."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from unit.runtime.lease_store import LeaseServer, LeaseStore, config
from unit.runtime.test_elector_thread import FAST, Exits

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.client import Patch
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.errors import LeadershipUncertain
from rbgctl.runtime.events import EVENT
from rbgctl.runtime.manager import LeaderElectionLost, Manager, ManagerOptions
from rbgctl.runtime.manager_options import LeaderElector


@pytest.fixture
async def server() -> AsyncIterator[LeaseServer]:
    async with LeaseServer(LeaseStore()).running() as server:
        yield server


class Rig:
    """A manager with its election against `server`."""

    def __init__(self, server: LeaseServer, **options: Any) -> None:
        self.server = server
        self.exits = Exits()
        self.manager = Manager(
            ClusterConfig(server.url), ManagerOptions(elector=self._elector, **options), rng=random.Random(1)
        )
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def _elector(self, manager: Manager) -> LeaderElector:
        thread = ElectorThread(ClusterConfig(self.server.url), registry=manager.metrics, exit_process=self.exits)
        return thread.election(config(**FAST))

    async def lead(self) -> None:
        self.task = asyncio.create_task(self.manager.run(self.stop))
        async with asyncio.timeout(20):
            await self.manager.elected.wait()

    async def write(self, name: str) -> None:
        await self.manager.live.patch(EVENT, NN("ns", name), Patch.merge({"kind": name}))

    @property
    def sent(self) -> list[str]:
        """Writes, with the last part of their path."""
        return [f"{method} {path.rsplit('/', 1)[1]}" for method, path, *_ in self.server.asked if method != "GET"]


@pytest.fixture
async def rig(server: LeaseServer) -> AsyncIterator[Rig]:
    rig = Rig(server)
    yield rig
    if rig.task is not None and not rig.task.done():
        rig.stop.set()
        await asyncio.wait([rig.task])


async def test_release_waits_for_the_writes_under_way(rig: Rig) -> None:
    """RT-LE-39: controllers stopped, gate shut, writes under way ended, and then the PUT that releases."""
    server = rig.server
    held, passed = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    class Writer:
        """Leaves a write behind that nobody waits for."""

        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append("stopped")
                self.left = asyncio.create_task(rig.write("slow"))
                await passed.wait()

    async def slow(_: str) -> None:
        passed.set()
        await held.wait()
        order.append("written")

    server.delays["slow"] = slow
    server.on_release = lambda: order.append("released")
    rig.manager.add(Writer())
    await rig.lead()
    rig.stop.set()
    async with asyncio.timeout(10):
        await passed.wait()
    refusals = "rbg_runtime_write_gate_refusals_total"
    async with asyncio.timeout(5):
        while rig.manager.metrics.collectors.get_sample_value(refusals) == 0:
            # Until the gate is shut: the lease is still ours, and renewed.
            with contextlib.suppress(LeadershipUncertain):
                await rig.write("late")
            await asyncio.sleep(0.01)
    # Giving the Lease up ends its renewals, so renewals show that it was not given up although there was time.
    renewals = len(server.store.writes)
    await server.until(lambda: len(server.store.writes) >= renewals + 3)
    assert server.store.spec["holderIdentity"] == "me"
    held.set()
    assert rig.task is not None
    await asyncio.wait_for(rig.task, 10)
    assert order == ["stopped", "written", "released"]
    assert server.store.spec["holderIdentity"] == ""


async def test_release_waits_for_a_write_whose_writer_was_cancelled(rig: Rig) -> None:
    """RT-LE-39: a plain Runnable that ends at its first cancellation, in the middle of a write. The server knows
    nothing of that and carries the write out.
    """
    server = rig.server
    order: list[str] = []
    arrived, carried_out = asyncio.Event(), asyncio.Event()

    class Writer:
        async def run(self) -> None:
            try:
                await rig.write("slow")
            finally:
                order.append("cancelled")

    async def slow(_: str) -> None:
        arrived.set()
        # What the server has begun it ends, even when the connection breaks.
        await asyncio.shield(asyncio.create_task(commit()))

    async def commit() -> None:
        await carried_out.wait()
        order.append("written")

    server.delays["slow"] = slow
    server.on_release = lambda: order.append("released")
    rig.manager.add(Writer())
    await rig.lead()
    async with asyncio.timeout(10):
        await arrived.wait()
    rig.stop.set()
    renewals = len(server.store.writes)
    await server.until(lambda: "cancelled" in order and len(server.store.writes) >= renewals + 3)
    assert server.store.spec["holderIdentity"] == "me"
    carried_out.set()
    assert rig.task is not None
    await asyncio.wait_for(rig.task, 10)
    assert order == ["cancelled", "written", "released"]


async def test_giving_leadership_up_is_no_error(rig: Rig) -> None:  # RT-MG-24, RT-MG-20
    with capture_logs() as logs:
        await rig.lead()
        rig.stop.set()
        assert rig.task is not None
        await asyncio.wait_for(rig.task, 10)
    assert rig.task.exception() is None
    assert [entry for entry in logs if entry["log_level"] in {"error", "warning"}] == []
    assert rig.server.store.spec["holderIdentity"] == ""
    assert rig.exits.codes == []


async def test_a_lost_lease_ends_the_manager_and_is_not_released(rig: Rig) -> None:  # RT-MG-27, RT-LE-39, RT-LE-32
    await rig.lead()
    await rig.write("first")
    rig.server.answering.clear()
    assert rig.task is not None
    with pytest.raises(LeaderElectionLost):
        await asyncio.wait_for(rig.task, 10)
    assert rig.server.store.spec["holderIdentity"] == "me"
    with pytest.raises(LeadershipUncertain):
        await rig.write("late")
    assert "PATCH late" not in rig.sent


async def test_every_write_is_bounded_by_the_lease_and_election_traffic_is_not(rig: Rig) -> None:
    # RT-LE-37, RT-LE-38
    await rig.lead()
    await rig.write("first")
    await rig.manager.ungated.patch(EVENT, NN("ns", "free"), Patch.merge({}))
    queries = {path.rsplit("/", 1)[1]: query for _, path, query in rig.server.queries}
    assert 0 < float(queries["first"]["timeout"].removesuffix("s")) <= 3.0
    assert "timeout" not in queries["free"]
    assert "timeout" not in queries["lock"]


async def test_a_standby_may_not_write_what_only_a_leader_may(rig: Rig) -> None:  # RT-LE-32, RT-LE-38
    rig.server.store.held_by("other")
    rig.task = asyncio.create_task(rig.manager.run(rig.stop))
    await rig.server.until(lambda: len(rig.server.asked) >= 1)
    with pytest.raises(LeadershipUncertain):
        await rig.write("x")
    await rig.manager.ungated.patch(EVENT, NN("ns", "review"), Patch.merge({}))
    assert rig.sent == ["PATCH review"]


async def test_an_election_won_while_stopping_starts_nothing_and_is_released(server: LeaseServer) -> None:
    """RT-MG-23, with the real elector: it wins while something that needs no leader is still stopping."""
    server.store.held_by("other")
    rig = Rig(server)
    started: list[str] = []
    stopping = asyncio.Event()

    class Leader:
        async def run(self) -> None:
            started.append("leader")

    class Slow:
        needs_leader = False

        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopping.set()
                await server.until(lambda: server.store.spec["holderIdentity"] == "me")
                # Renewals follow the news that it has won, and are answered on the loop that got the news.
                renewals = len(server.store.writes)
                await server.until(lambda: len(server.store.writes) >= renewals + 2)

    rig.manager.add(Leader())
    rig.manager.add(Slow())
    rig.task = asyncio.create_task(rig.manager.run(rig.stop))
    await server.until(lambda: len(server.asked) >= 1)
    rig.stop.set()
    await asyncio.wait_for(stopping.wait(), 5)
    server.store.held_by("", leaseDurationSeconds=1)
    await asyncio.wait_for(rig.task, 15)
    assert started == []
    assert not rig.manager.elected.is_set()
    assert server.store.spec["holderIdentity"] == ""
    assert server.store.spec["leaseTransitions"] == 4
