"""Two managers with leader election on a real API server: killed, stopped and paused in the middle of work.

Each manager process is a user of its own, so the audit log of the API server says who wrote when.
"""

import asyncio
import json
import random
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from cluster.groups import group, role
from integration.replicas import Replica, Write, leader_writes, manager, never_two

from rbgctl import rbac
from rbgctl.api.kinds import RESOURCES, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.lease_record import LEASE
from rbgctl.runtime.testing.asserts import wait_for
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"
GROUP = "rbg-managers"
EVENT = GVK("", "v1", "Event")
LEASE_KEY = NN(rbac.NAMESPACE, "rbg-controller")

FAILOVER_SECONDS = 25.0
HANDOVER_SECONDS = 5.0


@dataclass
class Fleet:
    """Managers on one cluster, and a user who never stops creating and editing groups."""

    env: EnvTest
    client: LiveClient
    namespace: str
    offset: int
    replicas: list[Replica] = field(default_factory=list)
    edits: int = 0

    async def add(self, *arguments: str) -> Replica:
        """A replica that takes part in the election by the time this returns."""
        name = f"replica-{len(self.replicas) + 1}"
        kubeconfig = self.env.write_kubeconfig(self.env.config_for_user(name, [GROUP]), name)
        replica = manager(name, kubeconfig, rbac.NAMESPACE, *arguments)
        self.replicas.append(replica)
        await replica.start()
        await replica.says("attempting to acquire leader lease")
        return replica

    async def churn(self) -> None:
        while True:
            self.edits += 1
            name = f"g-{self.edits % 15}"
            wanted = group(self.namespace, role("web", 2, image=f"registry.example/a:{self.edits}"), name=name)
            await self.client.apply(wanted, field_manager="user")
            await asyncio.sleep(0.2)  # the user's pace

    def writes(self) -> list[Write]:
        return leader_writes(self.env.audit_log, self.offset, rbac.NAMESPACE)

    async def works(self, replica: Replica) -> None:
        """Until it leads and reconciles: a group that is made now gets its set from it."""
        await replica.says("successfully acquired lease")
        await self.made(f"probe-{replica.name}")

    async def made(self, name: str, timeout: float = 60.0) -> None:
        await self.client.apply(group(self.namespace, role("web"), name=name), field_manager="user")
        await wait_for(
            self.client, ROLE_INSTANCE_SET, NN(self.namespace, f"{name}-web"), lambda _: True, timeout=timeout
        )

    def first_write(self, replica: Replica) -> float:
        return min(w.begun for w in self.writes() if w.user == replica.name)


@pytest.fixture(scope="module")
async def env() -> AsyncIterator[EnvTest]:
    """A control plane of its own: managers work on every namespace."""
    async with EnvTest(crds=[CRDS], static=RESOURCES, audit=True) as started:
        admin = started.client()
        for obj in rbac.objects():
            subject = {"kind": "Group", "name": GROUP, "apiGroup": "rbac.authorization.k8s.io"}
            wider = {"subjects": [*obj["subjects"], subject]} if "subjects" in obj else {}
            await admin.apply({**obj, **wider}, field_manager="test")
        yield started


@pytest.fixture
async def fleet(env: EnvTest) -> AsyncIterator[Fleet]:
    client = env.client(user_agent="user")
    namespace = await new_namespace(client)
    fleet = Fleet(env, client, namespace, env.audit_log.stat().st_size)
    churning = asyncio.create_task(fleet.churn())
    yield fleet
    churning.cancel()
    await asyncio.wait([churning])
    for replica in fleet.replicas:
        if replica.alive:
            await replica.kill()
    # Others wait for nobody who is gone.
    await env.client().delete(LEASE, LEASE_KEY)


async def kill_leaders(fleet: Fleet, rng: random.Random, rounds: int) -> None:
    leader = await fleet.add()
    await fleet.works(leader)
    for _ in range(rounds):
        standby = await fleet.add()
        await asyncio.sleep(rng.uniform(0.0, 4.5))
        edits = fleet.edits
        killed = await leader.kill()
        await fleet.works(standby)
        assert fleet.edits > edits
        seconds = fleet.first_write(standby) - killed
        assert seconds <= FAILOVER_SECONDS, f"{seconds:.1f} s\n{standby.tail()}"
        leader = standby
    order = never_two(fleet.writes())
    assert order == [r.name for r in fleet.replicas]


@pytest.mark.timeout(600)
async def test_a_killed_leader_is_replaced_within_25_seconds_and_never_two_write(fleet: Fleet) -> None:
    """RT-AC-05, RT-LE-22: five times kill -9 at a random moment."""
    await kill_leaders(fleet, random.Random(5), 5)


@pytest.mark.nightly
@pytest.mark.timeout(5400)
async def test_fifty_killed_leaders(fleet: Fleet) -> None:  # RT-AC-05
    await kill_leaders(fleet, random.Random(), 50)


async def test_a_stopped_leader_hands_over_within_5_seconds(fleet: Fleet) -> None:
    """RT-AC-05, RT-LE-36, RT-MG-29: the lease is released as soon as the controllers have ended, events tell it."""
    leader = await fleet.add()
    await fleet.works(leader)
    standby = await fleet.add()
    await standby.says('"holder"')
    before = await fleet.client.get(LEASE, LEASE_KEY)
    stopped = leader.signal(signal.SIGTERM)
    await fleet.works(standby)
    assert await leader.ended() == 0
    seconds = fleet.first_write(standby) - stopped
    assert seconds <= HANDOVER_SECONDS, f"{seconds:.1f} s\n{leader.tail()}\n{standby.tail()}"
    assert never_two(fleet.writes()) == [leader.name, standby.name]
    after = await fleet.client.get(LEASE, LEASE_KEY)
    assert after["spec"]["leaseTransitions"] == before["spec"]["leaseTransitions"] + 1
    holder = before["spec"]["holderIdentity"]
    events = (await fleet.client.list(EVENT, rbac.NAMESPACE)).items
    about = {e["message"]: e for e in events if e["source"]["component"] == holder}
    assert set(about) == {f"{holder} became leader", f"{holder} stopped leading"}  # RT-LE-04


async def test_a_leader_that_was_paused_beyond_its_lease_writes_nothing_and_ends(fleet: Fleet) -> None:
    """RT-LE-24, RT-LE-32, RT-MG-27: it wakes up with a full queue, and another leader at work."""
    leader = await fleet.add()
    await fleet.works(leader)
    standby = await fleet.add()
    leader.signal(signal.SIGSTOP)
    await fleet.works(standby)
    await asyncio.sleep(3)  # the user goes on, so there is work for it when it wakes up
    resumed = leader.signal(signal.SIGCONT)
    assert await leader.ended(15) == 1
    assert time.time() - resumed < 10
    assert never_two(fleet.writes()) == [leader.name, standby.name]
    held = await fleet.client.get(LEASE, LEASE_KEY)
    assert held["spec"]["holderIdentity"], "a lost lease must not be released"
    assert standby.alive


async def test_a_standby_is_ready_and_writes_nothing(fleet: Fleet) -> None:
    """RT-LE-35, RT-HZ-09: readiness does not depend on leadership; informers are filled, nothing is written."""
    leader = await fleet.add()
    await fleet.works(leader)
    standby = await fleet.add()
    await standby.says('"holder"')
    await fleet.made("while-standing-by")
    for replica in (leader, standby):
        for endpoint in ("healthz", "readyz"):
            assert await probe(replica, endpoint) == (200, "ok")
    status, text = await probe(standby, "healthz?verbose")
    assert (status, "[+]leaderElection ok" in text) == (200, True)  # RT-HZ-08
    assert {w.user for w in fleet.writes()} == {leader.name}


async def probe(replica: Replica, path: str) -> tuple[int, str]:
    line = next(json.loads(line) for line in replica.lines if '"serving"' in line and '"health"' in line)
    async with aiohttp.ClientSession() as session, session.get(f"http://{line['address']}/{path}") as answer:
        return answer.status, await answer.text()
