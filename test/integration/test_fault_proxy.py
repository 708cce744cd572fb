"""The fault proxy in front of a real API server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.errors import AlreadyExists, Expired, Forbidden, TransportError
from rbgctl.runtime.testing.envtest import EnvTest
from rbgctl.runtime.testing.fault_proxy import FaultProxy
from rbgctl.runtime.testing.faults import WATCH_EXPIRED, WATCHES, WRITES, Drop, Match, too_many_requests

CONFIG_MAP = GVK("", "v1", "ConfigMap")
SERVICE_ACCOUNT = GVK("", "v1", "ServiceAccount")
REVIEW = GVK("authentication.k8s.io", "v1", "SelfSubjectReview")


def config_map(namespace: str, name: str) -> RawObject:
    meta = {"namespace": namespace, "name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}


@pytest.fixture
async def proxy(env: EnvTest) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(env.config) as started:
        yield started


@pytest.fixture
def through(env: EnvTest, proxy: FaultProxy) -> LiveClient:
    return env.client(proxy.config, user_agent="through/1")


async def test_everything_works_through_the_proxy(through: LiveClient, proxy: FaultProxy, namespace: str) -> None:
    for n in range(3):
        created = await through.create(config_map(namespace, f"a{n}"))
        assert created["metadata"]["managedFields"][0]["manager"] == "through"
    found = await through.list(CONFIG_MAP, namespace)
    assert [o["metadata"]["name"] for o in found.items] == ["a0", "a1", "a2"]
    async with contextlib.aclosing(through.watch(CONFIG_MAP, namespace, rv=found.resource_version)) as events:  # type: ignore[type-var]
        await through.delete(CONFIG_MAP, NN(namespace, "a1"))
        kind, obj = await anext(events)
        assert (kind, obj["metadata"]["name"]) == ("DELETED", "a1")
    assert proxy.count(WRITES) == 4


async def test_the_server_sees_who_the_client_is_and_without_a_token_the_admin(
    env: EnvTest, through: LiveClient, proxy: FaultProxy, client: LiveClient, namespace: str
) -> None:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    await client.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": "robot"}}
    )
    credential = (await env.config_for_service_account(namespace, "robot")).credential
    robot = env.client(proxy.config_for(credential))
    assert (await through.create(review))["status"]["userInfo"]["username"] == "envtest-admin"
    assert (await robot.create(review))["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:robot"
    with pytest.raises(Forbidden):
        await robot.list(SERVICE_ACCOUNT, namespace)


async def test_a_lost_answer_leaves_the_write_done(
    through: LiveClient, proxy: FaultProxy, client: LiveClient, namespace: str
) -> None:
    rule = proxy.add(Drop(forwarded=True), WRITES, times=1)
    with pytest.raises(TransportError):
        await through.create(config_map(namespace, "a"))
    assert rule.hits == 1
    await client.get(CONFIG_MAP, NN(namespace, "a"))
    with pytest.raises(AlreadyExists):
        await through.create(config_map(namespace, "a"))


async def test_a_client_told_to_come_back_does(through: LiveClient, proxy: FaultProxy, namespace: str) -> None:
    proxy.add(too_many_requests(1), WRITES, times=1)
    await through.create(config_map(namespace, "a"))
    assert [seen.status for seen in proxy.requests if WRITES(seen)] == [429, 201]


async def test_events_held_back_by_a_frozen_watch_arrive_when_it_thaws(
    through: LiveClient, proxy: FaultProxy, client: LiveClient, namespace: str
) -> None:
    since = (await client.list(CONFIG_MAP, namespace)).resource_version
    frozen = proxy.freeze(Match(watch=True, resource="configmaps"))
    got: list[str] = []

    async def follow() -> None:
        async for _kind, obj in through.watch(CONFIG_MAP, namespace, rv=since):
            got.append(obj["metadata"]["name"])
            if len(got) == 5:
                return

    following = asyncio.create_task(follow())
    for n in range(5):
        await client.create(config_map(namespace, f"a{n}"))
    await proxy.until(lambda: frozen.held == 1)
    assert not got
    frozen.lift()
    async with asyncio.timeout(10):
        await following
    assert got == [f"a{n}" for n in range(5)]


async def test_a_watch_is_told_that_its_version_expired(through: LiveClient, proxy: FaultProxy, namespace: str) -> None:
    proxy.add(WATCH_EXPIRED, WATCHES, times=1)
    with pytest.raises(Expired):
        await anext(aiter(through.watch(CONFIG_MAP, namespace, timeout=5)))
