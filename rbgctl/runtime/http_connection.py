"""Limits of an HTTP connection that the HTTP library does not have: size of a request head and time to send it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from aiohttp import web

MAX_HEAD = 1 << 20
_END = b"\r\n\r\n"
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n431 Request Header Fields Too Large"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """head_bytes: request line and headers together. Seconds: to send them, idle between requests, and for open
    requests when the server stops (RT-HZ-04).
    """

    head_bytes: int = MAX_HEAD
    head_seconds: float = 32.0
    idle_seconds: float = 90.0
    shutdown_seconds: float = 5.0


class Inner(Protocol):
    """The protocol that does the work."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> Any: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class LimitedConnection(asyncio.Protocol):
    """Hands everything to `inner`; ends the connection when a head is too large (431) or too slow (silently).

    State: "idle" before the first byte of a request, "head" until the empty line after its headers, "busy" until it
    is answered, "over" when the body was not read to its end (what follows cannot be told from a head any more).
    """

    def __init__(self, inner: Inner, limits: HttpLimits) -> None:
        self._inner = inner
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._state: Literal["idle", "head", "busy", "over"] = "idle"
        self._size = 0
        self._tail = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is one only by its methods
        self._begin_head()  # a new connection is expected to ask at once
        self._inner.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._transport = None
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._state == "idle":
            self._begin_head()
        if self._state == "head" and self._exceeds(data):
            if self._transport is not None:
                self._transport.write(_TOO_LARGE)
                self._transport.close()
            return
        self._inner.data_received(data)

    def eof_received(self) -> Any:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def answered(self, *, whole: bool) -> None:
        """The request is answered; `whole`: its body was read to the end."""
        if self._state == "busy":
            self._state = "idle" if whole else "over"

    def _exceeds(self, data: bytes) -> bool:
        """Whether the head, continued by `data`, is too large. Notices its end."""
        seam = self._tail + data
        end = seam.find(_END)
        if end >= 0:
            self._size += end + len(_END) - len(self._tail)
            self._state = "busy"
            self._tail = b""
            self._stop_timer()
        else:
            self._size += len(data)
            self._tail = seam[-(len(_END) - 1) :]
        return self._size > self._limits.head_bytes

    def _begin_head(self) -> None:
        self._state = "head"
        self._size = 0
        self._tail = b""
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(self._limits.head_seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._transport is not None:
            self._transport.close()


@web.middleware
async def notice_answers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tells the connection of a request that it was answered. Belongs into every application served with limits."""
    try:
        return await handler(request)
    finally:
        connection = request.transport.get_protocol() if request.transport is not None else None
        if isinstance(connection, LimitedConnection):
            connection.answered(whole=request.content.is_eof())
