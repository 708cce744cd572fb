"""A TLS-terminating proxy in front of an API server, whose connections a test can spoil (design §6, chaos).

    async with FaultProxy(env.config, seed=7) as proxy:
        transport = Transport(proxy.config)                                     # instead of env.config
        proxy.add(too_many_requests(), Match(resource="pods"), probability=0.05)
        frozen = proxy.freeze(WATCHES)
        ...
        frozen.lift()

A client certificate cannot pass through, so requests without an Authorization header go on with the credentials of
the configuration that the proxy was given; requests that have one go on with that alone. Connections that turn into
something else than HTTP (exec, port-forward) are not supported.
"""

import asyncio
import contextlib
import dataclasses
import random
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import aiohttp
import orjson
import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.credentials import Credential, NoCredential
from rbgctl.runtime.testing.certificates import Authority
from rbgctl.runtime.testing.faults import (
    ANY,
    EXPIRED,
    Barrier,
    Break,
    Delay,
    Drop,
    Fault,
    Match,
    Refuse,
    RepeatBookmarks,
    Rule,
    Seen,
    WatchError,
    error_event,
)
from rbgctl.runtime.testing.loopback import LOOPBACK
from rbgctl.runtime.transport import LineSplitter

_log = structlog.get_logger("rbgctl.runtime.testing.fault_proxy")

BODY_LIMIT = 1 << 26
_HOP_BY_HOP = {hdrs.CONNECTION, hdrs.KEEP_ALIVE, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.HOST}
_BOOKMARK = b'{"type":"BOOKMARK"'


class _NoAnswer(Exception):
    """The client gets none; its connection is closed or reset."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("no answer")
        self.reset = reset


@dataclasses.dataclass(slots=True, eq=False)
class _Exchange:
    """A request that is being answered. `last_words` end a watch from outside."""

    seen: Seen
    request: web.BaseRequest
    pump: asyncio.Task[None] | None = None
    last_words: bytes | None = None


class FaultProxy:
    """Use as an async context manager. `config` points clients at the proxy; `requests` is what it saw so far.

    Rules that match a request all apply, in the order they were added: delays add up, the first refusal or drop
    decides. seed: of everything random here; name it when a test fails.
    """

    def __init__(self, upstream: ClusterConfig, *, seed: int = 0) -> None:
        self.upstream = upstream
        self.seed = seed
        self.requests: list[Seen] = []
        self.config: ClusterConfig
        self._rng = random.Random(seed)
        self._rules: list[Rule] = []
        self._barriers: list[Barrier] = []
        self._exchanges: list[_Exchange] = []
        self._authority = Authority("fault proxy")
        self._news = asyncio.Event()
        self._port_holder: socket.socket
        self._tls: ssl.SSLContext
        self._server: web.Server
        self._listener: asyncio.Server | None = None
        self._as_given: aiohttp.ClientSession
        self._as_caller: aiohttp.ClientSession

    # -- life cycle -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> "FaultProxy":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._tls = self._serving_context()
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._as_given = _session(self.upstream)
        self._as_caller = _session(dataclasses.replace(self.upstream, client_cert=None, credential=NoCredential()))
        # Bound but never listening: it keeps the port ours while connections are refused.
        self._port_holder = _bound(0)
        self.config = self.config_for(NoCredential())
        await self.accept_connections()

    async def stop(self) -> None:
        self.refuse_connections()
        await self._server.shutdown(0)
        await self._as_given.close()
        await self._as_caller.close()
        self._port_holder.close()

    @property
    def port(self) -> int:
        return int(self._port_holder.getsockname()[1])

    def config_for(self, credential: Credential) -> ClusterConfig:
        """Through the proxy with a bearer token or the like."""
        return ClusterConfig(
            server=f"https://{LOOPBACK}:{self.port}",
            ca=self._authority.pem,
            credential=credential,
            namespace=self.upstream.namespace,
        )

    def _serving_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate, key = self._authority.server([LOOPBACK, "localhost"])
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "tls.pem"
            file.touch(mode=0o600)
            file.write_bytes(certificate + key)
            context.load_cert_chain(file)
        return context

    # -- what a test does -------------------------------------------------------------------------------------

    def add(
        self,
        fault: Fault,
        match: Match = ANY,
        *,
        probability: float = 1.0,
        skip: int = 0,
        times: int | None = None,
    ) -> Rule:
        """Spoil matching requests from now on, see `Rule`."""
        rule = Rule(fault, match, probability, skip, times)
        self._rules.append(rule)
        return rule

    def remove(self, *rules: Rule) -> None:
        for rule in rules:
            self._rules.remove(rule)

    def freeze(self, match: Match = ANY) -> Barrier:
        """Connections stay open and nothing passes, not even an answer under way, until the barrier is lifted."""
        return self._raise(Barrier(match, events_only=False))

    def hold_events(self, match: Match = ANY) -> Barrier:
        """Watches are answered but deliver nothing until the barrier is lifted; then all that was held back."""
        return self._raise(Barrier(match, events_only=True))

    def _raise(self, barrier: Barrier) -> Barrier:
        self._barriers = [b for b in self._barriers if not b.lifted]
        self._barriers.append(barrier)
        return barrier

    def clear(self) -> None:
        """No rules and no barriers any more."""
        self._rules.clear()
        for barrier in self._barriers:
            barrier.lift()

    def cut(self, match: Match = ANY, *, reset: bool = False) -> int:
        """End the connections of matching requests that run now; how many."""
        found = [e for e in self._exchanges if match(e.seen)]
        for exchange in found:
            exchange.seen.faults.append("cut")
            _hang_up(exchange.request, reset=reset)
        return len(found)

    def end_watches(self, match: Match = ANY, error: Refuse | None = EXPIRED) -> int:
        """End matching watches that run now with an ERROR event, or just so without an `error`; how many."""
        found = [e for e in self._exchanges if e.pump is not None and match(e.seen)]
        for exchange in found:
            exchange.seen.faults.append("ended")
            exchange.last_words = error_event(error) if error is not None else b""
            if exchange.pump is not None:
                exchange.pump.cancel()
        return len(found)

    def refuse_connections(self) -> None:
        """As if the server were down: every connection is reset and none is accepted."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in self._server.connections:
            _reset(connection.transport)

    async def accept_connections(self) -> None:
        """After `refuse_connections`: as if the server were back, under the same address."""
        if self._listener is None:
            self._listener = await asyncio.get_running_loop().create_server(
                self._server, sock=_bound(self.port), ssl=self._tls
            )

    @property
    def running(self) -> list[Seen]:
        """Requests that are being answered now."""
        return [e.seen for e in self._exchanges]

    def count(self, match: Match = ANY) -> int:
        """Matching requests seen so far."""
        return sum(map(match, self.requests))

    async def until(self, condition: Callable[[], bool], *, timeout: float = 30.0) -> None:
        """Until the condition holds, asked again at every request and answer. Raises AssertionError."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            last = "\n".join(str(seen) for seen in self.requests[-20:])
            raise AssertionError(f"it did not happen within {timeout:g} s; the last requests:\n{last}") from None

    # -- serving ----------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = Seen(request.method, request.path, dict(request.query), request.headers.get(hdrs.USER_AGENT, ""))
        self.requests.append(seen)
        exchange = _Exchange(seen, request)
        self._exchanges.append(exchange)
        faults = [rule.fault for rule in self._rules if rule.strikes(seen, self._rng)]
        self._news.set()
        try:
            return await self._answer(exchange, faults)
        except _NoAnswer as silence:
            _hang_up(request, reset=silence.reset)
            return web.Response()
        finally:
            self._exchanges.remove(exchange)
            self._news.set()

    async def _answer(self, exchange: _Exchange, faults: list[Fault]) -> web.StreamResponse:
        request, seen = exchange.request, exchange.seen
        body = await request.read()
        await self._barrier(seen)
        for fault in faults:
            match fault:
                case Delay(seconds):
                    await asyncio.sleep(seconds)
                case Drop(forwarded=False, reset=reset):
                    raise _NoAnswer(reset=reset)
                case Refuse():
                    return _refusal(fault, seen)
        seen.forwarded = True
        try:
            async with self._forward(request, body) as answer:
                if seen.is_watch and answer.status == 200:
                    return await self._watch(exchange, answer, faults)
                payload = await answer.read()
        except (aiohttp.ClientError, OSError):
            # The server went away: so does the client's connection.
            raise _NoAnswer(reset=False) from None
        await self._barrier(seen)
        response = web.Response(status=answer.status, body=payload, headers=_passed_on(answer.headers.items()))
        for fault in faults:
            match fault:
                case Drop(reset=reset):
                    raise _NoAnswer(reset=reset)
                case Break(after=after, reset=reset):
                    await self._begin(request, response, payload[:after])
                    raise _NoAnswer(reset=reset)
        seen.status = answer.status
        return response

    @contextlib.asynccontextmanager
    async def _forward(self, request: web.BaseRequest, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = _passed_on(request.headers.items())
        own = hdrs.AUTHORIZATION in headers
        if not own:
            await self.upstream.credential.ready()
            headers.extend(self.upstream.credential.headers())
        async with (self._as_caller if own else self._as_given).request(
            request.method,
            URL(self.upstream.server + request.raw_path, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
        ) as answer:
            yield answer

    async def _begin(self, request: web.BaseRequest, whole: web.Response, part: bytes) -> None:
        """Send the head of `whole` and only a part of its body."""
        response = web.StreamResponse(status=whole.status, headers=whole.headers)
        response.content_length = len(whole.body) if isinstance(whole.body, bytes) else None
        await response.prepare(request)
        await response.write(part)

    # -- watches ----------------------------------------------------------------------------------------------

    async def _watch(
        self, exchange: _Exchange, answer: aiohttp.ClientResponse, faults: list[Fault]
    ) -> web.StreamResponse:
        await self._barrier(exchange.seen)
        response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers.items()))
        response.enable_chunked_encoding()
        await response.prepare(exchange.request)
        exchange.seen.status = answer.status
        self._news.set()
        exchange.pump = pump = asyncio.create_task(self._pump(exchange, answer, response, faults))
        try:
            await asyncio.wait({pump})
        finally:
            pump.cancel()
        if pump.cancelled():
            await self._barrier(exchange.seen)
            await response.write(exchange.last_words or b"")
        else:
            pump.result()
        return response

    async def _pump(
        self, exchange: _Exchange, answer: aiohttp.ClientResponse, response: web.StreamResponse, faults: list[Fault]
    ) -> None:
        """Pass events on until the server or a fault ends the watch."""
        repeats = sum(f.times for f in faults if isinstance(f, RepeatBookmarks))
        end = next((f for f in faults if isinstance(f, WatchError)), None)
        broken = next((f for f in faults if isinstance(f, Break)), None)
        sent = events = 0
        lines = _lines(answer)
        while end is None or events < end.after:
            if broken is not None and sent >= broken.after:
                raise _NoAnswer(reset=broken.reset)
            line = await anext(lines, b"")
            if not line:
                return
            await self._barrier(exchange.seen, event=True)
            line *= 1 + (repeats if line.startswith(_BOOKMARK) else 0)
            await response.write(line if broken is None else line[: broken.after - sent])
            sent += len(line)
            events += 1
        await response.write(end.line())

    async def _barrier(self, seen: Seen, *, event: bool = False) -> None:
        while True:
            raised = [b for b in self._barriers if not b.lifted and (event or not b.events_only) and b.match(seen)]
            if not raised:
                return
            self._news.set()
            await raised[0].wait()


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    splitter = LineSplitter()
    async for chunk in answer.content.iter_any():
        for line in splitter.feed(chunk):
            yield line + b"\n"


def _refusal(fault: Refuse, seen: Seen) -> web.Response:
    seen.status = fault.code
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    return web.Response(
        status=fault.code, body=orjson.dumps(fault.status()), headers=headers, content_type="application/json"
    )


def _passed_on(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers if name.title() not in _HOP_BY_HOP)


def _session(config: ClusterConfig) -> aiohttp.ClientSession:
    context = config.ssl_context()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=1 << 18,
    )


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, port))
    return sock


def _hang_up(request: web.BaseRequest, *, reset: bool) -> None:
    if reset:
        _reset(request.transport)
    elif request.transport is not None:
        request.transport.close()


def _reset(transport: asyncio.Transport | None) -> None:
    if transport is None:
        return
    if not transport.is_closing():  # a TLS transport that has ended no longer knows its socket
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
