"""What the OTEL_* environment does, seen by a receiver."""

import asyncio
import logging
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from unit.runtime.otlp_receiver import Receiver

from rbgctl.runtime import otlp
from rbgctl.runtime.otlp import OncePerMinute
from rbgctl.runtime.testing.certificates import Authority
from rbgctl.runtime.tracing import Tracing

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
NOWHERE = {ENDPOINT: "http://127.0.0.1:1"}
ALL = {"OTEL_TRACES_SAMPLER": "always_on"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without names of whoever runs the tests: OTEL_*, and bundles that requests prefers to any given one."""
    for name in os.environ:
        if name.startswith("OTEL_") or name in {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}:
            monkeypatch.delenv(name)
    return monkeypatch


class Trial:
    """Sends spans as an environment says and shows what arrived."""

    def __init__(self, environment: pytest.MonkeyPatch, receiver: Receiver) -> None:
        self._environment = environment
        self.receiver = receiver

    def tracing(self, **env: str) -> Tracing:
        for name, value in env.items():
            self._environment.setenv(name, value)
        return Tracing.from_env()

    async def send(self, count: int = 1, **env: str) -> None:
        """Spans 0, 1, ... with three attributes each; returns when they were sent or given up."""
        tracing = self.tracing(**{ENDPOINT: self.receiver.url, **ALL, **env})
        for n in range(count):
            with tracing.span(str(n), attributes={"a": 1, "b": 2, "c": 3}):
                pass
        await tracing.shutdown()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.receiver.spans]


@pytest.fixture
async def trial(environment: pytest.MonkeyPatch) -> "Trial":
    return Trial(environment, Receiver())


# ---- the switch and the sampler ----


@pytest.mark.parametrize("name", [ENDPOINT, TRACES_ENDPOINT])
def test_an_endpoint_switches_on_with_the_default_ratio(name: str) -> None:  # RT-TR-01, RT-TR-07
    tracing = Tracing.from_env({name: "http://127.0.0.1:1"})
    assert tracing.enabled
    assert tracing._provider is not None
    sampler = tracing._provider.sampler.get_description()
    assert sampler.startswith("ParentBased")
    assert "0.05" in sampler
    tracing._provider.shutdown()


@pytest.mark.parametrize("text", ["half", "1.5", "-1", "nan"])
@pytest.mark.parametrize("sampler", [{}, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}], ids=["default", "set"])
def test_a_bad_ratio_is_refused(text: str, sampler: dict[str, str]) -> None:  # RT-TR-07
    with pytest.raises(ValueError, match=f"OTEL_TRACES_SAMPLER_ARG is '{text}': a ratio from 0 to 1 is wanted"):
        Tracing.from_env({**NOWHERE, **sampler, "OTEL_TRACES_SAMPLER_ARG": text})


def test_a_sampler_without_a_ratio_may_have_any_argument() -> None:
    tracing = Tracing.from_env({**NOWHERE, **ALL, "OTEL_TRACES_SAMPLER_ARG": "x"})
    assert tracing.enabled


@pytest.mark.parametrize(
    ("env", "arrives"),
    [
        ({}, True),
        ({"OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, False),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, True),
        ({"OTEL_TRACES_SAMPLER": "", "OTEL_TRACES_SAMPLER_ARG": "1"}, True),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, True),
        ({"OTEL_BSP_EXPORT_TIMEOUT": "2000"}, True),
    ],
    ids=lambda value: ",".join(f"{k[5:]}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
async def test_switch_sampler_and_protocol(trial: Trial, env: dict[str, str], arrives: bool) -> None:  # RT-TR-06
    async with trial.receiver.running():
        await trial.send(**env)
    assert trial.names == (["0"] if arrives else [])


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
@pytest.mark.parametrize("protocol", ["grpc", "http/json"])
def test_another_protocol_is_refused(name: str, protocol: str) -> None:  # RT-TR-06
    with pytest.raises(ValueError, match=f"{name} is '{protocol}': only http/protobuf is supported"):
        Tracing.from_env({**NOWHERE, name: protocol})


# ---- where and how it is sent ----


async def test_the_general_endpoint_gets_a_path_and_the_one_for_traces_does_not(trial: Trial) -> None:  # RT-TR-06
    async with trial.receiver.running():
        await trial.send(**{ENDPOINT: f"{trial.receiver.url}/base"})
        await trial.send(**{TRACES_ENDPOINT: f"{trial.receiver.url}/verbatim"})
    assert [export.path for export in trial.receiver.exports] == ["/base/v1/traces", "/verbatim"]


@pytest.mark.parametrize(
    ("env", "service", "zone"),
    [
        ({}, "rbgctl", None),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine", None),
        ({"OTEL_RESOURCE_ATTRIBUTES": "zone=a"}, "rbgctl", "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "zone=a, service.name=theirs"}, "theirs", "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs", "OTEL_SERVICE_NAME": "mine"}, "mine", None),
    ],
)
async def test_the_resource_is_named(trial: Trial, env: dict[str, str], service: str, zone: str | None) -> None:
    # RT-TR-06
    async with trial.receiver.running():
        await trial.send(**env)
    (export,) = trial.receiver.exports
    assert (export.resource["service.name"], export.resource.get("zone")) == (service, zone)


@pytest.mark.parametrize("infix", ["", "TRACES_"])
async def test_headers_and_compression(trial: Trial, infix: str) -> None:  # RT-TR-06
    async with trial.receiver.running():
        await trial.send()
        await trial.send(
            **{
                f"OTEL_EXPORTER_OTLP_{infix}HEADERS": "x-tenant=blue",
                f"OTEL_EXPORTER_OTLP_{infix}COMPRESSION": "gzip",
            }
        )
    plain, rich = (e.headers for e in trial.receiver.exports)
    assert (plain.get("x-tenant"), plain.get("Content-Encoding")) == (None, None)
    assert (rich.get("x-tenant"), rich.get("Content-Encoding")) == ("blue", "gzip")
    assert plain["Content-Type"] == "application/x-protobuf"


async def test_the_timeout_ends_an_export_that_nobody_answers(trial: Trial) -> None:  # RT-TR-06
    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    trial.receiver._take = never  # type: ignore[method-assign]
    async with trial.receiver.running():
        began = time.monotonic()
        await trial.send(OTEL_EXPORTER_OTLP_TIMEOUT="1")
        assert time.monotonic() - began < 4.5  # 5 s is what the shutdown would wait at most


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[ssl.SSLContext, dict[str, str]]:
    """A server that wants certificates, and files for a client."""
    authority = Authority()
    files = {}
    for name, (cert, key) in {"server": authority.server(["127.0.0.1"]), "client": authority.client("me")}.items():
        for kind, data in (("crt", cert), ("key", key)):
            files[f"{name}.{kind}"] = path = tmp_path / f"{name}.{kind}"
            path.write_bytes(data)
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files["server.crt"], files["server.key"])
    return context, {
        "CERTIFICATE": str(ca),
        "CLIENT_CERTIFICATE": str(files["client.crt"]),
        "CLIENT_KEY": str(files["client.key"]),
    }


@pytest.mark.parametrize("missing", ["", "CERTIFICATE", "CLIENT_CERTIFICATE"])
async def test_certificates_of_both_sides(
    trial: Trial, certificates: tuple[ssl.SSLContext, dict[str, str]], missing: str
) -> None:  # RT-TR-06
    context, files = certificates
    without = {missing} | ({"CLIENT_KEY"} if missing == "CLIENT_CERTIFICATE" else set())
    env = {f"OTEL_EXPORTER_OTLP_{name}": path for name, path in files.items() if name not in without}
    async with trial.receiver.running(context):
        await trial.send(**env, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    assert trial.names == ([] if missing else ["0"])


# ---- batches and limits ----


async def test_batches_are_sent_after_the_delay_and_not_larger_than_allowed(trial: Trial) -> None:  # RT-TR-06
    async with trial.receiver.running():
        tracing = trial.tracing(
            **{ENDPOINT: trial.receiver.url, **ALL},
            OTEL_BSP_SCHEDULE_DELAY="50",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="3",
        )
        for n in range(7):
            with tracing.span(str(n)):
                pass
        await trial.receiver.until(lambda spans: len(spans) == 7, timeout=4.0)  # the default delay is 5 s
        await tracing.shutdown()
    assert all(export.spans <= 3 for export in trial.receiver.exports)
    assert len(trial.receiver.exports) >= 3


async def test_the_queue_keeps_the_latest(trial: Trial) -> None:  # RT-TR-06
    async with trial.receiver.running():
        tracing = trial.tracing(
            **{ENDPOINT: trial.receiver.url, **ALL},
            OTEL_BSP_SCHEDULE_DELAY="60000",
            OTEL_BSP_MAX_QUEUE_SIZE="4",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        )
        assert tracing._provider is not None
        (processor,) = tracing._provider._active_span_processor._span_processors
        with processor._batch_processor._export_lock:  # type: ignore[attr-defined]  # an export that takes long
            for n in range(10):
                with tracing.span(str(n)):
                    pass
        await tracing.shutdown()
    assert sorted(trial.names) == ["6", "7", "8", "9"]


async def test_spans_have_no_more_attributes_than_allowed(trial: Trial) -> None:  # RT-TR-06
    async with trial.receiver.running():
        await trial.send(OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="2")
    (span,) = trial.receiver.spans
    assert len(span.attributes) == 2


HEADERS = """
import os
from opentelemetry.sdk.trace import TracerProvider
from rbgctl.runtime.tracing import Tracing
tracing = Tracing(TracerProvider())
with tracing.span("x"):
    print(*tracing.headers())
"""


@pytest.mark.parametrize(("propagators", "names"), [("", "traceparent\n"), ("none", "\n"), ("baggage", "\n")])
def test_propagators(propagators: str, names: str) -> None:  # RT-TR-06
    env = {**os.environ, "OTEL_PROPAGATORS": propagators}
    done = subprocess.run([sys.executable, "-c", HEADERS], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == names


def test_an_unknown_propagator_is_refused_at_the_start() -> None:  # RT-TR-06
    env = {**os.environ, **NOWHERE, "OTEL_PROPAGATORS": "pigeon"}
    code = "from rbgctl.runtime.tracing import Tracing; Tracing.from_env()"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "ValueError: Propagator pigeon not found" in done.stderr


# ---- a receiver that is not there ----


def test_export_failures_are_logged_once_a_minute() -> None:  # RT-TR-09
    now = 0.0
    once = OncePerMinute(lambda: now)
    record = logging.LogRecord("x", logging.ERROR, "", 0, "down", (), None)
    assert [once.filter(record) for _ in range(3)] == [True, False, False]
    now = 60.0
    assert once.filter(record)


async def test_a_receiver_that_is_down_is_logged_once(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # RT-TR-09
    environment.setattr(otlp, "_once_per_minute", OncePerMinute())
    for logger in otlp._EXPORT_LOGGERS:
        environment.setattr(logging.getLogger(logger), "filters", [])
    for name, value in {**NOWHERE, **ALL, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}.items():
        environment.setenv(name, value)
    tracing = Tracing.from_env()
    assert tracing._provider is not None
    for _ in range(3):
        with tracing.span("x"):
            pass
        await asyncio.to_thread(tracing._provider.force_flush)
    await tracing.shutdown()
    lines = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [(r.name, r.levelname) for r in lines] == [(otlp._EXPORT_LOGGERS[0], "ERROR")]


class Stuck(SpanExporter):
    """Never answers until released; notes which thread waits."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.threads: set[int] = set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.threads.add(threading.get_ident())
        self.released.wait(20)
        return SpanExportResult.FAILURE


async def test_an_exporter_that_is_stuck_never_holds_up_a_reconcile() -> None:  # RT-TR-09
    stuck = Stuck()
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(stuck, schedule_delay_millis=1, max_queue_size=8, max_export_batch_size=4)
    )
    tracing = Tracing(provider)
    for _ in range(1000):  # far more than fit into the queue
        with tracing.span("x"):
            pass
    await asyncio.sleep(0.05)
    assert len(stuck.threads) == 1
    assert threading.get_ident() not in stuck.threads
    stuck.released.set()
    await tracing.shutdown()
