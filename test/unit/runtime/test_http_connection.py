"""Slow, idle and oversized clients: on the connection itself in virtual time, and over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from rbgctl.runtime.http_connection import HttpLimits, LimitedConnection
from rbgctl.runtime.http_server import HttpServer
from rbgctl.runtime.profiling import profiling_server

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


class FakeTransport(asyncio.Transport):
    """Remembers what was written and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed_at: float | None = None

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        if self.closed_at is None:
            self.closed_at = asyncio.get_running_loop().time()


class Sink(asyncio.Protocol):
    """Receives what passes."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


def opened(limits: HttpLimits | None = None) -> tuple[LimitedConnection, FakeTransport, Sink]:
    sink, transport = Sink(), FakeTransport()
    connection = LimitedConnection(sink, limits or HttpLimits())
    connection.connection_made(transport)
    return connection, transport, sink


async def seconds_until_closed(transport: FakeTransport, at_most: float = 1000.0) -> float | None:
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(at_most)
    return None if transport.closed_at is None else transport.closed_at - began


@pytest.mark.looptime
async def test_a_head_has_32_seconds_from_the_opening_of_the_connection() -> None:  # RT-HZ-04
    connection, transport, sink = opened()
    connection.data_received(HEAD)
    assert await seconds_until_closed(transport) == 32.0
    assert (transport.sent, sink.data) == (b"", HEAD)


@pytest.mark.looptime
async def test_trickling_does_not_extend_the_time_for_a_head() -> None:  # RT-HZ-04
    connection, transport, _ = opened()
    began = asyncio.get_running_loop().time()
    for byte in HEAD:
        connection.data_received(bytes([byte]))
        await asyncio.sleep(2)
    assert transport.closed_at is not None
    assert transport.closed_at - began == 32.0


@pytest.mark.looptime
async def test_a_body_and_its_handler_may_take_longer() -> None:  # RT-HZ-04
    connection, transport, _ = opened()
    connection.data_received(HEAD + b"Content-Length: 100\r\n\r")
    connection.data_received(b"\nbody")
    assert await seconds_until_closed(transport) is None
    connection.answered(whole=True)
    assert await seconds_until_closed(transport) is None  # idle: the server's own limit counts
    connection.data_received(b"G")
    assert await seconds_until_closed(transport) == 32.0


@pytest.mark.looptime
async def test_the_end_of_a_head_is_found_across_chunks() -> None:
    for cut in range(1, 4):
        connection, transport, _ = opened()
        data = HEAD + b"\r\n"
        connection.data_received(data[:-cut])
        connection.data_received(data[-cut:])
        assert await seconds_until_closed(transport) is None


async def test_a_head_may_have_a_mebibyte_and_no_more() -> None:  # RT-HZ-04
    large = HEAD + b"X: " + b"x" * ((1 << 20) - len(HEAD) - 7) + b"\r\n\r\n"
    assert len(large) == 1 << 20
    for size in (5_000, 100_000, len(large)):
        connection, transport, sink = opened()
        for start in range(0, len(large), size):
            connection.data_received(large[start : start + size])
        assert (transport.closed_at, sink.data) == (None, large)
    connection, transport, _ = opened()
    connection.data_received(HEAD + b"XX: " + large[len(HEAD) + 3 :])
    assert transport.closed_at is not None
    assert transport.sent.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    connection, transport, _ = opened()
    connection.data_received(b"x" * (1 << 20))
    assert transport.closed_at is None
    connection.data_received(b"x")
    assert transport.closed_at is not None


async def test_a_body_that_was_not_read_is_never_taken_for_a_head() -> None:
    connection, transport, sink = opened()
    connection.data_received(HEAD + b"Content-Length: 9000000\r\n\r\n")
    connection.answered(whole=False)
    for _ in range(9):
        connection.data_received(b"x" * 1_000_000)
    assert transport.closed_at is None
    assert len(sink.data) > 9_000_000


# -- over real sockets -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(limits: HttpLimits | None = None) -> AsyncIterator[int]:
    async def echo(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(text=f"{len(request.headers)} {sum(map(len, request.headers.values()))} {len(body)}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    server = HttpServer("test", "127.0.0.1:0", app, limits=limits)
    task = asyncio.create_task(server.run())
    await server.ready()
    try:
        yield server.port
    finally:
        task.cancel()
        await asyncio.wait([task])


async def exchange(port: int, data: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        finally:
            writer.close()


LAST = b"Connection: close\r\n\r\n"


async def test_large_heads_reach_the_application() -> None:  # RT-HZ-04
    async with serving() as port:
        one = await exchange(port, HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n" + LAST)
        assert one.endswith(b"\r\n\r\n3 1000006 0")
        many = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 400) for number in range(2000))
        assert (await exchange(port, HEAD + many + LAST)).endswith(b"\r\n\r\n2002 800006 0")
        line = b"GET /" + b"x" * 500_000 + b" HTTP/1.1\r\nHost: x\r\n" + LAST
        assert (await exchange(port, line)).startswith(b"HTTP/1.1 200 ")


async def test_too_large_a_head_is_answered_with_431() -> None:  # RT-HZ-04
    async with serving() as port:
        many = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 4000) for number in range(300))
        assert (await exchange(port, HEAD + many)).startswith(b"HTTP/1.1 431 ")


async def test_idle_and_slow_connections_are_closed() -> None:  # RT-HZ-04
    limits = HttpLimits(head_seconds=0.3, idle_seconds=0.6)
    loop = asyncio.get_running_loop()
    async with serving(limits) as port:
        began = loop.time()
        assert await exchange(port, b"") == b""
        assert await exchange(port, HEAD) == b""
        assert loop.time() - began >= 0.6
        began = loop.time()
        answered = await exchange(port, HEAD + b"\r\n")  # kept alive, then idle
        assert answered.startswith(b"HTTP/1.1 200 ")
        assert loop.time() - began >= 0.6
        again = await exchange(port, HEAD + b"\r\n" + HEAD + b"\r\n" + HEAD)
        assert again.count(b"HTTP/1.1 200 ") == 2


async def test_a_later_head_on_the_same_connection_has_to_arrive_in_time_too() -> None:  # RT-HZ-04
    async with serving(HttpLimits(head_seconds=0.3, idle_seconds=1000)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n1 1 0")
        writer.write(HEAD)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


async def test_a_connection_serves_many_requests_with_bodies() -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"\r\n\r\n" * 50_000
    async with serving(HttpLimits(head_bytes=1000)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(5):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(len(b"2 7 200000")) == b"2 7 200000"
        writer.close()


async def test_limits_of_the_servers() -> None:  # RT-HZ-04
    assert HttpServer("x", ":1", web.Application()).limits == HttpLimits(
        head_bytes=1 << 20, head_seconds=32.0, idle_seconds=90.0, shutdown_seconds=5.0
    )
    assert profiling_server(":1").limits == HttpLimits(
        head_bytes=1 << 20, head_seconds=5.0, idle_seconds=90.0, shutdown_seconds=60.0
    )
