"""Managers that share the work, on one loop in virtual time, with the Leases of one namespace between them."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from unit.runtime.conftest import LoopClock
from unit.runtime.scripted import failure

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import ObjectList
from rbgctl.runtime.errors import ApiError, TransportError
from rbgctl.runtime.leaderelection import ElectionConfig, Elector
from rbgctl.runtime.sharding.elector import ShardedElector
from rbgctl.runtime.sharding.leases import SHARDS_LABEL, lease_name
from rbgctl.runtime.sharding.led_shards import Shards
from rbgctl.runtime.sharding.membership import Membership
from rbgctl.runtime.writes_under_way import WritesUnderWay

BASE = "op"


class LeaseServer:
    """Leases with optimistic locking; every request takes up to `latency` seconds each way."""

    def __init__(self, rng: random.Random, latency: float = 0.05) -> None:
        self.leases: dict[str, RawObject] = {}
        self.rng = rng
        self.latency = latency
        self._version = 0
        self.writing: list[tuple[str, int, int]] = []

    def begin(self, who: str, shards: int, shard: int, seconds: float) -> None:
        """A write of a manager for an object of a shard arrives; it is carried out at any time within `seconds`,
        whether or not somebody waits for the answer.
        """
        self.writing.append((who, shards, shard))
        asyncio.get_running_loop().call_later(seconds, self.writing.remove, (who, shards, shard))

    def store(self, lease: RawObject, uid: str) -> RawObject:
        self._version += 1
        meta = {**lease["metadata"], "uid": uid, "resourceVersion": str(self._version)}
        self.leases[meta["name"]] = copied({**lease, "metadata": meta})
        return copied(self.leases[meta["name"]])

    def get(self, name: str) -> RawObject:
        if name not in self.leases:
            raise refused(404, "NotFound")
        return copied(self.leases[name])

    def create(self, lease: RawObject) -> RawObject:
        if lease["metadata"]["name"] in self.leases:
            raise refused(409, "AlreadyExists")
        return self.store(lease, f"uid-{self._version}")

    def update(self, lease: RawObject) -> RawObject:
        known = self.get(lease["metadata"]["name"])
        if known["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]:
            raise refused(409, "Conflict")
        return self.store(lease, known["metadata"]["uid"])

    def delete(self, name: str, rv: str | None) -> None:
        if rv is not None and self.get(name)["metadata"]["resourceVersion"] != rv:
            raise refused(409, "Conflict")
        del self.leases[self.get(name)["metadata"]["name"]]

    def holder(self, shard: int) -> str:
        lease = self.leases.get(lease_name(BASE, shard))
        return (lease or {"spec": {}})["spec"].get("holderIdentity", "")


@dataclass
class Link:
    """The way of one manager to the server; `cut` loses all requests, `hangs` never answers them and tells nobody,
    `held` holds up writes of a Lease by name, and the answers to "list".
    """

    server: LeaseServer
    cut: bool = False
    hangs: bool = False
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)

    async def call(self, act: Callable[[], Any]) -> Any:
        for _ in range(2):
            if self.hangs:
                await asyncio.Event().wait()
            if self.cut:
                await asyncio.sleep(1.0)
                raise TransportError("reset", "cut off")
            await asyncio.sleep(self.server.rng.uniform(0, self.server.latency))
        answer = act()
        await asyncio.sleep(self.server.rng.uniform(0, self.server.latency))
        return answer

    # as a LeaseApi

    async def get(self, gvk: GVK, key: NN) -> RawObject:
        return await self.call(lambda: self.server.get(key.name))

    async def list(self, gvk: GVK, namespace: str = "") -> ObjectList:
        found = ObjectList(await self.call(lambda: [copied(x) for x in self.server.leases.values()]))
        await self.let_go("list")
        return found

    async def let_go(self, what: str) -> None:
        if what in self.held:
            self.waiting.add(what)
            await self.held[what].wait()

    async def create(self, obj: RawObject) -> RawObject:
        return await self.call(lambda: self.server.create(obj))

    async def update(self, obj: RawObject) -> RawObject:
        return await self.call(lambda: self.server.update(obj))

    async def delete(self, gvk: GVK, key: NN, *, uid: str | None = None, rv: str | None = None, **_: Any) -> None:
        await self.call(lambda: self.server.delete(key.name, rv))


@dataclass
class OneLease:
    """As a LeaseClient."""

    link: Link
    name: str

    async def get(self, timeout: float) -> RawObject:
        return await self.link.call(lambda: self.link.server.get(self.name))

    async def create(self, lease: RawObject, timeout: float) -> RawObject:
        await self.link.let_go(self.name)
        return await self.link.create(lease)

    async def update(self, lease: RawObject, timeout: float) -> RawObject:
        await self.link.let_go(self.name)
        return await self.link.update(lease)


class LocalElection:
    """The real election algorithm, without its thread."""

    def __init__(self, elector: Elector) -> None:
        self.elector = elector
        self._task: asyncio.Task[None] | None = None

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        self._task = asyncio.create_task(self.elector.run(on_started, lambda: None))
        await asyncio.wait([self._task])

    def remaining(self) -> float:
        return self.elector.remaining()

    def healthy(self, tolerance: float) -> bool:
        return self.elector.healthy(tolerance)

    async def stop(self, *, release: bool) -> None:
        self.elector.shut()
        if not release:
            self.elector.keep()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def close(self, seconds: float) -> None:
        self.elector.disarm()


@dataclass
class Elections:
    link: Link
    identity: str
    shards: int
    clock: LoopClock
    made: list[Elector] = field(default_factory=list)

    def of(self, shard: int, lease: RawObject | None, seconds: float) -> LocalElection:
        name = lease_name(BASE, shard)
        config = ElectionConfig(
            namespace="ns", name=name, identity=self.identity, labels={SHARDS_LABEL: str(self.shards)}
        )
        elector = Elector(config, OneLease(self.link, name), clock=self.clock, rng=self.link.server.rng)
        if lease is not None:
            elector.seen(lease, seconds)
        self.made.append(elector)
        return LocalElection(elector)

    async def end(self, seconds: float) -> None:
        return None


class Manager:
    """One process. In each open shard there always is a reconcile of `busy` seconds, in which one write follows the
    other; each takes the server `slow` seconds.
    """

    def __init__(self, cluster: "Cluster", identity: str, shards: int, busy: float = 0.0, slow: float = 0.0) -> None:
        self.cluster = cluster
        self.identity = identity
        self.link = Link(cluster.server)
        self.shards = Shards(shards)
        self.busy = busy
        self.slow = slow
        self.alive = True
        self.writes = WritesUnderWay()
        self.events: list[str] = []
        self.elections = Elections(self.link, identity, shards, cluster.clock)
        membership = Membership(self.link, "ns", BASE, identity, shards, clock=cluster.clock, seconds=15)
        self.elector = ShardedElector(
            self.shards,
            membership,
            self.elections,
            self.writes,
            base=BASE,
            identity=identity,
            clock=cluster.clock,
            rng=cluster.server.rng,
            events=Told(self.events),  # type: ignore[arg-type]
        )
        self.task: asyncio.Task[None] = asyncio.create_task(self.elector.run(self._started))
        self.working: dict[int, asyncio.Task[None]] = {}

    async def _started(self) -> None:
        await self.shards.subscribe(opened=self._opened, closed=self._closed)

    async def _opened(self, shard: int) -> None:
        self.cluster.check()
        if self.busy:
            self.working[shard] = asyncio.create_task(self._reconcile(shard))

    async def _reconcile(self, shard: int) -> None:
        while self.shards.serves(shard):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as deadline:
                    with self.shards.working(shard, deadline):
                        async with asyncio.timeout(self.busy):
                            while True:
                                await self._write(shard)

    async def _write(self, shard: int) -> None:
        safe = self.shards.remaining()
        if not self.slow or safe <= 0:
            await asyncio.sleep(0.5)
            return
        seconds = min(self.slow, safe)
        self.cluster.server.begin(self.identity, self.shards.count, shard, seconds)
        await self.writes.carry(asyncio.sleep(seconds))

    async def _closed(self, shard: int) -> None:
        assert self.shards.open_shards.count(shard) == 0

    @property
    def writing(self) -> set[int]:
        """Shards in which it could write now."""
        if not self.alive:
            return set()
        return {s for s, led in self.shards._led.items() if led.remaining() > 0}

    async def kill(self) -> None:
        """kill -9: nothing is released, nothing runs on."""
        self.alive = False
        self.link.cut = True
        await self.elector.stop(release=False)
        await self.elector.close(0)

    async def stop(self) -> None:
        """A clean end, as the manager brings it about: controllers stop, writes end, leadership is given up."""
        for task in self.working.values():
            task.cancel()
        if self.working:
            await asyncio.wait(self.working.values())
        await self.writes.ended()
        await self.elector.stop(release=True)
        self.alive = False
        await self.elector.close(0)
        await asyncio.wait([self.task])


class Told:
    """As much of a Broadcaster as the elector uses."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def recorder(self, component: str) -> "Told":
        return self

    def event(self, obj: Any, type_: str, reason: str, message: str) -> None:
        self.events.append(message)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def stop(self, seconds: float) -> None:
        return None


class Cluster:
    """Any number of managers. `check` fails as soon as two could write for the same key."""

    def __init__(self, clock: LoopClock, seed: int = 0, latency: float = 0.05) -> None:
        self.clock = clock
        self.server = LeaseServer(random.Random(seed), latency)
        self.managers: list[Manager] = []
        self.plain: list[Elector] = []

    def start(self, identity: str, shards: int = 3, busy: float = 0.0, slow: float = 0.0) -> Manager:
        manager = Manager(self, identity, shards, busy, slow)
        self.managers.append(manager)
        return manager

    async def start_plain(self, identity: str) -> "asyncio.Task[None]":
        """A manager that does not divide the work."""
        link = Link(self.server)
        config = ElectionConfig(namespace="ns", name=BASE, identity=identity)
        elector = Elector(config, OneLease(link, BASE), clock=self.clock, rng=self.server.rng)
        self.plain.append(elector)
        return asyncio.create_task(elector.run(asyncio.Event().wait, lambda: None))  # type: ignore[arg-type]

    def check(self) -> None:
        by_number: dict[int, list[int]] = {}
        for manager in self.managers:
            by_number.setdefault(manager.shards.count, []).extend(manager.writing)
        assert sum(bool(shards) for shards in by_number.values()) <= 1, f"two divisions at once: {by_number}"
        for shards in by_number.values():
            assert len(shards) == len(set(shards)), f"a shard is led twice: {self.table()}"
        for who, count, shard in self.server.writing:
            for other in (m for m in self.managers if m.identity != who):
                beside = other.writing if other.shards.count != count else other.writing & {shard}
                assert not beside, f"a write of {who} in shard {shard} is under way beside {other.identity}'s: {beside}"

    def table(self) -> dict[str, tuple[int, ...]]:
        """Open shards by living manager."""
        return {m.identity: m.shards.open_shards for m in self.managers if m.alive}

    @property
    def balanced(self) -> bool:
        """All shards are open somewhere, and shares differ by one at most."""
        table = self.table()
        count = next(m.shards.count for m in self.managers if m.alive)
        shards = sorted(s for mine in table.values() for s in mine)
        sizes = [len(mine) for mine in table.values()]
        return shards == list(range(count)) and max(sizes) - min(sizes) <= 1

    async def run(self, seconds: float) -> None:
        """Let time pass, looking often."""
        ends = self.clock.monotonic() + seconds
        while self.clock.monotonic() < ends:
            await asyncio.sleep(0.5)
            self.check()

    async def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Seconds that it took."""
        began = self.clock.monotonic()
        while not condition():
            assert self.clock.monotonic() - began < seconds, f"not within {seconds} s: {self.table()}"
            await asyncio.sleep(0.25)
            self.check()
        return self.clock.monotonic() - began

    async def end(self) -> None:
        for manager in self.managers:
            if manager.alive:
                with contextlib.suppress(Exception):
                    await manager.kill()
            await asyncio.wait([manager.task])


def copied(obj: RawObject) -> RawObject:
    copy: RawObject = orjson.loads(orjson.dumps(obj))
    return copy


def refused(code: int, reason: str) -> ApiError:
    return ApiError.from_status(failure(code, reason, message=reason))
