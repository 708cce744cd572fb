"""A receiver of OTLP over HTTP: keeps what exporters send to /v1/traces."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

KINDS = {1: "internal", 2: "server", 3: "client", 5: "consumer"}
ERROR = 2


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it arrived; ids are lower-case hex, a root has the parent ""."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: tuple[tuple[str, str], ...]
    attributes: Mapping[str, Any]
    failed: bool
    began: int
    ended: int
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """One request of an exporter."""

    path: str
    headers: Mapping[str, str]
    resource: Mapping[str, Any]
    spans: int


class Receiver:
    """Use `running()`. `spans` and `exports` in order of arrival."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Received] = []
        self.exports: list[Export] = []
        self._progress = asyncio.Condition()

    async def until(self, judge: Callable[[list[Received]], bool], *, timeout: float = 60.0) -> list[Received]:
        """All spans so far, once `judge` likes them."""
        async with asyncio.timeout(timeout), self._progress:
            await self._progress.wait_for(lambda: judge(self.spans))
        return list(self.spans)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has undone the Content-Encoding
        message = ExportTraceServiceRequest.FromString(body)
        count = 0
        resource: dict[str, Any] = {}
        for group in message.resource_spans:
            resource = {a.key: _value(a.value) for a in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    count += 1
                    self.spans.append(_received(span))
        self.exports.append(Export(request.path, dict(request.headers), resource, count))
        async with self._progress:
            self._progress.notify_all()
        return web.Response(content_type="application/x-protobuf")

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Receiver"]:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


def _received(span: Any) -> Received:
    return Received(
        name=span.name,
        kind=KINDS[span.kind],
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes={a.key: _value(a.value) for a in span.attributes},
        failed=span.status.code == ERROR,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        events=tuple(e.name for e in span.events),
    )


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value"))
