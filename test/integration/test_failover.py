"""Two managers with leader election on a real API server: killed, stopped and paused in the middle of work.

Pairs that work on one namespace each can do so side by side.
Each manager process is a user of its own, so the audit log of the API server says who wrote when.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
from cluster.groups import group, role
from integration.replicas import Replica, Speed, Write, leader_writes, manager, never_two

from rbgctl import rbac, splitting
from rbgctl.api.kinds import RESOURCES, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.manager import CONTROLLERS
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.lease_record import LEASE
from rbgctl.runtime.testing.asserts import wait_for
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

CRDS = Path(__file__).parents[2] / "config" / "crd" / "bases"
GROUP = "rbg-managers"
EVENT = GVK("", "v1", "Event")

DEFAULT = Speed(lease=15, renew=10, retry=2)
FAST = Speed(lease=9, renew=6, retry=1)

FAILOVER_SECONDS = 25.0
FAST_FAILOVER_SECONDS = FAILOVER_SECONDS - DEFAULT.lease + FAST.lease
HANDOVER_SECONDS = 5.0

KILLS = int(os.environ.get("NIGHTLY_KILLS", "50"))


@dataclass
class Fleet:
    """Managers, everywhere or of one namespace, and a user who never stops creating and editing groups there."""

    env: EnvTest
    client: LiveClient
    namespace: str
    offset: int
    speed: Speed
    everywhere: bool
    replicas: list[Replica] = field(default_factory=list)
    edits: int = 0

    async def add(self) -> Replica:
        """A replica that takes part in the election by the time this returns."""
        name = f"{self._prefix}{len(self.replicas) + 1}"
        kubeconfig = self.env.write_kubeconfig(self.env.config_for_user(name, [GROUP]), name)
        arguments = [f"--namespaces={','.join(self._namespaces)}"]
        if self.speed != DEFAULT:
            arguments += [
                f"--leader-election-lease-duration={self.speed.lease:g}s",
                f"--leader-election-renew-deadline={self.speed.renew:g}s",
                f"--leader-election-retry-period={self.speed.retry:g}s",
            ]
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

    @property
    def _prefix(self) -> str:
        return f"replica-{self.namespace}-"

    @property
    def _namespaces(self) -> list[str]:
        return [] if self.everywhere else [self.namespace]

    @property
    def lease_key(self) -> NN:
        return NN(rbac.NAMESPACE, splitting.lease_name(CONTROLLERS, CONTROLLERS, self._namespaces))

    def writes(self) -> list[Write]:
        written = leader_writes(self.env.audit_log, self.offset, rbac.NAMESPACE)
        return [w for w in written if w.user.startswith(self._prefix)]

    async def wrote(self, replica: Replica) -> float:
        """When its first write arrived at the API server; waits until there is one."""
        async with asyncio.timeout(60):
            # A file that grows tells nobody.
            while not (times := [w.begun for w in self.writes() if w.user == replica.name]):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return min(times)

    async def works(self, replica: Replica) -> None:
        """Until it leads and reconciles: a group that is made now gets its set from it."""
        await replica.says("successfully acquired lease")
        try:
            await self.made(f"probe-{replica.name}")
        except AssertionError as error:
            error.add_note(replica.tail())
            raise

    async def made(self, name: str, timeout: float = 60.0) -> None:
        await self.client.apply(group(self.namespace, role("web"), name=name), field_manager="user")
        await wait_for(
            self.client, ROLE_INSTANCE_SET, NN(self.namespace, f"{name}-web"), lambda _: True, timeout=timeout
        )

    async def end(self) -> None:
        for replica in self.replicas:
            if replica.alive:
                await replica.kill()


@pytest.fixture(scope="module")
async def env() -> AsyncIterator[EnvTest]:
    """A control plane with an audit log and the rights that managers have in a cluster."""
    async with EnvTest(crds=[CRDS], static=RESOURCES, audit=True) as started:
        admin = started.client()
        for obj in rbac.objects():
            subject = {"kind": "Group", "name": GROUP, "apiGroup": "rbac.authorization.k8s.io"}
            wider = {"subjects": [*obj["subjects"], subject]} if "subjects" in obj else {}
            await admin.apply({**obj, **wider}, field_manager="test")
        yield started


@contextlib.asynccontextmanager
async def managers(env: EnvTest, speed: Speed, *, everywhere: bool = False) -> AsyncIterator[Fleet]:
    client = env.client(user_agent="user")
    fleet = Fleet(env, client, await new_namespace(client), env.audit_log.stat().st_size, speed, everywhere)
    churning = asyncio.create_task(fleet.churn())
    try:
        yield fleet
    finally:
        churning.cancel()
        await asyncio.wait([churning])
        await fleet.end()
        # Others wait for nobody who is gone.
        await client.delete(LEASE, fleet.lease_key)


@pytest.fixture
async def fleet(env: EnvTest, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    """With the default durations, unless a test asks for others."""
    async with managers(env, getattr(request, "param", DEFAULT), everywhere=True) as fleet:
        yield fleet


async def test_a_stopped_leader_hands_over_within_5_seconds(fleet: Fleet) -> None:
    """RT-AC-05, RT-MG-29: from SIGTERM to the first write of the next one, which has a group to reconcile by then. The
    lease is released as soon as the controllers have ended, events tell it.
    """
    leader = await fleet.add()
    await fleet.works(leader)
    standby = await fleet.add()
    await standby.says('"holder"')
    before = await fleet.client.get(LEASE, fleet.lease_key)
    edits = fleet.edits
    stopped = leader.signal(signal.SIGTERM)
    first = await fleet.wrote(standby)
    assert await leader.ended() == 0
    released, acquired = when(leader, "released the lease"), when(standby, "successfully acquired lease")
    steps = f"SIGTERM, {released - stopped:.2f} s released, {acquired - stopped:.2f} s acquired"
    print(f"{steps}, {first - stopped:.2f} s first write")
    assert fleet.edits > edits  # there was something to reconcile all the time
    assert first - stopped <= HANDOVER_SECONDS, f"{steps}, {first - stopped:.2f} s\n{leader.tail()}\n{standby.tail()}"
    assert released - when(leader, "controller stopped") <= 2.0
    await fleet.works(standby)
    assert never_two(fleet.writes()) == [leader.name, standby.name]
    after = await fleet.client.get(LEASE, fleet.lease_key)
    assert after["spec"]["leaseTransitions"] == before["spec"]["leaseTransitions"] + 1
    holder = before["spec"]["holderIdentity"]
    events = (await fleet.client.list(EVENT, rbac.NAMESPACE)).items
    about = {e["message"]: e for e in events if e["source"]["component"] == holder}
    assert set(about) == {f"{holder} became leader", f"{holder} stopped leading"}  # RT-LE-04


async def kill_leaders(fleet: Fleet, rng: random.Random, rounds: int, bound: float) -> None:
    took = []
    leader = await fleet.add()
    await fleet.works(leader)
    for _ in range(rounds):
        standby = await fleet.add()
        await asyncio.sleep(rng.uniform(0.0, 4.5))
        edits = fleet.edits
        assert leader.alive, f"it ended before it was killed:\n{leader.tail()}"
        killed = await leader.kill()
        await fleet.works(standby)
        assert fleet.edits > edits
        seconds = await fleet.wrote(standby) - killed
        assert seconds <= bound, f"{seconds:.1f} s\n{standby.tail()}"
        took.append(seconds)
        print(f"lease of {fleet.speed.lease:g} s, kill {len(took)}: {seconds:.1f} s")
        leader = standby
    order = never_two(fleet.writes())
    assert order == [r.name for r in fleet.replicas]


@pytest.mark.timeout(600)
async def test_a_killed_leader_is_replaced_within_25_seconds_and_never_two_write(env: EnvTest) -> None:
    """RT-AC-05, RT-LE-22: five times kill -9 at a random moment, two of them with the default durations."""
    async with managers(env, DEFAULT) as fleet, managers(env, FAST) as fast, asyncio.TaskGroup() as both:
        both.create_task(kill_leaders(fleet, random.Random(5), 2, FAILOVER_SECONDS))
        both.create_task(kill_leaders(fast, random.Random(6), 3, FAST_FAILOVER_SECONDS))


@pytest.mark.nightly
@pytest.mark.timeout(120 + KILLS * 100)
async def test_fifty_killed_leaders(fleet: Fleet) -> None:  # RT-AC-05
    await kill_leaders(fleet, random.Random(), KILLS, FAILOVER_SECONDS)


@pytest.mark.parametrize("fleet", [FAST], indirect=True)
async def test_a_leader_that_was_paused_beyond_its_lease_writes_nothing_and_ends(fleet: Fleet) -> None:
    """RT-MG-27: it wakes up with a full queue, and another leader at work."""
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
    held = await fleet.client.get(LEASE, fleet.lease_key)
    assert held["spec"]["holderIdentity"], "a lost lease must not be released"
    assert standby.alive


async def test_a_standby_is_ready_and_writes_nothing(fleet: Fleet) -> None:
    """MGR-3, RT-LE-35, RT-HZ-09: servers run on every replica, readiness does not depend on leadership; informers are
    filled, nothing is written.
    """
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


def when(replica: Replica, message: str) -> float:
    """Seconds of the wall clock at which its log first says `message`."""
    line = next(json.loads(line) for line in replica.lines if f'"message":"{message}"' in line)
    return datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


async def probe(replica: Replica, path: str) -> tuple[int, str]:
    line = next(json.loads(line) for line in replica.lines if '"serving"' in line and '"health"' in line)
    async with aiohttp.ClientSession() as session, session.get(f"http://{line['address']}/{path}") as answer:
        return answer.status, await answer.text()
