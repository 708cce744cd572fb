"""Informers, cached reads and the write fence against a real API server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.cache import Cache, CacheNotSynced, ResourceNotCached
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import AlreadyExists, Conflict, NotFound, TransportError
from rbgctl.runtime.informer import Informer
from rbgctl.runtime.kind_options import ALL_OTHERS, CacheDefaults, KindOptions, only_in
from rbgctl.runtime.store import Entry, Header, Tombstone
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace
from rbgctl.runtime.transport import LineStream, Response, Transport

CONFIG_MAP = GVK("", "v1", "ConfigMap")
NAMESPACE = GVK("", "v1", "Namespace")
SECRET = GVK("", "v1", "Secret")


def config_map(namespace: str, name: str = "a", data: Mapping[str, str] | None = None, **meta: Any) -> RawObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, **meta},
        "data": {"n": "0", **(data or {})},
    }


# -- a transport whose watches can be held back, and which can lose answers ------------------------------------------


class HeldStream:
    """Passes a watch on while `flow` is set."""

    def __init__(self, stream: LineStream, flow: asyncio.Event) -> None:
        self._stream = stream
        self._flow = flow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def batches(self) -> AsyncIterator[list[bytes]]:
        async for lines in self._stream.batches():
            await self._flow.wait()
            yield lines


class FaultyTransport(Transport):
    """`flow`: cleared, watches deliver nothing. `lose_answers`: writes arrive, their answers do not."""

    def __init__(self, config: ClusterConfig) -> None:
        super().__init__(config)
        self.flow = asyncio.Event()
        self.flow.set()
        self.lose_answers = False

    async def request(self, method: str, path: str, **options: Any) -> Response:
        answer = await super().request(method, path, **options)
        if self.lose_answers and method != "GET":
            raise TransportError("eof", f"{method} {path}")
        return answer

    @contextlib.asynccontextmanager
    async def stream(self, path: str, params: Mapping[str, str], **options: Any) -> AsyncIterator[Any]:
        async with super().stream(path, params, **options) as stream:
            yield HeldStream(stream, self.flow)


@dataclass
class Recorder:
    """A handler that notes what it was told and lets a test wait for it."""

    told: list[tuple[str, str]] = field(default_factory=list)
    initial: set[str] = field(default_factory=set)
    versions: dict[str, list[int]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self, kind: str, name: str, entry: Entry | None) -> None:
        self.told.append((kind, name))
        if entry is not None:
            self.versions.setdefault(name, []).append(int(entry.header.rv))
        self.news.set()

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        if initial:
            self.initial.add(entry.header.name)
        self._note("add", entry.header.name, entry)

    def on_update(self, old: Entry, new: Entry) -> None:
        assert old.header.uid == new.header.uid
        self._note("update", new.header.name, new)

    def on_delete(self, last: Entry | Tombstone) -> None:
        name = last.key.name if isinstance(last, Tombstone) else last.header.name
        self._note("delete", name, None)

    async def until(self, condition: Callable[["Recorder"], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition(self):
                self.news.clear()
                await self.news.wait()


@dataclass
class Rig:
    """A running cache on a transport of its own."""

    transport: FaultyTransport
    cache: Cache
    live: LiveClient
    stale_reads: list[float] = field(default_factory=list)

    def client(self, owner: Hashable = "owner") -> CachedClient:
        return CachedClient(self.cache, self.live, owner)

    async def shows(self, gvk: GVK, key: NN, condition: Callable[[Entry | None], bool]) -> Entry | None:
        """Until the cache shows that."""
        async with asyncio.timeout(10):
            while True:
                change = self.cache.informer(gvk).changed()
                entry = self.cache.entry(gvk, key)
                if condition(entry):
                    return entry
                await change.wait()


Start = Callable[..., Any]


@pytest.fixture
async def start(env: EnvTest) -> AsyncIterator[Start]:
    """Starts a cache of the given kinds and waits for it."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(
            kinds: Mapping[GVK, KindOptions], *, config: ClusterConfig | None = None, sync: bool = True, **options: Any
        ) -> Rig:
            transport = await stack.enter_async_context(FaultyTransport(config or env.config))
            mapper = options.pop("mapper", None) or RestMapper(transport)
            stale: list[float] = []
            cache = Cache(
                transport,
                mapper,
                first_list_jitter=0.0,
                on_stale_read=lambda: stale.append(time.monotonic()),
                **{"watch_timeout": (60.0, 60.0), **options},
            )
            for gvk, kind in kinds.items():
                cache.declare(gvk, kind)
            task = asyncio.create_task(cache.run())
            stack.push_async_callback(_cancelled, task)
            if sync:
                await cache.wait_for_sync(timeout=20)
            return Rig(transport, cache, LiveClient(transport, mapper, user_agent="rig"), stale)

        yield run


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


# -- reading ---------------------------------------------------------------------------------------------------------


async def test_an_undeclared_kind_cannot_be_read(start: Start) -> None:
    """RT-CA-05."""
    rig = await start({CONFIG_MAP: KindOptions()})
    with pytest.raises(ResourceNotCached, match="Secret"):
        await rig.cache.get(SECRET, NN("ns", "a"))


async def test_a_miss_names_the_kind(start: Start, namespace: str) -> None:
    """RT-CA-07."""
    rig = await start({CONFIG_MAP: KindOptions()})
    with pytest.raises(NotFound, match='ConfigMap "a" not found') as missed:
        await rig.cache.get(CONFIG_MAP, NN(namespace, "a"))
    assert missed.value.details == {"name": "a", "group": "", "kind": "ConfigMap"}


async def test_two_reads_share_nothing(start: Start, client: LiveClient, namespace: str) -> None:
    """RT-CA-11, RT-MM-03."""
    await client.create(config_map(namespace))
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    one = await rig.cache.get(CONFIG_MAP, NN(namespace, "a"))
    one["data"]["n"] = "changed"
    one["metadata"]["labels"] = {"x": "y"}
    two = await rig.cache.get(CONFIG_MAP, NN(namespace, "a"))
    assert two["data"] == {"n": "0"}
    assert "labels" not in two["metadata"]
    assert (two["apiVersion"], two["kind"]) == ("v1", "ConfigMap")


async def test_lists_are_narrowed_by_namespace_selector_and_index(
    start: Start, client: LiveClient, namespace: str
) -> None:
    """RT-CA-10: the cached answer equals the live one on a quiet server."""
    for name, x in (("b", "1"), ("a", "1"), ("c", "2")):
        await client.create(config_map(namespace, name, labels={"x": x}))
    rig = await start({CONFIG_MAP: KindOptions(indexes={"x": by_x})})
    selector = LabelSelector.labels({"x": "1"})
    cached = await rig.cache.list(CONFIG_MAP, namespace, labels=selector)
    live = await client.list(CONFIG_MAP, namespace, labels=selector)
    assert [without_managed_fields(o) for o in live.items] == cached.items
    assert [h.name for h in rig.cache.headers(CONFIG_MAP, index=("x", "2"), namespace=namespace)] == ["c"]


def by_x(header: Header) -> list[str]:
    return [header.label("x")] if header.label("x") else []


def by_name(header: Header) -> list[str]:
    return [header.name]


def without_managed_fields(obj: RawObject) -> RawObject:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


async def test_the_namespace_of_a_cluster_wide_kind_is_ignored(start: Start, namespace: str) -> None:
    """RT-CA-08."""
    rig = await start({NAMESPACE: KindOptions()})
    found = await rig.cache.get(NAMESPACE, NN("whatever", namespace))
    assert found["metadata"]["name"] == namespace


async def test_an_index_can_be_added_later_but_not_twice(start: Start, client: LiveClient, namespace: str) -> None:
    """RT-CA-13, RT-ST-03."""
    await client.create(config_map(namespace, labels={"x": "1"}))
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    late = KindOptions(namespace=namespace, indexes={"x": by_x})
    rig.cache.declare(CONFIG_MAP, late)
    rig.cache.declare(CONFIG_MAP, late)
    assert [h.name for h in rig.cache.headers(CONFIG_MAP, index=("x", "1"))] == ["a"]
    with pytest.raises(ValueError, match="'x'"):
        rig.cache.declare(CONFIG_MAP, KindOptions(namespace=namespace, indexes={"x": by_name}))
    with pytest.raises(ValueError, match="runs already"):
        rig.cache.declare(CONFIG_MAP, KindOptions(namespace=namespace, keep_managers=frozenset({"m"})))


async def test_metadata_only_informers_hold_no_bodies(start: Start, client: LiveClient, namespace: str) -> None:
    """RT-MM-01, RT-CL-12: the kind asked for is stamped on again."""
    await client.create(config_map(namespace, labels={"x": "1"}))
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace, form="metadata")})
    await client.create(config_map(namespace, "b"))
    await rig.shows(CONFIG_MAP, NN(namespace, "b"), lambda e: e is not None)
    for name in ("a", "b"):
        found = await rig.cache.get(CONFIG_MAP, NN(namespace, name))
        assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
        assert "data" not in found
    assert rig.cache.headers(CONFIG_MAP)[0].label("x") == "1"


async def test_only_the_field_ownership_asked_for_is_kept(start: Start, client: LiveClient, namespace: str) -> None:
    """RT-IN-09."""
    await client.apply(config_map(namespace), field_manager="ours")
    await client.patch(CONFIG_MAP, NN(namespace, "a"), Patch.merge({"data": {"x": "1"}}), field_manager="theirs")
    plain = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    keeping = await start({CONFIG_MAP: KindOptions(namespace=namespace, keep_managers=frozenset({"ours"}))})
    assert "managedFields" not in (await plain.cache.get(CONFIG_MAP, NN(namespace, "a")))["metadata"]
    kept = (await keeping.cache.get(CONFIG_MAP, NN(namespace, "a")))["metadata"]["managedFields"]
    assert [m["manager"] for m in kept] == ["ours"]


async def test_several_namespaces_read_as_their_union(start: Start, client: LiveClient, namespace: str) -> None:
    """RT-CA-03, RT-CA-16: named ones, all others, and each object in one of them only."""
    second, third = await new_namespace(client), await new_namespace(client)
    for where in (namespace, second, third):
        for name in ("a", "b"):
            await client.create(config_map(where, name, labels={"x": "1"}))
    all_of_them = KindOptions(namespaces=only_in(namespace, second, ALL_OTHERS), indexes={"x": by_x})
    rig = await start({CONFIG_MAP: all_of_them})
    handler = Recorder()
    rig.cache.informer(CONFIG_MAP).add_handler(handler)
    live = await client.list(CONFIG_MAP)
    cached = await rig.cache.list(CONFIG_MAP)
    assert {NN.of(o) for o in cached.items} >= {NN(n, m) for n in (namespace, second, third) for m in ("a", "b")}
    mine = {namespace, second, third}
    assert by_key(cached.items, mine) == by_key([without_managed_fields(o) for o in live.items], mine)
    found = rig.cache.headers(CONFIG_MAP, index=("x", "1"))
    assert len([h for h in found if h.namespace in mine]) == 6
    for where in (namespace, third):
        await client.create(config_map(where, f"new-{where}"))
        await handler.until(lambda h, where=where: ("add", f"new-{where}") in h.told)  # type: ignore[misc]
        assert handler.told.count(("add", f"new-{where}")) == 1
    some = await start({CONFIG_MAP: KindOptions()}, defaults=CacheDefaults(namespaces=only_in(namespace, second)))
    assert {h.namespace for h in some.cache.headers(CONFIG_MAP)} == {namespace, second}
    with pytest.raises(ResourceNotCached, match=third):
        await some.cache.get(CONFIG_MAP, NN(third, "a"))


def by_key(objects: list[RawObject], namespaces: set[str]) -> dict[NN, RawObject]:
    return {NN.of(o): o for o in objects if NN.of(o).namespace in namespaces}


# -- following -------------------------------------------------------------------------------------------------------


async def test_an_object_that_leaves_the_selector_is_deleted_and_one_that_enters_is_added(
    start: Start, client: LiveClient, namespace: str
) -> None:
    selector = LabelSelector.labels({"in": "yes"})
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace, labels=selector)})
    handler = Recorder()
    rig.cache.informer(CONFIG_MAP).add_handler(handler)
    key = NN.of(await client.create(config_map(namespace)))
    for value in ("yes", "no", "yes"):
        await client.patch(CONFIG_MAP, key, Patch.merge({"metadata": {"labels": {"in": value}}}))
    await handler.until(lambda h: len(h.told) == 3)
    assert handler.told == [("add", "a"), ("delete", "a"), ("add", "a")]


async def test_a_handler_added_late_hears_of_everything_once(start: Start, client: LiveClient, namespace: str) -> None:
    """RT-IN-02, RT-IN-03: while others write all the time."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    informer: Informer = rig.cache.informer(CONFIG_MAP)
    first = Recorder()
    informer.add_handler(first)

    async def write(name: str) -> None:
        await client.create(config_map(namespace, name))

    writes = [asyncio.create_task(write(f"m{n:02}")) for n in range(40)]
    await first.until(lambda h: len(h.told) >= 10)
    late = Recorder()
    stored = {e.header.name for e in rig.cache.entries(CONFIG_MAP)}
    registration = informer.add_handler(late)
    assert registration.has_synced
    assert late.initial == stored
    await asyncio.gather(*writes)
    await late.until(lambda h: len(h.told) >= 40)
    assert sorted(late.told) == [("add", f"m{n:02}") for n in range(40)]
    informer.remove_handler(registration)
    await client.create(config_map(namespace, "later"))
    await first.until(lambda h: ("add", "later") in h.told)
    assert ("add", "later") not in late.told


async def test_a_handler_that_raises_does_not_stop_the_others(start: Start, client: LiveClient, namespace: str) -> None:
    """RT-IN-05."""

    class Broken(Recorder):
        def on_add(self, entry: Entry, *, initial: bool) -> None:
            raise KeyError(entry.header.name)

    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    informer = rig.cache.informer(CONFIG_MAP)
    informer.add_handler(Broken())
    healthy = Recorder()
    informer.add_handler(healthy)
    for name in ("a", "b"):
        await client.create(config_map(namespace, name))
    await healthy.until(lambda h: len(h.told) == 2)
    assert informer.handler_failures == 2


async def test_watches_that_end_are_resumed_without_another_list(
    start: Start, client: LiveClient, namespace: str
) -> None:
    """RT-RF-02, RT-RF-08."""
    reasons: list[str] = []
    rig = await start(
        {CONFIG_MAP: KindOptions(namespace=namespace)},
        watch_timeout=(1.0, 1.0),
        on_relist=lambda _gvk, reason: reasons.append(reason),
    )
    handler = Recorder()
    rig.cache.informer(CONFIG_MAP).add_handler(handler)
    began = time.monotonic()
    count = 0
    while time.monotonic() - began < 3.5:
        await client.create(config_map(namespace, f"m{count:03}"))
        count += 1
        await handler.until(lambda h, n=count: len(h.told) >= n)  # type: ignore[misc]
    assert handler.told == [("add", f"m{n:03}") for n in range(count)]
    assert [r for r in reasons if r not in {"", "start"}] == []


class FastClock(SystemClock):
    """A hundred times the speed of time."""

    def monotonic(self) -> float:
        return time.monotonic() * 100

    def now(self) -> datetime:
        return super().now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


async def test_a_kind_installed_later_is_followed_then(start: Start, env: EnvTest) -> None:
    """RT-CA-15."""
    group = f"g{time.monotonic_ns()}.example.com"
    gvk = GVK(group, "v1", "Plane")
    clock = FastClock()
    rig = await start(
        {gvk: KindOptions(), CONFIG_MAP: KindOptions()},
        sync=False,
        mapper=RestMapper(env.transport(), clock=clock),
        clock=clock,
    )
    await rig.cache.wait_for_sync(CONFIG_MAP, timeout=10)
    with pytest.raises(CacheNotSynced, match=rf'Plane\.{group} \(no matches for kind "Plane"'):
        await rig.cache.wait_for_sync(gvk, timeout=0.2)
    schema = {"openAPIV3Schema": {"type": "object"}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"planes.{group}"},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"kind": "Plane", "plural": "planes"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    await env.install_crds([crd])
    await rig.cache.wait_for_sync(gvk, timeout=10)


async def test_a_forbidden_kind_is_named_and_does_not_keep_others_from_syncing(
    start: Start, env: EnvTest, client: LiveClient, namespace: str
) -> None:
    """RT-CA-12."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "r", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": namespace, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    await client.create(role)
    await client.create(binding)
    kinds = {kind: KindOptions(namespace=namespace) for kind in (CONFIG_MAP, SECRET)}
    rig = await start(kinds, config=env.config_for_user(namespace), sync=False)
    await rig.cache.wait_for_sync(CONFIG_MAP, timeout=20)
    with pytest.raises(CacheNotSynced, match=r"Secret \(secrets is forbidden"):
        await rig.cache.wait_for_sync(SECRET, timeout=0.5)


# -- the write fence -------------------------------------------------------------------------------------------------


async def test_the_owner_of_a_write_always_reads_it_back(start: Start, namespace: str) -> None:
    """RT-CA-20: by waiting for the watch, never by asking the server."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    client = rig.client()
    key = NN(namespace, "a")
    for n in range(60):
        if n % 3 == 0:
            made = await client.create(config_map(namespace, data={"n": str(n)}))
        elif n % 3 == 1:
            await client.patch(CONFIG_MAP, key, Patch.merge({"data": {"n": str(n)}}))
        else:
            assert await client.delete(CONFIG_MAP, key, uid=made["metadata"]["uid"]) is None
        assert await rig.cache.caught_up("owner") == frozenset()
        entry = rig.cache.entry(CONFIG_MAP, key)
        assert (entry.decode()["data"]["n"] if entry else "gone") == ("gone" if n % 3 == 2 else str(n))
    assert rig.stale_reads == []


async def test_what_the_watch_does_not_deliver_is_read_live(start: Start, namespace: str) -> None:
    """RT-CA-20: after the time-out, and only for the key that wrote."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    rig.transport.flow.clear()
    await rig.client("mine").create(config_map(namespace))
    assert await rig.cache.caught_up("another") == frozenset()
    assert rig.cache.entry(CONFIG_MAP, NN(namespace, "a")) is None
    began = time.monotonic()
    what = (CONFIG_MAP, NN(namespace, "a"))
    assert await rig.cache.caught_up("mine", timeout=0.3) == frozenset({what})
    assert time.monotonic() - began >= 0.3
    assert (await rig.cache.get(*what))["data"] == {"n": "0"}
    assert len(rig.stale_reads) == 1
    # What was read live meets the fence, so nothing is waited for again.
    assert await rig.cache.caught_up("mine") == frozenset()


async def test_late_events_do_not_undo_what_was_read_live(start: Start, namespace: str) -> None:
    """RT-CA-20, RT-QF-12."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    key, client = NN(namespace, "a"), rig.client()
    handler = Recorder()
    rig.cache.informer(CONFIG_MAP).add_handler(handler)
    await client.create(config_map(namespace))
    await handler.until(lambda h: len(h.told) == 1)
    rig.transport.flow.clear()
    for n in range(1, 4):
        await client.patch(CONFIG_MAP, key, Patch.merge({"data": {"n": str(n)}}))
    old = (await rig.live.get(CONFIG_MAP, key))["metadata"]["uid"]
    await client.delete(CONFIG_MAP, key)
    made = await client.create(config_map(namespace, data={"n": "new"}))
    assert made["metadata"]["uid"] != old
    await rig.cache.caught_up("owner", timeout=0.1)
    assert (await rig.cache.get(CONFIG_MAP, key))["data"] == {"n": "new"}
    told = list(handler.told)
    assert told[-2:] == [("delete", "a"), ("add", "a")]
    rig.transport.flow.set()
    await client.create(config_map(namespace, "end"))
    await handler.until(lambda h: ("add", "end") in h.told)
    rest = [t for t in handler.told[len(told) :] if t[1] == "a"]
    assert ("delete", "a") not in rest
    assert handler.versions["a"] == sorted(handler.versions["a"])


async def test_a_write_without_an_answer_is_looked_up_at_once(start: Start, namespace: str) -> None:
    """RT-CA-21: it may have happened."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    rig.transport.flow.clear()
    rig.transport.lose_answers = True
    key, client = NN(namespace, "a"), rig.client()
    with pytest.raises(TransportError):
        await client.create(config_map(namespace))
    async with asyncio.timeout(5):
        assert await rig.cache.caught_up("owner", timeout=60) == frozenset({(CONFIG_MAP, key)})
    made = await rig.cache.get(CONFIG_MAP, key)
    with pytest.raises(TransportError):
        await client.delete(CONFIG_MAP, key, uid=made["metadata"]["uid"])
    async with asyncio.timeout(5):
        await rig.cache.caught_up("owner", timeout=60)
    assert rig.cache.entry(CONFIG_MAP, key) is None


async def test_an_unknown_outcome_does_not_cut_the_wait_for_other_writes_short(start: Start, namespace: str) -> None:
    """RT-CA-20, RT-CA-21."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    handler = Recorder()
    rig.cache.informer(CONFIG_MAP).add_handler(handler)
    rig.transport.flow.clear()
    client = rig.client()
    await client.create(config_map(namespace, "answered"))
    rig.transport.lose_answers = True
    with pytest.raises(TransportError):
        await client.create(config_map(namespace, "unanswered"))
    waiting = asyncio.create_task(rig.cache.caught_up("owner", timeout=60))
    await handler.until(lambda h: h.told == [("add", "unanswered")])
    assert not waiting.done()
    rig.transport.flow.set()
    async with asyncio.timeout(10):
        assert await waiting == frozenset({(CONFIG_MAP, NN(namespace, "unanswered"))})
    assert len(rig.stale_reads) == 1


async def test_a_deletion_before_the_creation_was_seen_needs_both_to_be_seen(start: Start, namespace: str) -> None:
    """RT-CA-21."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    handler = Recorder()
    rig.cache.informer(CONFIG_MAP).add_handler(handler)
    rig.transport.flow.clear()
    client = rig.client()
    made = await client.create(config_map(namespace))
    assert await client.delete(CONFIG_MAP, NN.of(made), uid=made["metadata"]["uid"]) is None
    waiting = asyncio.create_task(rig.cache.caught_up("owner", timeout=10))
    rig.transport.flow.set()
    assert await waiting == frozenset()
    assert handler.told == [("add", "a"), ("delete", "a")]


async def test_a_deletion_that_waits_for_finalizers_is_seen_as_such(start: Start, namespace: str) -> None:
    """RT-CA-21: DELETE answered with the object."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    client = rig.client()
    made = await client.create(config_map(namespace, finalizers=["example.com/hold"]))
    left = await client.delete(CONFIG_MAP, NN.of(made))
    assert left is not None
    assert await rig.cache.caught_up("owner") == frozenset()
    entry = rig.cache.entry(CONFIG_MAP, NN.of(made))
    assert entry is not None
    assert entry.header.deletion == left["metadata"]["deletionTimestamp"]


async def test_a_deletion_that_somebody_else_was_faster_with_is_waited_for_too(start: Start, namespace: str) -> None:
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    made = await rig.client("other").create(config_map(namespace))
    key = NN.of(made)
    await rig.cache.caught_up("other")
    rig.transport.flow.clear()
    await rig.live.delete(CONFIG_MAP, key)
    with pytest.raises(NotFound):
        await rig.client().delete(CONFIG_MAP, key, uid=made["metadata"]["uid"])
    assert rig.cache.entry(CONFIG_MAP, key) is not None
    await rig.cache.caught_up("owner", timeout=0.1)
    assert rig.cache.entry(CONFIG_MAP, key) is None


async def test_a_failed_live_read_is_reported_and_the_fence_stays(
    start: Start, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-CA-20: an owner never goes on with a state it knows to be old."""
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    rig.transport.flow.clear()
    await rig.client().create(config_map(namespace))

    async def broken(*_: Any, **__: Any) -> RawObject:
        raise TransportError("refused", "no server")

    with monkeypatch.context() as patched:
        patched.setattr(LiveClient, "get", broken)
        with pytest.raises(TransportError):
            await rig.cache.caught_up("owner", timeout=0.05)
    assert await rig.cache.caught_up("owner", timeout=0.05) == frozenset({(CONFIG_MAP, NN(namespace, "a"))})


async def test_what_the_cache_will_never_show_is_not_waited_for(
    start: Start, namespace: str, client: LiveClient
) -> None:
    """RT-CA-21: other kinds, other namespaces, other labels."""
    selector = LabelSelector.labels({"in": "yes"})
    rig = await start({CONFIG_MAP: KindOptions(namespace=namespace, labels=selector)})
    writer = rig.client()
    await writer.create(config_map(namespace, labels={"in": "no"}))
    await writer.create(config_map("default", namespace, labels={"in": "yes"}))
    await writer.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}})
    async with asyncio.timeout(1):
        assert await rig.cache.caught_up("owner") == frozenset()
    assert rig.stale_reads == []
    # Leaving the selector is something the cache does show, as a deletion.
    made = await writer.create(config_map(namespace, "b", labels={"in": "yes"}))
    await rig.cache.caught_up("owner")
    await writer.patch(CONFIG_MAP, NN.of(made), Patch.merge({"metadata": {"labels": {"in": "no"}}}))
    await rig.cache.caught_up("owner")
    assert rig.cache.entry(CONFIG_MAP, NN.of(made)) is None
    assert rig.stale_reads == []
    await client.delete(CONFIG_MAP, NN("default", namespace))


async def test_a_new_leader_has_no_fences_and_does_no_harm_without(start: Start, namespace: str) -> None:
    """RT-CA-22: names and preconditions keep it from doing again what the old one did."""
    old = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    new = await start({CONFIG_MAP: KindOptions(namespace=namespace)})
    first = await old.client().create(config_map(namespace))
    key = NN.of(first)
    await new.shows(CONFIG_MAP, key, lambda entry: entry is not None)
    new.transport.flow.clear()
    await old.client().delete(CONFIG_MAP, key)
    second = await old.client().create(config_map(namespace))
    await old.client().create(config_map(namespace, "b"))
    async with asyncio.timeout(5):
        assert await new.cache.caught_up("owner", timeout=60) == frozenset()
    assert new.cache.entry(CONFIG_MAP, NN(namespace, "b")) is None
    with pytest.raises(AlreadyExists):
        await new.client().create(config_map(namespace, "b"))
    with pytest.raises(Conflict):
        await new.client().delete(CONFIG_MAP, key, uid=first["metadata"]["uid"])
    left = await old.live.get(CONFIG_MAP, key)
    assert left["metadata"]["uid"] == second["metadata"]["uid"]
