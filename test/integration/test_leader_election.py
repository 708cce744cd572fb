"""Our elector and client-go's on one Lease of a real API server."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from integration.replicas import Replica, Speed, elector_arguments, go_binary, go_elector, python_elector

from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.elector_thread import ElectorThread
from rbgctl.runtime.leaderelection import ElectionConfig
from rbgctl.runtime.lease_record import LEASE
from rbgctl.runtime.testing.asserts import wait_for
from rbgctl.runtime.testing.envtest import EnvTest

FAST = Speed(lease=6, renew=3, retry=0.5)
NIGHTLY_SECONDS = float(os.environ.get("NIGHTLY_CHAOS_SECONDS", "3600"))


@pytest.fixture(scope="session")
async def binary() -> Path:
    return await go_binary()


class Arena:
    """Electors on the Lease "lock" of a namespace; all are killed at the end."""

    def __init__(self, env: EnvTest, namespace: str, binary: Path) -> None:
        self.env = env
        self.namespace = namespace
        self.binary = binary
        self.replicas: list[Replica] = []

    async def start(self, identity: str, lock: str = "lock") -> Replica:
        """One more; the name says of which language."""
        arguments = elector_arguments(self.env.kubeconfig, self.namespace, lock, identity, FAST)
        go = identity.startswith("go")
        replica = go_elector(self.binary, identity, arguments) if go else python_elector(identity, arguments)
        self.replicas.append(replica)
        return await replica.start()


@pytest.fixture
async def arena(env: EnvTest, namespace: str, binary: Path) -> AsyncIterator[Arena]:
    arena = Arena(env, namespace, binary)
    yield arena
    for replica in arena.replicas:
        if replica.alive:
            await replica.kill()


async def lease(
    client: LiveClient, namespace: str, holder: str, lock: str = "lock", timeout: float = 30.0
) -> RawObject:
    """The Lease once `holder` has it."""
    key = NN(namespace, lock)
    return await wait_for(client, LEASE, key, lambda o: o["spec"].get("holderIdentity") == holder, timeout=timeout)


async def both_directions(scenario: Callable[[str, str, str], Awaitable[None]]) -> None:
    """`scenario(first, second, lock)` from Go to Python and back, side by side on Leases of their own."""
    async with asyncio.TaskGroup() as both:
        for first, second in (("go-1", "py-1"), ("py-2", "go-2")):
            both.create_task(scenario(first, second, f"lock-{first}"))  # type: ignore[arg-type]


async def test_a_release_is_understood_in_both_directions(arena: Arena, client: LiveClient) -> None:
    """RT-LE-34, RT-LE-23, RT-ID-01: each keeps its hands off the other's lease and takes it when it was released."""

    async def scenario(first: str, second: str, lock: str) -> None:
        leader = await arena.start(first, lock)
        await leader.says("started leading")
        standby = await arena.start(second, lock)
        await standby.says(f"leader is {first}")
        await asyncio.sleep(FAST.lease + 1)
        assert not standby.said("started leading")
        assert leader.alive
        before = await lease(client, arena.namespace, first, lock)
        assert before["spec"]["leaseTransitions"] == 0
        assert before["spec"]["leaseDurationSeconds"] == 6
        leader.signal(signal.SIGTERM)
        await standby.says("started leading", timeout=10)
        assert await leader.ended() == 0
        after = await lease(client, arena.namespace, second, lock)
        assert after["spec"]["leaseTransitions"] == 1
        assert after["spec"]["acquireTime"] > before["spec"]["acquireTime"]

    await both_directions(scenario)


async def test_a_lease_left_by_the_other_language_is_taken_when_it_is_over(arena: Arena, client: LiveClient) -> None:
    # RT-LE-13, RT-LE-01
    async def scenario(first: str, second: str, lock: str) -> None:
        leader = await arena.start(first, lock)
        await leader.says("started leading")
        standby = await arena.start(second, lock)
        await standby.says(f"leader is {first}")
        killed = await leader.kill()
        await standby.says("started leading", timeout=30)
        started = float(next(line for line in standby.lines if "started leading" in line).split()[0])
        assert started - killed > FAST.lease - FAST.retry - 0.5
        assert (await lease(client, arena.namespace, second, lock))["spec"]["leaseTransitions"] == 1

    await both_directions(scenario)


async def test_what_others_put_into_the_lease_survives_a_whole_leadership(
    env: EnvTest, client: LiveClient, namespace: str
) -> None:  # RT-LE-05
    await client.create(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": namespace, "name": "lock", "annotations": {"kept": "yes"}},
        }
    )
    config = ElectionConfig(namespace=namespace, name="lock", identity="me", labels={"shard": "0"})
    election = ElectorThread(env.config).election(config)
    leads = asyncio.Event()

    async def started() -> None:
        leads.set()

    task = asyncio.create_task(election.run(started))
    await asyncio.wait_for(leads.wait(), 20)
    held = await client.get(LEASE, NN(namespace, "lock"))
    await election.stop(release=True)
    await election.close()
    await task
    released = await client.get(LEASE, NN(namespace, "lock"))
    for obj in (held, released):
        assert obj["metadata"]["annotations"] == {"kept": "yes"}
        assert obj["metadata"]["labels"] == {"shard": "0"}
    assert held["spec"]["holderIdentity"] == "me"
    assert not released["spec"].get("holderIdentity")


# -- chaos -------------------------------------------------------------------------------------------------------


@dataclass
class Leadership:
    """From when until when a replica led: ours to its last write, client-go's until it says so or is killed."""

    who: str
    begun: float
    ended: float


def leaderships(replica: Replica, killed: float) -> list[Leadership]:
    found: list[Leadership] = []
    for line in replica.lines:
        stamp, _, rest = line.partition(" ")
        if rest.startswith("started leading"):
            begun = float(stamp)
            found.append(Leadership(replica.name, begun, begun if replica.name.startswith("py") else killed))
        elif rest.startswith("writes"):
            found[-1].ended = float(stamp)
        elif rest.startswith("stopped leading") and found:
            found[-1].ended = min(found[-1].ended, float(stamp))
    return found


async def chaos(arena: Arena, rng: random.Random, seconds: float) -> list[Leadership]:
    """Two of each language; whoever leads is killed, stopped, or (ours only) paused for longer than the lease.

    A paused leader of client-go would go on leading when it wakes up: nothing there looks at the clock (RT-LE-24).
    """
    ended: dict[str, float] = {}
    members: dict[str, Replica] = {}
    count = 0

    async def fill() -> None:
        nonlocal count
        for language in ("go", "py"):
            while sum(name.startswith(language) for name in members) < 2:
                count += 1
                members[f"{language}-{count}"] = await arena.start(f"{language}-{count}")

    until = time.time() + seconds
    while time.time() < until:
        await fill()
        leader = await first_leader(list(members.values()))
        await asyncio.sleep(rng.uniform(0.0, 2.0))
        action = rng.choice(["kill", "stop"] if leader.name.startswith("go") else ["kill", "stop", "pause", "pause"])
        del members[leader.name]
        if action == "kill":
            ended[leader.name] = await leader.kill()
        elif action == "stop":
            leader.signal(signal.SIGTERM)
            await leader.ended()
        else:
            leader.signal(signal.SIGSTOP)
            await first_leader(list(members.values()))
            leader.signal(signal.SIGCONT)
            assert await leader.ended(10) == 1, "a leader that was paused must end"
    for replica in members.values():
        ended[replica.name] = await replica.kill()
    return [item for r in arena.replicas for item in leaderships(r, ended.get(r.name, float("inf")))]


async def first_leader(members: list[Replica]) -> Replica:
    waiting = {asyncio.create_task(m.says("started leading", timeout=60)): m for m in members if m.alive}
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    task = next(iter(done))
    task.result()
    return waiting[task]


def judge(found: list[Leadership]) -> None:
    found.sort(key=lambda item: item.begun)
    print(f"{len(found)} leaderships, {sum(item.who.startswith('py') for item in found)} of them Python's")
    assert len(found) >= 3
    assert {item.who[:2] for item in found} == {"go", "py"}
    for before, after in pairwise(found):
        assert before.ended <= after.begun, f"{before} and {after}"


async def test_replicas_of_go_and_python_never_lead_at_once(arena: Arena) -> None:  # RT-AC-06
    judge(await chaos(arena, random.Random(6), 30))


@pytest.mark.nightly
@pytest.mark.timeout(NIGHTLY_SECONDS + 600)
async def test_replicas_of_go_and_python_never_lead_at_once_in_an_hour(arena: Arena) -> None:  # RT-AC-06
    judge(await chaos(arena, random.Random(), NIGHTLY_SECONDS))
