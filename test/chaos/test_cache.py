"""Informers behind a faulty connection end as the server is, and tell a history that adds up (§13.6)."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import AlreadyExists, NotFound
from rbgctl.runtime.informer import Informer, KindOptions
from rbgctl.runtime.store import Entry, Tombstone
from rbgctl.runtime.testing.fault_proxy import FaultProxy
from rbgctl.runtime.testing.faults import (
    EXPIRED,
    INTERNAL,
    TOO_LARGE,
    UNARY,
    UNAVAILABLE,
    WATCH_EXPIRED,
    WATCHES,
    Break,
    Delay,
    Drop,
    Match,
    RepeatBookmarks,
    WatchError,
    too_many_requests,
)
from rbgctl.runtime.transport import Transport

CONFIG_MAP = GVK("", "v1", "ConfigMap")
SECRET = GVK("", "v1", "Secret")
KINDS = (CONFIG_MAP, SECRET)
LABEL = LabelSelector.parse("chaos=yes")
NAMES = [f"o{n}" for n in range(8)]


@dataclass
class Ledger:
    """What a handler was told must add up: an add, updates of ever newer versions, a delete, and so on."""

    present: dict[NN, Entry] = field(default_factory=dict)
    newest: dict[NN, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    told: int = 0

    def _version(self, entry: Entry) -> None:
        self.told += 1
        self.news.set()
        key, rv = entry.header.key, int(entry.header.rv)
        if rv < self.newest.get(key, 0):
            self.wrong.append(f"{key} went back from {self.newest[key]} to {rv}")
        self.newest[key] = rv

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        if entry.header.key in self.present:
            self.wrong.append(f"{entry.header.key} added twice")
        self.present[entry.header.key] = entry
        self._version(entry)

    def on_update(self, old: Entry, new: Entry) -> None:
        known = self.present.get(new.header.key)
        if known is None or known.header.rv != old.header.rv:
            self.wrong.append(f"{new.header.key} updated from {old.header.rv}, which is not what was told last")
        if old.header.uid != new.header.uid:
            self.wrong.append(f"{new.header.key} became another object")
        self.present[new.header.key] = new
        self._version(new)

    def on_delete(self, last: Entry | Tombstone) -> None:
        key = last.key if isinstance(last, Tombstone) else last.header.key
        self.told += 1
        self.news.set()
        if self.present.pop(key, None) is None:
            self.wrong.append(f"{key} deleted, but it was not there")

    async def until_like(self, client: LiveClient, informer: Informer, gvk: GVK, namespace: str) -> None:
        """Until the cache shows what a live list finds. Nothing is being changed any more."""
        live = {
            NN.of(o): o["metadata"]["resourceVersion"] for o in (await client.list(gvk, namespace, labels=LABEL)).items
        }
        try:
            async with asyncio.timeout(60):
                while (found := {e.header.key: e.header.rv for e in informer.store.entries()}) != live:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"{gvk.kind}: the cache has {found}, the server {live}") from None


@dataclass
class Rig:
    cache: Cache
    relists: list[tuple[str, str]]


@contextlib.asynccontextmanager
async def caching(proxy: FaultProxy, namespace: str, streaming: bool | None) -> AsyncIterator[Rig]:
    relists: list[tuple[str, str]] = []
    async with Transport(proxy.config) as transport:
        cache = Cache(
            transport,
            RestMapper(transport),
            rng=random.Random(proxy.seed),
            watch_timeout=(2.0, 4.0),
            first_list_jitter=0.0,
            on_relist=lambda gvk, reason: relists.append((gvk.kind, reason)),
            streaming=streaming,
        )
        for gvk in KINDS:
            cache.declare(gvk, KindOptions(namespace=namespace, labels=LABEL))
        running = asyncio.create_task(cache.run())
        try:
            yield Rig(cache, relists)
        finally:
            running.cancel()
            await asyncio.wait([running])


def spoil(proxy: FaultProxy) -> None:
    """Any request of the cache may go wrong in any way."""
    for fault in (EXPIRED, too_many_requests(1), INTERNAL, UNAVAILABLE, TOO_LARGE):
        proxy.add(fault, UNARY, probability=0.05)
    for fault in (EXPIRED, too_many_requests(1), too_many_requests(None), INTERNAL):
        proxy.add(fault, WATCHES, probability=0.03)
    proxy.add(Drop(reset=True), probability=0.03)
    proxy.add(Drop(), probability=0.03)
    proxy.add(Delay(0.3), probability=0.05)
    proxy.add(RepeatBookmarks(2), WATCHES, probability=0.5)
    for after in (0, 700, 2500, 9000):
        proxy.add(Break(after=after), probability=0.03)
        proxy.add(Break(after=after, reset=False), WATCHES, probability=0.03)
    for events in (1, 5):
        proxy.add(WatchError(error=too_many_requests(), after=events), WATCHES, probability=0.03)
        proxy.add(WatchError(error=INTERNAL, after=events), WATCHES, probability=0.03)
        proxy.add(WatchError(error=EXPIRED, after=events), WATCHES, probability=0.03)
        proxy.add(WatchError(after=events), WATCHES, probability=0.1)
    proxy.add(WATCH_EXPIRED, WATCHES, probability=0.03)


async def disturb(proxy: FaultProxy, rng: random.Random) -> None:
    """What happens to connections that run already, until cancelled."""
    while True:
        await asyncio.sleep(rng.uniform(0.1, 0.4))
        match rng.choice(["cut", "reset", "expire", "end", "hold", "freeze", "down"]):
            case "cut" | "reset" as how:
                proxy.cut(reset=how == "reset")
            case "expire":
                proxy.end_watches(Match(resource=rng.choice(["configmaps", "secrets"])))
            case "end":
                proxy.end_watches(error=None)
            case "hold" | "freeze" as how:
                barrier = proxy.hold_events() if how == "hold" else proxy.freeze()
                await asyncio.sleep(rng.uniform(0.1, 0.5))
                barrier.lift()
            case "down":
                proxy.refuse_connections()
                await asyncio.sleep(rng.uniform(0.05, 0.3))
                await proxy.accept_connections()


async def change(client: LiveClient, namespace: str, rng: random.Random) -> None:
    """One random change by somebody else, not through the proxy."""
    gvk, key = rng.choice(KINDS), NN(namespace, rng.choice(NAMES))
    body: RawObject = {
        "apiVersion": "v1",
        "kind": gvk.kind,
        "metadata": {"namespace": key.namespace, "name": key.name, "labels": {"chaos": "yes"}},
    }
    with contextlib.suppress(NotFound, AlreadyExists):
        match rng.choice(["create", "create", "update", "update", "delete", "replace", "relabel"]):
            case "create":
                await client.create(body)
            case "update":
                await client.patch(gvk, key, Patch.merge({"metadata": {"annotations": {"n": str(rng.random())}}}))
            case "delete":
                await client.delete(gvk, key)
            case "replace":
                await client.delete(gvk, key)
                await client.create(body)
            case "relabel":
                label = rng.choice(["yes", "no"])
                await client.patch(gvk, key, Patch.merge({"metadata": {"labels": {"chaos": label}}}))


async def chaos(
    client: LiveClient, proxy: FaultProxy, namespace: str, *, streaming: bool | None, seconds: float
) -> None:
    rng = random.Random(proxy.seed)
    async with caching(proxy, namespace, streaming) as rig:
        ledgers = {gvk: Ledger() for gvk in KINDS}
        late: dict[GVK, Ledger] = {}
        for gvk, ledger in ledgers.items():
            rig.cache.informer(gvk).add_handler(ledger)
        spoil(proxy)
        disturbing = asyncio.create_task(disturb(proxy, rng))
        ends = asyncio.get_running_loop().time() + seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            await change(client, namespace, rng)
            if left < seconds / 2 and not late:
                late = {gvk: Ledger() for gvk in KINDS}
                for gvk, ledger in late.items():
                    rig.cache.informer(gvk).add_handler(ledger)
            await asyncio.sleep(rng.choice([0.0, 0.0, 0.01, 0.05]))
        disturbing.cancel()
        await asyncio.wait([disturbing])
        proxy.clear()
        await proxy.accept_connections()
        for gvk in KINDS:
            informer = rig.cache.informer(gvk)
            await ledgers[gvk].until_like(client, informer, gvk, namespace)
            stored = {e.header.key: e for e in informer.store.entries()}
            for ledger in (ledgers[gvk], late[gvk]):
                assert not ledger.wrong
                assert ledger.present == stored
            assert informer.handler_failures == 0
        assert sum(bool(seen.faults) for seen in proxy.requests) > 3, "hardly anything went wrong"


@pytest.mark.parametrize("streaming", [None, False], ids=["stream", "list"])
async def test_the_cache_ends_as_the_server_whatever_went_wrong(
    client: LiveClient, proxy: FaultProxy, namespace: str, streaming: bool | None
) -> None:
    """RT-RF-09, RT-RF-10, RT-QF-03, RT-ST-04: the handlers' histories add up, also of one that came late."""
    await chaos(client, proxy, namespace, streaming=streaming, seconds=6)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("round_", range(20))
@pytest.mark.parametrize("streaming", [None, False], ids=["stream", "list"])
async def test_the_cache_ends_as_the_server_many_times(
    client: LiveClient, proxy: FaultProxy, namespace: str, streaming: bool | None, round_: int
) -> None:
    del round_
    await chaos(client, proxy, namespace, streaming=streaming, seconds=30)
