"""Spans: none by default, the right ones when switched on."""

import asyncio
import logging
import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from rbgctl.runtime.tracing import NO_SPAN, OncePerMinute, Tracing, current_ids, template

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


def never() -> dict[str, str]:
    raise AssertionError("attributes are not built while nothing records them")


@pytest.mark.parametrize("env", [{}, {**ON, "OTEL_SDK_DISABLED": "true"}, {**ON, "OTEL_SDK_DISABLED": "TRUE"}])
def test_off_allocates_nothing_and_builds_no_attributes(env: dict[str, str]) -> None:  # RT-TR-01
    tracing = Tracing.from_env(env)
    assert not tracing.enabled
    spans = [tracing.span("x", attributes=never, link="y") for _ in range(3)]
    assert all(span is NO_SPAN for span in spans)
    with tracing.span("x") as span:
        span.set(never)
        span.event("e", never)
        span.fail("no")
    tracing.observe_request("GET", "200", "h", "/api/v1/pods", 0.1)


def test_off_does_not_import_the_sdk() -> None:  # RT-TR-01
    code = (
        "import sys; from rbgctl.runtime import manager; from rbgctl.runtime.tracing import Tracing; "
        "Tracing.from_env({}); sys.exit(any(m.startswith('opentelemetry.sdk') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_switches_on_with_the_default_ratio(name: str) -> None:  # RT-TR-01, RT-TR-07
    tracing = Tracing.from_env({name: "http://127.0.0.1:1"})
    assert tracing.enabled
    assert tracing._provider is not None
    assert "0.05" in tracing._provider.sampler.get_description()
    assert tracing._provider.sampler.get_description().startswith("ParentBased")
    tracing._provider.shutdown()


@pytest.mark.parametrize("text", ["half", "1.5", "-1"])
def test_a_bad_ratio_is_refused(text: str) -> None:  # RT-TR-07
    with pytest.raises(ValueError, match=f"OTEL_TRACES_SAMPLER_ARG is '{text}': a ratio from 0 to 1 is wanted"):
        Tracing.from_env({**ON, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": text})


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


async def test_steps_and_requests_hang_below_the_reconcile(recorded: Recorded) -> None:  # RT-TR-02, RT-TR-03
    tracing = recorded.tracing
    with tracing.span("reconcile c", kind="consumer", attributes=lambda: {"reconcile.id": "x"}):
        with tracing.span("step observe"):
            await asyncio.sleep(0)
        tracing.observe_request("PATCH", "200", "h", "/api/v1/namespaces/ns/pods/p/status", 0.25)
        tracing.observe_request("GET", "200", "h", "/api/v1/pods?watch=1", 300.0)
    spans = recorded.spans
    assert set(spans) == {"reconcile c", "step observe", "k8s.patch pods/status"}
    root = spans["reconcile c"]
    assert root.kind is SpanKind.CONSUMER
    assert dict(root.attributes or {}) == {"reconcile.id": "x"}
    request = spans["k8s.patch pods/status"]
    assert request.kind is SpanKind.CLIENT
    for child in (request, spans["step observe"]):
        assert child.parent is not None
        assert root.context is not None
        assert child.parent.span_id == root.context.span_id
    assert request.end_time is not None
    assert request.start_time is not None
    assert request.end_time - request.start_time == 250_000_000
    assert dict(request.attributes or {}) == {
        "http.request.method": "PATCH",
        "url.path": "/api/v1/namespaces/{namespace}/pods/{name}/status",
        "server.address": "h",
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("200", StatusCode.UNSET),
        ("404", StatusCode.UNSET),
        ("409", StatusCode.UNSET),
        ("429", StatusCode.ERROR),
        ("503", StatusCode.ERROR),
        ("<error>", StatusCode.ERROR),
    ],
)
def test_conflicts_and_missing_objects_are_no_span_errors(recorded: Recorded, code: str, status: StatusCode) -> None:
    # RT-TR-04
    recorded.tracing.observe_request("GET", code, "h", "/api/v1/pods", 0.1)
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


def test_a_traceparent_becomes_a_link_not_a_parent(recorded: Recorded) -> None:  # RT-TR-05
    with recorded.tracing.span("a", link="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"):
        pass
    with recorded.tracing.span("b", link="nonsense"):
        pass
    assert [format(link.context.span_id, "x") for link in recorded.spans["a"].links] == ["123456789abcdef"]
    assert recorded.spans["a"].parent is None
    assert not recorded.spans["b"].links


def test_unsampled_spans_build_no_attributes() -> None:  # RT-TR-08
    with Tracing(TracerProvider(sampler=ALWAYS_OFF)).span("a", attributes=never) as span:
        span.set(never)
        span.event("e", never)


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
@pytest.mark.asyncio(loop_scope="function")
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


def test_export_failures_are_logged_once_a_minute() -> None:  # RT-TR-09
    now = 0.0
    once = OncePerMinute(lambda: now)
    record = logging.LogRecord("x", logging.ERROR, "", 0, "down", (), None)
    assert [once.filter(record) for _ in range(3)] == [True, False, False]
    now = 60.0
    assert once.filter(record)
