"""Spans: none by default, the right ones when switched on."""

import asyncio
import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from rbgctl.runtime.api_path import template
from rbgctl.runtime.tracing import NO_SPAN, Tracing, current_ids, from_traceparent

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


PARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def never() -> dict[str, str]:
    raise AssertionError("attributes are not built while nothing records them")


@pytest.mark.parametrize("env", [{}, {**ON, "OTEL_SDK_DISABLED": "true"}, {**ON, "OTEL_SDK_DISABLED": "TRUE"}])
def test_off_makes_no_span_and_builds_no_attributes(env: dict[str, str]) -> None:  # RT-TR-01
    tracing = Tracing.from_env(env)
    assert not tracing.enabled
    spans = [
        tracing.span("x", attributes=never),
        tracing.step("x"),
        tracing.serve("x", {"traceparent": PARENT}, never),
        tracing.request("GET", "/api/v1/pods", None, None, "ua"),
    ]
    assert all(span is NO_SPAN for span in spans)
    with tracing.step("x") as span:
        assert not span.recording
        span.set(never)
        span.event("e", never)
        span.fail("no")
    tracing.attempted("200", "h")
    tracing.rate_limited(1.0)
    tracing.wrote("uid", "1")
    assert not tracing.headers()
    assert not len(tracing.writes)


def test_off_does_not_import_the_sdk() -> None:  # RT-TR-01
    code = (
        "import sys; from rbgctl.runtime import manager; from rbgctl.runtime.tracing import Tracing; "
        "Tracing.from_env({}); sys.exit(any(m.startswith('opentelemetry.sdk') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Recorded:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


PATCHED = "/api/v1/namespaces/ns/pods/p/status"


async def test_steps_and_requests_hang_below_the_reconcile(recorded: Recorded) -> None:  # RT-TR-02, RT-TR-03
    tracing = recorded.tracing
    with (
        tracing.span("stray"),
        tracing.span("reconcile c", kind="consumer", attributes=lambda: {"reconcile.id": "x"}, root=True),
        tracing.step("execute"),
        tracing.request("PATCH", PATCHED, {"fieldManager": "rbg"}, "application/merge-patch+json", "ua/1 (x)"),
    ):
        tracing.rate_limited(0.25)
        for code in ("<error>", "503", "200"):
            await asyncio.sleep(0)
            tracing.attempted(code, "h:1")
    spans = recorded.spans
    root, step, request = spans["reconcile c"], spans["step execute"], spans["k8s.patch pods/status"]
    assert root.kind is SpanKind.CONSUMER
    assert root.parent is None
    assert dict(root.attributes or {}) == {"reconcile.id": "x"}
    assert request.kind is SpanKind.CLIENT
    for child, parent in ((step, root), (request, step)):
        assert child.parent is not None
        assert parent.context is not None
        assert child.parent.span_id == parent.context.span_id
    assert dict(request.attributes or {}) == {
        "http.request.method": "PATCH",
        "url.path": "/api/v1/namespaces/{namespace}/pods/{name}/status",
        "server.address": "h:1",
        "http.response.status_code": 200,
        "k8s.patch.type": "application/merge-patch+json",
        "k8s.field_manager": "rbg",
        "retry.count": 2,
        "rate_limit.wait_ms": 250,
    }
    assert request.status.status_code is StatusCode.UNSET  # the last attempt counts


def test_a_write_without_a_field_manager_is_that_of_the_user_agent(recorded: Recorded) -> None:  # RT-TR-03
    with recorded.tracing.request("POST", "/api/v1/namespaces/ns/pods", None, "application/json", "roleinstance/1 (x)"):
        pass
    with recorded.tracing.request("GET", "/api/v1/namespaces/ns/pods/p", None, None, "roleinstance/1 (x)"):
        pass
    created, read = recorded.spans["k8s.create pods"], recorded.spans["k8s.get pods"]
    assert (created.attributes or {})["k8s.field_manager"] == "roleinstance"
    assert not {"k8s.field_manager", "k8s.patch.type", "http.response.status_code"} & set(read.attributes or {})


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("200", StatusCode.UNSET),
        ("404", StatusCode.UNSET),
        ("409", StatusCode.UNSET),
        ("429", StatusCode.ERROR),
        ("500", StatusCode.ERROR),
        ("503", StatusCode.ERROR),
        ("<error>", StatusCode.ERROR),
    ],
)
def test_conflicts_and_missing_objects_are_no_span_errors(recorded: Recorded, code: str, status: StatusCode) -> None:
    # RT-TR-04
    with recorded.tracing.request("GET", "/api/v1/pods", None, None, "ua"):
        recorded.tracing.attempted(code, "h")
    assert recorded.spans["k8s.list pods"].status.status_code is status


def test_an_exception_alone_does_not_fail_the_span(recorded: Recorded) -> None:  # RT-TR-04
    with pytest.raises(KeyError), recorded.tracing.span("a"):
        raise KeyError("x")
    with recorded.tracing.span("b") as span:
        span.fail("bad")
        span.event("something", lambda: {"n": 1})
    spans = recorded.spans
    assert spans["a"].status.status_code is StatusCode.UNSET
    assert (spans["b"].status.status_code, spans["b"].status.description) == (StatusCode.ERROR, "bad")
    assert [e.name for e in spans["b"].events] == ["something"]


def test_links_are_no_parents(recorded: Recorded) -> None:  # RT-TR-05
    other = from_traceparent(PARENT)
    assert other is not None
    assert from_traceparent("nonsense") is None
    with recorded.tracing.span("a", links=[other]):
        pass
    with recorded.tracing.span("b") as late:
        late.link(other)
    for name in ("a", "b"):
        assert [format(link.context.span_id, "x") for link in recorded.spans[name].links] == ["123456789abcdef"]
        assert recorded.spans[name].parent is None


def test_the_server_is_told_which_span_asks(recorded: Recorded) -> None:  # RT-TR-05
    tracing = recorded.tracing
    assert not tracing.headers()
    with tracing.request("GET", "/api/v1/pods", None, None, "ua"):
        sent = tracing.headers()
    context = recorded.spans["k8s.list pods"].context
    assert context is not None
    assert sent == {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}


@pytest.mark.parametrize("header", ["traceparent", "Traceparent"])
def test_what_we_serve_belongs_to_the_callers_trace(recorded: Recorded, header: str) -> None:  # RT-TR-02, RT-TR-05
    with recorded.tracing.span("stray"), recorded.tracing.serve("admission /x", {header: PARENT}, {"a": 1}):
        pass
    with recorded.tracing.span("stray"), recorded.tracing.serve("convert", {}):
        pass
    served, alone = recorded.spans["admission /x"], recorded.spans["convert"]
    assert served.kind is alone.kind is SpanKind.SERVER
    assert served.parent is not None
    assert format(served.parent.trace_id, "032x") == PARENT[3:35]
    assert dict(served.attributes or {}) == {"a": 1}
    assert alone.parent is None


async def test_a_task_knows_its_own_latest_write(recorded: Recorded) -> None:  # RT-TR-05
    tracing = recorded.tracing

    async def write(uid: str, seconds: float) -> None:
        with tracing.request("POST", f"/api/v1/namespaces/ns/{uid}s", None, None, "ua"):
            await asyncio.sleep(seconds)
        await asyncio.sleep(0.02 - seconds)
        tracing.wrote(uid, "1")

    await asyncio.gather(write("a", 0.0), write("b", 0.01))
    for uid in "ab":
        author = tracing.writes.author((uid, "1"))
        assert author is not None
        assert author == recorded.spans[f"k8s.create {uid}s"].context


def test_unsampled_spans_build_no_attributes() -> None:  # RT-TR-08
    tracing = Tracing(TracerProvider(sampler=ALWAYS_OFF))
    with tracing.span("a", attributes=never) as span:
        assert not span.recording
        span.set(never)
        span.event("e", never)
    with tracing.request("POST", "/api/v1/pods", None, None, "ua"):
        pass
    tracing.wrote("uid", "1")
    assert not len(tracing.writes)  # nobody could follow the link


def test_current_ids(recorded: Recorded) -> None:  # RT-TR-10
    assert current_ids() is None
    with recorded.tracing.span("a"):
        ids = current_ids()
        assert ids is not None
        assert (len(ids[0]), len(ids[1])) == (32, 16)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/nodes/n", "/api/v1/nodes/{name}"),
        ("/apis/g/v1/namespaces/ns/things/t/scale", "/apis/g/v1/namespaces/{namespace}/things/{name}/scale"),
        ("/api/v1/pods", "/api/v1/pods"),
        ("/version", "/version"),
    ],
)
def test_object_names_are_taken_out_of_paths(path: str, expected: str) -> None:  # RT-TR-03
    assert template(path) == expected


@pytest.mark.looptime
async def test_an_exporter_that_hangs_does_not_hold_up_the_end() -> None:  # RT-TR-09
    class Hanging(TracerProvider):
        def shutdown(self) -> None:
            threading.Event().wait(20)

    loop = asyncio.get_running_loop()
    began = loop.time()
    await Tracing(Hanging()).shutdown(100.0)
    assert loop.time() - began == pytest.approx(5.0, abs=0.1)
    await Tracing(Hanging()).shutdown(0.5)
    assert loop.time() - began == pytest.approx(5.5, abs=0.1)


async def test_pending_spans_are_sent_at_the_end() -> None:  # RT-TR-09
    recorded = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(recorded, schedule_delay_millis=60_000))
    tracing = Tracing(provider)
    with tracing.span("a"):
        pass
    await tracing.shutdown()
    assert [span.name for span in recorded.get_finished_spans()] == ["a"]
