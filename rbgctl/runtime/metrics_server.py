"""The metrics endpoint: plain HTTP, or TLS for those whom the API server authorises (RT-HZ-05, RT-HZ-06)."""

import asyncio
import datetime
import hashlib
import ipaddress
import random
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rbgctl.machinery.gvk import GVK, RawObject, Resource
from rbgctl.runtime.certwatcher import CertWatcher, Pair, ServingCertificate, load_pair, server_context
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import ApiError, TransportError
from rbgctl.runtime.http_connection import HttpLimits
from rbgctl.runtime.http_server import HttpServer
from rbgctl.runtime.metrics import Registry

_log = structlog.get_logger("rbgctl.runtime.metrics_server")

TOKEN_REVIEW = Resource(GVK("authentication.k8s.io", "v1", "TokenReview"), "tokenreviews", False)
ACCESS_REVIEW = Resource(GVK("authorization.k8s.io", "v1", "SubjectAccessReview"), "subjectaccessreviews", False)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TOKEN_SECONDS = 60.0
ALLOW_SECONDS = 300.0
DENY_SECONDS = 30.0
REVIEW_TIMEOUT = 10.0
REVIEW_TRIES = 5
MAX_CACHED = 1024
SHUTDOWN_SECONDS = 60.0


DEFAULT_ADDRESS = ":8080"
METRICS = "/metrics"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def default_certificate() -> ServingCertificate:
    """Where a pair is looked for when no files are named."""
    folder = Path(tempfile.gettempdir()) / "k8s-metrics-server" / "serving-certs"
    return ServingCertificate(folder / "tls.crt", folder / "tls.key")


def metrics_server(
    address: str,
    registry: Registry,
    *,
    secure: bool,
    certificate: ServingCertificate | None,
    client: LiveClient,
    mapper: RestMapper,
    clock: Clock,
    rng: random.Random,
    extra: Mapping[str, Handler] | None = None,
) -> HttpServer:
    """Serves /metrics and the `extra` paths; address "" is the default one, :8080.

    When secure, the files are watched; without both of them a self-signed pair for localhost is made in memory and
    stays. Raises CertificateError for files that cannot be used.
    """
    app = web.Application(middlewares=[Authoriser(client, clock, rng).middleware] if secure else [])
    app.router.add_get(METRICS, _exposition(registry))
    for path, handler in (extra or {}).items():
        app.router.add_route("*", path, handler)
    tls = watcher = None
    if secure:
        mapper.add_static(TOKEN_REVIEW, ACCESS_REVIEW)
        tls = server_context()
        files = certificate or default_certificate()
        if files.exists:
            watcher = CertWatcher(
                files.certificate,
                files.key,
                tls,
                clock=clock,
                reads=registry.certificate_reads,
                errors=registry.certificate_errors,
            )
        else:
            _log.info("serving metrics with a self-signed certificate")
            load_pair(tls, self_signed("localhost"))
    return HttpServer(
        "metrics",
        address or DEFAULT_ADDRESS,
        app,
        tls=tls,
        certificates=watcher,
        limits=HttpLimits(shutdown_seconds=SHUTDOWN_SECONDS),
    )


def _exposition(registry: Registry) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_request: web.Request) -> web.Response:
        try:
            text = registry.text()
        except Exception as error:  # noqa: BLE001 - a failing collector is answered, not fatal
            _log.exception("metrics could not be gathered")
            return web.Response(status=500, text=f"An error has occurred while serving metrics:\n\n{error}\n")
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    return handle


def self_signed(host: str) -> Pair:
    """A certificate and its key for `host` and 127.0.0.1, valid for a year."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), private)


class _Denied(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Authoriser:
    """Lets a request through when the API server knows its bearer token and allows its user the path (RT-HZ-06)."""

    def __init__(self, client: LiveClient, clock: Clock, rng: random.Random) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._users: OrderedDict[str, tuple[float, RawObject | None]] = OrderedDict()
        self._verdicts: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    @property
    def middleware(self) -> Any:
        """For `web.Application(middlewares=...)`."""

        @web.middleware
        async def authorise(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            try:
                await self._check(request)
            except _Denied as denied:
                return web.Response(status=denied.status, text=f"{denied}\n")
            return await handler(request)

        return authorise

    async def _check(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise _Denied(401, "Unauthorized")
        try:
            user = await self._user(token)
        except (ApiError, TransportError) as error:
            _log.error("token review failed", error=str(error))
            raise _Denied(500, "Authentication failed") from error
        if user is None:
            raise _Denied(401, "Unauthorized")
        name = user.get("username", "")
        try:
            allowed = await self._allowed(user, request.path, request.method.lower())
        except (ApiError, TransportError) as error:
            _log.error("access review failed", error=str(error), user=name)
            raise _Denied(500, f"Authorization for user {name} failed") from error
        if not allowed:
            raise _Denied(403, f"Authorization denied for user {name}")

    async def _user(self, token: str) -> RawObject | None:
        seen = hashlib.sha256(token.encode()).hexdigest()  # tokens themselves are not kept
        known = self._users.get(seen)
        if known is not None and known[0] > self._clock.monotonic():
            return known[1]
        status = await self._review(TOKEN_REVIEW, {"token": token})
        user = status.get("user") or {} if status.get("authenticated") else None
        if user is not None and user.get("username") == "system:anonymous":
            user = None
        _remember(self._users, seen, (self._clock.monotonic() + TOKEN_SECONDS, user))
        return user

    async def _allowed(self, user: RawObject, path: str, verb: str) -> bool:
        key = f"{user.get('username')} {user.get('uid')} {sorted(user.get('groups') or ())} {verb} {path}"
        known = self._verdicts.get(key)
        if known is not None and known[0] > self._clock.monotonic():
            return known[1]
        spec = {
            "user": user.get("username"),
            "uid": user.get("uid"),
            "groups": user.get("groups"),
            "extra": user.get("extra"),
            "nonResourceAttributes": {"path": path, "verb": verb},
        }
        status = await self._review(ACCESS_REVIEW, {k: v for k, v in spec.items() if v})
        allowed = bool(status.get("allowed"))
        seconds = ALLOW_SECONDS if allowed else DENY_SECONDS
        _remember(self._verdicts, key, (self._clock.monotonic() + seconds, allowed))
        return allowed

    async def _review(self, resource: Resource, spec: RawObject) -> RawObject:
        body = {
            "apiVersion": resource.gvk.api_version,
            "kind": resource.gvk.kind,
            "metadata": {},
            "spec": spec,
        }
        delay = 0.5
        for left in range(REVIEW_TRIES - 1, -1, -1):
            try:
                async with asyncio.timeout(REVIEW_TIMEOUT):
                    answer = await self._client.create(body)
                return answer.get("status") or {}
            except TimeoutError:
                if not left:
                    raise TransportError("timeout", f"{resource.plural}: no answer") from None
            except ApiError as error:
                if not left or (error.code < 500 and error.code != 429):
                    raise
            except TransportError:
                if not left:
                    raise
            await self._clock.sleep(delay * (1 + 0.2 * self._rng.random()))
            delay *= 1.5
        raise AssertionError  # the last try returns or raises


def _remember(cache: OrderedDict[str, Any], key: str, value: Any) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > MAX_CACHED:
        cache.popitem(last=False)
