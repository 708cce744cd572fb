"""Several namespaces of one kind behind one informer, against a server that answers by a script."""

import asyncio
from typing import Any

import orjson
import pytest
from unit.runtime.cluster import Cluster, Told, running
from unit.runtime.scripted import event, obj

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.cache import CacheNotSynced, ResourceNotCached
from rbgctl.runtime.kind_options import CacheDefaults, KindOptions, NamespaceOptions, only_in
from rbgctl.runtime.store import Header

POD = GVK("", "v1", "Pod")
NODE = GVK("", "v1", "Node")


def pod(namespace: str, name: str, rv: int = 1, **labels: str) -> dict[str, Any]:
    return obj(name, rv, uid=f"{namespace}-{name}", namespace=namespace, labels=labels)


THREE = {"a": [pod("a", "x"), pod("a", "y")], "b": [pod("b", "x")], "all": [pod("c", "x"), pod("d", "z")]}


async def test_one_reflector_per_namespace_and_their_union_is_read() -> None:
    """RT-CA-03, RT-CA-16: every namespace is asked for by itself, and a list merges them."""
    cluster = Cluster(**THREE)
    async with running(cluster, Pod=KindOptions(namespaces=only_in("a", "b", ""))) as cache:
        await cache.wait_for_sync(timeout=5)
        await cluster.asked_at_least(6)
        others = "metadata.namespace!=a,metadata.namespace!=b"
        wanted = {
            ("/api/v1/namespaces/a/pods", "", ""),
            ("/api/v1/namespaces/b/pods", "", ""),
            ("/api/v1/pods", others, ""),
        }
        assert cluster.asked_for() == cluster.asked_for(watches=True) == wanted
        assert [h.key for h in cache.headers(POD)] == [
            NN("a", "x"), NN("a", "y"), NN("b", "x"), NN("c", "x"), NN("d", "z")
        ]  # fmt: skip
        assert [o["metadata"]["name"] for o in (await cache.list(POD, "a")).items] == ["x", "y"]
        for namespace in ("a", "b", "c"):
            assert (await cache.get(POD, NN(namespace, "x")))["metadata"]["uid"] == f"{namespace}-x"


async def test_a_namespace_that_is_not_cached_cannot_be_read() -> None:
    """RT-CA-16: neither one object nor a list, for that would look like an absence."""
    async with running(Cluster(**THREE), Pod=KindOptions(namespaces=only_in("a", "b"))) as cache:
        await cache.wait_for_sync(timeout=5)
        text = "Pod is not cached in namespace 'c', only in a, b"
        with pytest.raises(ResourceNotCached, match=text):
            await cache.get(POD, NN("c", "x"))
        with pytest.raises(ResourceNotCached, match=text):
            cache.entry(POD, NN("c", "x"))
        with pytest.raises(ResourceNotCached, match=text):
            await cache.list(POD, "c")
        assert len((await cache.list(POD)).items) == 3


async def test_it_is_synced_when_all_namespaces_are() -> None:
    """RT-CA-03, RT-CA-16: and handlers have heard of everything then."""
    cluster = Cluster(**THREE)
    cluster.late["b"] = asyncio.Event()
    async with running(cluster, Pod=KindOptions(namespaces=only_in("a", "b"))) as cache:
        informer = cache.informer(POD)
        told = Told()
        registration = informer.add_handler(told)
        async with asyncio.timeout(5):
            while len(told.heard) < 2:
                await informer.changed().wait()
        assert not informer.has_synced
        assert not registration.has_synced
        with pytest.raises(CacheNotSynced):
            await cache.get(POD, NN("a", "x"))
        cluster.late["b"].set()
        await cache.wait_for_sync(timeout=5)
        assert registration.has_synced
        assert sorted(told.heard) == ["add a/x", "add a/y", "add b/x"]


async def test_events_of_one_namespace_leave_the_others_alone() -> None:
    """RT-CA-03: a new list of one namespace deletes nothing in another; indexes cover all."""
    cluster = Cluster(**THREE)
    options = KindOptions(namespaces=only_in("a", "b", ""), indexes={"name": by_name})
    async with running(cluster, Pod=options) as cache:
        informer = cache.informer(POD)
        told = Told()
        informer.add_handler(told)
        await cache.wait_for_sync(timeout=5)
        told.heard.clear()
        cluster.events["a"].put_nowait(event("ADDED", pod("a", "new", 7)))
        await told.until(1)
        others = informer.feeds[""]
        others.fifo.replace([others.decoder.entry(event_object("d", "z", 9))], "9")
        others.drain()
        await told.until(3)
        assert sorted(told.heard) == ["add a/new", "gone c/x", "update d/z"]
        assert [h.key for h in cache.headers(POD, index=("name", "x"))] == [NN("a", "x"), NN("b", "x")]
        assert informer.feeds["a"].applied_rv == "7"
        assert informer.feeds["b"].applied_rv == "5"


async def test_a_write_is_waited_for_in_its_own_namespace() -> None:
    """RT-CA-20, RT-CA-16: how far another namespace is says nothing."""
    cluster = Cluster(**THREE)
    async with running(cluster, Pod=KindOptions(namespaces=only_in("a", "b"))) as cache:
        await cache.wait_for_sync(timeout=5)
        cache.record_write("me", POD, NN("a", "new"), rv="8")
        cache.record_write("me", POD, NN("elsewhere", "new"), rv="8")
        waiting = asyncio.create_task(cache.caught_up("me", timeout=30))
        cluster.events["b"].put_nowait(event("ADDED", pod("b", "other", 99)))
        async with asyncio.timeout(5):
            while cache.entry(POD, NN("b", "other")) is None:
                await cache.informer(POD).changed().wait()
        await asyncio.sleep(0)
        assert not waiting.done()
        cluster.events["a"].put_nowait(event("ADDED", pod("a", "new", 8)))
        async with asyncio.timeout(5):
            assert await waiting == frozenset()
        assert cache.entry(POD, NN("a", "new")) is not None


async def test_the_namespaces_of_the_cache_hold_for_every_namespaced_kind() -> None:
    """RT-CA-02, RT-CA-03: what `--namespaces a,b` means."""
    cluster = Cluster()
    defaults = CacheDefaults(namespaces={"a": NamespaceOptions(labels=LabelSelector.has("x")), "b": NamespaceOptions()})
    async with running(cluster, defaults=defaults, Pod=None, Node=None) as cache:
        await cache.wait_for_sync(timeout=5)
        assert cluster.asked_for() == {
            ("/api/v1/namespaces/a/pods", "", "x"),
            ("/api/v1/namespaces/b/pods", "", ""),
            ("/api/v1/nodes", "", ""),
        }


async def test_a_cluster_scoped_kind_is_not_declared_with_namespaces() -> None:
    """RT-CA-03."""
    async with running(Cluster()) as cache:
        with pytest.raises(ValueError, match="Node is cluster-scoped"):
            cache.declare(NODE, KindOptions(namespaces=only_in("a")))


def by_name(header: Header) -> list[str]:
    return [header.name]


def event_object(namespace: str, name: str, rv: int) -> bytes:
    return orjson.dumps(pod(namespace, name, rv))
