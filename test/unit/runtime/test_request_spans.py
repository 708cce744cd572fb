"""Spans around what the client, the cache and the reflector do, against a scripted server."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import ScriptedServer, answer, bookmark, event, listing, obj, refused, reset, watch

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.client_limits import ClientLimits, RequestRate
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import Conflict, NotFound
from rbgctl.runtime.fifo import OrderedFifo
from rbgctl.runtime.reflector import Reflector, WatchTarget
from rbgctl.runtime.store import EntryDecoder, Indexer
from rbgctl.runtime.traced_reads import TracedReads
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.transport import Transport
from rbgctl.runtime.write_links import GONE

POD = GVK("", "v1", "Pod")
KEY = NN("ns", "a")


class Fences:
    """In place of a cache: writes are told to it."""

    def record_write(self, *_: Any, **__: Any) -> None:
        pass


class Rig:
    def __init__(self, server: ScriptedServer, transport: Transport, exporter: InMemorySpanExporter) -> None:
        self.server = server
        self.transport = transport
        self.tracing = transport.tracing
        self.live = LiveClient(transport, RestMapper(transport), user_agent="product/1 (x)")
        self.client = CachedClient(Fences(), self.live, "me", tracing=self.tracing)  # type: ignore[arg-type]
        self._exporter = exporter

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        (span,) = (s for s in self.spans if s.name == name)
        return span


@pytest.fixture
async def rig(manual_clock: ManualClock) -> AsyncIterator[Rig]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with (
        ScriptedServer().running() as server,
        Transport(ClusterConfig(server.url), clock=manual_clock, tracing=Tracing(provider)) as transport,
    ):
        yield Rig(server, transport, exporter)


def given(body: Any) -> Any:
    return answer(200, orjson.dumps(body))


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def traceparent(span: ReadableSpan) -> str:
    context = span.context
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


async def test_a_request_is_one_span_whatever_its_retries(rig: Rig) -> None:  # RT-TR-02, RT-TR-03, RT-TR-05
    rig.server.answers(reset(), refused(503, "ServiceUnavailable", {"Retry-After": "1"}), given(obj("a", 5)))
    with rig.tracing.step("observe"):
        await rig.live.get(POD, KEY)
    request, step = rig.spans
    assert (request.name, step.name) == ("k8s.get pods", "step observe")
    assert request.parent == step.context
    assert attributes(request)["retry.count"] == 2
    assert attributes(request)["http.response.status_code"] == 200
    assert request.status.status_code is StatusCode.UNSET
    assert {asked.headers["traceparent"] for asked in rig.server.asked} == {traceparent(request)}


async def test_field_manager_and_patch_type_are_told(rig: Rig) -> None:  # RT-TR-03
    rig.server.answers(given(obj("a", 5)), given(obj("a", 6)))
    await rig.client.patch(POD, KEY, Patch.merge({"a": 1}))
    await rig.client.apply(obj("a", 5), field_manager="rbg", subresource="status")
    merge, apply = (attributes(s) for s in rig.spans)
    assert (merge["k8s.patch.type"], merge["k8s.field_manager"]) == ("application/merge-patch+json", "product")
    assert (apply["k8s.patch.type"], apply["k8s.field_manager"]) == ("application/apply-patch+yaml", "rbg")
    assert [s.name for s in rig.spans] == ["k8s.patch pods", "k8s.patch pods/status"]
    assert merge["server.address"] == rig.transport.config.host


async def test_waiting_for_the_rate_limit_is_told(rig: Rig, manual_clock: ManualClock) -> None:  # RT-TR-03
    limits = ClientLimits(manual_clock.monotonic, rate=RequestRate(qps=2.0, burst=1))
    client = LiveClient(rig.transport, rig.live.mapper, limits=limits)
    rig.server.answers(given(obj("a", 5)), given(obj("a", 5)))
    for _ in range(2):
        await client.get(POD, KEY)
    assert [attributes(s)["rate_limit.wait_ms"] for s in rig.spans] == [0, 500]


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [(404, NotFound, StatusCode.UNSET), (409, Conflict, StatusCode.UNSET), (500, Exception, StatusCode.ERROR)],
)
async def test_refusals_fail_the_span_only_when_the_server_is_at_fault(
    rig: Rig, code: int, error: type[Exception], status: StatusCode
) -> None:  # RT-TR-04
    rig.server.answers(refused(code, "X"))
    with pytest.raises(error):
        await rig.live.get(POD, KEY)
    (span,) = rig.spans
    assert attributes(span)["http.response.status_code"] == code
    assert span.status.status_code is status


async def test_nothing_of_bodies_or_credentials_is_told(rig: Rig) -> None:  # RT-TR-03
    rig.server.answers(given({**obj("a", 5), "data": {"password": "hunter2"}}))
    await rig.client.create({**obj("a", 5), "data": {"password": "hunter2"}})
    assert "hunter2" not in rig.spans[0].to_json()


# ---- what a write led to ----


async def test_the_version_that_a_write_made_is_remembered(rig: Rig) -> None:  # RT-TR-05
    rig.server.answers(given(obj("a", 5)), given(obj("a", 6)), given(obj("a", 7)), given(obj("a", 8)))
    await rig.client.create(obj("a", 0))
    await rig.client.patch(POD, KEY, Patch.merge({}))
    await rig.client.update(obj("a", 6))
    await rig.client.apply(obj("a", 7), field_manager="m")
    authors = [rig.tracing.writes.author(("uid-a", str(rv))) for rv in range(5, 9)]
    assert authors == [s.context for s in rig.spans]


async def test_deletions_are_remembered_by_what_the_watch_will_show(rig: Rig) -> None:  # RT-TR-05
    dying = obj("a", 6, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x"])
    rig.server.answers(given(dying), given({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    await rig.client.delete(POD, KEY, uid="uid-a")
    await rig.client.delete(POD, KEY, uid="uid-a")
    marked, gone = rig.spans
    assert rig.tracing.writes.author(("uid-a", "6")) == marked.context
    assert rig.tracing.writes.author(("uid-a", GONE)) == gone.context


async def test_what_was_only_read_is_nobodys_write(rig: Rig) -> None:  # RT-TR-05
    rig.server.answers(given(obj("a", 5)))
    rig.client.saw(await rig.live.get(POD, KEY))
    assert len(rig.tracing.writes) == 0


# ---- reading everything ----


async def reflect(rig: Rig, clock: ManualClock, *, streaming: bool, requests: int) -> None:
    """Let a reflector run until it has sent so many requests."""
    reflector = Reflector(
        WatchTarget(Resource(POD, "pods", True)),
        rig.transport,
        OrderedFifo(Indexer()),
        EntryDecoder(POD),
        clock=clock,
        rng=random.Random(1),
        streaming=streaming,
        first_list_jitter=0.0,
    )
    task = asyncio.create_task(reflector.run())
    await rig.server.asked_at_least(requests)
    task.cancel()
    await asyncio.wait([task])


async def test_each_relist_is_a_span_and_watches_are_none(rig: Rig, manual_clock: ManualClock) -> None:  # RT-TR-02
    gone = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
    rig.server.answers(listing(5, obj("a", 3), then="next"), listing(5, obj("b", 4)), watch(gone), listing(9), watch())
    await reflect(rig, manual_clock, streaming=False, requests=5)
    lists = [s for s in rig.spans if s.name == "list v1, Kind=Pod"]
    assert [attributes(s)["k8s.list.first"] for s in lists] == [True, False]
    pages = [s for s in rig.spans if s.name == "k8s.list pods"]
    assert [p.parent for p in pages] == [lists[0].context, lists[0].context, lists[1].context]
    assert len(rig.spans) == 5


async def test_a_streamed_list_is_a_span_until_it_is_complete(rig: Rig, manual_clock: ManualClock) -> None:
    # RT-TR-02
    later = event("MODIFIED", obj("a", 8))
    rig.server.answers(watch(event("ADDED", obj("a", 3)), bookmark(5, end=True), later), watch())
    await reflect(rig, manual_clock, streaming=True, requests=2)
    (span,) = rig.spans
    assert span.name == "list v1, Kind=Pod"
    assert span.parent is None
    assert "traceparent" not in rig.server.asked[1].headers


class Slow:
    """A cache whose reads take a while."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self.other = "untouched"

    def entries(self, gvk: GVK, *, namespace: str = "") -> list[str]:
        self._clock.time += self._seconds
        return [namespace]

    headers = entries

    async def get(self, gvk: GVK, key: NN) -> NN:
        self._clock.time += self._seconds
        return key

    async def list(self, gvk: GVK, namespace: str = "") -> list[str]:
        return self.entries(gvk, namespace=namespace)


@pytest.mark.parametrize(("seconds", "shown"), [(0.0009, False), (0.004, True)])
async def test_slow_cache_reads_are_events_and_fast_ones_nothing(
    rig: Rig, manual_clock: ManualClock, seconds: float, shown: bool
) -> None:  # RT-TR-02
    cache: Any = TracedReads.of(Slow(manual_clock, seconds), rig.tracing, manual_clock.monotonic)  # type: ignore[arg-type]
    with rig.tracing.step("observe"):
        assert cache.entries(POD, namespace="n") == cache.headers(POD, namespace="n") == await cache.list(POD, "n")
        assert await cache.get(POD, KEY) == KEY
    assert cache.other == "untouched"
    (step,) = rig.spans
    assert [e.name for e in step.events] == (["cache.list"] * 3 + ["cache.get"] if shown else [])
    if shown:
        assert dict(step.events[0].attributes or {}) == {"k8s.object.kind": "Pod", "duration_ms": 4}
