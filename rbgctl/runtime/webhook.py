"""The HTTPS server that the API server calls: admission and conversion (RT-WH-01 to RT-WH-04, RT-WH-11).

    server = manager.serve_webhooks()
    serve_kind(server, POD, validator=PodRules(), defaulter=PodDefaults())

Every replica serves, leading or not, and before caches fill: their lists may need our own conversion.
"""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.admission import RAW, AdmissionEndpoint, Codec, Defaulter, Defaulting, Validating, Validator
from rbgctl.runtime.certwatcher import CertificateError, CertWatcher, server_context
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.conversion_review import ConversionEndpoint, Converter, Converters
from rbgctl.runtime.http_connection import HttpLimits
from rbgctl.runtime.http_server import HttpServer
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.webhook_call import CONVERT_PATH, DEADLINE, Answer, Call, Endpoint, admission_path

_log = structlog.get_logger("rbgctl.runtime.webhook")

PORT = 9443
DRAIN_SECONDS = 60.0
DIAL_SECONDS = 10.0
DIAL_INTERVAL = 0.05
MAX_DIGITS = 6
MAX_TIMEOUT = 30.0
SHARE_OF_TIMEOUT = 0.9
CHUNK = 256 << 10


def _default_directory() -> Path:
    return Path(tempfile.gettempdir()) / "k8s-webhook-server" / "serving-certs"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """host: empty for all interfaces. port: 0 for a free one. cert_dir holds cert_name and key_name, and
    client_ca_name when that is set: then only clients with a certificate of that authority may connect.
    """

    host: str = ""
    port: int = PORT
    cert_dir: Path = field(default_factory=_default_directory)
    cert_name: str = "tls.crt"
    key_name: str = "tls.key"
    client_ca_name: str = ""


class WebhookServer:
    """A runnable. Endpoints may be registered before and while it runs."""

    def __init__(
        self,
        options: WebhookOptions | None = None,
        *,
        registry: Registry,
        clock: Clock | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.options = options or WebhookOptions()
        self.registry = registry
        self.clock = clock or SystemClock()
        self._tracing = tracing or Tracing()
        self._routes: dict[str, _Route] = {}
        self._converters: Converters | None = None
        self._certificates: CertWatcher | None = None
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._tls = server_context()
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        self._http = HttpServer(
            "webhook",
            f"{host}:{self.options.port}",
            app,
            tls=self._tls,
            limits=HttpLimits(shutdown_seconds=DRAIN_SECONDS),
        )

    def __str__(self) -> str:
        return "webhook server"

    @property
    def port(self) -> int:
        """That it listens on, once it does."""
        return self._http.port

    @property
    def paths(self) -> Sequence[str]:
        """Registered paths."""
        return list(self._routes)

    def convert(self, gvk: GVK, converter: Converter) -> None:
        """Convert objects of this kind under `/convert`. Raises ValueError when they have another converter."""
        if self._converters is None:
            converters = Converters()
            self.register(CONVERT_PATH, ConversionEndpoint(converters, self.registry.conversion_panics, self.clock))
            self._converters = converters
        self._converters.add(gvk.group, gvk.kind, converter)

    def register(self, path: str, endpoint: Endpoint) -> None:
        """Raises ValueError when the path is taken."""
        if path in self._routes:
            raise ValueError(f"cannot register webhook path {path} twice")
        self._routes[path] = _Route(path, endpoint, self.registry)

    def reload(self) -> bool:
        """Look at the certificate files now, instead of at the next poll. True when another pair is now in use."""
        return self._certificates is not None and self._certificates.read()

    async def run(self) -> None:
        """Until cancelled; open requests then have 60 s. Raises CertificateError, or OSError when it cannot listen."""
        options = self.options
        self._http.certificates = self._certificates = CertWatcher(
            options.cert_dir / options.cert_name,
            options.cert_dir / options.key_name,
            self._tls,
            clock=self.clock,
            reads=self.registry.certificate_reads,
            errors=self.registry.certificate_errors,
        )
        if options.client_ca_name:
            require_clients_of(self._tls, options.cert_dir / options.client_ca_name)
        await self._http.run()

    async def started(self) -> None:
        """Until it answers TLS handshakes on its own port."""
        await self._http.ready()
        while True:
            try:
                await self.check()
            except RuntimeError:
                await self.clock.sleep(DIAL_INTERVAL)
            else:
                return

    async def check(self) -> None:
        """A TLS handshake with the own port, for readiness. Raises RuntimeError when it fails (RT-WH-03)."""
        if not self._http.listening:
            raise RuntimeError("webhook server has not been started")
        host = self._http.host
        nearby = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # what the certificate says is the caller's matter
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                _, writer = await asyncio.open_connection(nearby, self.port, ssl=context)
                writer.close()
                with contextlib.suppress(ConnectionError, ssl.SSLError):  # it did answer
                    await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            raise RuntimeError(f"webhook server is not reachable: {str(error) or 'timeout'}") from error

    # -- serving ----------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        route = self._routes.get(request.path)
        if route is None:
            return web.Response(status=404, text="404 page not found\n")
        began = self.clock.monotonic()
        route.in_flight.inc()
        code = 500
        try:
            with self._tracing.serve(route.endpoint.span(route.path), request.headers) as span:
                answer = await self._answer(route, request)
                if answer.status >= 500:
                    span.fail(f"HTTP {answer.status}")
            code = answer.status
            return await _send(request, answer)
        finally:
            route.in_flight.dec()
            route.seconds.observe(self.clock.monotonic() - began)
            route.count(code)

    async def _answer(self, route: "_Route", request: web.Request) -> Answer:
        began = self.clock.monotonic()
        seconds = deadline(request.query.get("timeout", ""))
        try:
            async with asyncio.timeout(seconds):
                body = await _read(request, route.endpoint.body_limit)
        except TimeoutError:
            return Answer(408, (b"the request body did not arrive in time\n",))
        left = seconds - (self.clock.monotonic() - began)
        try:
            return await route.endpoint(Call(body, request.headers.get("Content-Type", ""), left))
        except Exception:  # noqa: BLE001 - answered and logged
            _log.exception("webhook failed", path=route.path)
            return Answer(500)


class _Route:
    """An endpoint and its series, present from the start."""

    def __init__(self, path: str, endpoint: Endpoint, registry: Registry) -> None:
        self.path = path
        self.endpoint = endpoint
        self.seconds = registry.webhook_seconds.labels(path)
        self.in_flight = registry.webhook_in_flight.labels(path)
        self._requests = registry.webhook_requests
        self._codes = {code: self._requests.labels(path, str(code)) for code in (200, 500)}

    def count(self, code: int) -> None:
        if code not in self._codes:
            self._codes[code] = self._requests.labels(self.path, str(code))
        self._codes[code].inc()


def deadline(timeout: str) -> float:
    """Seconds for a call whose caller gives up after `timeout`, as in `?timeout=10s`: nine tenths of it, at most 27.

    9 when it does not say (RT-WH-11). The answer of a late handler still reaches the caller, with the reason in it.
    """
    number = timeout.removesuffix("s")
    if not timeout.endswith("s") or not number.isdecimal() or len(number) > MAX_DIGITS or not int(number):
        return DEADLINE
    return min(float(number), MAX_TIMEOUT) * SHARE_OF_TIMEOUT


def require_clients_of(context: ssl.SSLContext, authority: Path) -> None:
    """Accept only clients with a certificate of this authority. Raises CertificateError for an unusable file."""
    try:
        context.load_verify_locations(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"cannot use client CA {authority}: {error.strerror or error}") from error
    context.verify_mode = ssl.CERT_REQUIRED


async def _read(request: web.Request, limit: int | None) -> bytes:
    """The body, or the first `limit` bytes of it."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if limit is not None and size >= limit:
            break
    return b"".join(chunks)[:limit]


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    size = sum(len(part) for part in answer.parts)
    headers = {"Content-Type": "application/json"}
    if size <= CHUNK:
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    # In pieces: encrypting a large answer in one go would hold up the loop.
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = size
    await response.prepare(request)
    pending = bytearray()
    for part in answer.parts:
        for start in range(0, len(part), CHUNK):
            pending += part[start : start + CHUNK]
            if len(pending) >= CHUNK:
                await response.write(bytes(pending))
                pending.clear()
    await response.write(bytes(pending))
    await response.write_eof()
    return response


def serve_kind(
    server: WebhookServer,
    gvk: GVK,
    *,
    validator: Validator[Any] | None = None,
    defaulter: Defaulter[Any] | None = None,
    converter: Converter | None = None,
    codec: Codec[Any] = RAW,
) -> None:
    """Register the webhooks of a kind under their paths (RT-WH-02); all kinds share `/convert`.

    Raises ValueError when the kind is validated or defaulted already, or has another converter.
    """
    registry = server.registry
    endpoints: dict[str, Endpoint] = {}
    if defaulter is not None:
        handler = Defaulting(defaulter, codec)
        endpoints[admission_path("mutate", gvk)] = AdmissionEndpoint(handler, registry.webhook_panics)
    if validator is not None:
        endpoints[admission_path("validate", gvk)] = AdmissionEndpoint(
            Validating(validator, codec), registry.webhook_panics
        )
    for path, endpoint in endpoints.items():
        server.register(path, endpoint)
    if converter is not None:
        server.convert(gvk, converter)
