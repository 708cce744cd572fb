"""The webhook server on a real TLS socket, alone and in a manager."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import uvloop
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from unit.runtime import tls
from unit.runtime.standby import Standby

from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.admission import AdmissionEndpoint, AdmissionRequest, AdmissionResponse, Verdict
from rbgctl.runtime.certwatcher import CertificateError
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.http_connection import HttpLimits
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.certificates import Authority
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.webhook import WebhookOptions, WebhookServer, deadline, serve_kind
from rbgctl.runtime.webhook_call import Answer, Call

POD = GVK("", "v1", "Pod")


class Echo:
    """Answers with what it was asked."""

    body_limit: int | None = None

    def __init__(self, answer: Callable[[Call], Awaitable[Answer]] | None = None) -> None:
        self.calls: list[Call] = []
        self._answer = answer

    def span(self, path: str) -> str:
        return f"echo {path}"

    async def __call__(self, call: Call) -> Answer:
        self.calls.append(call)
        if self._answer is not None:
            return await self._answer(call)
        return Answer(200, (call.body,))


def at(folder: Path) -> WebhookOptions:
    return WebhookOptions(host="127.0.0.1", port=0, cert_dir=folder)


def make(folder: Path, registry: Registry | None = None, **options: Any) -> WebhookServer:
    where = WebhookOptions(host="127.0.0.1", port=0, cert_dir=folder, **options)
    return WebhookServer(where, registry=registry or Registry())


@contextlib.asynccontextmanager
async def running(server: WebhookServer) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(server.run())
    ready = asyncio.create_task(server.started())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    tls.write(tmp_path, tls.issue())
    return tmp_path


async def post(
    server: WebhookServer, path: str, body: bytes = b"", context: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(ssl=context or tls.client_context())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"https://127.0.0.1:{server.port}{path}", data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.read()


# -- start -------------------------------------------------------------------------------------------------------


def test_defaults() -> None:  # RT-WH-01
    options = WebhookOptions()
    assert (options.host, options.port) == ("", 9443)
    assert options.cert_dir.parts[-2:] == ("k8s-webhook-server", "serving-certs")
    assert (options.cert_name, options.key_name, options.client_ca_name) == ("tls.crt", "tls.key", "")


async def test_all_interfaces_unless_a_host_is_named(certificates: Path) -> None:  # RT-WH-01
    server = WebhookServer(WebhookOptions(port=0, cert_dir=certificates), registry=Registry())
    async with running(server):
        assert server._http.host is None
        await server.check()
        _, writer = await tls.connect(server.port)
        writer.close()


async def test_an_unreadable_certificate_stops_the_manager(tmp_path: Path) -> None:  # RT-WH-01
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions())
    manager.serve_webhooks(at(tmp_path))
    with pytest.raises(CertificateError, match=r"cannot read .*tls\.crt: No such file"):
        await asyncio.wait_for(manager.run(), 10)


async def test_an_unreadable_client_authority_stops_the_server(certificates: Path) -> None:  # RT-WH-01
    with pytest.raises(CertificateError, match=r"cannot use client CA .*/ca\.crt: No such file"):
        await make(certificates, client_ca_name="ca.crt").run()
    (certificates / "ca.crt").write_bytes(b"rubbish")
    with pytest.raises(CertificateError, match=r"cannot use client CA .*/ca\.crt: "):
        await make(certificates, client_ca_name="ca.crt").run()


async def test_a_failing_watcher_is_only_logged(  # RT-WH-01
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Any) -> None:
        failed.set()
        raise RuntimeError("watcher broke")

    failed = asyncio.Event()
    monkeypatch.setattr("rbgctl.runtime.certwatcher.CertWatcher.run", fail)
    server = make(certificates)
    server.register("/x", Echo())
    async with running(server) as task:
        await failed.wait()
        assert await post(server, "/x", b"hi") == (200, b"hi")
        assert not task.done()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_versions_below_tls_1_2_are_refused(certificates: Path) -> None:  # RT-WH-01
    server = make(certificates)
    async with running(server):
        for version, works in (("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)):
            context = tls.client_context()
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion[version]
            try:
                _, writer = await tls.connect(server.port, context)
            except (ssl.SSLError, OSError):
                assert not works, version
            else:
                assert works, version
                writer.close()


async def test_only_http_1_1_is_offered(certificates: Path) -> None:  # RT-WH-01, WH-10
    server = make(certificates)
    async with running(server):
        context = tls.client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await tls.connect(server.port, context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()


async def test_only_clients_of_the_authority_are_let_in(certificates: Path, tmp_path: Path) -> None:  # RT-WH-01
    clients, others = Authority("clients"), Authority("clients")
    (certificates / "clients.pem").write_bytes(clients.pem)
    server = make(certificates, client_ca_name="clients.pem")
    server.register("/x", Echo())
    async with running(server):
        known = tls.client_context(tls.write(tmp_path / "known", clients.client("api-server")))
        stranger = tls.client_context(tls.write(tmp_path / "stranger", others.client("api-server")))
        assert await post(server, "/x", b"hi", known) == (200, b"hi")
        for refused in (stranger, tls.client_context()):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await post(server, "/x", b"hi", refused)
        await server.check()  # readiness needs no client certificate


# -- readiness ---------------------------------------------------------------------------------------------------


async def test_readiness_is_a_handshake_with_the_own_port(certificates: Path) -> None:  # RT-WH-03
    server = make(certificates)
    with pytest.raises(RuntimeError, match="webhook server has not been started"):
        await server.check()
    async with running(server):
        await server.check()
        # The port answers, but not with TLS.
        listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        server._http.port = listener.sockets[0].getsockname()[1]
        with pytest.raises(RuntimeError, match="webhook server is not reachable: "):
            await server.check()
        listener.close()
        await listener.wait_closed()
        with pytest.raises(RuntimeError, match="webhook server is not reachable: "):
            await server.check()
    with pytest.raises(RuntimeError, match="webhook server has not been started"):
        await server.check()


@pytest.mark.looptime
async def test_a_port_that_never_answers_fails_after_ten_seconds(  # RT-WH-03
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make(certificates)

    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(1000)

    server._http._started.set()
    monkeypatch.setattr(asyncio, "open_connection", silent)
    began = asyncio.get_running_loop().time()
    with pytest.raises(RuntimeError, match="webhook server is not reachable: timeout"):
        await server.check()
    assert asyncio.get_running_loop().time() - began == pytest.approx(10.0)


async def test_replicas_that_do_not_lead_serve_before_their_caches_start(certificates: Path) -> None:
    # RT-MG-02, RT-MG-07, RT-HZ-09, MGR-12
    manager = Manager(
        ClusterConfig("http://127.0.0.1:1"),
        ManagerOptions(elector=lambda _: Standby(), health_address="127.0.0.1:0"),
    )
    server = manager.serve_webhooks(at(certificates))
    server.register("/x", Echo())
    seen: list[Any] = []
    done = asyncio.Event()

    class Cache:
        async def run(self) -> None:
            # Without a retry: at this moment the port has answered already.
            seen.append(await post(server, "/x", b"list"))
            done.set()

    manager.add(Cache(), group="cache")
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    try:
        async with asyncio.timeout(10):
            await asyncio.wait([task, asyncio.create_task(done.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert seen == [(200, b"list")]
        assert not manager.elected.is_set()
        assert manager.health_server is not None
        url = f"http://127.0.0.1:{manager.health_server.port}/readyz/webhook"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
    finally:
        stop.set()
        await task


async def test_caches_wait_until_the_port_answers(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # RT-MG-07
    answers = asyncio.Event()
    tried = asyncio.Event()

    async def check(_: WebhookServer) -> None:
        tried.set()
        if not answers.is_set():
            raise RuntimeError("not yet")

    monkeypatch.setattr(WebhookServer, "check", check)
    manager = Manager(ClusterConfig("http://127.0.0.1:1"))
    manager.serve_webhooks(at(certificates))
    began = asyncio.Event()

    class Cache:
        async def run(self) -> None:
            began.set()

    manager.add(Cache(), group="cache")
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    await asyncio.wait_for(tried.wait(), 10)
    await asyncio.sleep(0.1)
    assert not began.is_set()
    answers.set()
    await asyncio.wait_for(began.wait(), 10)
    stop.set()
    await task


# -- paths -------------------------------------------------------------------------------------------------------


class Anything:
    async def validate_create(self, request: AdmissionRequest, new: RawObject) -> Verdict:
        return Verdict()

    async def validate_update(self, request: AdmissionRequest, old: RawObject, new: RawObject) -> Verdict:
        return Verdict()

    async def validate_delete(self, request: AdmissionRequest, old: RawObject) -> Verdict:
        return Verdict()

    async def default(self, request: AdmissionRequest, new: RawObject) -> None:
        return None


def test_a_path_can_be_registered_once(tmp_path: Path) -> None:  # RT-WH-02
    server = make(tmp_path)
    server.register("/x", Echo())
    with pytest.raises(ValueError, match="cannot register webhook path /x twice"):
        server.register("/x", Echo())


async def test_kinds_get_their_paths_and_share_convert(certificates: Path) -> None:  # RT-WH-02
    server = make(certificates)

    def converter(obj: RawObject, desired: str) -> RawObject:
        return {**obj, "apiVersion": desired}

    def repaint(obj: RawObject, desired: str) -> RawObject:
        return {**converter(obj, desired), "painted": True}

    car = GVK("a.b.io", "v1", "Car")
    serve_kind(server, POD, validator=Anything(), defaulter=Anything(), converter=converter)
    serve_kind(server, car, validator=Anything(), converter=repaint)
    serve_kind(server, GVK("a.b.io", "v2", "Car"), converter=repaint)
    with pytest.raises(ValueError, match="cannot register webhook path /validate--v1-pod twice"):
        serve_kind(server, POD, validator=Anything())
    with pytest.raises(ValueError, match=r"Car\.a\.b\.io has a converter already"):
        serve_kind(server, car, converter=converter)
    assert sorted(server.paths) == ["/convert", "/mutate--v1-pod", "/validate--v1-pod", "/validate-a-b-io-v1-car"]
    async with running(server):
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "u", "operation": "CREATE", "object": {}},
        }
        for path in server.paths[:2]:
            status, body = await post(server, path, orjson.dumps(review))
            assert (status, orjson.loads(body)["response"]["allowed"]) == (200, True)
        asked = {"uid": "u", "desiredAPIVersion": "v2", "objects": [{"apiVersion": "v1", "kind": "Pod"}]}
        status, body = await post(server, "/convert", orjson.dumps({"request": asked}))
        assert orjson.loads(body)["response"]["convertedObjects"] == [{"apiVersion": "v2", "kind": "Pod"}]
        asked = {"uid": "u", "desiredAPIVersion": "a.b.io/v2", "objects": [{"apiVersion": "a.b.io/v1", "kind": "Car"}]}
        status, body = await post(server, "/convert", orjson.dumps({"request": asked}))
        (converted,) = orjson.loads(body)["response"]["convertedObjects"]
        assert converted == {"apiVersion": "a.b.io/v2", "kind": "Car", "painted": True}
        asked["objects"] = [{"apiVersion": "a.b.io/v1", "kind": "Bus"}]
        status, body = await post(server, "/convert", orjson.dumps({"request": asked}))
        assert "no conversion of a.b.io/v1, Kind=Bus" in orjson.loads(body)["response"]["result"]["message"]


async def test_unknown_paths_are_404_and_late_ones_are_served(certificates: Path) -> None:
    server = make(certificates)
    async with running(server):
        assert (await post(server, "/x"))[0] == 404
        server.register("/x", Echo())
        assert await post(server, "/x", b"hi") == (200, b"hi")


# -- bodies ------------------------------------------------------------------------------------------------------


async def test_large_bodies_pass_both_ways(certificates: Path) -> None:  # RT-WH-10, WH-11
    large = bytes(range(256)) * 4 * 8192  # 8 MiB

    async def in_parts(call: Call) -> Answer:
        return Answer(200, (b"", call.body[:10], memoryview(call.body)[10:1_000_000], call.body[1_000_000:], b""))

    server = make(certificates)
    server.register("/convert", Echo(in_parts))
    async with running(server):
        assert await post(server, "/convert", large) == (200, large)


async def test_reading_stops_at_the_limit_of_an_endpoint(certificates: Path) -> None:  # RT-WH-05
    limited = Echo()
    limited.body_limit = 1000
    server = make(certificates)
    server.register("/limited", limited)
    server.register("/admit", AdmissionEndpoint(lambda _: refuse()))
    async with running(server):
        assert await post(server, "/limited", b"x" * 999) == (200, b"x" * 999)
        assert await post(server, "/limited", b"x" * 300_000) == (200, b"x" * 1000)
        status, body = await post(server, "/admit", b"x" * (8 << 20))
        assert (status, orjson.loads(body)["response"]["status"]["code"]) == (200, 413)


async def refuse() -> AdmissionResponse:
    raise AssertionError


# -- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        ("", 9.0),
        ("10s", 9.0),
        ("30s", 27.0),
        ("3s", 2.7),
        ("5m", 9.0),
        ("0s", 9.0),
        ("900s", 27.0),
        ("-1s", 9.0),
        ("9" * 5000 + "s", 9.0),
    ],
)
def test_handlers_end_before_the_api_server_gives_up(timeout: str, seconds: float) -> None:  # RT-WH-11
    assert deadline(timeout) == pytest.approx(seconds)


async def test_an_endpoint_is_told_how_much_time_is_left(certificates: Path) -> None:  # RT-WH-11
    echo = Echo()
    server = make(certificates)
    server.register("/x", echo)
    async with running(server):
        await post(server, "/x", b"1")
        await post(server, "/x?timeout=2s", b"2")
    assert 5.0 < echo.calls[0].seconds <= 9.0
    assert 0.0 < echo.calls[1].seconds <= 1.8


async def test_a_body_that_does_not_arrive_is_not_waited_for(certificates: Path) -> None:  # RT-WH-11
    echo = Echo()
    server = make(certificates)
    server.register("/x", echo)
    async with running(server):
        reader, writer = await tls.connect(server.port)
        writer.write(b"POST /x?timeout=1s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 408 ")
        writer.close()
    assert echo.calls == []


@contextlib.asynccontextmanager
async def stopping_with_a_request(certificates: Path) -> AsyncIterator[Any]:
    """A server that was told to stop while a handler runs: its task, the request's task, and what lets it end."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(_: Call) -> Answer:
        entered.set()
        await leave.wait()
        return Answer(200, (b"done",))

    server = make(certificates)
    server.register("/x", Echo(wait))
    async with running(server) as task:
        request = asyncio.create_task(post(server, "/x"))
        await entered.wait()
        task.cancel()
        await asyncio.sleep(0.05)
        yield server, task, request, leave


async def test_stopping_refuses_connections_and_lets_requests_end(certificates: Path) -> None:  # RT-WH-04
    async with stopping_with_a_request(certificates) as (server, task, request, leave):
        with pytest.raises(OSError, match=r"refused|Connect"):
            await tls.connect(server.port)
        assert not task.done()
        leave.set()
        assert await request == (200, b"done")
        await asyncio.wait([task], timeout=10)
        assert task.done()


def test_requests_have_60_seconds_to_end(tmp_path: Path) -> None:  # RT-WH-04
    assert make(tmp_path)._http.limits.shutdown_seconds == 60.0


async def test_what_does_not_end_in_time_is_cut_off(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # RT-WH-04
    monkeypatch.setattr("rbgctl.runtime.webhook.DRAIN_SECONDS", 0.2)
    async with stopping_with_a_request(certificates) as (_, task, request, _leave):
        await asyncio.wait([task], timeout=10)
        assert task.done()
        with pytest.raises(aiohttp.ClientError):
            await request


# -- metrics -----------------------------------------------------------------------------------------------------


async def test_metrics_of_a_path(certificates: Path) -> None:  # RT-MT-40, RT-MT-41, RT-MT-42
    registry = Registry()
    entered, leave = asyncio.Event(), asyncio.Event()

    def value(name: str, **labels: str) -> float | None:
        return registry.collectors.get_sample_value(f"controller_runtime_webhook_{name}", labels)

    def counts(path: str) -> list[float | None]:
        return [value("requests_total", webhook=path, code=code) for code in ("200", "500", "400")]

    async def answer(call: Call) -> Answer:
        if call.body == b"bug":
            raise KeyError("bug")
        if call.body == b"wait":
            entered.set()
            await leave.wait()
        return Answer(400 if call.body == b"bad" else 200)

    server = make(certificates, registry)
    server.register("/convert", Echo(answer))
    assert counts("/convert") == [0, 0, None]
    assert value("requests_in_flight", webhook="/convert") == 0
    assert value("latency_seconds_count", webhook="/convert") == 0
    assert value("latency_seconds_bucket", webhook="/convert", le="0.005") == 0
    assert value("latency_seconds_bucket", webhook="/convert", le="10.0") == 0
    async with running(server):
        assert [(await post(server, "/convert", body))[0] for body in (b"", b"bug", b"bad", b"")] == [
            200,
            500,
            400,
            200,
        ]
        assert counts("/convert") == [2, 1, 1]
        waiting = asyncio.create_task(post(server, "/convert", b"wait"))
        await entered.wait()
        assert value("requests_in_flight", webhook="/convert") == 1
        leave.set()
        await waiting
    assert value("requests_in_flight", webhook="/convert") == 0
    assert value("latency_seconds_count", webhook="/convert") == 5
    assert value("latency_seconds_bucket", webhook="/convert", le="+Inf") == 5


async def test_denials_count_as_200_and_bugs_in_handlers_as_panics(certificates: Path) -> None:
    # RT-MT-41, RT-MT-43, RT-MT-44, RT-WH-07

    class Broken(Anything):
        async def validate_create(self, request: AdmissionRequest, new: RawObject) -> Verdict:
            if new.get("denied"):
                return Verdict(ValueError("no"))
            raise KeyError("bug")

    def broken(_obj: RawObject, _desired: str) -> RawObject:
        raise KeyError("bug")

    registry = Registry()
    server = make(certificates, registry)
    serve_kind(server, POD, validator=Broken(), converter=broken)
    value = registry.collectors.get_sample_value
    path = "/validate--v1-pod"
    async with running(server):
        for obj, allow in (({"denied": 1}, False), ({}, False)):
            request = {"uid": "u", "operation": "CREATE", "object": obj}
            status, body = await post(server, path, orjson.dumps({"request": request}))
            assert (status, orjson.loads(body)["response"]["allowed"]) == (200, allow)
        assert value("controller_runtime_webhook_panics_total") == 1
        assert value("controller_runtime_conversion_webhook_panics_total") == 0
        asked = {"uid": "u", "desiredAPIVersion": "v2", "objects": [{"apiVersion": "v1", "kind": "Pod"}]}
        await post(server, "/convert", orjson.dumps({"request": asked}))
        assert value("controller_runtime_webhook_panics_total") == 1
        assert value("controller_runtime_conversion_webhook_panics_total") == 1
    counted = {"webhook": path, "code": "200"}
    assert value("controller_runtime_webhook_requests_total", counted) == 2


# -- traces ------------------------------------------------------------------------------------------------------


async def test_calls_are_server_spans_of_the_callers_trace(certificates: Path) -> None:  # RT-TR-02, RT-TR-05
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    options = WebhookOptions(host="127.0.0.1", port=0, cert_dir=certificates)
    server = WebhookServer(options, registry=Registry(), tracing=Tracing(provider))
    serve_kind(server, POD, validator=Anything(), converter=lambda obj, desired: {**obj, "apiVersion": desired})
    trace, parent = "0123456789abcdef0123456789abcdef", "0123456789abcdef"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(ssl=tls.client_context())
    async with running(server), aiohttp.ClientSession(connector=connector, headers=headers) as session:
        for path in ("/validate--v1-pod", "/convert"):
            async with session.post(f"https://127.0.0.1:{server.port}{path}", data=b"{}") as answer:
                await answer.read()
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["admission /validate--v1-pod", "convert"]
    for span in spans:
        assert span.kind == SpanKind.SERVER
        assert span.parent is not None
        assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (trace, parent)


# -- uvloop ------------------------------------------------------------------------------------------------------


def test_it_serves_under_uvloop_with_the_same_limits(certificates: Path) -> None:  # RT-WH-01, RT-HZ-04
    """As the manager runs it: several requests on a connection, then a head that never ends."""

    async def serve() -> list[bytes]:
        server = make(certificates)
        server._http.limits = HttpLimits(head_seconds=0.5, idle_seconds=1000)
        server.register("/x", Echo())
        seen = []
        async with running(server):
            reader, writer = await tls.connect(server.port)
            for body in (b"one", b"two"):
                writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n" + body)
                head = await reader.readuntil(b"\r\n\r\n")
                seen += [head.split(b"\r\n")[0], await reader.readexactly(3)]
            writer.write(b"POST /x HTTP/1.1\r\n")
            seen.append(await asyncio.wait_for(reader.read(), 20))
            writer.close()
        return seen

    found: list[bytes] = []

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found.extend(runner.run(serve()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [b"HTTP/1.1 200 OK", b"one", b"HTTP/1.1 200 OK", b"two", b""]


# -- certificates ------------------------------------------------------------------------------------------------


async def test_a_rotated_certificate_is_served_and_counted(certificates: Path) -> None:  # RT-CW-05, RT-MT-50
    class Fast:
        """A clock whose sleeps are short."""

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(0.01)

    registry = Registry()
    options = WebhookOptions(host="127.0.0.1", port=0, cert_dir=certificates)
    server = WebhookServer(options, registry=registry, clock=Fast())  # type: ignore[arg-type]
    async with running(server):
        pair = tls.issue()
        tls.write(certificates, pair)
        await eventually(lambda: tls.served(server.port), tls.der(pair[0]).__eq__)
    assert (registry.collectors.get_sample_value("certwatcher_read_certificate_total") or 0) >= 2
