"""What a cache answers, and to whom it does not; against a server that answers by a script."""

import asyncio
import contextlib
import random
import tracemalloc
from typing import Any

import orjson
import pytest
from unit.runtime.cluster import Cluster, Told, running
from unit.runtime.scripted import ScriptedServer, answer, event, listing, obj, refused

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.cache import Cache, CacheNotStarted, CacheNotSynced, ResourceNotCached
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import NotFound
from rbgctl.runtime.indexed_fields import field, field_index
from rbgctl.runtime.kind_options import KindOptions
from rbgctl.runtime.store import EntryDecoder, Header, Indexer
from rbgctl.runtime.transport import Transport

POD = GVK("", "v1", "Pod")
NODE = GVK("", "v1", "Node")
SECRET = GVK("", "v1", "Secret")


def pod(namespace: str, name: str, rv: int = 1, **labels: str) -> dict[str, Any]:
    return obj(name, rv, uid=f"{namespace}-{name}", namespace=namespace, labels=labels)


PODS = [
    pod("a", "x", node="1", color="red"),
    pod("a", "y", node="1", color="blue"),
    pod("a", "z", node="2", color="red"),
    pod("b", "x", node="1", color="red"),
]


def by_label(label: str) -> Any:
    return field_index(lambda header: [header.label(label)] if header.label(label) else [])


FIELDS = KindOptions(indexes={field("node"): by_label("node"), field("color"): by_label("color")})


# -- field selectors, limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "namespace", "found"),
    [
        ("node=1", "", ["a/x", "a/y", "b/x"]),
        ("node==1", "a", ["a/x", "a/y"]),
        ("node=1,color=red", "", ["a/x", "b/x"]),
        ("color=red,node=2", "a", ["a/z"]),
        ("node=3", "", []),
        ("node=2", "b", []),
    ],
)
async def test_a_cached_list_selects_by_indexed_fields(fields: str, namespace: str, found: list[str]) -> None:
    """RT-CA-09: in one namespace or all; several terms are intersected."""
    async with running(Cluster(all=PODS), Pod=FIELDS) as cache:
        await cache.wait_for_sync(timeout=5)
        listed = await cache.list(POD, namespace, fields=fields)
        assert [str(NN.of(o)) for o in listed.items] == found


async def test_field_selectors_that_need_more_than_an_index_are_refused() -> None:
    """RT-CA-09."""
    async with running(Cluster(all=PODS), Pod=FIELDS) as cache:
        await cache.wait_for_sync(timeout=5)
        with pytest.raises(ValueError, match="Index with name field:phase does not exist"):
            await cache.list(POD, fields="node=1,phase=Running")
        for selector in ("node!=1", "node"):
            with pytest.raises(ValueError, match="only selects by equality"):
                await cache.list(POD, fields=selector)


def test_values_of_cluster_scoped_objects_are_found_in_all_namespaces_only() -> None:
    """RT-CA-09."""
    function = by_label("node")
    labels = (("node", "1"),)
    assert set(function(Header("a", "x", "u", "1", labels=labels))) == {"a/1", "__all_namespaces/1"}
    assert set(function(Header("", "x", "u", "1", labels=labels))) == {"__all_namespaces/1"}


async def test_a_limit_counts_what_matches_and_a_cached_list_is_of_no_moment() -> None:
    """RT-CA-10, RT-CL-32: no resourceVersion, no further page."""
    async with running(Cluster(all=PODS), Pod=FIELDS) as cache:
        await cache.wait_for_sync(timeout=5)
        red = LabelSelector.labels({"color": "red"})
        listed = await cache.list(POD, labels=red, fields="node=1", limit=1)
        assert [str(NN.of(o)) for o in listed.items] == ["a/x"]
        assert listed.resource_version == ""
        assert not hasattr(listed, "continue_")
        assert len((await cache.list(POD, labels=red, limit=2)).items) == 2
        assert len((await cache.list(POD, labels=red)).items) == 3
        with pytest.raises(TypeError, match="continue_"):
            await cache.list(POD, continue_="token")  # type: ignore[call-arg]


async def test_the_namespace_of_a_cluster_scoped_list_is_ignored() -> None:
    """RT-CA-08."""
    nodes = [obj("n", 1, namespace="")]
    async with running(Cluster(all=nodes), Node=None) as cache:
        await cache.wait_for_sync(timeout=5)
        assert len((await cache.list(NODE, "whatever")).items) == 1
        assert (await cache.get(NODE, NN("whatever", "n")))["metadata"]["name"] == "n"


async def test_nothing_is_missing_before_the_cache_has_started_and_listed() -> None:
    """RT-CA-06: a read waits as long as its caller says, and says what it waited for."""
    cluster = Cluster(all=PODS)
    cluster.late["all"] = asyncio.Event()
    async with cluster.running(), Transport(ClusterConfig(cluster.url)) as transport:
        cache = Cache(transport, RestMapper(transport), streaming=False, first_list_jitter=0.0)
        cache.declare(POD)
        for read in (cache.get(POD, NN("a", "x")), cache.list(POD)):
            with pytest.raises(CacheNotStarted, match="the cache is not started, can not read objects"):
                await read
        task = asyncio.create_task(cache.run())
        await cluster.asked_at_least(1)
        began = asyncio.get_running_loop().time()
        for read in (cache.get(POD, NN("a", "x")), cache.list(POD, wait=0.05), cache.get(POD, NN("a", "x"), wait=0.05)):
            with pytest.raises(CacheNotSynced, match="failed waiting for Pod Informer to sync"):
                await read
        assert asyncio.get_running_loop().time() - began >= 0.1
        waiting = asyncio.create_task(cache.get(POD, NN("a", "x"), wait=5))
        cluster.late["all"].set()
        assert (await waiting)["metadata"]["uid"] == "a-x"
        task.cancel()
        await asyncio.wait([task])


# -- forms -----------------------------------------------------------------------------------------------------------


async def test_a_kind_and_its_metadata_are_followed_apart() -> None:
    """RT-CA-04, RT-IN-01: one reflector per form, each with its own store and handlers."""
    cluster = Cluster(all=PODS)
    async with running(cluster, Pod=None) as cache:
        meta = cache.declare(POD, KindOptions(form="metadata"))
        assert cache.informer(POD, "full") is cache.informer(POD) is not meta
        assert cache.informer(POD, "metadata") is meta
        await cache.wait_for_sync(timeout=5)
        lists = [one.headers["Accept"] for one in await cluster.asked_at_least(4) if not one.is_watch]
        assert sorted("PartialObjectMetadataList" in accept for accept in lists) == [False, True]
        told = Told()
        meta.add_handler(told)
        assert len(told.heard) == len(PODS)
        await cache.remove_informer(POD, "metadata")
        assert cache.entry(POD, NN("a", "x")) is not None


async def test_reads_go_to_bodies_where_there_are_any() -> None:
    """RT-CA-04."""
    async with running(Cluster(all=PODS)) as cache:
        meta = cache.declare(POD, KindOptions(form="metadata"))
        assert cache.informer(POD) is meta
        whole = cache.declare(POD, form="full")
        assert cache.informer(POD) is whole
        assert cache.declare(POD) is whole
        assert cache.declare(POD, form="metadata") is meta
        with pytest.raises(ResourceNotCached, match="the metadata of v1, Kind=Node is not cached"):
            cache.informer(NODE, "metadata")


async def test_many_handlers_share_one_reflector() -> None:
    """RT-IN-01: one list and one watch, whoever listens."""
    cluster = Cluster(all=PODS)
    async with running(cluster, Pod=None) as cache:
        handlers = [Told() for _ in range(5)]
        for handler in handlers:
            cache.declare(POD).add_handler(handler)
        await cache.wait_for_sync(timeout=5)
        await cluster.asked_at_least(2)
        cluster.events["all"].put_nowait(event("ADDED", pod("c", "new", 7)))
        for handler in handlers:
            await handler.until(len(PODS) + 1)
        assert [one.is_watch for one in cluster.asked] == [False, True]
        assert {tuple(handler.heard) for handler in handlers} == {tuple(handlers[0].heard)}


# -- memory ----------------------------------------------------------------------------------------------------------


def test_ten_thousand_pods_need_little_more_than_their_text() -> None:
    """RT-MM-02, RT-MM-04: at most 1.3 times their JSON, with headers, keys and an index (measured on 2 000)."""
    spec = {"containers": [{"name": f"c{n}", "image": "registry.example.com/model-server:v1", "env": [
        {"name": f"VARIABLE_{i}", "value": "value " * 4} for i in range(8)
    ]} for n in range(10)]}  # fmt: skip
    texts = [
        orjson.dumps({**pod("ns", f"pod-{n}", n, app="x", role="worker", group=f"g{n % 50}"), "spec": spec})
        for n in range(2000)
    ]
    decoder = EntryDecoder(POD)
    tracemalloc.start()
    store = Indexer({"group": lambda header: [header.label("group")]})
    for text in texts:
        store.upsert(decoder.entry(text))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    raw = sum(map(len, texts))
    assert 5000 < raw / len(texts) < 6500  # a pod of the size that the target is meant for
    assert used <= 1.3 * raw
    assert len(store) == 2000


# -- removal ---------------------------------------------------------------------------------------------------------


async def test_a_removed_informer_stops_and_forgets() -> None:
    """RT-CA-14, RT-IN-04: its watch is closed, its store gone, and nothing can be added to it."""
    cluster = Cluster(all=PODS)
    async with running(cluster, Pod=None) as cache:
        informer, told = cache.informer(POD), Told()
        informer.add_handler(told)
        await cache.wait_for_sync(timeout=5)
        await cluster.asked_at_least(2)
        await cache.remove_informer(POD)
        assert {task.get_name() for task in asyncio.all_tasks()} & {"reflector Pod", "informer Pod"} == set()
        assert len(informer.store) == 0
        assert not informer.has_synced
        assert len(told.heard) == len(PODS)
        for late in (lambda: informer.add_handler(told), lambda: informer.add_index("late", lambda _: [])):
            with pytest.raises(RuntimeError, match="already stopped"):
                late()
        with pytest.raises(ResourceNotCached):
            await cache.get(POD, NN("a", "x"))
        with pytest.raises(ResourceNotCached):
            await cache.remove_informer(POD)
        # Declared anew it starts from the beginning, at once.
        cache.declare(POD)
        await cache.wait_for_sync(POD, timeout=5)
        assert len(cache.headers(POD)) == len(PODS)


# -- first lists -----------------------------------------------------------------------------------------------------


async def test_first_lists_are_spread_over_a_second_and_four_run_at_once() -> None:
    """RT-RF-17: so that a start does not ask for everything in the same moment."""
    cluster = Cluster()
    cluster.late["all"] = asyncio.Event()
    kinds = [GVK("", "v1", kind) for kind in ("Pod", "Service", "ConfigMap", "Secret", "Event", "Node", "Namespace")]
    async with cluster.running(), Transport(ClusterConfig(cluster.url)) as transport:
        clock = Impatient()
        cache = Cache(transport, RestMapper(transport), clock=clock, rng=random.Random(1), streaming=False)
        for gvk in kinds:
            cache.declare(gvk, KindOptions(resync=0))
        task = asyncio.create_task(cache.run())
        assert len(await cluster.asked_at_least(4)) == 4
        assert len(clock.slept) == len(set(clock.slept)) == len(kinds)
        assert all(0 <= seconds <= 1 for seconds in clock.slept)
        assert max(clock.slept) - min(clock.slept) > 0.2
        with pytest.raises(CacheNotSynced):
            await cache.wait_for_sync(timeout=0.1)
        assert len(cluster.asked) == 4
        cluster.late["all"].set()
        await cache.wait_for_sync(timeout=5)
        task.cancel()
        await asyncio.wait([task])


class Impatient(SystemClock):
    """Writes down what it is to sleep, and does not."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


# -- missing kinds ---------------------------------------------------------------------------------------------------


class Paused:
    """A clock whose sleeps are written down and end when told."""

    def __init__(self) -> None:
        self.sleeping: list[float] = []
        self.slept = asyncio.Event()
        self.wake = asyncio.Event()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> Any:
        raise AssertionError

    async def sleep(self, seconds: float) -> None:
        self.sleeping.append(seconds)
        self.slept.set()
        await self.wake.wait()
        self.wake.clear()


async def test_a_kind_that_is_not_served_is_looked_for_every_ten_seconds() -> None:
    """RT-CA-15, RT-EH-08."""
    late = GVK("late.example.com", "v1", "Plane")
    found = {"resources": [{"name": "planes", "kind": "Plane", "namespaced": True}]}
    unknown = refused(404, "NotFound")
    async with ScriptedServer().running() as server, Transport(ClusterConfig(server.url)) as transport:
        # Each look asks for everything at once, which this server does not know, then for the group.
        server.answers(*[unknown, unknown] * 2, unknown, answer(200, orjson.dumps(found)), listing(5))
        clock, mapper = Paused(), RestMapper(transport)
        cache = Cache(transport, mapper, clock=clock, streaming=False, first_list_jitter=0.0)
        cache.declare(late)
        task = asyncio.create_task(cache.run())
        for looks in (1, 2):
            await server.asked_at_least(2 * looks)
            async with asyncio.timeout(5):
                await clock.slept.wait()
            assert clock.sleeping == [10.0] * looks
            with pytest.raises(CacheNotSynced, match=r'Plane\.late\.example\.com \(no matches for kind "Plane"'):
                await cache.wait_for_sync(late, timeout=0.01)
            mapper.invalidate()
            clock.slept.clear()
            clock.wake.set()
        await cache.wait_for_sync(late, timeout=5)
        task.cancel()
        await asyncio.wait([task])


# -- the client of a controller --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def client_of(cache: Cache, cluster: Cluster, **options: Any) -> Any:
    async with Transport(ClusterConfig(cluster.url)) as transport:
        yield CachedClient(cache, LiveClient(transport, RestMapper(transport)), "me", **options)


async def test_declared_kinds_are_read_from_the_cache_and_others_live() -> None:
    """RT-CL-30: whole or metadata only; those in `uncached` are read live all the same."""
    cluster = Cluster(all=PODS)
    async with running(cluster, Pod=None, Secret=KindOptions(form="metadata")) as cache:
        await cache.wait_for_sync(timeout=5)
        await cluster.asked_at_least(4)
        async with client_of(cache, cluster) as client, client_of(cache, cluster, uncached={POD}) as live:
            key = NN("a", "x")
            assert (await client.get(POD, key))["metadata"]["uid"] == "a-x"
            assert set(await client.get(POD, key, form="metadata")) == {"apiVersion", "kind", "metadata"}
            assert len((await client.list(POD)).items) == len(PODS)
            assert (await client.get(SECRET, key, form="metadata"))["kind"] == "Secret"
            assert len(cluster.asked) == 4
            asked: list[tuple[str, str]] = []
            for reader, gvk in ((client, NODE), (client, SECRET), (live, POD)):
                await reader.list(gvk, "a")
                asked.append((cluster.asked[-1].method, cluster.asked[-1].path))
            assert asked == [
                ("GET", "/api/v1/nodes"),
                ("GET", "/api/v1/namespaces/a/secrets"),
                ("GET", "/api/v1/namespaces/a/pods"),
            ]
            assert len(cluster.asked) == 7


async def test_the_live_reader_works_before_the_cache_does() -> None:
    """RT-CL-30: reads of the moment, and all writes, never wait for an informer."""
    cluster = Cluster(a=PODS[:1])
    async with cluster.running(), Transport(ClusterConfig(cluster.url)) as transport:
        mapper = RestMapper(transport)
        cache, reader = Cache(transport, mapper), LiveClient(transport, mapper)
        cache.declare(POD)
        with pytest.raises(CacheNotStarted):
            await CachedClient(cache, reader, "me").get(POD, NN("a", "x"))
        assert len((await reader.list(POD, "a")).items) == 1


async def test_a_cache_answers_from_the_past_after_a_write() -> None:
    """RT-CL-31: until the fence is met, and another owner or process has no fence at all."""
    cluster = Cluster(all=PODS)
    async with running(cluster, Pod=None) as cache:
        await cache.wait_for_sync(timeout=5)
        key = NN("a", "new")
        cache.record_write("me", POD, key, rv="9")
        with pytest.raises(NotFound):
            await cache.get(POD, key)
        async with asyncio.timeout(5):
            assert await cache.caught_up("a new leader", timeout=60) == frozenset()
        waiting = asyncio.create_task(cache.caught_up("me", timeout=60))
        cluster.events["all"].put_nowait(event("ADDED", pod("a", "new", 9)))
        async with asyncio.timeout(5):
            assert await waiting == frozenset()
        assert (await cache.get(POD, key))["metadata"]["resourceVersion"] == "9"


async def test_a_kind_that_is_followed_as_optional_stays_so() -> None:
    """RT-RM-07, RT-HZ-09: whoever comes later must not turn a kind that is absent into one that all wait for."""
    async with Transport(ClusterConfig("http://127.0.0.1:1")) as transport:
        cache = Cache(transport, RestMapper(transport))
        informer = cache.declare(POD, KindOptions(optional=True))
        task = asyncio.create_task(cache.run())
        await asyncio.sleep(0)
        assert cache.declare(POD) is informer
        assert informer.options.optional
        assert not cache.served(POD)
        with pytest.raises(ValueError, match="followed as an optional kind already"):
            cache.declare(POD, KindOptions())
        cache.declare(POD, KindOptions(optional=True))
        task.cancel()
        await asyncio.wait([task])
