"""Elections of shards on their thread: one after the other, on real sockets."""

import asyncio
import threading
import time

from unit.runtime.lease_store import LeaseServer, LeaseStore, config, copy

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.manager_options import LeaderElector
from rbgctl.runtime.sharding.assembly import ThreadElections
from rbgctl.runtime.sharding.leases import SHARDS_LABEL


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("leader")}


async def led(election: LeaderElector) -> "asyncio.Task[None]":
    """Its run, once it leads."""
    leads = asyncio.Event()

    async def started() -> None:
        leads.set()

    task = asyncio.create_task(election.run(started))
    async with asyncio.timeout(20):
        await leads.wait()
    return task


async def ended(election: LeaderElector, task: "asyncio.Task[None]") -> None:
    await election.stop(release=True)
    await task
    await election.close(1.0)


async def test_shards_come_and_go_on_one_thread_that_ends_last() -> None:
    async with LeaseServer(LeaseStore()).running() as server:
        elections = ThreadElections(ElectorThread(ClusterConfig(server.url), exit_process=print), config(), 3)
        for _ in range(2):
            election = elections.of(0, None, 0.0)
            task = await led(election)
            assert server.store.lease is not None
            assert server.store.lease["metadata"]["labels"] == {SHARDS_LABEL: "3"}
            await ended(election, task)
            assert threads() == {"leader election", "leader watchdog"}
        await elections.end(1.0)
    while threads():  # noqa: ASYNC110 - a thread that ends tells nobody
        await asyncio.sleep(0.01)


async def test_who_has_watched_a_lease_expire_need_not_do_so_again() -> None:
    store = LeaseStore()
    store.held_by("dead")
    seen: RawObject = copy(store.get())
    async with LeaseServer(store).running() as server:
        elections = ThreadElections(ElectorThread(ClusterConfig(server.url), exit_process=print), config(), 3)
        began = time.monotonic()
        election = elections.of(0, seen, 15.5)
        task = await led(election)
        assert time.monotonic() - began < 10  # instead of 15
        assert store.spec["holderIdentity"] == "me"
        await ended(election, task)
        await elections.end(1.0)


async def test_a_lease_that_changed_since_is_watched_anew() -> None:
    store = LeaseStore()
    store.held_by("alive")
    seen: RawObject = copy(store.get())
    store.renewed()
    async with LeaseServer(store).running() as server:
        elections = ThreadElections(ElectorThread(ClusterConfig(server.url), exit_process=print), config(), 3)
        election = elections.of(0, seen, 15.5)
        task = asyncio.create_task(election.run(asyncio.Event().wait))  # type: ignore[arg-type]
        # A second look: what it made of the first one is done.
        await server.until(lambda: [path.rsplit("/", 1)[1] for _, path, *_ in server.asked].count("lock") >= 2)
        assert store.spec["holderIdentity"] == "alive"
        await ended(election, task)
        await elections.end(1.0)
