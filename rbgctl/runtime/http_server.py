"""A small HTTP server as a runnable of the manager: health, metrics, debugging, webhooks (RT-HZ-04)."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import cast

import structlog
from aiohttp import web

from rbgctl.runtime.groups import Runnable
from rbgctl.runtime.http_connection import HttpLimits, Inner, LimitedConnection, notice_answers

_log = structlog.get_logger("rbgctl.runtime.http_server")

MAX_HEADERS = 1 << 14
LINGERING_SECONDS = 2.0


class AddressError(ValueError):
    """Not an address to listen on."""


def parse_address(address: str) -> tuple[str | None, int] | None:
    """Host and port of `host:port` or `:port` (all interfaces, host None); None for "0" and "", which mean off.

    Raises AddressError for anything else.
    """
    if address in {"", "0"}:
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise AddressError(f"cannot listen on {address!r}: host:port, :port or 0 is wanted")
    return (host.strip("[]") or None), int(port)


class HttpServer:
    """Serves `app` until cancelled. `certificates`: renews the certificate of `tls` while serving."""

    def __init__(
        self,
        name: str,
        address: str,
        app: web.Application,
        *,
        tls: ssl.SSLContext | None = None,
        certificates: Runnable | None = None,
        limits: HttpLimits | None = None,
    ) -> None:
        where = parse_address(address)
        if where is None:
            raise AddressError(f"{name}: address {address!r} means off")
        self._name = name
        self.host, self._port = where
        self._app = app
        app.middlewares.insert(0, notice_answers)
        self._tls = tls
        self.certificates = certificates
        self.limits = limits or HttpLimits()
        self._started = asyncio.Event()
        self.port = self._port

    def __str__(self) -> str:
        return f"{self._name} server"

    @property
    def listening(self) -> bool:
        return self._started.is_set()

    async def ready(self) -> None:
        """Until it listens; `port` then is the port it got."""
        await self._started.wait()

    async def run(self) -> None:
        """Raises OSError, naming server and address, when it cannot listen."""
        limits = self.limits
        runner = web.AppRunner(
            self._app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=limits.idle_seconds,
            # The connection limits the head as a whole.
            max_line_size=limits.head_bytes,
            max_field_size=limits.head_bytes,
            max_headers=MAX_HEADERS,
            # A body that nobody wants is read a little longer, so that its sender gets to see the answer.
            lingering_time=LINGERING_SECONDS,
            shutdown_timeout=limits.shutdown_seconds,
        )
        await runner.setup()
        renewal: asyncio.Task[None] | None = None
        listener: asyncio.AbstractServer | None = None
        try:
            listener = await self._listen(runner)
            where = f"{self.host or ''}:{self.port}"
            _log.info("serving", server=self._name, address=where)
            if self.certificates is not None:
                renewal = asyncio.create_task(self.certificates.run(), name=str(self.certificates))
                renewal.add_done_callback(self._renewal_ended)
            self._started.set()
            await asyncio.Event().wait()
        finally:
            self._started.clear()
            if listener is not None:
                listener.close()
            try:
                await runner.cleanup()
            finally:
                if renewal is not None:
                    renewal.cancel()

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        new_connection = cast("Callable[[], Inner]", runner.server)
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: LimitedConnection(new_connection(), self.limits),
                self.host,
                self._port,
                ssl=self._tls,
                ssl_handshake_timeout=self.limits.head_seconds if self._tls is not None else None,
                backlog=128,
            )
        except OSError as error:
            where = f"{self.host or ''}:{self._port}"
            known = error.errno is not None and error.errno in errno.errorcode
            reason = os.strerror(error.errno or 0) if known else error.strerror
            raise OSError(error.errno, f"the {self} cannot listen on {where}: {reason}") from error
        # On all interfaces a free port is another one for IPv6 than for IPv4.
        sockets = sorted(server.sockets, key=lambda sock: sock.family != socket.AF_INET)
        self.port = sockets[0].getsockname()[1]
        return server

    def _renewal_ended(self, task: "asyncio.Task[None]") -> None:
        # The pair in use stays in use, so the server goes on.
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("certificates are not renewed any more", server=self._name, error=str(error))
