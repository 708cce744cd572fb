"""TLS connections that follow rotated certificates."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from unit.runtime.conftest import ManualClock

from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.credentials import NoCredential
from rbgctl.runtime.errors import TransportError
from rbgctl.runtime.testing.certificates import Authority
from rbgctl.runtime.transport import Transport


class TlsServer:
    """Answers with the name in the client's certificate; streams and holds back on request."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority("server")
        self.clients = Authority("clients")
        self.release = asyncio.Event()
        self.tick = asyncio.Event()
        self.links: dict[asyncio.BaseTransport, str] = {}
        self.connections: set[Any] = set()
        self.url = ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        der = request.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        name = x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else "nobody"
        self.links[request.transport] = name
        if request.path == "/watch":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(name.encode() + b"\n")
            await asyncio.Event().wait()
        if request.path == "/ticks":
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(name.encode() + b"\n")
                await self.tick.wait()
                self.tick.clear()
        if request.path == "/slow":
            await self.release.wait()
        return web.Response(text=name)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["TlsServer"]:
        self.prepare()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.context).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def prepare(self) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.clients.pem.decode())
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.present(self.authority)

    def present(self, authority: Authority) -> None:
        """Show a certificate of this authority to connections from now on."""
        cert, key = authority.server(["127.0.0.1", "api.internal"])
        (self.directory / "server.pem").write_bytes(cert + key)
        self.context.load_cert_chain(self.directory / "server.pem")

    def write_client(self, user: str) -> tuple[Path, Path]:
        cert, key = self.clients.client(user)
        paths = self.directory / "client.crt", self.directory / "client.key"
        for path, data in zip(paths, (cert, key), strict=True):
            path.write_bytes(data)
        return paths

    def config(self, **more: Any) -> ClusterConfig:
        return ClusterConfig(self.url, **{"ca": self.authority.pem, **more})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TlsServer]:
    async with TlsServer(tmp_path).running() as running:
        yield running


async def whoami(transport: Transport, path: str = "/x") -> str:
    return (await transport.request("GET", path)).body.decode()


async def test_an_unknown_authority_is_told_as_a_tls_error(server: TlsServer, manual_clock: ManualClock) -> None:
    """RT-ER-23."""
    async with Transport(server.config(ca=Authority("other").pem), clock=manual_clock) as transport:
        with pytest.raises(TransportError) as caught:
            await whoami(transport)
    assert caught.value.kind == "tls"


async def test_the_server_may_be_expected_under_another_name(server: TlsServer, manual_clock: ManualClock) -> None:
    """RT-CF-15."""
    async with Transport(server.config(tls_server_name="api.internal"), clock=manual_clock) as transport:
        assert await whoami(transport) == "nobody"
    async with Transport(server.config(tls_server_name="api.external"), clock=manual_clock) as transport:
        with pytest.raises(TransportError):
            await whoami(transport)


async def test_a_changed_client_certificate_is_used_from_the_next_request_on(
    server: TlsServer, manual_clock: ManualClock
) -> None:
    """RT-CF-05: running calls end as they began, running watches end at once."""
    files = server.write_client("old")
    pair = files[0].read_bytes(), files[1].read_bytes()
    async with Transport(server.config(client_cert=pair, client_cert_files=files), clock=manual_clock) as transport:
        slow = asyncio.create_task(whoami(transport, "/slow"))
        assert await whoami(transport) == "CN=old"
        async with transport.stream("/watch", {}, idle_timeout=10, total_timeout=10) as stream:
            batches = stream.batches()
            assert await anext(batches) == [b"CN=old"]
            server.write_client("new")
            assert await whoami(transport) == "CN=old"  # files are looked at once a second
            manual_clock.time += 1
            assert await whoami(transport) == "CN=new"
            with pytest.raises(TransportError) as cut:
                await anext(batches)
            assert cut.value.kind == "reset"  # at once, not for its silence
        server.release.set()
        assert await slow == "CN=old"
        assert all(lent.users == 0 for lent in transport._connections._sessions.values())


async def test_a_certificate_that_a_credential_brings_replaces_the_connections(
    server: TlsServer, manual_clock: ManualClock
) -> None:
    """RT-CF-08."""

    class Issued(NoCredential):
        pair = server.clients.client("one")

        def client_cert(self) -> tuple[bytes, bytes]:
            return self.pair

    credential = Issued()
    async with Transport(server.config(credential=credential), clock=manual_clock) as transport:
        assert await whoami(transport) == "CN=one"
        credential.pair = server.clients.client("two")
        assert await whoami(transport) == "CN=two"


async def test_a_changed_authority_is_trusted_without_a_restart(server: TlsServer, manual_clock: ManualClock) -> None:
    """RT-CF-04."""
    file = server.directory / "ca.crt"
    file.write_bytes(Authority("other").pem)
    async with Transport(server.config(ca=file.read_bytes(), ca_file=file), clock=manual_clock) as transport:
        with pytest.raises(TransportError):
            await whoami(transport)
        file.write_bytes(server.authority.pem)
        manual_clock.time += 1
        assert await whoami(transport) == "nobody"


async def test_rotation_lets_running_requests_end_and_opens_new_connections(
    server: TlsServer, manual_clock: ManualClock
) -> None:
    """RT-CF-04."""
    async with Transport(server.config(), clock=manual_clock) as transport:
        await whoami(transport)
        await whoami(transport)
        assert len(server.connections) == 1
        slow = asyncio.create_task(whoami(transport, "/slow"))
        await asyncio.sleep(0)
        await transport.rotate()
        await whoami(transport)
        server.release.set()
        assert await slow == "nobody"
        assert len(server.connections) == 2


# -- under load --------------------------------------------------------------------------------------------------


class Load:
    """Callers that never pause; every answer is kept, every failure ends them."""

    def __init__(self, transport: Transport, count: int = 12) -> None:
        self.transport = transport
        self.answers: list[str] = []
        self._tasks = [asyncio.create_task(self._call()) for _ in range(count)]

    async def _call(self) -> None:
        while True:
            self.answers.append(await whoami(self.transport))

    async def more(self, count: int = 60) -> list[str]:
        """The answers to requests that were sent from now on, at least so many of them."""
        # Each caller may still be waiting for one answer to an earlier request.
        start = len(self.answers) + len(self._tasks)
        async with asyncio.timeout(20):
            while len(self.answers) < start + count:
                await asyncio.sleep(0.01)
                for task in self._tasks:
                    if task.done():
                        task.result()
        return self.answers[start:]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)


async def test_the_server_moves_to_another_authority_under_load(server: TlsServer, manual_clock: ManualClock) -> None:
    """RT-CF-04: bundle of both, new certificate, new authority alone; no request fails and no restart is needed."""
    file, new = server.directory / "ca.crt", Authority("new")
    file.write_bytes(server.authority.pem)
    async with Transport(server.config(ca=file.read_bytes(), ca_file=file), clock=manual_clock) as transport:
        load = Load(transport)
        await load.more()
        file.write_bytes(server.authority.pem + new.pem)
        manual_clock.time += 60
        await load.more()
        server.present(new)
        await load.more()
        before = set(server.links)
        file.write_bytes(new.pem)
        manual_clock.time += 60
        await load.more()
        assert set(server.links) - before
        await closed(before)
        # Only who trusts the new authority gets a connection now: the load does, the old bundle would not.
        async with Transport(server.config(), clock=manual_clock) as stale:
            with pytest.raises(TransportError) as refused:
                await whoami(stale)
        assert refused.value.kind == "tls"
        await load.stop()


async def test_a_client_certificate_changes_under_load(server: TlsServer, manual_clock: ManualClock) -> None:
    """RT-CF-05: no request fails, and none that begins afterwards uses the old one."""
    files = server.write_client("old")
    pair = files[0].read_bytes(), files[1].read_bytes()
    async with Transport(server.config(client_cert=pair, client_cert_files=files), clock=manual_clock) as transport:
        load = Load(transport)
        assert set(await load.more()) == {"CN=old"}
        for user in ("new", "newer"):
            server.write_client(user)
            manual_clock.time += 1
            await load.more()
            assert set(await load.more()) == {f"CN={user}"}
        await load.stop()
        await closed({link for link, user in server.links.items() if user != "CN=newer"})


async def closed(links: set[asyncio.BaseTransport]) -> None:
    """Until the server has seen all of these connections end."""
    async with asyncio.timeout(10):
        while not all(link.is_closing() for link in links):  # noqa: ASYNC110 - the server's own links tell nobody
            await asyncio.sleep(0.01)


async def test_a_process_that_only_watches_notices_a_changed_client_certificate(
    server: TlsServer, manual_clock: ManualClock
) -> None:
    """RT-CF-05: with the next line of the watch, which comes at least as a bookmark every minute."""
    files = server.write_client("old")
    pair = files[0].read_bytes(), files[1].read_bytes()
    async with Transport(server.config(client_cert=pair, client_cert_files=files), clock=manual_clock) as transport:
        async with transport.stream("/ticks", {}, idle_timeout=10, total_timeout=100) as stream:
            batches = stream.batches()
            assert await anext(batches) == [b"CN=old"]
            server.write_client("new")
            manual_clock.time += 60
            server.tick.set()
            with pytest.raises(TransportError) as cut:
                assert [batch async for batch in batches] == []
            assert cut.value.kind == "reset"
        async with transport.stream("/ticks", {}, idle_timeout=10, total_timeout=100) as stream:
            assert await anext(stream.batches()) == [b"CN=new"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_client_certificate_is_told_as_a_tls_error(
    tmp_path: Path, manual_clock: ManualClock, method: str
) -> None:
    """RT-ER-23, RT-CL-21: TLS 1.3 tells it after the handshake; trying again would not help."""
    server = TlsServer(tmp_path)
    server.prepare()
    server.context.verify_mode = ssl.CERT_REQUIRED
    handshakes = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # By hand, since the servers of the event loop close without saying why.
        nonlocal handshakes
        handshakes += 1
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        link = server.context.wrap_bio(received, to_send, server_side=True)
        while True:
            try:
                link.do_handshake()
            except ssl.SSLWantReadError:
                writer.write(to_send.read())
                received.write(await reader.read(1 << 16))
            except ssl.SSLError:
                break
        writer.write(to_send.read())
        writer.write_eof()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        server.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with Transport(server.config(), clock=manual_clock) as transport:
            with pytest.raises(TransportError) as caught:
                await transport.request(method, "/x")
    assert caught.value.kind == "tls"
    assert handshakes == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_of_tls_are_not_spoken(
    server: TlsServer, manual_clock: ManualClock, version: ssl.TLSVersion
) -> None:
    """RT-CF-09."""
    context = server.config().ssl_context()
    assert context is not None
    assert context.minimum_version > version
