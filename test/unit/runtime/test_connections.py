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
        self.connections: set[Any] = set()
        self.url = ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        der = request.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        name = x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else "nobody"
        if request.path == "/watch":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(name.encode() + b"\n")
            await asyncio.Event().wait()
        if request.path == "/slow":
            await self.release.wait()
        return web.Response(text=name)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["TlsServer"]:
        cert, key = self.authority.server(["127.0.0.1", "api.internal"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.clients.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        (self.directory / "server.pem").write_bytes(cert + key)
        context.load_cert_chain(self.directory / "server.pem")
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

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
            with pytest.raises(TransportError):
                await anext(batches)
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
