"""Answers that never come: what kind of failure it was, through proxies too."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import ScriptedServer, broken, reset
from unit.runtime.test_connections import TlsServer, whoami

from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.connections import transport_error
from rbgctl.runtime.errors import TransportError
from rbgctl.runtime.transport import Transport

CLOSED = "http://127.0.0.1:1"


async def kind_of(config: ClusterConfig, clock: ManualClock, method: str = "POST") -> tuple[str, str]:
    async with Transport(config, clock=clock) as transport:
        with pytest.raises(TransportError) as caught:
            await transport.request(method, "/x", timeout=10.0)
    return caught.value.kind, str(caught.value)


# -- without a proxy ---------------------------------------------------------------------------------------------


async def cut_off(request: web.Request) -> web.StreamResponse:
    """Half an answer."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"half")
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(("fault", "kind"), [(broken(), "eof"), (cut_off, "eof"), (reset(), "reset")])
async def test_a_connection_that_ends_is_told_from_one_that_is_reset(
    manual_clock: ManualClock, fault: Any, kind: str
) -> None:
    """RT-ER-23."""
    async with ScriptedServer().running() as server:
        server.answers(fault)
        assert (await kind_of(ClusterConfig(server.url), manual_clock))[0] == kind


@pytest.mark.parametrize(
    ("server", "kind"),
    [(CLOSED, "refused"), ("http://no-such-host.invalid:6443", "dns"), ("http://[::1]:1", "refused")],
)
async def test_a_server_that_is_not_there_is_told_by_where_it_went_wrong(
    manual_clock: ManualClock, server: str, kind: str
) -> None:
    """RT-ER-23: reads are not tried again either, since nothing will have changed in a second."""
    assert (await kind_of(ClusterConfig(server), manual_clock, "GET"))[0] == kind
    assert manual_clock.time == 0


def connecting(number: int) -> aiohttp.ClientConnectorError:
    key = ConnectionKey("h", 1, True, True, None, None, None)
    return aiohttp.ClientConnectorError(key, OSError(number, os.strerror(number)))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (aiohttp.ClientOSError(errno.ETIMEDOUT, "unacknowledged data"), "timeout"),
        (connecting(errno.ETIMEDOUT), "timeout"),
        (connecting(errno.EHOSTUNREACH), "refused"),
        (connecting(errno.ENETUNREACH), "refused"),
        (connecting(errno.ECONNRESET), "reset"),
        (aiohttp.ClientOSError(errno.EPIPE, "broken pipe"), "reset"),
        (aiohttp.ClientConnectionResetError("closed"), "reset"),
        (aiohttp.ServerDisconnectedError(), "eof"),
    ],
)
def test_what_the_system_reports_is_sorted(error: BaseException, kind: str) -> None:
    """RT-ER-23: a peer that vanished is a time-out, a way that does not exist a refusal."""
    assert transport_error(error, "GET /x").kind == kind


# -- through a proxy ---------------------------------------------------------------------------------------------


class ConnectProxy:
    """An HTTP proxy for tunnels. `instead`: sent in place of the tunnel; None closes without a word."""

    def __init__(self) -> None:
        self.instead: bytes | None = b""
        self.asked: list[bytes] = []
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.partition(b"\r\n")[0])
        if self.instead:
            writer.write(self.instead)
            await writer.drain()
        if self.instead is None or self.instead:
            writer.close()
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        to_server = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pipe(reader, to_server[1]), self._pipe(to_server[0], writer))

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            sink.write(data)
        sink.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ConnectProxy"]:
        tasks: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with ConnectProxy().running() as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TlsServer]:
    async with TlsServer(tmp_path).running() as running:
        yield running


async def test_calls_and_watches_go_through_the_proxy(
    proxy: ConnectProxy, server: TlsServer, manual_clock: ManualClock
) -> None:
    """RT-CF-09, RT-CF-15: encrypted to the server, whose certificate is checked and which sees the client's."""
    pair = server.clients.client("me")
    async with Transport(server.config(proxy=proxy.url, client_cert=pair), clock=manual_clock) as transport:
        assert await whoami(transport) == "CN=me"
        async with transport.stream("/watch", {}, idle_timeout=5, total_timeout=5) as stream:
            assert await anext(stream.batches()) == [b"CN=me"]
    target = server.url.removeprefix("https://").encode()
    assert proxy.asked == [b"CONNECT " + target + b" HTTP/1.1"] * 2


@pytest.mark.parametrize("status", [403, 407, 502, 503])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_proxy_that_will_not_connect_is_told_as_refused(
    proxy: ConnectProxy, server: TlsServer, manual_clock: ManualClock, status: int, method: str
) -> None:
    """RT-ER-23: with what it answered; the server has not seen the request, and a read is not tried again."""
    proxy.instead = f"HTTP/1.1 {status} Not today\r\nContent-Length: 0\r\n\r\n".encode()
    kind, text = await kind_of(server.config(proxy=proxy.url), manual_clock, method)
    assert kind == "refused"
    assert f"the proxy answered {status} Not today" in text
    assert len(proxy.asked) == 1


async def test_a_proxy_that_says_nothing_is_told_by_what_it_does(
    proxy: ConnectProxy, server: TlsServer, manual_clock: ManualClock
) -> None:
    """RT-ER-23."""
    proxy.instead = None
    assert (await kind_of(server.config(proxy=proxy.url), manual_clock))[0] in {"eof", "reset"}
    assert (await kind_of(server.config(proxy=CLOSED), manual_clock))[0] == "refused"
    assert (await kind_of(server.config(proxy="http://no-such-host.invalid:3128"), manual_clock))[0] == "dns"


async def test_a_wrong_certificate_behind_a_proxy_is_a_tls_error(
    proxy: ConnectProxy, server: TlsServer, manual_clock: ManualClock
) -> None:
    """RT-ER-23."""
    stranger = server.config(proxy=proxy.url, ca=server.clients.pem)
    assert (await kind_of(stranger, manual_clock))[0] == "tls"


# -- credentials under load --------------------------------------------------------------------------------------


class Guarded:
    """Lets in whoever brings the token of the moment."""

    def __init__(self) -> None:
        self.tokens = {"one"}
        self.refused = 0
        self.newest = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0)
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.tokens:
            self.refused += 1
            return web.Response(status=401)
        self.newest = request.headers["Authorization"].removeprefix("Bearer ")
        return web.Response()


@pytest.mark.parametrize("revoked_at_once", [False, True])
async def test_a_token_file_rotates_under_load(
    tmp_path: Path, manual_clock: ManualClock, revoked_at_once: bool
) -> None:
    """RT-CF-03: no refusal reaches a caller, not even if the old token is worth nothing from one moment to the next."""
    from rbgctl.runtime.credentials import TokenFile

    file = tmp_path / "token"
    file.write_text("one")
    guarded, served = Guarded(), 0
    give: Callable[[web.Request], Awaitable[web.StreamResponse]] = guarded.answer
    async with ScriptedServer().running() as server:
        server.answers(*[give] * 5000)
        config = ClusterConfig(server.url, credential=TokenFile(file, manual_clock))
        async with Transport(config, clock=manual_clock) as transport:

            async def caller() -> None:
                nonlocal served
                for n in range(40):
                    response = await transport.request("POST" if n % 2 else "GET", "/x", body=b"{}")
                    assert response.status == 200
                    served += 1

            async def rotate() -> None:
                for number in ("two", "three", "four"):
                    seen = served
                    while served < seen + 50:  # noqa: ASYNC110 - in the turns of the loop that the load leaves
                        await asyncio.sleep(0)
                    file.write_text(number)
                    if revoked_at_once:
                        guarded.tokens = {number}
                    else:
                        # As a kubelet does it: the old token still counts when the new one has long been read.
                        guarded.tokens.add(number)
                        manual_clock.time += 50

            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(rotate())
                for _ in range(10):
                    group.create_task(caller())
    assert served == 400
    assert bool(guarded.refused) is revoked_at_once
    assert revoked_at_once or guarded.newest == "four"
