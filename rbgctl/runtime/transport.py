"""HTTP to one API server: separate connection pools, retries, dead-peer detection (RT-CF-09..12, RT-CL-20..22).

Knows paths and bytes, nothing of kinds. One Transport serves all clients of a process; each request names the
User-Agent of the client that sends it, since the API server takes the field manager from it (RT-ID-05).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import aiohttp
import structlog

from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.errors import LeadershipUncertain, TransportError

_log = structlog.get_logger("rbgctl.runtime.transport")

MAX_RETRIES = 10
CONNECT_TIMEOUT = 30.0
REQUEST_TIMEOUT = 60.0


class Pool(Enum):
    """Which connections a request uses: a watch occupies one for its whole life and must not starve the rest."""

    UNARY = "unary"
    WATCH = "watch"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RequestObserver(Protocol):
    """Told about every attempt: HTTP verb, status code or "<error>", host, path and seconds."""

    def __call__(self, method: str, code: str, host: str, path: str, seconds: float) -> None: ...


WriteGate = Callable[[], float]
"""Seconds for which writes are still safe; zero or less refuses them (RT-LE-32)."""


def _no_observer(method: str, code: str, host: str, path: str, seconds: float) -> None:
    return None


class LineSplitter:
    """Cuts a byte stream into lines of any length, however it was chunked (RT-RF-18). Empty lines are dropped."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        if b"\n" not in chunk:
            self._rest += chunk
            return []
        first, *others = chunk.split(b"\n")
        lines = [bytes(self._rest) + first, *others[:-1]]
        self._rest = bytearray(others[-1])
        return [line for line in lines if line and line != b"\r"]


class Transport:
    """Use as an async context manager, or call `close()`.

    observer: hears of every attempt (metrics). gate: consulted before every attempt of a write unless the caller
    says `gated=False` (Leases, election events).
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        clock: Clock | None = None,
        observer: RequestObserver = _no_observer,
        gate: WriteGate | None = None,
        compress: bool = False,
    ) -> None:
        self.config = config
        self.gate = gate
        self._clock = clock or SystemClock()
        self._observer = observer
        self._encoding = "gzip" if compress else "identity"
        self._ssl: ssl.SSLContext | None = config.ssl_context()
        self._sessions: dict[Pool, aiohttp.ClientSession] = {}
        self._warned: set[str] = set()

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def _session(self, pool: Pool) -> aiohttp.ClientSession:
        session = self._sessions.get(pool)
        if session is None:
            limits = {Pool.UNARY: 64, Pool.WATCH: 0, Pool.LEASE: 2}
            reuse: dict[str, Any] = {"force_close": True} if pool is Pool.WATCH else {"keepalive_timeout": 75.0}
            connector = aiohttp.TCPConnector(
                limit=limits[pool],
                limit_per_host=0,
                ssl=self._ssl if self._ssl is not None else True,
                socket_factory=_watch_socket if pool is Pool.WATCH else _unary_socket,
                **reuse,
            )
            session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=True,
                trust_env=self.config.proxy is None,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                read_bufsize=1 << 18,
                skip_auto_headers=("User-Agent", "Accept"),
            )
            self._sessions[pool] = session
        return session

    def _headers(self, accept: str, content_type: str | None, user_agent: str) -> dict[str, str]:
        headers = {"Accept": accept, "Accept-Encoding": self._encoding, "User-Agent": user_agent}
        if content_type:
            headers["Content-Type"] = content_type
        headers.update(self.config.impersonate)
        headers.update(self.config.credential.headers())
        return headers

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.config.proxy:
            options["proxy"] = self.config.proxy
        if self.config.tls_server_name:
            options["server_hostname"] = self.config.tls_server_name
        return options

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        accept: str = "application/json",
        pool: Pool = Pool.UNARY,
        timeout: float = REQUEST_TIMEOUT,
        user_agent: str = "rbgctl",
        gated: bool = True,
    ) -> Response:
        """One call, with the retries that are safe. `timeout` seconds span all attempts.

        Raises TransportError when no answer came, LeadershipUncertain when the gate is shut. Any answer, good or
        bad, is returned.
        """
        write = method not in {"GET", "HEAD"}
        started = self._clock.monotonic()
        refreshed = False
        attempt = 0
        while True:
            left = timeout - (self._clock.monotonic() - started)
            if write and gated and self.gate is not None:
                safe = self.gate()
                if safe <= 0:
                    raise LeadershipUncertain(f"not sending {method} {path}: leadership may have been lost")
                left = min(left, safe)
            if left <= 0:
                raise TransportError("timeout", f"{method} {path}: no answer within {timeout:g} s")
            try:
                response = await self._once(
                    method, path, params, body, self._headers(accept, content_type, user_agent), pool, left
                )
            except TransportError as error:
                if write or error.kind not in {"reset", "eof"} or attempt >= MAX_RETRIES:
                    raise
                attempt += 1
                await self._clock.sleep(1.0)
                continue
            if response.status == 401 and not refreshed and self.config.credential.on_unauthorized():
                refreshed = True
                continue
            delay = _retry_delay(response)
            if delay is None or attempt >= MAX_RETRIES:
                return response
            if self._clock.monotonic() - started + delay >= timeout:
                return response
            attempt += 1
            await self._clock.sleep(delay)

    async def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str],
        pool: Pool,
        seconds: float,
    ) -> Response:
        began = self._clock.monotonic()
        code = "<error>"
        try:
            async with (
                asyncio.timeout(seconds),
                self._session(pool).request(
                    method,
                    self.config.server + path,
                    params=params,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    **self._options(),
                ) as answer,
            ):
                payload = await answer.read()
                code = str(answer.status)
                self._warn(answer.headers.getall("Warning", ()))
                return Response(answer.status, answer.headers, payload)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _transport_error(error, f"{method} {path}") from error
        finally:
            self._observer(method, code, self.config.host, path, self._clock.monotonic() - began)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        idle_timeout: float,
        total_timeout: float,
        accept: str = "application/json",
        user_agent: str = "rbgctl",
    ) -> AsyncIterator["LineStream"]:
        """Open a watch. The context value has the status and yields batches of lines.

        `idle_timeout` seconds without a byte, or `total_timeout` in all, end the stream with TransportError timeout
        (RT-RF-16); the idle timer runs only while waiting for the server and covers the response headers.
        """
        began = self._clock.monotonic()
        code = "<error>"
        answer: aiohttp.ClientResponse | None = None
        try:
            try:
                async with asyncio.timeout(idle_timeout):
                    answer = await self._session(Pool.WATCH).get(
                        self.config.server + path,
                        params=params,
                        headers=self._headers(accept, None, user_agent),
                        allow_redirects=False,
                        **self._options(),
                    )
                if answer.status == 401:
                    self.config.credential.on_unauthorized()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise _transport_error(error, f"watch {path}") from error
            code = str(answer.status)
            self._warn(answer.headers.getall("Warning", ()))
            yield LineStream(answer, idle_timeout, began + total_timeout, self._clock, path)
        finally:
            if answer is not None:
                answer.close()
            self._observer("GET", code, self.config.host, path, self._clock.monotonic() - began)

    def _warn(self, warnings: Any) -> None:
        for text in warnings:
            if text not in self._warned and len(self._warned) < 1000:
                self._warned.add(text)
                _log.warning("the API server warns", warning=text.partition(" - ")[2].strip('"') or text)


class LineStream:
    """An open watch: `status`, and `batches()` of complete lines as they arrive."""

    def __init__(
        self, answer: aiohttp.ClientResponse, idle_timeout: float, ends_at: float, clock: Clock, path: str
    ) -> None:
        self._answer = answer
        self._idle = idle_timeout
        self._ends_at = ends_at
        self._clock = clock
        self._path = path
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def body(self) -> bytes:
        """The whole body, for an answer that is not a stream (an error)."""
        try:
            async with asyncio.timeout(self._idle):
                return await self._answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _transport_error(error, f"watch {self._path}") from error

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Lines as they arrive, several at once when several are there. Half a line at the end is discarded."""
        splitter = LineSplitter()
        while True:
            left = min(self._idle, self._ends_at - self._clock.monotonic())
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    chunk = await self._answer.content.readany()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise _transport_error(error, f"watch {self._path}") from error
            if not chunk:
                return
            lines = splitter.feed(chunk)
            if lines:
                yield lines


def _retry_delay(response: Response) -> float | None:
    if response.status != 429 and response.status < 500:
        return None
    header = response.headers.get("Retry-After", "")
    return float(header) if header.isdecimal() else None


def _transport_error(error: BaseException, what: str) -> TransportError:
    match error:
        case TimeoutError():
            return TransportError("timeout", f"{what}: timed out")
        case aiohttp.ClientConnectorDNSError():
            return TransportError("dns", f"{what}: {error}")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return TransportError("tls", f"{what}: {error}")
        case aiohttp.ClientConnectorError():
            refused = isinstance(error.os_error, ConnectionRefusedError)
            return TransportError("refused" if refused else "reset", f"{what}: {error}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return TransportError("eof", f"{what}: the server closed the connection")
        case ConnectionRefusedError():
            return TransportError("refused", f"{what}: {error}")
        case _:
            return TransportError("reset", f"{what}: {error or type(error).__name__}")


def _keepalive(family: int, kind: int, protocol: int) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return sock


def _watch_socket(address: Any) -> socket.socket:
    return _keepalive(address[0], address[1], address[2])


def _unary_socket(address: Any) -> socket.socket:
    sock = _keepalive(address[0], address[1], address[2])
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    return sock
