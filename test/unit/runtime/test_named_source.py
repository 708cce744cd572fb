"""A source of events of one object, known by its name."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
from aiohttp import web
from unit.runtime.scripted import Answer, ScriptedServer, answer, bookmark, broken, event, obj, refused, watch

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.errors import Forbidden, TransportError
from rbgctl.runtime.handler import enqueue_object
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.named_source import NamedObjectSource
from rbgctl.runtime.predicate import on
from rbgctl.runtime.ratelimit import controller_limiter
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.clocks import ManualClock
from rbgctl.runtime.transport import MAX_RETRIES
from rbgctl.runtime.workqueue import WorkQueue

POD = GVK("", "v1", "Pod")
THING = GVK("x.example.com", "v1", "Thing")


@contextlib.asynccontextmanager
async def following(*chunks: bytes) -> AsyncIterator[tuple[ScriptedServer, NamedObjectSource, WorkQueue[NN]]]:
    """A source of pod "one" in "ns", and the queue that it feeds."""
    server = ScriptedServer()
    if chunks:
        server.answers(watch(*chunks, then="hang"))
    async with server.running():
        manager = Manager(ClusterConfig(server.url), ManagerOptions(first_list_jitter=0.0))
        source = NamedObjectSource(manager, POD, "one", enqueue_object(), [on(delete=lambda _: False)], namespace="ns")
        queue: WorkQueue[NN] = WorkQueue(manager.clock, controller_limiter(manager.rng))
        await source.start(queue)
        try:
            yield server, source, queue
        finally:
            source.stop()
            await manager.transport.close()


async def test_only_that_object_is_asked_for_and_only_its_metadata() -> None:
    """CERT-15: rights to list and watch can be limited to the name."""
    async with following(event("ADDED", obj("one", 5)), bookmark(5, end=True)) as (server, source, queue):
        await asyncio.wait_for(source.wait_for_sync(), 10)
        (asked,) = await server.asked_at_least(1)
        assert asked.path == "/api/v1/namespaces/ns/pods"
        assert asked.query["fieldSelector"] == "metadata.name=one"
        assert "as=PartialObjectMetadata" in asked.headers["Accept"]
        assert (await asyncio.wait_for(queue.get(), 10))[0] == NN("ns", "one")


async def test_predicates_are_asked_and_a_replay_repeats_what_is_there() -> None:
    # CERT-12
    gone = event("DELETED", obj("one", 7))
    async with following(event("ADDED", obj("one", 5)), bookmark(6, end=True), gone) as (_, source, queue):
        await asyncio.wait_for(source.wait_for_sync(), 10)
        taken = await asyncio.wait_for(queue.get(), 10)
        queue.done(taken[0])
        await eventually(lambda: not list(source._informer.store.entries()))
        assert len(queue) == 0
        source.replay()
        assert len(queue) == 0  # it is gone


async def test_what_keeps_it_from_syncing_is_known() -> None:
    """Without the right to list, a controller that waits for it can say so."""
    server = ScriptedServer()
    server.answers(*[refused(403, "Forbidden")] * 50)
    async with server.running():
        manager = Manager(ClusterConfig(server.url), ManagerOptions(first_list_jitter=0.0))
        source = NamedObjectSource(manager, POD, "one", enqueue_object(), namespace="ns")
        await source.start(WorkQueue(manager.clock, controller_limiter(manager.rng)))
        found = await eventually(lambda: source.last_error)
        assert isinstance(found, Forbidden)
        assert str(source) == "Pod one"
        source.stop()
        await manager.transport.close()


async def test_a_kind_that_nobody_knows_ends_the_wait() -> None:
    server = ScriptedServer()
    server.answers(*[refused(404, "NotFound")] * 20)
    async with server.running():
        manager = Manager(ClusterConfig(server.url), ManagerOptions(first_list_jitter=0.0))
        source = NamedObjectSource(manager, GVK("x.example.com", "v1", "Nothing"), "one", enqueue_object())
        await source.start(WorkQueue(manager.clock, controller_limiter(manager.rng)))
        with pytest.raises(Exception, match="Nothing"):
            await asyncio.wait_for(source.wait_for_sync(), 10)
        source.stop()
        await manager.transport.close()


class Restarting(ScriptedServer):
    """Drops the first requests, refuses the next ones, and then serves one kind and an object of it."""

    def __init__(self) -> None:
        super().__init__()
        self.outage = [broken()] * (MAX_RETRIES + 2) + [refused(503, "ServiceUnavailable")] * 2

    def next_answer(self, request: web.Request) -> Answer:
        if self.outage:
            return self.outage.pop(0)
        if request.path in {"/api", "/apis"}:
            return refused(403, "Forbidden")
        if request.path == "/apis/x.example.com/v1":
            kinds = [{"kind": "Thing", "name": "things", "namespaced": True}]
            return answer(200, orjson.dumps({"kind": "APIResourceList", "resources": kinds}))
        found = obj("one", 5, kind="Thing") | {"apiVersion": THING.api_version}
        return watch(event("ADDED", found), bookmark(5, end=True), then="hang")


async def test_a_server_that_is_away_when_the_kind_is_looked_up_is_asked_again() -> None:
    """CERT-15: the watch must not end for good with a connection that broke at the start."""
    server = Restarting()
    async with server.running():
        manager = Manager(ClusterConfig(server.url), ManagerOptions(first_list_jitter=0.0), clock=ManualClock())
        source = NamedObjectSource(manager, THING, "one", enqueue_object(), namespace="ns")
        queue: WorkQueue[NN] = WorkQueue(manager.clock, controller_limiter(manager.rng))
        await source.start(queue)
        errors: list[Exception | None] = []
        waiting = asyncio.create_task(source.wait_for_sync())
        while not waiting.done():
            errors.append(source.last_error)
            await asyncio.sleep(0)
        waiting.result()
        assert any(isinstance(error, TransportError) for error in errors)  # it is known while it lasts
        assert source.last_error is None
        assert server.outage == []
        assert (await asyncio.wait_for(queue.get(), 10))[0] == NN("ns", "one")
        source.stop()
        await manager.transport.close()


async def test_one_that_was_stopped_can_be_started_again_and_hears_everything_once() -> None:
    # CERT-15
    async with following(event("ADDED", obj("one", 5)), bookmark(5, end=True)) as (server, source, queue):
        await asyncio.wait_for(source.wait_for_sync(), 10)
        queue.done((await asyncio.wait_for(queue.get(), 10))[0])
        source.stop()
        source.stop()
        source.replay()
        heard: list[str] = []
        source._handler = lambda happened, _: heard.append(happened.verb)
        server.answers(watch(event("ADDED", obj("one", 6)), bookmark(6, end=True), then="hang"))
        again: WorkQueue[NN] = WorkQueue(source._manager.clock, controller_limiter(source._manager.rng))
        await source.start(again)
        await source.start(again)
        await asyncio.wait_for(source.wait_for_sync(), 10)
        await eventually(lambda: heard)
        assert heard == ["create"]
        assert [a.query["fieldSelector"] for a in server.asked] == ["metadata.name=one"] * 2
        assert len(queue) == 0
