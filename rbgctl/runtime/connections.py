"""Connection pools to one API server: sockets that notice dead peers, TLS that follows rotated certificates.

HTTP/1.1 needs a connection per watch, so watches have a pool of their own and cannot starve other calls (RT-CF-10).
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any

import aiohttp
import structlog
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from rbgctl.runtime.clock import Clock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.errors import TransportError

_log = structlog.get_logger("rbgctl.runtime.connections")

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 35.0
UNARY_CONNECTIONS = 64
KEEP_ALIVE = 75.0
FILE_CHECK_SECONDS = 1.0


class Pool(Enum):
    """Which connections a request uses: a watch occupies one for its whole life and must not starve the rest."""

    UNARY = "unary"
    WATCH = "watch"
    LEASE = "lease"


_LIMITS = {Pool.UNARY: UNARY_CONNECTIONS, Pool.WATCH: 0, Pool.LEASE: 2}


@dataclass(slots=True, eq=False)
class _Lent:
    """A session and how many requests use it; a retired one closes with the last of them."""

    session: aiohttp.ClientSession
    users: int = 0
    retired: bool = False


class Connections:
    """One aiohttp session per pool, made when first used."""

    def __init__(self, config: ClusterConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._ssl = config.ssl_context()
        self._pair = config.credential.client_cert()
        self._sessions: dict[Pool, _Lent] = {}
        self._checked_at = clock.monotonic()

    @contextlib.asynccontextmanager
    async def session(self, pool: Pool) -> AsyncIterator[aiohttp.ClientSession]:
        """The pool's session for the length of one request."""
        await self.follow_files()
        lent = self._sessions.get(pool)
        if lent is None:
            lent = self._sessions[pool] = _Lent(self._open(pool))
        lent.users += 1
        try:
            yield lent.session
        finally:
            lent.users -= 1
            if lent.retired and not lent.users:
                await lent.session.close()

    async def rotate(self, *, cut_watches: bool = False) -> None:
        """Use a new TLS context from now on. Running requests end on the old connections, then those are closed;
        `cut_watches` ends running watches at once (they resume where they were).
        """
        self._ssl = self._config.ssl_context()
        old, self._sessions = self._sessions, {}
        for pool, lent in old.items():
            lent.retired = True
            if not lent.users or (cut_watches and pool is Pool.WATCH):
                await lent.session.close()

    async def close(self) -> None:
        old, self._sessions = self._sessions, {}
        for lent in old.values():
            await lent.session.close()

    async def follow_files(self) -> None:
        """Look at certificate files, at most once a second, and at the credential's; replace connections if changed."""
        pair = self._config.credential.client_cert()
        changed = pair != self._pair
        self._pair = pair
        now = self._clock.monotonic()
        if now - self._checked_at >= FILE_CHECK_SECONDS:
            self._checked_at = now
            certificate = self._config.client_cert
            if self._config.reload():
                _log.info("certificate files changed, opening new connections")
                await self.rotate(cut_watches=changed or certificate != self._config.client_cert)
                return
        if changed:
            await self.rotate(cut_watches=True)

    def _open(self, pool: Pool) -> aiohttp.ClientSession:
        watch = pool is Pool.WATCH
        # A fresh connection per watch lets load balancers spread them anew.
        reuse: dict[str, Any] = {"force_close": True} if watch else {"keepalive_timeout": KEEP_ALIVE}
        connector = _Connector(
            limit=_LIMITS[pool],
            limit_per_host=0,
            ssl=self._ssl if self._ssl is not None else True,
            socket_factory=_watch_socket if watch else _unary_socket,
            **reuse,
        )
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=True,
            # Proxies come from the configuration; aiohttp's own reading of the environment would also send netrc
            # passwords to the API server.
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_send_once,),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT, sock_read=None if watch else READ_TIMEOUT
            ),
            read_bufsize=1 << 18,
            skip_auto_headers=("User-Agent", "Accept"),
        )


_last_word: ContextVar[Callable[[], None] | None] = ContextVar("last word before a request is sent", default=None)


@contextlib.contextmanager
def last_word(ask: Callable[[], None]) -> Iterator[None]:
    """`ask` is called for a request of the current task once it has a connection, right before anything is sent.

    Waiting for one, or opening it, may take long; a process that was paused there would send what it no longer may.
    What `ask` raises is what becomes of the request; the connection is kept for the next one.
    """
    token = _last_word.set(ask)
    try:
        yield
    finally:
        _last_word.reset(token)


class _Connector(aiohttp.TCPConnector):
    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        ask = _last_word.get()
        if ask is not None:
            try:
                ask()
            except BaseException:
                connection.release()
                raise
        return connection


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # aiohttp sends GET, PUT and DELETE again when a connection breaks. A write must not be: its first attempt may
    # have been carried out, and the second would pass the write gate unseen (RT-CL-21, RT-LE-37).
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise transport_error(error, f"{request.method} {request.url.path}") from error


_BROKEN = ConnectionResetError, ConnectionAbortedError, BrokenPipeError


def transport_error(error: BaseException, what: str) -> TransportError:
    """Which kind of missing answer an exception of the HTTP library means (RT-ER-23).

    "refused", "dns" and "tls" mean that the server has not seen the request.
    """
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__
    number = next((e.errno for e in (error, cause) if isinstance(e, OSError) and e.errno), None)
    match error:
        case TimeoutError():
            return TransportError("timeout", f"{what}: timed out")
        case aiohttp.ClientHttpProxyError():
            text = f"{what}: the proxy answered {error.status} {error.message} instead of connecting to the server"
            return TransportError("refused", text)
        case aiohttp.ClientConnectorDNSError():
            return TransportError("dns", f"{what}: {error}")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return TransportError("tls", f"{what}: {error}")
        case _ if isinstance(cause, ssl.SSLError):
            # With TLS 1.3 a refused client certificate is told after the handshake.
            return TransportError("tls", f"{what}: {cause}")
        case _ if number == errno.ETIMEDOUT:
            return TransportError("timeout", f"{what}: {error}")
        case aiohttp.ClientConnectorError() if not isinstance(cause, _BROKEN):
            return TransportError("refused", f"{what}: {error}")
        case aiohttp.ClientPayloadError() if isinstance(cause, OSError):
            return TransportError("reset", f"{what}: {cause}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return TransportError("eof", f"{what}: the server closed the connection")
        case ConnectionRefusedError():
            return TransportError("refused", f"{what}: {error}")
        case _:
            return TransportError("reset", f"{what}: {str(error) or type(error).__name__}")


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
