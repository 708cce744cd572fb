"""The metrics endpoint: what it serves, to whom, and with which certificate."""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.registry import Collector
from unit.runtime import tls

from rbgctl.runtime.certwatcher import CertificateError, CertWatcher, ServingCertificate
from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.http_server import HttpServer
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.metrics_server import default_certificate, metrics_server
from rbgctl.runtime.testing.asserts import eventually


class Fast(SystemClock):
    """Sleeps are short."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


class Reviews:
    """Stands in for the API server's opinion: the token "good" may do everything."""

    async def create(self, body: Any) -> Any:
        if body["kind"] == "TokenReview":
            good = body["spec"]["token"] == "good"
            return {"status": {"authenticated": good, "user": {"username": "u"}}}
        return {"status": {"allowed": True}}


class Mapper:
    def add_static(self, *_: Any) -> None:
        return None


def make(address: str = "127.0.0.1:0", registry: Registry | None = None, **options: Any) -> HttpServer:
    given: Any = {
        "secure": False,
        "certificate": None,
        "client": Reviews(),
        "mapper": Mapper(),
        "clock": Fast(),
        "rng": random.Random(1),
        **options,
    }
    return metrics_server(address, registry or Registry(), **given)


@contextlib.asynccontextmanager
async def running(server: HttpServer) -> AsyncIterator[HttpServer]:
    task = asyncio.create_task(server.run())
    await server.ready()
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.wait([task])


async def get(server: HttpServer, path: str = "/metrics", token: str = "", secure: bool = False) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http{'s' if secure else ''}://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=False) as answer:
        return answer.status, answer.headers.get("Content-Type"), await answer.text()


async def test_the_text_format_is_served_whatever_is_asked_for() -> None:  # RT-HZ-05
    async with running(make()) as server:
        status, content_type, text = await get(server)
        assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "# EOF" not in text
        assert "controller_runtime_webhook_panics_total 0.0" in text


async def test_a_collector_that_fails_is_a_500() -> None:  # RT-HZ-05
    class Broken(Collector):
        def collect(self) -> Any:
            if self.ready:
                raise RuntimeError("gather failed")
            return ()

        ready = False

    registry = Registry()
    collector = Broken()
    registry.collectors.register(collector)
    collector.ready = True
    async with running(make(registry=registry)) as server:
        status, _, text = await get(server)
        assert (status, "gather failed" in text) == (500, True)


async def test_an_empty_address_is_the_default_and_zero_is_off() -> None:  # RT-HZ-05
    assert make("").port == 8080
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(metrics_address="0"))
    manager._add_servers()
    assert manager.metrics_server is None
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(metrics_address="", metrics_secure=False))
    manager._add_servers()
    assert manager.metrics_server is not None
    assert manager.metrics_server.port == 8080


async def test_further_paths_are_for_the_same_clients() -> None:  # RT-HZ-05
    async def extra(_: web.Request) -> web.Response:
        return web.Response(text="more")

    server = make(secure=True, extra={"/more": extra})
    async with running(server):
        for path, text in (("/metrics", "workqueue"), ("/more", "more")):
            assert (await get(server, path, secure=True))[0] == 401
            status, _, found = await get(server, path, "good", secure=True)
            assert (status, text in found) == (200, True)


async def test_further_paths_are_free_ones_and_known_before_the_start() -> None:  # RT-HZ-05, RT-MG-10
    async def extra(_: web.Request) -> web.Response:
        return web.Response(text="more")

    manager = Manager(
        ClusterConfig("http://127.0.0.1:1"), ManagerOptions(metrics_address="127.0.0.1:0", metrics_secure=False)
    )
    manager.add_metrics_handler("/more", extra)
    for path in ("/metrics", "/more"):
        with pytest.raises(ValueError, match=f"{path} is served already"):
            manager.add_metrics_handler(path, extra)
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    await asyncio.wait_for(manager.elected.wait(), 10)
    with pytest.raises(RuntimeError, match="unable to add new metrics handler"):
        manager.add_metrics_handler("/late", extra)
    assert manager.metrics_server is not None
    assert (await get(manager.metrics_server, "/more"))[2] == "more"
    stop.set()
    await task


async def test_without_files_a_certificate_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # RT-HZ-05
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = default_certificate()
    assert files == ServingCertificate(
        tmp_path / "k8s-metrics-server" / "serving-certs" / "tls.crt",
        tmp_path / "k8s-metrics-server" / "serving-certs" / "tls.key",
    )
    pair = tls.issue()
    tls.write(files.certificate.parent, pair)
    files.key.unlink()  # either one missing counts
    server = make(secure=True)
    async with running(server):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _, writer = await tls.connect(server.port, context)
        served = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.close()
        tls.write(files.certificate.parent, pair)
        await asyncio.sleep(0.1)
        context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(served))
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        for name in ("localhost", "127.0.0.1"):  # it is for both, and still the same one
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname=name)
            assert writer.get_extra_info("ssl_object").getpeercert(True) == served
            writer.close()
    assert server.certificates is None


@pytest.mark.parametrize("named", [True, False])
async def test_files_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    # RT-HZ-05, RT-CW-05
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key") if named else default_certificate()
    first, second = tls.issue(), tls.issue()
    tls.write(files.certificate.parent, first)
    registry = Registry()
    server = make(registry=registry, secure=True, certificate=files if named else None)
    async with running(server):
        assert await tls.served(server.port) == tls.der(first[0])
        tls.write(files.certificate.parent, second)
        await eventually(lambda: tls.served(server.port), tls.der(second[0]).__eq__)
    assert isinstance(server.certificates, CertWatcher)
    assert (registry.collectors.get_sample_value("certwatcher_read_certificate_total") or 0) >= 2


def test_files_that_cannot_be_used_are_an_error(tmp_path: Path) -> None:
    paths = tls.write(tmp_path, (tls.issue()[0], tls.issue()[1]))
    with pytest.raises(CertificateError, match="cannot use"):
        make(secure=True, certificate=ServingCertificate(*paths))


async def test_old_protocol_versions_and_http_2_are_not_offered() -> None:  # RT-HZ-05
    async with running(make(secure=True)) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await tls.connect(server.port, context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()
    assert server.limits.shutdown_seconds == 60.0
