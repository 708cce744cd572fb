"""OpenTelemetry spans, switched on by the standard OTEL_* environment, else free of cost (RT-TR-01 to RT-TR-10).

`Tracing.from_env()` decides once. While off, `span()` returns one shared object that does nothing, attributes are
not built and the SDK is not imported.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol

from rbgctl.runtime.metrics import request_info

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

Value = str | int | float | bool
Attributes = Callable[[], Mapping[str, Value]]
Kind = Literal["internal", "client", "server", "consumer"]

DEFAULT_RATIO = 0.05
SHUTDOWN_SECONDS = 5.0
EXPORT_LOG_SECONDS = 60.0
_EXPORT_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)


class Span(Protocol):
    """What callers may do to a span."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes; the function is called only when the span is recorded."""
        ...

    def event(self, name: str, attributes: Attributes | None = None) -> None: ...

    def fail(self, text: str) -> None:
        """Mark as failed. Conflicts and missing objects are no failures (RT-TR-04)."""
        ...


class _NoSpan:
    __slots__ = ()

    def set(self, attributes: Attributes) -> None:
        return None

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        return None

    def fail(self, text: str) -> None:
        return None

    def __enter__(self) -> "Span":
        return self

    def __exit__(self, *_: object) -> None:
        return None


NO_SPAN = _NoSpan()


class Tracing:
    """Makes spans while a provider is given; without one it does nothing."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer: trace.Tracer | None = provider.get_tracer("rbgctl") if provider is not None else None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, *, service: str = "rbgctl") -> "Tracing":
        """On when an OTLP endpoint is named and the SDK is not disabled.

        Raises ValueError for a sampling ratio that is not a number from 0 to 1: the SDK would silently trace all.
        """
        disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        if disabled or not endpoint:
            return cls()
        return cls(_provider(env, service))

    @property
    def enabled(self) -> bool:
        return self._tracer is not None

    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
        link: str = "",
    ) -> AbstractContextManager[Span]:
        """A span around a block, child of the current one. `link` is a W3C traceparent to link to (RT-TR-05)."""
        if self._tracer is None:
            return NO_SPAN
        return _real_span(self._tracer, name, kind, attributes, link)

    def observe_request(self, method: str, code: str, host: str, path: str, seconds: float) -> None:
        """For `Transport(observer=...)`: a client span of an attempt that just ended. Watches get none (RT-TR-02)."""
        if self._tracer is None:
            return
        verb, resource = request_info(method, path)
        if verb == "watch":
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415 - only when tracing is on

        ended = time.time_ns()
        span = self._tracer.start_span(
            f"k8s.{verb} {resource}",
            kind=SpanKind.CLIENT,
            start_time=ended - int(seconds * 1e9),
            attributes={"http.request.method": method, "url.path": template(path), "server.address": host},
        )
        if code.isdecimal():
            span.set_attribute("http.response.status_code", int(code))
        if code == "429" or code.startswith("5") or not code.isdecimal():
            span.set_status(Status(StatusCode.ERROR, code))
        span.end(ended)

    async def shutdown(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Send what is pending; after `seconds` (never more than 5) it is left behind (RT-TR-09)."""
        provider = self._provider
        if provider is None:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def flush() -> None:
            provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop may be closed by then
                loop.call_soon_threadsafe(ended.set)

        # A daemon, not the loop's executor: an exporter that hangs must not hold up the end of the process.
        threading.Thread(target=flush, name="trace flush", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, SHUTDOWN_SECONDS)):
                await ended.wait()


class _Real:
    __slots__ = ("_span",)

    def __init__(self, span: "trace.Span") -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        if self._span.is_recording():
            self._span.set_attributes(attributes())

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        if self._span.is_recording():
            self._span.add_event(name, attributes() if attributes is not None else None)

    def fail(self, text: str) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - only when tracing is on

        self._span.set_status(Status(StatusCode.ERROR, text))


@contextlib.contextmanager
def _real_span(
    tracer: "trace.Tracer", name: str, kind: Kind, attributes: Attributes | None, link: str
) -> Iterator[Span]:
    from opentelemetry.trace import Link, SpanKind, get_current_span  # noqa: PLC0415 - only when tracing is on
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    links = []
    if link:
        found = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": link})).get_span_context()
        if found.is_valid:
            links.append(Link(found))
    with tracer.start_as_current_span(
        name, kind=SpanKind[kind.upper()], links=links, record_exception=False, set_status_on_exception=False
    ) as span:
        real = _Real(span)
        if attributes is not None:
            real.set(attributes)
        yield real


def current_ids() -> tuple[str, str] | None:
    """Trace and span id of the current span as lower-case hex, None outside of any (RT-TR-10)."""
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - the API package, not the SDK

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return format(context.trace_id, "032x"), format(context.span_id, "016x")


def template(path: str) -> str:
    """An API path with the names of objects and namespaces taken out, so that spans can be grouped."""
    parts = path.partition("?")[0].strip("/").split("/")
    start = 2 if parts[0] == "api" else 3 if parts[0] == "apis" else len(parts)
    if len(parts) > start + 1 and parts[start] == "namespaces":
        parts[start + 1] = "{namespace}"
        start += 2
    if len(parts) > start + 1:
        parts[start + 1] = "{name}"
    return "/" + "/".join(parts)


def _provider(env: Mapping[str, str], service: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    ratio = _ratio(env)
    resource = Resource.create({} if env.get("OTEL_SERVICE_NAME") else {"service.name": service})
    if env.get("OTEL_TRACES_SAMPLER"):
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    else:
        sampler = ParentBased(TraceIdRatioBased(DEFAULT_RATIO if ratio is None else ratio))
        provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    for name in _EXPORT_LOGGERS:
        logging.getLogger(name).addFilter(OncePerMinute())
    return provider


class OncePerMinute(logging.Filter):
    """Lets one line a minute through: an exporter that is down repeats itself with every batch (RT-TR-09)."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._monotonic()
        if now - self._last < EXPORT_LOG_SECONDS:
            return False
        self._last = now
        return True


def _ratio(env: Mapping[str, str]) -> float | None:
    text = env.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if not text or "ratio" not in env.get("OTEL_TRACES_SAMPLER", "traceidratio"):
        return None
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {text!r}: a ratio from 0 to 1 is wanted")
    return ratio
