"""Watch streams as batches of lines: cut from bytes in whatever chunks they arrive, given up when silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp

from rbgctl.runtime.clock import Clock
from rbgctl.runtime.connections import transport_error

BODY_TIMEOUT = 60.0
_ROUNDING = 0.002
"""Seconds that a loop's timers may be early."""


class LineSplitter:
    """Cuts a byte stream into lines of any length, however it was chunked (RT-RF-18). Empty lines are dropped."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        if b"\n" not in chunk:
            self._rest += chunk
            return []
        if not self._rest and chunk.find(b"\n") == len(chunk) - 1:
            return [chunk[:-1]] if chunk not in {b"\n", b"\r\n"} else []
        first, *others = chunk.split(b"\n")
        lines = [bytes(self._rest) + first, *others[:-1]]
        self._rest = bytearray(others[-1])
        return [line for line in lines if line and line != b"\r"]


class _Watchdog:
    """Ends a read that takes too long. One timer serves many reads: it looks at its time again when it fires."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._waiting = False

    def begin(self, seconds: float) -> None:
        """A read begins, which fails with TimeoutError `seconds` from now."""
        self._due = self._loop.time() + max(seconds, 0.0)
        self._waiting = True
        if self._timer is not None and self._timer.when() > self._due:
            self.stop()
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._fire)

    def end(self) -> None:
        """The read is over."""
        self._waiting = False

    def stop(self) -> None:
        """There are no more reads."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if not self._waiting:
            return  # the next read starts it again
        if self._loop.time() < self._due - _ROUNDING:
            self._timer = self._loop.call_at(self._due, self._fire)
        else:
            self._content.set_exception(TimeoutError())


class LineStream:
    """An open watch: `status`, and `batches()` of complete lines as they arrive.

    idle_timeout: seconds without a byte that end it; may be changed between batches. heard: called with every batch.
    """

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        idle_timeout: float,
        ends_at: float,
        clock: Clock,
        path: str,
        heard: Callable[[], Awaitable[None]],
    ) -> None:
        self._answer = answer
        self.idle_timeout = idle_timeout
        self._ends_at = ends_at
        self._clock = clock
        self._path = path
        self._heard = heard
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def body(self) -> bytes:
        """The whole body, for an answer that is not a stream (an error)."""
        try:
            async with asyncio.timeout(min(self.idle_timeout, BODY_TIMEOUT)):
                return await self._answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise transport_error(error, f"watch {self._path}") from error

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Lines as they arrive, several at once when several are there. Half a line at the end is discarded."""
        splitter, content = LineSplitter(), self._answer.content
        watchdog = _Watchdog(content)
        try:
            while True:
                watchdog.begin(min(self.idle_timeout, self._ends_at - self._clock.monotonic()))
                try:
                    chunk = await content.readany()
                except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError) as error:
                    # RuntimeError is what aiohttp raises when the connection was closed from our side (rotation).
                    raise transport_error(error, f"watch {self._path}") from error
                watchdog.end()
                if not chunk:
                    return
                lines = splitter.feed(chunk)
                if lines:
                    yield lines
                    await self._heard()
        finally:
            watchdog.stop()
