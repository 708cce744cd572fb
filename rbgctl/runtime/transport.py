"""HTTP to one API server: retries, rate limit, write gate, watch streams (RT-CF-09..14, RT-CF-22, RT-CL-20..22).

Knows paths and bytes, nothing of kinds. One Transport serves all clients of a process; each request names the
User-Agent of the client that sends it, since the API server takes the field manager from it (RT-ID-05).
"""

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import structlog

from rbgctl.runtime.client_limits import Allowance
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.connections import UNARY_CONNECTIONS, Connections, Pool, last_word, transport_error
from rbgctl.runtime.errors import LeadershipUncertain, NotSent, TransportError
from rbgctl.runtime.line_stream import LineSplitter, LineStream
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.writes_under_way import WritesUnderWay

__all__ = ["LineSplitter", "LineStream", "Pool", "RequestObserver", "Response", "Transport", "WriteGate"]

_log = structlog.get_logger("rbgctl.runtime.transport")

MAX_RETRIES = 10
NETWORK_RETRY_SECONDS = 1.0
REQUEST_TIMEOUT = 60.0
MAX_WARNINGS = 1000
DEBUG_WAIT, INFO_WAIT = 0.05, 1.0
LATE_SECONDS = 0.25
"""By so much the server's time limit for a write may outlast the gate; well within the lease's margin."""

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


class WaitObserver(Protocol):
    """Told how many seconds a request waited for the client-side rate limit: HTTP verb, host, seconds."""

    def __call__(self, method: str, host: str, seconds: float) -> None: ...


Headers = Sequence[tuple[str, str]]

WriteGate = Callable[[], float]
"""Seconds for which writes are still safe; zero or less refuses them (RT-LE-32)."""


def _no_observer(method: str, code: str, host: str, path: str, seconds: float) -> None:
    return None


def _no_wait_observer(method: str, host: str, seconds: float) -> None:
    return None


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, whatever number of attempts it takes. `ends_at`: monotonic seconds."""

    method: str
    path: str
    params: Mapping[str, str] | None
    body: bytes | None
    content_type: str | None
    accept: str
    user_agent: str
    pool: Pool
    gated: bool
    timeout: float
    ends_at: float

    @property
    def is_write(self) -> bool:
        return self.method not in {"GET", "HEAD"}

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class _TooLate(Exception):
    """Getting a connection took so long that what the attempt tells the server about its time is no longer true."""


class Transport:
    """Use as an async context manager, or call `close()`.

    observer: hears of every attempt (metrics); on_wait: of every wait for a client's rate limit. gate: consulted
    before every attempt of a write unless the caller says `gated=False` (Leases, election events); `writes` knows those
    that it let pass. compress: ask for gzip, worth it out of cluster only (RT-CF-12).
    tracing: for those who wrap a request in a span; attempts are told to it and name it to the server (RT-TR-05).
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        clock: Clock | None = None,
        observer: RequestObserver = _no_observer,
        on_wait: WaitObserver = _no_wait_observer,
        gate: WriteGate | None = None,
        compress: bool = False,
        tracing: Tracing | None = None,
    ) -> None:
        self.config = config
        self.gate = gate
        self.tracing = tracing or Tracing()
        self._clock = clock or SystemClock()
        self._observer = observer
        self._on_wait = on_wait
        # A slot is held only while an attempt is under way. The pool's own limit starts anew with each rotation.
        self._slots = asyncio.Semaphore(UNARY_CONNECTIONS)
        self._encoding = "gzip" if compress else "identity"
        self._connections = Connections(config, self._clock)
        self._warned: set[str] = set()
        self.writes = WritesUnderWay()

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.writes.close()
        await self._connections.close()
        await self.config.credential.close()

    async def rotate(self) -> None:
        """Open new connections from now on, close the old ones when their requests have ended (RT-CF-04)."""
        await self._connections.rotate()

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
        allowance: Allowance | None = None,
    ) -> Response:
        """One call, with the retries that are safe. `timeout` seconds span all attempts and all waits.

        allowance: the limits of the client that sends this (RT-CF-22, RT-CF-23). The lease pool knows no limits.
        Raises NotSent when the limits leave no time, TransportError when no answer came, LeadershipUncertain when the
        gate is shut, ConfigError when the credential cannot be had. Any answer, good or bad, is returned.
        """
        ends_at = self._clock.monotonic() + timeout
        call = _Call(method, path, params, body, content_type, accept, user_agent, pool, gated, timeout, ends_at)
        refreshed = False
        attempt = 0
        response: Response | None = None
        while True:
            try:
                async with self._turn(call, allowance):
                    response, sent = await self._attempt(call)
            except NotSent:
                if response is None:
                    raise
                # Not sent once more: what counts is what the server said to the attempt before.
                return response
            except _TooLate:
                # Its connection is kept: the next attempt need not wait for one.
                continue
            except TransportError as error:
                if call.is_write or error.kind not in {"reset", "eof"} or attempt >= MAX_RETRIES:
                    raise
                attempt += 1
                await self._clock.sleep(NETWORK_RETRY_SECONDS)
                continue
            if response.status == 401 and not refreshed and await self.config.credential.on_unauthorized(sent):
                refreshed = True
                continue
            delay = _retry_delay(response.status, response.headers)
            if delay is None or attempt >= MAX_RETRIES or self._clock.monotonic() + delay >= ends_at:
                return response
            attempt += 1
            await self._clock.sleep(delay)

    @contextlib.asynccontextmanager
    async def _turn(self, call: _Call, allowance: Allowance | None) -> AsyncIterator[None]:
        """Around one attempt: wait for the rate limit first, then for a slot of the client and one of the process."""
        if call.pool is Pool.LEASE:
            yield
            return
        if allowance is not None and allowance.bucket is not None:
            await self._wait_for_rate(allowance, call.method, call.path, call.ends_at)
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(max(0.0, call.ends_at - self._clock.monotonic())):
                    if allowance is not None:
                        await held.enter_async_context(allowance.slots)
                    await held.enter_async_context(self._slots)
            except TimeoutError:
                raise NotSent(f"{call}: too many requests under way for {call.timeout:g} s") from None
            yield

    async def _wait_for_rate(self, allowance: Allowance, method: str, path: str, ends_at: float) -> None:
        assert allowance.bucket is not None  # noqa: S101 - asked by the callers
        try:
            waited = await allowance.bucket.take(self._clock, ends_at - self._clock.monotonic())
        except NotSent as error:
            raise NotSent(f"{method} {path}: {error}") from None
        self._on_wait(method, self.config.host, waited)
        self.tracing.rate_limited(waited)
        if waited > DEBUG_WAIT:
            log = _log.info if waited > INFO_WAIT else _log.debug
            log("waited for the client-side rate limit", method=method, path=path, seconds=round(waited, 3))

    async def _attempt(self, call: _Call) -> tuple[Response, Mapping[str, str]]:
        """Send it once; also returns the credential headers that were sent."""
        await self.config.credential.ready()
        left = min(call.ends_at - self._clock.monotonic(), self._check_gate(call))
        if left <= 0:
            raise TransportError("timeout", f"{call}: no answer within {call.timeout:g} s")
        sent = self.config.credential.headers()
        headers = self._headers(call.accept, call.content_type, call.user_agent, sent)
        if call.is_write and call.gated and self.gate is not None:
            return await self.writes.carry(self._once_gated(call, headers, left)), sent
        return await self._once(call, call.params, headers, left), sent

    async def _once_gated(self, call: _Call, headers: Headers, seconds: float) -> Response:
        """The server gives up after `seconds` too, so that a slow write cannot commit after the lease (RT-LE-37). It
        counts them from when it gets the request.
        """
        query = {**(call.params or {}), "timeout": f"{max(seconds, 0.001):.3f}s"}
        sent_at: float | None = None

        def ask_again() -> None:
            nonlocal sent_at
            if self._check_gate(call) < seconds - LATE_SECONDS:
                raise _TooLate
            sent_at = self._clock.monotonic()

        try:
            with last_word(ask_again):
                return await self._once(call, query, headers, seconds)
        except TransportError as error:
            if sent_at is not None and not error.unsent:
                self.writes.unanswered(sent_at + seconds - self._clock.monotonic())
            raise

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        idle_timeout: float,
        total_timeout: float,
        open_timeout: float | None = None,
        accept: str = "application/json",
        user_agent: str = "rbgctl",
        allowance: Allowance | None = None,
    ) -> AsyncIterator[LineStream]:
        """Open a watch. The context value has the status and yields batches of lines.

        `idle_timeout` seconds without a byte, or `total_timeout` in all, end the stream with TransportError timeout
        (RT-RF-16); the idle timer runs only while waiting for the server and covers the response headers. An open
        that breaks is tried again every second, like one that is told to come back (RT-CL-20, RT-CL-21), for as long as
        `open_timeout` seconds, by default `total_timeout`; only these further attempts wait for the rate limit of
        `allowance`. Watches take no slots.
        """
        began = self._clock.monotonic()
        ends_at = began + total_timeout
        open_by = ends_at if open_timeout is None else began + open_timeout
        async with contextlib.AsyncExitStack() as stack:
            answer = await self._open(stack, path, params, idle_timeout, open_by, accept, user_agent, allowance)
            # A process that only watches has to notice changed certificate files as well (RT-CF-05).
            yield LineStream(answer, idle_timeout, ends_at, self._clock, path, self._connections.follow_files)

    async def _open(
        self,
        stack: contextlib.AsyncExitStack,
        path: str,
        params: Mapping[str, str],
        idle_timeout: float,
        ends_at: float,
        accept: str,
        user_agent: str,
        allowance: Allowance | None,
    ) -> aiohttp.ClientResponse:
        refreshed = False
        attempt = 0
        while True:
            if attempt and allowance is not None and allowance.bucket is not None:
                await self._wait_for_rate(allowance, "GET", path, ends_at)
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
            self._heard(path, answer)
            return answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise transport_error(error, f"watch {path}") from error
        finally:
            self._observer("GET", code, self.config.host, f"{path}?watch=1", self._clock.monotonic() - began)

    async def _once(self, call: _Call, params: Mapping[str, str] | None, headers: Headers, seconds: float) -> Response:
        began = self._clock.monotonic()
        code = "<error>"
        try:
            async with (
                asyncio.timeout(seconds),
                self._connections.session(call.pool) as session,
                session.request(
                    call.method,
                    self.config.server + call.path,
                    params=params,
                    data=call.body,
                    headers=headers,
                    allow_redirects=False,
                    **self._options(),
                ) as answer,
            ):
                payload = await answer.read()
                code = str(answer.status)
                self._heard(call.path, answer)
                return Response(answer.status, answer.headers, payload)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise transport_error(error, str(call)) from error
        finally:
            self._observer(call.method, code, self.config.host, call.path, self._clock.monotonic() - began)
            self.tracing.attempted(code, self.config.host)

    def _check_gate(self, call: _Call) -> float:
        """Seconds for which the call may be sent. Raises LeadershipUncertain when it is a write that may not."""
        if not (call.is_write and call.gated) or self.gate is None:
            return math.inf
        safe = self.gate()
        if safe <= 0:
            raise LeadershipUncertain(f"not sending {call}: leadership may have been lost")
        return safe

    def _heard(self, path: str, answer: aiohttp.ClientResponse) -> None:
        """Log what the headers of an answer say about the request and the server's load (RT-CF-14, RT-CF-24)."""
        self._warn(answer.headers.getall("Warning", ()))
        if answer.status == 429:
            _log.debug(
                "the API server asks to slow down",
                path=path,
                retry_after=answer.headers.get("Retry-After"),
                flow_schema=answer.headers.get("X-Kubernetes-PF-FlowSchema-UID"),
                priority_level=answer.headers.get("X-Kubernetes-PF-PriorityLevel-UID"),
            )

    def _headers(self, accept: str, content_type: str | None, user_agent: str, sent: Mapping[str, str]) -> Headers:
        headers = [("Accept", accept), ("Accept-Encoding", self._encoding), ("User-Agent", user_agent)]
        if content_type:
            headers.append(("Content-Type", content_type))
        if self.tracing.enabled:
            headers += self.tracing.headers().items()
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


def _retry_delay(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds to wait when the server asks to come back (RT-CL-20)."""
    if status != 429 and status < 500:
        return None
    header = headers.get("Retry-After", "")
    return float(header) if header.isdecimal() else None
