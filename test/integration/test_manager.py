"""A manager with a small controller on a real API server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.owner_references import controller_reference
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.controller import Context, ControllerOptions, Result
from rbgctl.runtime.errors import Forbidden, NotFound
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.predicate import when
from rbgctl.runtime.rbac import PolicyRule, cluster_role
from rbgctl.runtime.testing.envtest import EnvTest

CONFIG_MAP = GVK("", "v1", "ConfigMap")
SECRET = GVK("", "v1", "Secret")
FAST = ManagerOptions(watch_timeout=(5.0, 6.0), first_list_jitter=0.0, graceful_shutdown=5.0)


def config_map(namespace: str, name: str, **data: str) -> RawObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": {"copy": "me"}},
        "data": data,
    }


async def copy_to_secret(ctx: Context) -> Result | None:
    """Keeps a Secret of the same name beside each ConfigMap labelled copy=me."""
    entry = ctx.cache.entry(CONFIG_MAP, ctx.key)
    if entry is None:
        return None
    source = entry.decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": ctx.key.namespace,
            "name": ctx.key.name,
            "ownerReferences": [controller_reference(source)],
        },
        "stringData": source.get("data") or {},
    }
    existing = ctx.cache.entry(SECRET, ctx.key)
    if existing is None:
        await ctx.client.create(secret)
        ctx.recorder.event(source, "Normal", "Copied", "made a secret")
    return None


def copier(name: str = "copier") -> Builder:
    return (
        Builder()
        .named(name)
        .for_(CONFIG_MAP, when(lambda header: header.label("copy") == "me"))
        .owns(SECRET)
        .writes(SECRET, "create", "patch")
        .acts_as("copier-product")
        .reports_as("copier-component")
        .reconciles_with(copy_to_secret)
    )


@contextlib.asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[asyncio.Task[None]]:
    """Runs until the block ends, and expects a clean end."""
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    elected = asyncio.create_task(manager.elected.wait())
    await asyncio.wait({task, elected}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    if task.done():
        task.result()
    assert elected.done()
    try:
        yield task
    finally:
        stop.set()
        await task


async def seen(client: LiveClient, gvk: GVK, key: NN, judge: Callable[[RawObject], bool]) -> RawObject:
    """The object once `judge` says yes, from a watch."""
    async with asyncio.timeout(20):
        async for type_, obj in client.watch(gvk, key.namespace, fields=f"metadata.name={key.name}"):
            if type_ != "DELETED" and judge(obj):
                return obj
    raise AssertionError("the watch ended")


async def test_controller_creates_what_is_missing_and_repairs_it(
    env: EnvTest, client: LiveClient, namespace: str
) -> None:  # RT-EH-02
    manager = Manager(env.config, FAST)
    copier().complete(manager)
    key = NN(namespace, "a")
    await client.create(config_map(namespace, "before", x="1"))
    async with running(manager):
        await seen(client, SECRET, NN(namespace, "before"), lambda _: True)
        await client.create(config_map(namespace, "a", x="1"))
        first = await seen(client, SECRET, key, lambda _: True)
        await client.delete(SECRET, key)
        await seen(client, SECRET, key, lambda obj: obj["metadata"]["uid"] != first["metadata"]["uid"])
        assert first["metadata"]["managedFields"][0]["manager"] == "copier-product"  # RT-ID-05


async def test_a_plain_stop_leaves_no_task_behind(env: EnvTest, namespace: str) -> None:  # RT-MG-22
    before = asyncio.all_tasks()
    manager = Manager(env.config, FAST)
    copier().complete(manager)
    async with running(manager):
        assert manager.controllers["copier"].running
    await asyncio.sleep(0)  # the loop forgets an ended task one turn later
    left = {t.get_name() for t in asyncio.all_tasks() - before}
    assert not left


async def test_the_declared_rules_suffice_and_nothing_more_is_allowed(
    env: EnvTest, client: LiveClient, namespace: str
) -> None:
    manager_rules = copier().rules(Manager(env.config).mapper)
    role = cluster_role("copier-rules", [*manager_rules, PolicyRule("", "events", ("create", "patch"))])
    await client.apply(role, field_manager="test")
    await client.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "copier-rules"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "copier-rules"},
            "subjects": [{"kind": "User", "name": "copier", "apiGroup": "rbac.authorization.k8s.io"}],
        },
        field_manager="test",
    )
    config = env.config_for_user("copier")
    manager = Manager(config, FAST)
    copier().complete(manager)
    async with running(manager):
        await client.create(config_map(namespace, "a"))
        await seen(client, SECRET, NN(namespace, "a"), lambda _: True)
        with pytest.raises(Forbidden):
            await manager.live.delete(SECRET, NN(namespace, "a"))


async def test_a_kind_that_may_not_be_listed_stops_the_manager_and_is_named(env: EnvTest) -> None:  # RT-MG-12
    options = ManagerOptions(cache_sync_timeout=2.0, first_list_jitter=0.0)
    manager = Manager(env.config_for_user("nobody"), options)
    copier().complete(manager)
    with pytest.raises(Exception, match=r"timed out after 2 s .* ConfigMap .*forbidden"):
        await asyncio.wait_for(manager.run(), 10)


async def test_stop_while_caches_wait_ends_at_once(env: EnvTest) -> None:  # RT-MG-12
    manager = Manager(env.config_for_user("nobody"), FAST)
    copier().complete(manager)
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    await asyncio.sleep(0.3)
    stop.set()
    await asyncio.wait_for(task, 3)
    assert not manager.elected.is_set()


async def test_reads_its_own_writes(env: EnvTest, client: LiveClient, namespace: str) -> None:  # RT-CA-20
    """Every pass sees what the pass before wrote, although nothing waits for the watch."""
    seen_values: list[int] = []
    done = asyncio.Event()

    async def count_up(ctx: Context) -> Result | None:
        entry = ctx.cache.entry(CONFIG_MAP, ctx.key)
        if entry is None or ctx.key.name != "counter":
            return None
        value = int(entry.decode()["data"]["n"])
        seen_values.append(value)
        if value >= 20:
            done.set()
            return None
        await ctx.client.patch(CONFIG_MAP, ctx.key, Patch.merge({"data": {"n": str(value + 1)}}))
        return Result(requeue_after=0.0001)

    manager = Manager(env.config, FAST)
    Builder().named("counter").for_(CONFIG_MAP).writes(CONFIG_MAP, "patch").reconciles_with(count_up).complete(manager)
    await client.create(config_map(namespace, "counter", n="0"))
    async with running(manager):
        await asyncio.wait_for(done.wait(), 30)
    assert seen_values == sorted(seen_values)
    assert set(seen_values) == set(range(21))
    assert len([v for v in seen_values if v < 20]) == len({v for v in seen_values if v < 20})


async def get(url: str, token: str = "", *, ssl: bool = True) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=ssl) as answer:
        return answer.status, await answer.text()


async def test_health_and_plain_metrics_endpoints(env: EnvTest, client: LiveClient, namespace: str) -> None:
    options = ManagerOptions(
        health_address="127.0.0.1:0",
        metrics_address="127.0.0.1:0",
        metrics_secure=False,
        first_list_jitter=0.0,
    )
    manager = Manager(env.config, options)
    copier().complete(manager)
    async with running(manager):
        assert manager.health_server is not None
        assert manager.metrics_server is not None
        health = f"http://127.0.0.1:{manager.health_server.port}"
        assert await get(f"{health}/healthz") == (200, "ok")
        assert await get(f"{health}/readyz") == (200, "ok")
        status, text = await get(f"{health}/readyz/?verbose")
        assert (status, "[+]informers ok" in text) == (200, True)  # RT-HZ-09
        status, text = await get(f"http://127.0.0.1:{manager.metrics_server.port}/metrics")
        assert status == 200
        assert 'controller_runtime_reconcile_total{controller="copier",result="success"}' in text
        assert 'rest_client_requests_total{code="200"' in text
        for name in ("objects", "bytes", "last_event_age_seconds"):
            assert f'rbg_runtime_informer_{name}{{gvk="v1, Kind=ConfigMap"}}' in text


async def test_secure_metrics_ask_the_api_server(env: EnvTest, client: LiveClient, namespace: str) -> None:  # RT-HZ-06
    for name in ("reader", "other"):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}}
        await client.create(account)
    reader = await env.config_for_service_account(namespace, "reader")
    other = await env.config_for_service_account(namespace, "other")
    rules = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    await client.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"metrics-{namespace}"},
            "rules": [rules],
        },
        field_manager="test",
    )
    await client.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"metrics-{namespace}"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": f"metrics-{namespace}",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
        },
        field_manager="test",
    )
    manager = Manager(env.config, ManagerOptions(metrics_address="127.0.0.1:0", first_list_jitter=0.0))
    async with running(manager):
        assert manager.metrics_server is not None
        url = f"https://127.0.0.1:{manager.metrics_server.port}/metrics"
        assert await get(url, ssl=False) == (401, "Unauthorized\n")
        assert await get(url, "rubbish", ssl=False) == (401, "Unauthorized\n")
        user = f"system:serviceaccount:{namespace}:other"
        assert await get(url, bearer(other), ssl=False) == (403, f"Authorization denied for user {user}\n")
        status, text = await get(url, bearer(reader), ssl=False)
        assert (status, "workqueue" in text) == (200, True)


def bearer(config: ClusterConfig) -> str:
    return config.credential.headers()["Authorization"].removeprefix("Bearer ")


class Election:
    """An elector that a test drives: leads when told, loses when told."""

    def __init__(self) -> None:
        self.win = asyncio.Event()
        self.lose = asyncio.Event()
        self.safe = 0.0
        self.released = False
        self.closed = False

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await self.win.wait()
        self.safe = 1e9
        await on_started()
        await self.lose.wait()
        self.safe = 0.0

    def remaining(self) -> float:
        return self.safe

    def healthy(self, tolerance: float) -> bool:
        return True

    async def stop(self, *, release: bool) -> None:
        self.released = release
        self.safe = 0.0

    async def close(self, seconds: float) -> None:
        self.closed = True


async def test_a_standby_fills_its_queue_and_writes_nothing_before_election(
    env: EnvTest, client: LiveClient, namespace: str
) -> None:  # RT-CT-16
    election = Election()
    manager = Manager(env.config, ManagerOptions(elector=lambda _: election, first_list_jitter=0.0))
    copier().complete(manager)
    await client.create(config_map(namespace, "a"))
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    await asyncio.sleep(0)
    controller = manager.controllers["copier"]
    await asyncio.wait_for(controller.warmup(), 20)
    assert len(controller.queue) >= 1
    with pytest.raises(NotFound):
        await client.get(SECRET, NN(namespace, "a"))
    with pytest.raises(Exception, match="leadership"):
        await manager.live.create(config_map(namespace, "written-by-standby"))
    assert not manager.elected.is_set()
    election.win.set()
    await seen(client, SECRET, NN(namespace, "a"), lambda _: True)
    stop.set()
    await asyncio.wait_for(task, 10)
    assert election.released


async def test_lost_leadership_ends_the_manager_without_waiting(
    env: EnvTest, client: LiveClient, namespace: str
) -> None:  # RT-MG-27
    election = Election()
    election.win.set()
    started, entered = asyncio.Event(), asyncio.Event()

    async def slow(ctx: Context) -> None:
        entered.set()
        await started.wait()

    manager = Manager(env.config, ManagerOptions(elector=lambda _: election, first_list_jitter=0.0))
    builder = Builder().named("slow").for_(CONFIG_MAP).with_options(ControllerOptions(reconcile_timeout=None))
    builder.reconciles_with(slow).complete(manager)
    await client.create(config_map(namespace, "a"))
    task = asyncio.create_task(manager.run())
    await asyncio.wait_for(entered.wait(), 20)
    election.lose.set()
    with pytest.raises(Exception, match="leader election lost"):
        await asyncio.wait_for(task, 3)
