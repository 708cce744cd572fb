"""HTTP to one API server: retries, dead-peer detection, write gate, watch streams (RT-CF-09..14, RT-CL-20..22).

Knows paths and bytes, nothing of kinds. One Transport serves all clients of a process; each request names the
User-Agent of the client that sends it, since the API server takes the field manager from it (RT-ID-05).
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import structlog

from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.connections import Connections, Pool, transport_error
from rbgctl.runtime.errors import LeadershipUncertain, TransportError

__all__ = ["LineSplitter", "LineStream", "Pool", "RequestObserver", "Response", "Transport", "WriteGate"]

_log = structlog.get_logger("rbgctl.runtime.transport")

MAX_RETRIES = 10
NETWORK_RETRY_SECONDS = 1.0
REQUEST_TIMEOUT = 60.0
MAX_WARNINGS = 1000

_WARNING = re.compile(r'299\s+\S+\s+"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RequestObserver(Protocol):
    """Told about every attempt: HTTP verb, status code or "<error>", host, path and seconds.

    The path of a watch ends in `?watch=1`; it is told once the watch is open, with the seconds that took.
    """

    def __call__(self, method: str, code: str, host: str, path: str, seconds: float) -> None: ...


Headers = Sequence[tuple[str, str]]

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
    says `gated=False` (Leases, election events). compress: ask for gzip, worth it out of cluster only (RT-CF-12).
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
        self._connections = Connections(config, self._clock)
        self._warned: set[str] = set()
        self._gated_writes = 0
        self._no_gated_writes = asyncio.Event()
        self._no_gated_writes.set()

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connections.close()

    async def rotate(self) -> None:
        """Open new connections from now on, close the old ones when their requests have ended (RT-CF-04)."""
        await self._connections.rotate()

    async def writes_ended(self) -> None:
        """Until no write that has passed the gate is under way (RT-LE-39); with the gate shut that is final."""
        await self._no_gated_writes.wait()

    @contextlib.contextmanager
    def _under_way(self, counted: bool) -> Iterator[None]:
        self._gated_writes += counted
        if counted:
            self._no_gated_writes.clear()
        try:
            yield
        finally:
            self._gated_writes -= counted
            if not self._gated_writes:
                self._no_gated_writes.set()

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

        Raises TransportError when no answer came, LeadershipUncertain when the gate is shut, ConfigError when the
        credential cannot be had. Any answer, good or bad, is returned.
        """
        write = method not in {"GET", "HEAD"}
        started = self._clock.monotonic()
        refreshed = False
        attempt = 0
        while True:
            await self.config.credential.ready()
            left = timeout - (self._clock.monotonic() - started)
            query = params
            if write and gated and self.gate is not None:
                safe = self.gate()
                if safe <= 0:
                    raise LeadershipUncertain(f"not sending {method} {path}: leadership may have been lost")
                left = min(left, safe)
                # The server gives up in time too, so that a slow write cannot commit after the lease (RT-LE-37).
                query = {**(params or {}), "timeout": f"{max(left, 0.001):.3f}s"}
            if left <= 0:
                raise TransportError("timeout", f"{method} {path}: no answer within {timeout:g} s")
            sent = self.config.credential.headers()
            headers = self._headers(accept, content_type, user_agent, sent)
            try:
                with self._under_way(write and gated):
                    response = await self._once(method, path, query, body, headers, pool, left)
            except TransportError as error:
                if write or error.kind not in {"reset", "eof"} or attempt >= MAX_RETRIES:
                    raise
                attempt += 1
                await self._clock.sleep(NETWORK_RETRY_SECONDS)
                continue
            if response.status == 401 and not refreshed and await self.config.credential.on_unauthorized(sent):
                refreshed = True
                continue
            delay = _retry_delay(response.status, response.headers)
            if delay is None or attempt >= MAX_RETRIES:
                return response
            if self._clock.monotonic() - started + delay >= timeout:
                return response
            attempt += 1
            await self._clock.sleep(delay)

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
        (RT-RF-16); the idle timer runs only while waiting for the server and covers the response headers. An open
        that breaks is tried again every second, like one that is told to come back (RT-CL-20, RT-CL-21).
        """
        ends_at = self._clock.monotonic() + total_timeout
        async with contextlib.AsyncExitStack() as stack:
            answer = await self._open(stack, path, params, idle_timeout, ends_at, accept, user_agent)
            yield LineStream(answer, idle_timeout, ends_at, self._clock, path)

    async def _open(
        self,
        stack: contextlib.AsyncExitStack,
        path: str,
        params: Mapping[str, str],
        idle_timeout: float,
        ends_at: float,
        accept: str,
        user_agent: str,
    ) -> aiohttp.ClientResponse:
        refreshed = False
        attempt = 0
        while True:
            await self.config.credential.ready()
            sent = self.config.credential.headers()
            headers = self._headers(accept, None, user_agent, sent)
            async with contextlib.AsyncExitStack() as attempted:
                delay: float | None = None
                try:
                    answer = await self._open_once(attempted, path, params, idle_timeout, headers)
                except TransportError as error:
                    if error.kind not in {"reset", "eof", "timeout"}:
                        raise
                    if attempt >= MAX_RETRIES or self._clock.monotonic() + NETWORK_RETRY_SECONDS >= ends_at:
                        raise
                    delay = NETWORK_RETRY_SECONDS
                else:
                    unauthorized = answer.status == 401 and not refreshed
                    if unauthorized and await self.config.credential.on_unauthorized(sent):
                        refreshed = True
                        continue
                    delay = _retry_delay(answer.status, answer.headers)
                    late = delay is not None and self._clock.monotonic() + delay >= ends_at
                    if delay is None or late or attempt >= MAX_RETRIES:
                        stack.push_async_exit(attempted.pop_all())
                        return answer
            attempt += 1
            await self._clock.sleep(delay)

    async def _open_once(
        self,
        stack: contextlib.AsyncExitStack,
        path: str,
        params: Mapping[str, str],
        idle_timeout: float,
        headers: Headers,
    ) -> aiohttp.ClientResponse:
        began = self._clock.monotonic()
        code = "<error>"
        try:
            session = await stack.enter_async_context(self._connections.session(Pool.WATCH))
            async with asyncio.timeout(idle_timeout):
                answer = await session.get(
                    self.config.server + path, params=params, headers=headers, allow_redirects=False, **self._options()
                )
            stack.callback(answer.close)
            code = str(answer.status)
            self._warn(answer.headers.getall("Warning", ()))
            return answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise transport_error(error, f"watch {path}") from error
        finally:
            self._observer("GET", code, self.config.host, f"{path}?watch=1", self._clock.monotonic() - began)

    async def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None,
        headers: Headers,
        pool: Pool,
        seconds: float,
    ) -> Response:
        began = self._clock.monotonic()
        code = "<error>"
        try:
            async with (
                asyncio.timeout(seconds),
                self._connections.session(pool) as session,
                session.request(
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
                if answer.status == 429:
                    _log.debug(
                        "the API server asks to slow down",
                        path=path,
                        retry_after=answer.headers.get("Retry-After"),
                        flow_schema=answer.headers.get("X-Kubernetes-PF-FlowSchema-UID"),
                        priority_level=answer.headers.get("X-Kubernetes-PF-PriorityLevel-UID"),
                    )
                return Response(answer.status, answer.headers, payload)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise transport_error(error, f"{method} {path}") from error
        finally:
            self._observer(method, code, self.config.host, path, self._clock.monotonic() - began)

    def _headers(self, accept: str, content_type: str | None, user_agent: str, sent: Mapping[str, str]) -> Headers:
        headers = [("Accept", accept), ("Accept-Encoding", self._encoding), ("User-Agent", user_agent)]
        if content_type:
            headers.append(("Content-Type", content_type))
        return [*headers, *self.config.impersonate, *sent.items()]

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.config.proxy:
            options["proxy"] = self.config.proxy
        if self.config.tls_server_name:
            options["server_hostname"] = self.config.tls_server_name
        return options

    def _warn(self, headers: Iterable[str]) -> None:
        for header in headers:
            for text in _WARNING.findall(header):
                if text not in self._warned and len(self._warned) < MAX_WARNINGS:
                    self._warned.add(text)
                    _log.warning("the API server warns", warning=re.sub(r"\\(.)", r"\1", text))


class LineStream:
    """An open watch: `status`, and `batches()` of complete lines as they arrive.

    idle_timeout: seconds without a byte that end it; may be changed between batches.
    """

    def __init__(
        self, answer: aiohttp.ClientResponse, idle_timeout: float, ends_at: float, clock: Clock, path: str
    ) -> None:
        self._answer = answer
        self.idle_timeout = idle_timeout
        self._ends_at = ends_at
        self._clock = clock
        self._path = path
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def body(self) -> bytes:
        """The whole body, for an answer that is not a stream (an error)."""
        try:
            async with asyncio.timeout(min(self.idle_timeout, REQUEST_TIMEOUT)):
                return await self._answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise transport_error(error, f"watch {self._path}") from error

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Lines as they arrive, several at once when several are there. Half a line at the end is discarded."""
        splitter = LineSplitter()
        while True:
            left = min(self.idle_timeout, self._ends_at - self._clock.monotonic())
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    chunk = await self._answer.content.readany()
            except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError) as error:
                # RuntimeError is what aiohttp raises when the connection was closed from our side (rotation).
                raise transport_error(error, f"watch {self._path}") from error
            if not chunk:
                return
            lines = splitter.feed(chunk)
            if lines:
                yield lines


def _retry_delay(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds to wait when the server asks to come back (RT-CL-20)."""
    if status != 429 and status < 500:
        return None
    header = headers.get("Retry-After", "")
    return float(header) if header.isdecimal() else None
