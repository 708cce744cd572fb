"""A small HTTP server as a runnable of the manager: health, metrics, debugging (RT-HZ-04)."""

import asyncio
import errno
import os
import ssl

import structlog
from aiohttp import web

_log = structlog.get_logger("rbgctl.runtime.http_server")

KEEP_ALIVE = 90.0
MAX_HEADER = 1 << 20


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
    """Serves `app` until cancelled. `shutdown_seconds`: how long open requests may take at the end."""

    def __init__(
        self,
        name: str,
        address: str,
        app: web.Application,
        *,
        tls: ssl.SSLContext | None = None,
        shutdown_seconds: float = 5.0,
    ) -> None:
        where = parse_address(address)
        if where is None:
            raise AddressError(f"{name}: address {address!r} means off")
        self._name = name
        self._host, self._port = where
        self._app = app
        self._tls = tls
        self._shutdown_seconds = shutdown_seconds
        self._started = asyncio.Event()
        self.port = self._port

    def __str__(self) -> str:
        return f"{self._name} server"

    async def ready(self) -> None:
        """Until it listens; `port` then is the port it got."""
        await self._started.wait()

    async def run(self) -> None:
        """Raises OSError, naming server and address, when it cannot listen."""
        runner = web.AppRunner(
            self._app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEP_ALIVE,
            max_field_size=MAX_HEADER,
            shutdown_timeout=self._shutdown_seconds,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port, ssl_context=self._tls)
            try:
                await site.start()
            except OSError as error:
                where = f"{self._host or ''}:{self._port}"
                known = error.errno is not None and error.errno in errno.errorcode
                reason = os.strerror(error.errno or 0) if known else error.strerror
                raise OSError(error.errno, f"the {self} cannot listen on {where}: {reason}") from error
            self.port = runner.addresses[0][1]
            _log.info("serving", server=self._name, address=f"{self._host or ''}:{self.port}")
            self._started.set()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
