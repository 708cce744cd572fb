"""Managers that take, keep and give away shards, in virtual time, with the real election algorithm."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from unit.runtime.conftest import LoopClock
from unit.runtime.shard_cluster import BASE, Cluster

from rbgctl.runtime.sharding.leases import lease_name, member_name

# A loop of its own for each test: virtual time adds up on a shared one until timers lose their precision.
pytestmark = pytest.mark.looptime


@pytest_asyncio.fixture(loop_scope="function")
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster(LoopClock())
    yield cluster
    await cluster.end()


async def test_a_manager_alone_leads_all_shards(cluster: Cluster) -> None:
    cluster.start("a")
    assert await cluster.until(lambda: cluster.table() == {"a": (0, 1, 2)}, 10) < 5


async def test_managers_share_and_each_shard_is_led_by_one(cluster: Cluster) -> None:
    for identity in "abc":
        cluster.start(identity)
    await cluster.until(lambda: cluster.balanced, 20)
    before = cluster.table()
    await cluster.run(60)
    assert cluster.table() == before  # settled


async def test_shards_of_a_killed_manager_are_taken_within_25_seconds(cluster: Cluster) -> None:
    for seed in range(2):
        cluster = Cluster(LoopClock(), seed)
        managers = [cluster.start(identity) for identity in "abc"]
        await cluster.until(lambda c=cluster: c.balanced, 20)  # type: ignore[misc]
        kept = {m.identity: set(m.shards.open_shards) for m in managers}
        await managers[seed % 3].kill()
        took = await cluster.until(lambda c=cluster: c.balanced, 25)  # type: ignore[misc]
        assert took >= 12  # not before its lease was over
        for identity, shards in cluster.table().items():
            assert kept[identity] <= set(shards)  # the others kept theirs
        await cluster.run(30)
        member = member_name(BASE, managers[seed % 3].identity)
        assert member not in cluster.server.leases  # its member Lease was deleted
        await cluster.end()


async def test_a_manager_that_stops_hands_its_shards_over_at_once(cluster: Cluster) -> None:
    managers = [cluster.start(identity) for identity in "abc"]
    await cluster.until(lambda: cluster.balanced, 20)
    await managers[0].stop()
    assert member_name(BASE, "a") not in cluster.server.leases
    assert await cluster.until(lambda: cluster.balanced, 10) < 6


async def test_a_newcomer_gets_its_share_after_running_reconciles_have_ended(cluster: Cluster) -> None:
    """busy: at any time a reconcile of 3 s is under way in each shard."""
    old = [cluster.start(identity, shards=8, busy=3.0) for identity in "abc"]
    await cluster.until(lambda: cluster.balanced, 30)
    before = {m.identity: set(m.shards.open_shards) for m in old}
    new = cluster.start("d", shards=8)
    await cluster.until(lambda: cluster.balanced, 30)
    assert len(new.shards.open_shards) == 2
    moved = sum(len(before[m.identity] - set(m.shards.open_shards)) for m in old)
    assert moved == 2  # no more than needed


async def test_a_reconcile_that_does_not_end_is_cancelled_before_the_shard_is_handed_over(cluster: Cluster) -> None:
    old = cluster.start("a", shards=2, busy=1e6)
    await cluster.until(lambda: old.shards.open_shards == (0, 1), 10)
    cluster.start("b", shards=2)
    took = await cluster.until(lambda: cluster.balanced, 60)
    assert 20 < took < 30


async def test_a_shard_is_handed_over_when_the_write_of_a_cancelled_reconcile_has_ended(cluster: Cluster) -> None:
    """RT-LE-39, per shard. Writes take longer than the others need to take a shard; the model watches the server."""
    old = cluster.start("a", shards=2, busy=1e6, slow=9.0)
    await cluster.until(lambda: old.shards.open_shards == (0, 1), 10)
    cluster.start("b", shards=2)
    await cluster.until(lambda: cluster.balanced, 60)
    assert ("a", 2, old.shards.open_shards[0]) in cluster.server.writing  # other shards need not wait


async def test_a_shard_whose_writes_do_not_end_is_not_released(cluster: Cluster) -> None:
    old = cluster.start("a", shards=2)
    await cluster.until(lambda: old.shards.open_shards == (0, 1), 10)
    for shard in range(2):
        with old.shards.working(shard, asyncio.timeout(None)):
            # As if a request knew no limit.
            stuck = asyncio.create_task(old.writes.carry(asyncio.sleep(1e6)))
            await asyncio.sleep(0)
    new = cluster.start("b", shards=2)
    await cluster.until(lambda: len(old.shards.open_shards) == 1, 30)
    took = await cluster.until(lambda: len(new.shards.open_shards) == 1, 60)
    assert took > 28  # 15 for the writes, 15 until the lease was over
    stuck.cancel()


async def test_a_manager_that_loses_a_shard_ends(cluster: Cluster) -> None:
    cut, other = cluster.start("a"), cluster.start("b")
    await cluster.until(lambda: cluster.balanced, 20)
    cut.link.cut = True
    await cluster.until(cut.task.done, 14)  # before anybody else may lead
    assert cut.writing == set()
    cut.alive = False
    await cluster.until(lambda: other.shards.open_shards == (0, 1, 2), 25)


@pytest.mark.parametrize("after", [0.0, 1.5, 3.0, 4.5, 6.0])
async def test_a_lost_shard_is_noticed_at_once_although_requests_hang(cluster: Cluster, after: float) -> None:
    """Whether the loss comes in the middle of a look, which waits for an answer up to 5 s, or between two."""
    manager = cluster.start("a", busy=1e6)
    await cluster.until(lambda: manager.shards.open_shards == (0, 1, 2), 10)
    await asyncio.sleep(after)
    manager.link.hangs = True
    elections = [c._task for c in manager.elector._campaigns.values()]
    await asyncio.wait(elections, return_when=asyncio.FIRST_COMPLETED)
    lost_at = cluster.clock.monotonic()
    await asyncio.wait([manager.task])
    assert cluster.clock.monotonic() - lost_at < 0.1
    assert manager.shards.open_shards == ()
    assert manager.writing == set()
    left = {t.get_name() for t in asyncio.all_tasks()}
    assert not left & {"look at the shards", "loss of a shard"}


async def test_a_stop_does_not_interrupt_a_hand_over_that_gives_the_lease_back(cluster: Cluster) -> None:
    """The release is under way when the process is told to stop; whoever takes the shard need not wait 15 s."""
    old = cluster.start("a", shards=2)
    await cluster.until(lambda: old.shards.open_shards == (0, 1), 10)
    new = cluster.start("b", shards=2)
    await soon(lambda: any(c.leaving is not None for c in old.elector._campaigns.values()))
    (leaving,) = (c for c in old.elector._campaigns.values() if c.leaving is not None)
    lease = lease_name(BASE, leaving.shard)
    written = old.link.held[lease] = asyncio.Event()
    await soon(lambda: leaving.given_up and lease in old.link.waiting)
    stopping = asyncio.create_task(old.stop())
    await asyncio.sleep(1.0)  # of virtual time: whatever the stop can do without the answer it has done
    assert not stopping.done()
    written.set()
    await asyncio.wait([stopping])
    assert cluster.server.holder(leaving.shard) != "a"
    assert await cluster.until(lambda: new.shards.open_shards == (0, 1), 10) < 6


async def test_a_stop_breaks_off_a_hand_over_that_still_drains(cluster: Cluster) -> None:
    old = cluster.start("a", shards=2, busy=1e6)
    await cluster.until(lambda: old.shards.open_shards == (0, 1), 10)
    new = cluster.start("b", shards=2)
    await soon(lambda: len(old.shards.open_shards) == 1)  # a drain of 20 s has begun
    began = cluster.clock.monotonic()
    await old.stop()
    assert cluster.clock.monotonic() - began < 2
    assert await cluster.until(lambda: new.shards.open_shards == (0, 1), 10) < 6


async def test_managers_with_another_number_of_shards_wait_and_say_so(cluster: Cluster) -> None:
    old = [cluster.start(identity, shards=3) for identity in "ab"]
    await cluster.until(lambda: cluster.balanced, 20)
    new = cluster.start("c", shards=4)
    await cluster.run(60)
    assert new.shards.open_shards == ()
    assert len(new.events) == 1
    assert "divides the work into 3 shards, this manager divides it into 4: it leads nothing" in new.events[0]
    await old[0].stop()
    await cluster.run(30)
    assert new.shards.open_shards == ()
    await old[1].stop()
    await cluster.until(lambda: new.shards.open_shards == (0, 1, 2, 3), 20)


async def test_nothing_is_led_beside_a_manager_that_does_not_divide_the_work(cluster: Cluster) -> None:
    plain = await cluster.start_plain("go")
    await asyncio.sleep(1)
    new = cluster.start("a")
    await cluster.run(40)
    assert new.shards.open_shards == ()
    assert "go leads shard 0 and does not divide the work" in new.events[0]
    plain.cancel()  # releases
    await cluster.until(lambda: new.shards.open_shards == (0, 1, 2), 20)
    other = await cluster.start_plain("go again")
    await cluster.run(40)
    assert not cluster.plain[1].is_leader()
    other.cancel()
    await asyncio.wait([plain, other])


async def test_shards_are_given_up_when_an_undivided_manager_takes_the_first(cluster: Cluster) -> None:
    """It may: the Go operator knows nothing of shards and takes its Lease when that is free. What runs is cancelled."""
    managers = [cluster.start(identity, busy=1e6) for identity in "abc"]
    await cluster.until(lambda: cluster.balanced, 20)
    first = next(m for m in managers if 0 in m.shards.open_shards)
    await first.kill()
    plain = await cluster.start_plain("go")
    cluster.server.leases[BASE]["spec"]["holderIdentity"] = ""
    await cluster.until(cluster.plain[0].is_leader, 5)
    await cluster.until(lambda: not any(cluster.table().values()), 5)
    assert all("go leads shard 0" in m.events[-1] for m in managers if m.alive)
    plain.cancel()
    await cluster.until(lambda: cluster.balanced, 40)
    await asyncio.wait([plain])


async def test_a_deleted_member_lease_comes_back_and_nothing_moves(cluster: Cluster) -> None:
    for identity in "abc":
        cluster.start(identity)
    await cluster.until(lambda: cluster.balanced, 20)
    before = cluster.table()
    del cluster.server.leases[member_name(BASE, "b")]
    await cluster.until(lambda: member_name(BASE, "b") in cluster.server.leases, 5)
    await cluster.run(20)
    assert set(sum(cluster.table().values(), ())) == {0, 1, 2}
    assert cluster.table() == before


async def test_a_shard_is_opened_only_after_a_look_that_began_after_it_was_won(cluster: Cluster) -> None:
    """While the answer to a look is under way, the manager that led the first shard stops, one that divides the keys
    differently takes its place, and the write for another shard, which goes by the look before, arrives.
    """
    first = cluster.start("first", shards=2)
    await cluster.until(lambda: first.shards.open_shards == (0, 1), 10)
    peer, odd = cluster.start("peer", shards=2), cluster.start("odd", shards=4)
    written, answered = asyncio.Event(), asyncio.Event()
    peer.link.held["op-1"] = written
    await soon(lambda: "op-1" in peer.link.waiting)
    peer.link.held["list"] = answered
    peer.elector._wake.set()
    await soon(lambda: "list" in peer.link.waiting)  # what it will hear: `first` leads the first shard
    stopping = asyncio.create_task(first.stop())
    await soon(stopping.done)
    odd.elector._wake.set()
    await soon(lambda: 0 in odd.shards.open_shards)
    written.set()
    await soon(lambda: peer.elector._campaigns[1].won)
    answered.set()
    await cluster.run(10)
    assert peer.shards.open_shards == ()
    assert odd.shards.open_shards == (0, 1, 2, 3)


async def soon(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 10 s")


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_and_goes_no_key_is_ever_handled_twice_and_in_the_end_all_are(seed: int) -> None:
    """Managers with three and with four shards start, stop and die at random moments, over slow connections and in the
    middle of writes."""
    rng = random.Random(seed)
    cluster = Cluster(LoopClock(), seed, latency=rng.choice([0.02, 0.3, 1.0]))
    for n in range(10):
        living = [m for m in cluster.managers if m.alive]
        match rng.choice(["start", "start", "stop", "kill", "cut"]):
            case "stop" if living:
                await rng.choice(living).stop()
            case "kill" if living:
                await rng.choice(living).kill()
            case "cut" if living:
                one = rng.choice(living)
                one.link.cut = True
                await cluster.run(rng.uniform(0, 10))
                one.link.cut = rng.random() < 0.5
            case _:
                busy, slow = rng.choice([(0.0, 0.0), (2.0, 0.0), (2.0, 6.0)])
                cluster.start(f"m{n}", shards=rng.choice([3, 3, 4]), busy=busy, slow=slow)
        await cluster.run(rng.uniform(0, 8))
        await reap(cluster)
    for manager in cluster.managers:
        if manager.alive and manager.shards.count == 4:
            await manager.kill()
    cluster.start("last")
    for _ in range(60):
        await cluster.run(2)
        await reap(cluster)
    assert cluster.balanced, cluster.table()
    await cluster.end()


async def reap(cluster: Cluster) -> None:
    """A manager that lost a shard is a process that has ended."""
    for manager in cluster.managers:
        if manager.alive and (manager.task.done() or manager.link.cut):
            await manager.kill()
