"""The manager behind a faulty connection ends with the objects of a calm run (RT-AC-08)."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
from cluster.groups import CONFIG_MAP, OURS, group, ready_group, role, wait_gone

from chaos.normal_form import difference, snapshot
from rbgctl import rbac
from rbgctl.api.kinds import ROLE_BASED_GROUP
from rbgctl.machinery.gvk import NN, RawObject
from rbgctl.manager import ManagerOptions, build
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.testing.fault_proxy import FaultProxy
from rbgctl.runtime.testing.faults import (
    CONFLICT,
    EXPIRED,
    INTERNAL,
    UNAVAILABLE,
    WATCHES,
    WRITES,
    Break,
    Drop,
    Match,
    WatchError,
    too_many_requests,
)

KINDS = (*OURS, CONFIG_MAP)
READS = Match(methods=("GET",))


@contextlib.asynccontextmanager
async def managing(config: ClusterConfig) -> AsyncIterator[None]:
    """A manager of this process; a clean end is expected."""
    options = ManagerOptions(health_probe_bind_address="0", metrics_bind_address="0", watch_timeout=20.0)
    stop = asyncio.Event()
    manager = asyncio.create_task(build(config, options).run(stop))
    try:
        yield
        assert not manager.done(), "the manager ended by itself"
    finally:
        stop.set()
        await manager


def steps(namespace: str) -> list[RawObject]:
    """What the user does, one after the other, each once the one before is ready."""
    web, api = role("web", 2), role("api", 3, dependencies=["web"])
    newer = role("web", 2, image="registry.example/a:2")
    return [
        group(namespace, web, api),
        group(namespace, web, {**api, "replicas": 5}, role("db", 1)),
        group(namespace, newer, {**api, "replicas": 2}, role("db", 1)),
    ]


async def live_through(client: LiveClient, namespace: str, *, timeout: float) -> None:
    key = NN(namespace, "shop")
    for wanted in steps(namespace):
        await client.apply(wanted, field_manager="user")
        await ready_group(client, key, timeout=timeout)


async def settled(client: LiveClient, namespace: str) -> dict[str, RawObject]:
    """The objects once they no longer change: two looks that agree, versions included, a second apart.

    What the garbage collector has still to remove changes nothing for as long as that has not begun, so nothing may
    be owned by an object that is gone.
    """

    async def looks() -> tuple[list[RawObject], list[RawObject]]:
        found = []
        for wait in (1.0, 0.0):
            listed = [(await client.list(gvk, namespace)).items for gvk in KINDS]
            found.append([o["metadata"] for items in listed for o in items])
            await asyncio.sleep(wait)
        return found[0], found[1]

    def at_rest(pair: tuple[list[RawObject], list[RawObject]]) -> bool:
        there = {meta["uid"] for meta in pair[1]}
        owners = {ref["uid"] for meta in pair[1] for ref in meta.get("ownerReferences", ())}
        return pair[0] == pair[1] and owners <= there

    await eventually(looks, at_rest, timeout=60)
    return await snapshot(client, KINDS, namespace)


async def clean_up(client: LiveClient, namespace: str) -> None:
    await client.delete(ROLE_BASED_GROUP, NN(namespace, "shop"), propagation="Foreground")
    for gvk in OURS:
        await wait_gone(client, gvk, namespace)


def spoil(proxy: FaultProxy, share: float) -> None:
    """410, 429, 500 or 503, resets with and without the write done, conflicts: each with this probability."""
    proxy.add(EXPIRED, READS, probability=share)
    proxy.add(CONFLICT, WRITES, probability=share)
    for fault in (too_many_requests(1), too_many_requests(None), INTERNAL, UNAVAILABLE):
        proxy.add(fault, probability=share / 2)
    for silence in (Drop(reset=True), Drop(forwarded=True, reset=True), Break(after=50)):
        proxy.add(silence, probability=share / 3)
    # A watch is one request for many events.
    proxy.add(WatchError(error=EXPIRED, after=3), WATCHES, probability=5 * share)
    proxy.add(WatchError(error=INTERNAL, after=1), WATCHES, probability=share)
    proxy.add(Break(after=3000), WATCHES, probability=5 * share)


async def disturb(proxy: FaultProxy, rng: random.Random) -> None:
    """Freezes, stale caches and cut watches, each a few times.

    Not without end: a watch that is cut in its first second without an event makes its informer back off, up to a
    minute, and a storm that never ends would only measure that.
    """
    for how in rng.sample(["freeze", "stale", "cut", "expire"] * 2, 8):
        await asyncio.sleep(rng.uniform(0.5, 2.0))
        match how:
            case "freeze":
                barrier = proxy.freeze()
                await asyncio.sleep(rng.uniform(0.2, 1.0))
                barrier.lift()
            case "stale":
                barrier = proxy.hold_events()
                await asyncio.sleep(rng.uniform(0.2, 1.5))
                barrier.lift()
            case "cut":
                proxy.cut(WATCHES, reset=True)
            case "expire":
                proxy.end_watches()


@pytest.fixture
async def manager_config(cluster: EnvTest, client: LiveClient, proxy: FaultProxy) -> ClusterConfig:
    """Through the proxy, with the rights that config/rbac gives."""
    for obj in rbac.objects():
        await client.apply(obj, field_manager="chaos")
    account = await cluster.config_for_service_account(rbac.NAMESPACE, rbac.SERVICE_ACCOUNT)
    return proxy.config_for(account.credential)


async def compare(client: LiveClient, proxy: FaultProxy, config: ClusterConfig, namespace: str, share: float) -> None:
    """The same steps in the same namespace, so that even the names with hashes must agree."""
    async with managing(config):
        await live_through(client, namespace, timeout=60)
        calm = await settled(client, namespace)
        await clean_up(client, namespace)

    proxy.requests.clear()
    spoil(proxy, share)
    disturbing = asyncio.create_task(disturb(proxy, random.Random(proxy.seed)))
    async with managing(config):
        await live_through(client, namespace, timeout=150)
        disturbing.cancel()
        await asyncio.wait([disturbing])
        proxy.clear()
        try:
            stormy = await eventually(lambda: settled(client, namespace), lambda s: not difference(calm, s), timeout=60)
        except AssertionError:
            stormy = await settled(client, namespace)
        assert difference(calm, stormy) == [], f"seed {proxy.seed}"
    assert sum(bool(seen.faults) for seen in proxy.requests) >= 3, "hardly anything went wrong, so this proved little"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", [0.01, pytest.param(0.05, marks=pytest.mark.nightly)])
async def test_it_ends_with_the_objects_of_a_calm_run(
    client: LiveClient, proxy: FaultProxy, manager_config: ClusterConfig, namespace: str, share: float
) -> None:
    """RT-AC-08."""
    await compare(client, proxy, manager_config, namespace, share)


@pytest.mark.nightly
@pytest.mark.parametrize("round_", range(20))
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", [0.01, 0.05])
async def test_it_ends_with_the_objects_of_a_calm_run_many_times(
    client: LiveClient, proxy: FaultProxy, manager_config: ClusterConfig, namespace: str, share: float, round_: int
) -> None:
    del round_
    await compare(client, proxy, manager_config, namespace, share)
