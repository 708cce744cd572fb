"""Kinds that may not be installed: they come, go and come back while the manager runs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from rbgctl.machinery.gvk import GVK, NN, RawObject, Resource
from rbgctl.runtime import served_kinds
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.controller import Context
from rbgctl.runtime.errors import ApiError, NoKindMatch, NotFound
from rbgctl.runtime.handler import enqueue_object
from rbgctl.runtime.kind_options import KindOptions
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.envtest import EnvTest

CONFIG_MAP = GVK("", "v1", "ConfigMap")
FAST = ManagerOptions(watch_timeout=(5.0, 6.0), first_list_jitter=0.0, graceful_shutdown=5.0)


@dataclass
class Kind:
    """A kind of its own for one test, and the CRD that brings it."""

    group: str

    @property
    def gvk(self) -> GVK:
        return GVK(self.group, "v1", "Plane")

    @property
    def name(self) -> NN:
        return NN("", f"planes.{self.group}")

    @property
    def resource(self) -> Resource:
        return Resource(self.gvk, "planes", True)

    def crd(self, *, served: bool = True) -> RawObject:
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        versions = [
            {"name": "v1", "served": served, "storage": True, "schema": schema},
            {"name": "v2", "served": True, "storage": False, "schema": schema},
        ]
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name.name},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"kind": "Plane", "plural": "planes"},
                "versions": versions,
            },
        }

    def object(self, namespace: str, name: str, **meta: Any) -> RawObject:
        metadata = {"namespace": namespace, "name": name, **meta}
        return {"apiVersion": self.gvk.api_version, "kind": "Plane", "metadata": metadata}


@dataclass
class Seen:
    """What a reconciler saw: per key whether the kind was served, and whether the object existed."""

    runs: list[tuple[str, bool, bool]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def reconciler(self, gvk: GVK) -> Callable[[Context], Any]:
        async def reconcile(ctx: Context) -> None:
            exists = ctx.cache.entry(gvk, ctx.key) is not None
            self.runs.append((ctx.key.name, ctx.served(gvk), exists))
            self.news.set()

        return reconcile

    async def until(self, *wanted: tuple[str, bool, bool]) -> None:
        async with asyncio.timeout(30):
            while not set(wanted) <= set(self.runs):
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Asking without a reason is out of the question in these tests."""
    monkeypatch.setattr(served_kinds, "ASK_AGAIN", 3600.0)
    return Kind(f"g{time.monotonic_ns()}.example.com")


@contextlib.asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    elected = asyncio.create_task(manager.elected.wait())
    await asyncio.wait({task, elected}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    if task.done():
        task.result()
    assert elected.done()
    try:
        yield
    finally:
        stop.set()
        await task


def watcher(kind: Kind, seen: Seen, **options: Any) -> Builder:
    return (
        Builder()
        .named(f"watcher-{kind.group}")
        .for_(CONFIG_MAP)
        .when_served(kind.gvk)
        .watches(kind.gvk, enqueue_object(), **options)
        .reconciles_with(seen.reconciler(kind.gvk))
    )


async def uninstall(client: LiveClient, kind: Kind) -> None:
    """The CRD goes when all objects of its kind have gone."""
    left = await client.delete(CRD, kind.name)
    if left is None:
        return
    async with asyncio.timeout(30):
        rv, field = left["metadata"]["resourceVersion"], f"metadata.name={kind.name.name}"
        async for event, _ in client.watch(CRD, fields=field, rv=rv):
            if event == "DELETED":
                return


async def given_up(manager: Manager, kind: Kind) -> None:
    """Until the manager has noticed that the kind is gone."""
    informer = manager.cache.informer(kind.gvk)
    async with asyncio.timeout(30):
        while True:
            change = informer.changed()
            if not manager.cache.served(kind.gvk):
                return
            await change.wait()


async def create(client: LiveClient, obj: RawObject) -> None:
    """Once the new kind can be written, which is a little after its CRD is Established."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.create(obj)
                return
            except (NotFound, NoKindMatch):
                await asyncio.sleep(0.05)


async def test_a_missing_kind_holds_nobody_up_and_is_followed_whenever_it_is_there(
    env: EnvTest, namespace: str, kind: Kind
) -> None:
    """RT-RM-07, RBG-24: installed late, deleted and installed again, without a restart."""
    seen, client = Seen(), env.client()
    client.mapper.add_static(kind.resource)
    manager = Manager(env.config, FAST, resources=[kind.resource])
    watcher(kind, seen).complete(manager)
    await client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "cm"}})
    with capture_logs() as logs:
        async with running(manager):
            await seen.until(("cm", False, False))
            await manager._check_informers()
            with pytest.raises(NoKindMatch):
                await manager.cache.get(kind.gvk, NN(namespace, "a"))
            assert manager.cache.headers(kind.gvk) == []
            for name in ("first", "second"):
                await env.install_crds([kind.crd()])
                await create(client, kind.object(namespace, name))
                await seen.until((name, True, True))
                assert manager.cache.served(kind.gvk)
                await manager.cache.get(kind.gvk, NN(namespace, name))
                seen.runs.clear()
                await uninstall(client, kind)
                await given_up(manager, kind)
                assert (name, True, False) in seen.runs or (name, False, False) in seen.runs
                assert manager.cache.headers(kind.gvk) == []
                await manager._check_informers()
    assert [e["event"] for e in logs if "optional kind" in e["event"]] == [
        "optional kind is served",
        "optional kind is no longer served",
    ] * 2
    troubles = [e for e in logs if e["log_level"] in {"warning", "error"} and "planes" in str(e)]
    assert len(troubles) <= 4, troubles  # a watch may end before its CRD is seen to be gone


async def test_what_exists_at_the_start_is_waited_for(env: EnvTest, namespace: str, kind: Kind) -> None:
    """RT-RM-07: an installed kind is synced before workers start, optional or not."""
    await env.install_crds([kind.crd()])
    client = env.client()
    client.mapper.add_static(kind.resource)
    await create(client, kind.object(namespace, "old"))
    seen = Seen()
    manager = Manager(env.config, FAST, resources=[kind.resource])
    watcher(kind, seen).complete(manager)
    async with running(manager):
        await seen.until(("old", True, True))
        assert {served for _, served, _ in seen.runs} == {True}


async def test_a_version_that_is_no_longer_served_is_given_up(env: EnvTest, namespace: str, kind: Kind) -> None:
    """RT-RM-07: the CRD stays, the version goes and comes back."""
    seen, client = Seen(), env.client()
    client.mapper.add_static(kind.resource)
    await env.install_crds([kind.crd()])
    await create(client, kind.object(namespace, "a"))
    manager = Manager(env.config, FAST, resources=[kind.resource])
    watcher(kind, seen).complete(manager)

    async def serve(served: bool) -> None:
        versions = kind.crd(served=served)["spec"]["versions"]
        await client.patch(CRD, kind.name, Patch.merge({"spec": {"versions": versions}}))

    async with running(manager):
        await seen.until(("a", True, True))
        await serve(False)
        await seen.until(("a", False, False))
        seen.runs.clear()
        await serve(True)
        await seen.until(("a", True, True))


async def test_owned_objects_of_an_optional_kind_reconcile_their_owner(
    env: EnvTest, namespace: str, kind: Kind
) -> None:
    """RT-RM-07, RT-BL-02, RT-BL-06: by their metadata only."""
    seen, client = Seen(), env.client()
    client.mapper.add_static(kind.resource)
    manager = Manager(env.config, FAST, resources=[kind.resource])
    builder = Builder().named(kind.group).for_(CONFIG_MAP).when_served(kind.gvk)
    builder.owns(kind.gvk, only_metadata=True).reconciles_with(seen.reconciler(kind.gvk)).complete(manager)
    cm = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "owner"}}
    owner = await client.create(cm)
    async with running(manager):
        await env.install_crds([kind.crd()])
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
        owned = kind.object(namespace, "owned", ownerReferences=[{**reference, "controller": True}])
        await create(client, {**owned, "spec": {"big": "body"}})
        await seen.until(("owner", True, False))
        # The owner's own arrival may have been late enough to be seen while the kind was served.
        found = await eventually(lambda: manager.cache.get(kind.gvk, NN(namespace, "owned")))
        assert "spec" not in found


async def test_a_group_that_cannot_be_discovered_is_asked_again_without_holding_others_up(
    env: EnvTest, namespace: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-RM-07, RT-RM-02: as when the server behind an APIService is down."""
    monkeypatch.setattr(served_kinds, "ASK_AGAIN", 0.1)
    original = served_kinds.ServedKinds.look
    down = asyncio.Event()

    async def look(self: served_kinds.ServedKinds, gvk: GVK) -> Resource | None:
        if not down.is_set():
            raise ApiError({"code": 503, "message": "no backend", "reason": "ServiceUnavailable"})
        return await original(self, gvk)

    monkeypatch.setattr(served_kinds.ServedKinds, "look", look)
    await env.install_crds([kind.crd()])
    seen, client = Seen(), env.client()
    client.mapper.add_static(kind.resource)
    await create(client, kind.object(namespace, "a"))
    manager = Manager(env.config, FAST, resources=[kind.resource])
    watcher(kind, seen).complete(manager)
    async with running(manager):
        assert not manager.cache.served(kind.gvk)
        down.set()
        await seen.until(("a", True, True))


def test_rights_to_watch_crds_come_with_an_optional_kind(kind: Kind, env: EnvTest) -> None:
    """RT-RM-07: the role that config/rbac ships is generated from these."""
    mapper = Manager(env.config, FAST, resources=[kind.resource]).mapper
    rules = watcher(kind, Seen()).rules(mapper)
    readable = {(r.group, r.resource) for r in rules if {"get", "list", "watch"} <= set(r.verbs)}
    assert {(CRD.group, "customresourcedefinitions"), (kind.group, "planes")} <= readable
    plain = Builder().for_(CONFIG_MAP).caches(CONFIG_MAP, KindOptions()).rules(mapper)
    assert {r.resource for r in plain} == {"configmaps"}


async def test_a_kind_that_nobody_gave_is_known_only_while_it_is_served(env: EnvTest, kind: Kind) -> None:
    """RT-RM-07: the table of resources forgets it with its CRD."""
    client = env.client()
    client.mapper.add_static(kind.resource)
    manager = Manager(env.config, FAST)
    manager.need(kind.gvk, KindOptions(optional=True))
    async with running(manager):
        await env.install_crds([kind.crd()])
        await eventually(lambda: manager.cache.served(kind.gvk))
        assert manager.mapper.known(kind.gvk) == kind.resource
        await uninstall(client, kind)
        await given_up(manager, kind)
        assert manager.mapper.known(kind.gvk) is None
