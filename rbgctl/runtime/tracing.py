"""OpenTelemetry spans, switched on by the standard OTEL_* environment, else free of cost (RT-TR-01 to RT-TR-10).

    reconcile <controller>             root; linked to the writes that queued the key (write_links.py)
      step observe | plan | execute
        k8s.<verb> <resource>          one per request, whatever its retries
    list <gvk>                         root; a kind is read anew
    admission <path> | convert         child of what the API server says in `traceparent`

`Tracing.from_env()` decides once. While off, every method returns one shared object that does nothing, attributes are
not built and the SDK is not imported. Watches get no spans: they would never end.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, Protocol

from rbgctl.runtime.api_path import request_info, template
from rbgctl.runtime.write_links import WriteLinks

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

Value = str | int | float | bool
Attributes = Mapping[str, Value] | Callable[[], Mapping[str, Value]]
"""A function is called only when the span is recorded."""

Kind = Literal["internal", "client", "server", "consumer"]

SHUTDOWN_SECONDS = 5.0


class Span(Protocol):
    """What callers may do to a span."""

    @property
    def recording(self) -> bool:
        """Whether anybody will see what is set; False costs nothing."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        ...

    def event(self, name: str, attributes: Attributes | None = None) -> None: ...

    def link(self, to: "trace.SpanContext") -> None:
        """Name another span as a cause."""
        ...

    def fail(self, text: str) -> None:
        """Mark as failed. Conflicts and missing objects are no failures (RT-TR-04)."""
        ...


class _NoSpan:
    __slots__ = ()

    recording = False

    def set(self, attributes: Attributes) -> None:
        return None

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        return None

    def link(self, to: "trace.SpanContext") -> None:
        return None

    def fail(self, text: str) -> None:
        return None

    def __enter__(self) -> "Span":
        return self

    def __exit__(self, *_: object) -> None:
        return None


NO_SPAN = _NoSpan()


class _Request:
    """What is told of a request while its span is open."""

    __slots__ = ("attempts", "code", "host", "waited")

    def __init__(self) -> None:
        self.attempts = 0
        self.code = ""
        self.host = ""
        self.waited = 0.0


_request: ContextVar[_Request | None] = ContextVar("request", default=None)
_last_request: "ContextVar[trace.SpanContext | None]" = ContextVar("last_request", default=None)


class Tracing:
    """Makes spans while a provider is given; without one it does nothing. `writes` remembers what our spans wrote."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer: trace.Tracer | None = provider.get_tracer("rbgctl") if provider is not None else None
        self.enabled = provider is not None
        self.writes = WriteLinks()

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, *, service: str = "rbgctl") -> "Tracing":
        """On when an OTLP endpoint is named and the SDK is not disabled.

        Everything but the switch, the ratio, the protocol and the service name is read by the SDK from the process
        environment. Raises ValueError for settings that the SDK would silently replace (see `otlp.provider`).
        """
        disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        if disabled or not endpoint:
            return cls()
        from rbgctl.runtime.otlp import provider  # noqa: PLC0415 - the SDK, only when tracing is on

        return cls(provider(env, service))

    # -- spans ------------------------------------------------------------------------------------------------

    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
        links: "Sequence[trace.SpanContext]" = (),
        root: bool = False,
    ) -> AbstractContextManager[Span]:
        """A span around a block, child of the current one or a `root` (RT-TR-02)."""
        if self._tracer is None:
            return NO_SPAN
        return _real_span(self._tracer, name, kind, attributes, links, _empty() if root else None)

    def step(self, name: str) -> AbstractContextManager[Span]:
        """A phase of a reconcile."""
        if self._tracer is None:
            return NO_SPAN
        return _real_span(self._tracer, f"step {name}", "internal", None, (), None)

    def serve(
        self, name: str, headers: Mapping[str, str], attributes: Attributes | None = None
    ) -> AbstractContextManager[Span]:
        """A request that we serve (`admission <path>`, `convert`), part of the caller's trace if it names one."""
        if self._tracer is None:
            return NO_SPAN
        from opentelemetry.propagate import extract  # noqa: PLC0415 - only when tracing is on

        # Carriers are looked up by lower-case name, whatever the header's spelling.
        parent = extract({key.lower(): value for key, value in headers.items()}, context=_empty())
        return _real_span(self._tracer, name, "server", attributes, (), parent)

    def request(
        self, method: str, path: str, params: Mapping[str, str] | None, content_type: str | None, user_agent: str
    ) -> AbstractContextManager[object]:
        """A request to the API server, around all its attempts (RT-TR-02, RT-TR-03)."""
        if self._tracer is None:
            return NO_SPAN
        return _request_span(self._tracer, method, path, params or {}, content_type or "", user_agent)

    def event(self, name: str, attributes: Attributes) -> None:
        """Something happened inside the current span."""
        if self._tracer is not None:
            from opentelemetry.trace import get_current_span  # noqa: PLC0415 - only when tracing is on

            _Real(get_current_span()).event(name, attributes)

    # -- what a request is told meanwhile ---------------------------------------------------------------------

    def headers(self) -> Mapping[str, str]:
        """What tells the receiver of a request about the current span, `traceparent` by default (RT-TR-05)."""
        carrier: dict[str, str] = {}
        if self._tracer is not None:
            from opentelemetry.propagate import inject  # noqa: PLC0415 - only when tracing is on

            inject(carrier)
        return carrier

    def attempted(self, code: str, host: str) -> None:
        """The current request had an answer with this status code, or none ("<error>"). The last one counts."""
        request = _request.get()
        if request is not None:
            request.attempts += 1
            request.code, request.host = code, host

    def rate_limited(self, seconds: float) -> None:
        """The current request was held back by our own limiter."""
        request = _request.get()
        if request is not None:
            request.waited += seconds

    # -- what a write led to ----------------------------------------------------------------------------------

    def wrote(self, uid: str, version: str) -> None:
        """The latest request of this task was a write and answered with this version of an object (RT-TR-05)."""
        if self._tracer is not None:
            self.writes.wrote(uid, version, _last_request.get())

    # -- end --------------------------------------------------------------------------------------------------

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

    @property
    def recording(self) -> bool:
        return self._span.is_recording()

    def set(self, attributes: Attributes) -> None:
        if self._span.is_recording():
            self._span.set_attributes(_built(attributes))

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        if self._span.is_recording():
            self._span.add_event(name, _built(attributes) if attributes is not None else None)

    def link(self, to: "trace.SpanContext") -> None:
        self._span.add_link(to)

    def fail(self, text: str) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - only when tracing is on

        self._span.set_status(Status(StatusCode.ERROR, text))


def _built(attributes: Attributes) -> Mapping[str, Value]:
    return attributes() if callable(attributes) else attributes


def _empty() -> "Context":
    from opentelemetry.context import Context  # noqa: PLC0415 - only when tracing is on

    return Context()


@contextlib.contextmanager
def _real_span(
    tracer: "trace.Tracer",
    name: str,
    kind: Kind,
    attributes: Attributes | None,
    links: "Sequence[trace.SpanContext]",
    context: "Context | None",
) -> Iterator[Span]:
    from opentelemetry.trace import Link, SpanKind  # noqa: PLC0415 - only when tracing is on

    with tracer.start_as_current_span(
        name,
        context=context,
        kind=SpanKind[kind.upper()],
        links=[Link(to) for to in links],
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        real = _Real(span)
        if attributes is not None:
            real.set(attributes)
        yield real


@contextlib.contextmanager
def _request_span(
    tracer: "trace.Tracer", method: str, path: str, params: Mapping[str, str], content_type: str, user_agent: str
) -> Iterator[None]:
    verb, resource = request_info(method, path)
    with _real_span(tracer, f"k8s.{verb} {resource}", "client", None, (), None) as span:
        request = _Request()
        token = _request.set(request)
        try:
            yield
        finally:
            _request.reset(token)
            span.set(lambda: _request_attributes(method, path, params, content_type, user_agent, request))
            if request.code in {"429", "<error>"} or request.code.startswith("5"):
                span.fail(request.code)
            _last_request.set(_sampled_context())


def _request_attributes(
    method: str, path: str, params: Mapping[str, str], content_type: str, user_agent: str, request: _Request
) -> Mapping[str, Value]:
    found: dict[str, Value] = {
        "http.request.method": method,
        "url.path": template(path),
        "retry.count": max(request.attempts - 1, 0),
        "rate_limit.wait_ms": round(request.waited * 1000),
    }
    if request.host:
        found["server.address"] = request.host
    if request.code.isdecimal():
        found["http.response.status_code"] = int(request.code)
    if method == "PATCH":
        found["k8s.patch.type"] = content_type
    if method not in {"GET", "DELETE"}:
        # Without the parameter the server takes the User-Agent's product (RT-ID-05).
        found["k8s.field_manager"] = params.get("fieldManager") or user_agent.partition("/")[0]
    return found


def _sampled_context() -> "trace.SpanContext | None":
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - only when tracing is on

    context = get_current_span().get_span_context()
    return context if context.trace_flags.sampled else None


def from_traceparent(text: str) -> "trace.SpanContext | None":
    """The span that a W3C traceparent names; None when it names none."""
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - only when tracing is on
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    found = TraceContextTextMapPropagator().extract({"traceparent": text}, context=_empty())
    context = get_current_span(found).get_span_context()
    return context if context.is_valid else None


def current_ids() -> tuple[str, str] | None:
    """Trace and span id of the current span as lower-case hex, None outside of any (RT-TR-10)."""
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - the API package, not the SDK

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return format(context.trace_id, "032x"), format(context.span_id, "016x")
