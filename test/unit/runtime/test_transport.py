"""Requests and watch streams against scripted answers."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import Answer, ScriptedServer, answer, bookmark, broken, reset, watch

from rbgctl.runtime import connections
from rbgctl.runtime import transport as transport_module
from rbgctl.runtime.config import ClusterConfig, StaticToken
from rbgctl.runtime.credentials import NoCredential
from rbgctl.runtime.errors import LeadershipUncertain, TransportError
from rbgctl.runtime.transport import Pool, Transport

BUSY = {"Retry-After": "2"}


class Rig:
    def __init__(self, server: ScriptedServer, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.observed: list[tuple[str, str, str, str]] = []
        self.transport = Transport(ClusterConfig(server.url), clock=clock, observer=self.observe)

    def observe(self, method: str, code: str, host: str, path: str, seconds: float) -> None:
        self.observed.append((method, code, host, path))

    async def read(self, idle_timeout: float, total_timeout: float, into: list[bytes]) -> None:
        """A whole watch stream."""
        async with self.transport.stream("/x", {}, idle_timeout=idle_timeout, total_timeout=total_timeout) as stream:
            async for batch in stream.batches():
                into += batch


@pytest.fixture
async def rig(manual_clock: ManualClock) -> AsyncIterator[Rig]:
    async with ScriptedServer().running() as server:
        rig = Rig(server, manual_clock)
        async with rig.transport:
            yield rig


class Renewable(NoCredential):
    """A token that changes when the server refuses it, while there are new ones."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    async def on_unauthorized(self, sent: dict[str, str]) -> bool:  # type: ignore[override]
        if len(self.tokens) > 1:
            self.tokens.pop(0)
        return sent != self.headers()


# -- what goes over the wire -------------------------------------------------------------------------------------


async def test_a_request_says_who_sends_it_and_what_it_understands(rig: Rig) -> None:
    """RT-ID-04, RT-CF-12, RT-CF-13, RT-CF-15."""
    rig.transport.config.credential = StaticToken("secret")
    rig.transport.config.impersonate = (
        ("Impersonate-User", "a"),
        ("Impersonate-Group", "g"),
        ("Impersonate-Group", "h"),
    )
    rig.server.answers(answer(200, b"{}"))
    await rig.transport.request(
        "POST", "/x", params={"a": "b c"}, body=b"{}", content_type="application/json", user_agent="rolebasedgroup/v1"
    )
    (asked,) = rig.server.asked
    assert asked.query == {"a": "b c"}
    assert asked.headers["User-Agent"] == "rolebasedgroup/v1"
    assert asked.headers["Accept"] == asked.headers["Content-Type"] == "application/json"
    assert asked.headers["Accept-Encoding"] == "identity"
    assert asked.headers["Authorization"] == "Bearer secret"
    assert asked.headers["Impersonate-User"] == "a"
    assert asked.headers.getall("Impersonate-Group") == ["g", "h"]  # type: ignore[attr-defined]


async def test_out_of_cluster_answers_may_be_compressed(manual_clock: ManualClock) -> None:
    """RT-CF-12."""
    async with (
        ScriptedServer().running() as server,
        Transport(ClusterConfig(server.url), clock=manual_clock, compress=True) as transport,
    ):
        server.answers(answer(200))
        await transport.request("GET", "/x")
        assert server.asked[0].headers["Accept-Encoding"] == "gzip"


async def test_warnings_of_the_server_are_logged_once_per_text(rig: Rig) -> None:
    """RT-CF-14."""
    warned = answer(200, headers={"Warning": '299 - "v1 is \\"old\\"", 299 - "second"'})
    rig.server.answers(warned, warned)
    with capture_logs() as logs:
        await rig.transport.request("GET", "/x")
        await rig.transport.request("GET", "/y")
    assert [entry["warning"] for entry in logs] == ['v1 is "old"', "second"]


async def test_every_attempt_is_observed(rig: Rig) -> None:
    """RT-MT-20: transport failures as <error>, watches told apart from lists."""
    rig.server.answers(broken(), answer(503, headers=BUSY), answer(200), watch())
    await rig.transport.request("GET", "/api/v1/pods")
    async with rig.transport.stream("/api/v1/pods", {"watch": "1"}, idle_timeout=5, total_timeout=5):
        pass
    host = rig.transport.config.host
    assert rig.observed == [
        ("GET", "<error>", host, "/api/v1/pods"),
        ("GET", "503", host, "/api/v1/pods"),
        ("GET", "200", host, "/api/v1/pods"),
        ("GET", "200", host, "/api/v1/pods?watch=1"),
    ]


# -- retries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_any_verb_is_sent_again_when_the_server_says_when(rig: Rig, method: str, status: int) -> None:
    """RT-CL-20: with the same body, after that many seconds."""
    rig.server.answers(answer(status, headers=BUSY), answer(status, headers=BUSY), answer(200))
    response = await rig.transport.request(method, "/x", body=b"same")
    assert response.status == 200
    assert [a.body for a in rig.server.asked] == [b"same"] * 3
    assert rig.clock.time == 4


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}])
async def test_without_whole_seconds_to_wait_a_failure_is_returned_at_once(rig: Rig, headers: dict[str, str]) -> None:
    """RT-CL-20."""
    rig.server.answers(answer(500, headers=headers))
    assert (await rig.transport.request("GET", "/x")).status == 500
    assert len(rig.server.asked) == 1


async def test_a_success_or_a_client_error_is_never_retried(rig: Rig) -> None:
    """RT-CL-20."""
    rig.server.answers(answer(409, headers=BUSY))
    assert (await rig.transport.request("PUT", "/x")).status == 409
    assert len(rig.server.asked) == 1


async def test_at_most_ten_retries(rig: Rig) -> None:
    """RT-CL-20."""
    rig.server.answers(*[answer(429, headers={"Retry-After": "1"})] * 20)
    assert (await rig.transport.request("GET", "/x")).status == 429
    assert len(rig.server.asked) == 11


async def test_network_and_asked_for_retries_share_one_budget(rig: Rig) -> None:
    """RT-CL-20, RT-CL-21."""
    rig.server.answers(*[answer(429, headers={"Retry-After": "1"}), broken()] * 10)
    assert (await rig.transport.request("GET", "/x")).status == 429
    assert len(rig.server.asked) == 11


@pytest.mark.parametrize("fault", [broken, reset])
async def test_a_read_whose_connection_breaks_is_sent_again_after_a_second(rig: Rig, fault: type) -> None:
    """RT-CL-21."""
    rig.server.answers(fault(), answer(200, b"ok"))
    assert (await rig.transport.request("GET", "/x")).body == b"ok"
    assert rig.clock.time == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("fault", [broken, reset])
async def test_a_write_whose_connection_breaks_is_reported_and_never_repeated(
    rig: Rig, method: str, fault: type
) -> None:
    """RT-CL-21: its outcome is unknown. The HTTP library would repeat PUT and DELETE."""
    rig.server.answers(answer(200), fault(), answer(200))
    await rig.transport.request(method, "/warm")
    with pytest.raises(TransportError) as caught:
        await rig.transport.request(method, "/x", body=b"{}")
    assert caught.value.kind in {"eof", "reset"}
    assert len(rig.server.asked) == 2


async def test_all_attempts_share_one_time_limit(rig: Rig) -> None:
    """RT-CL-21, RT-CL-22."""
    rig.server.answers(*[answer(503, headers={"Retry-After": "20"})] * 5)
    assert (await rig.transport.request("GET", "/x", timeout=60)).status == 503
    assert len(rig.server.asked) == 3


async def test_a_request_that_is_not_answered_in_time_says_so(rig: Rig) -> None:
    """RT-CL-22, RT-ER-23."""
    with pytest.raises(TransportError, match="GET /x") as caught:
        await rig.transport.request("GET", "/x", timeout=0.05)
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize("silent", ["before", "within"])
async def test_a_server_that_stops_in_the_middle_is_given_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """RT-CL-22: 35 s without a byte end a call long before its 60 s are over, an open watch they do not."""
    assert (connections.READ_TIMEOUT, transport_module.REQUEST_TIMEOUT) == (35.0, 60.0)
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.2)

    async def stops(request: web.Request) -> web.StreamResponse:
        if silent == "within":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"half")
        await asyncio.Event().wait()
        raise AssertionError

    rig.server.answers(stops)
    with pytest.raises(TransportError) as caught:
        await rig.transport.request("GET", "/x")
    assert caught.value.kind == "timeout"
    rig.server.answers(watch(b"1\n", then="hang"))
    with pytest.raises(TransportError):
        await rig.read(0.6, 60, lines := [])
    assert lines == [b"1"]
    assert len(rig.server.asked) == 2


async def test_a_server_that_does_not_accept_is_given_up(
    manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-CL-22: after 10 s."""
    assert connections.CONNECT_TIMEOUT == 10.0
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", 0.3)
    with contextlib.ExitStack() as held:
        full = held.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # more than it queues: the system answers no further ones
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        config = ClusterConfig(f"http://127.0.0.1:{full.getsockname()[1]}")
        async with Transport(config, clock=manual_clock) as transport:
            with pytest.raises(TransportError) as caught:
                await transport.request("GET", "/x", timeout=30.0)
    assert caught.value.kind == "timeout"


async def test_nobody_listening_is_told_as_refused(manual_clock: ManualClock) -> None:
    """RT-ER-23."""
    async with Transport(ClusterConfig("http://127.0.0.1:1"), clock=manual_clock) as transport:
        with pytest.raises(TransportError) as caught:
            await transport.request("GET", "/x")
        assert caught.value.kind == "refused"


async def test_redirects_are_not_followed(rig: Rig) -> None:
    """Credentials must not reach a host that the configuration does not name."""
    rig.server.answers(answer(302, headers={"Location": "/elsewhere"}))
    assert (await rig.transport.request("GET", "/x")).status == 302
    assert len(rig.server.asked) == 1


# -- credentials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_credential_is_renewed_and_the_request_sent_again_once(rig: Rig, method: str) -> None:
    """RT-CF-03: any verb, it was not carried out."""
    rig.transport.config.credential = Renewable("old", "new", "newer")
    rig.server.answers(answer(401), answer(401))
    assert (await rig.transport.request(method, "/x")).status == 401
    assert [a.headers["Authorization"] for a in rig.server.asked] == ["Bearer old", "Bearer new"]


async def test_a_credential_that_did_not_change_is_not_tried_again(rig: Rig) -> None:
    """RT-CF-03."""
    rig.transport.config.credential = Renewable("only")
    rig.server.answers(answer(401))
    assert (await rig.transport.request("GET", "/x")).status == 401
    assert len(rig.server.asked) == 1


async def test_a_watch_renews_a_refused_credential_too(rig: Rig) -> None:
    """RT-CF-03."""
    rig.transport.config.credential = Renewable("old", "new")
    rig.server.answers(answer(401), watch(bookmark(3)))
    async with rig.transport.stream("/x", {}, idle_timeout=5, total_timeout=5) as stream:
        assert stream.status == 200
    assert [a.headers["Authorization"] for a in rig.server.asked] == ["Bearer old", "Bearer new"]


# -- write gate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_with_the_gate_shut_no_write_reaches_the_server(rig: Rig, method: str) -> None:
    """RT-LE-32."""
    rig.transport.gate = lambda: 0.0
    with pytest.raises(LeadershipUncertain, match=method):
        await rig.transport.request(method, "/x")
    assert rig.server.asked == []


async def test_reads_and_exempt_writes_pass_a_shut_gate(rig: Rig) -> None:
    """RT-LE-32, RT-LE-38."""
    rig.transport.gate = lambda: 0.0
    rig.server.answers(answer(200), answer(200))
    await rig.transport.request("GET", "/x")
    await rig.transport.request("POST", "/lease", gated=False)
    assert all("timeout" not in a.query for a in rig.server.asked)


async def test_the_gate_is_asked_before_every_attempt(rig: Rig) -> None:
    """RT-LE-37: leadership may be lost while waiting to try again."""
    rig.transport.gate = lambda: 3.0 - rig.clock.time
    rig.server.answers(*[answer(503, headers=BUSY)] * 5)
    with pytest.raises(LeadershipUncertain):
        await rig.transport.request("POST", "/x")
    assert [a.query for a in rig.server.asked] == [{"timeout": "3.000s"}, {"timeout": "1.000s"}]


async def test_the_gate_is_asked_again_once_there_is_a_connection(rig: Rig) -> None:
    """RT-LE-37: the process may have been paused while it waited for one; a new one and a kept one alike."""
    rig.server.answers(answer(200))
    for kept in (False, True):
        if kept:
            rig.transport.gate = None
            await rig.transport.request("POST", "/first")
        answers = iter([5.0, 0.0])
        rig.transport.gate = lambda answers=answers: next(answers)  # type: ignore[misc]
        with pytest.raises(LeadershipUncertain):
            await rig.transport.request("POST", "/second")
    assert [a.path for a in rig.server.asked] == ["/first"]


async def test_a_write_whose_connection_came_late_tells_the_server_what_is_left_now(rig: Rig) -> None:
    """RT-LE-37: its time limit counts from when the server gets it. The connection is there by the second attempt."""
    rig.server.answers(answer(200))
    safe = iter([5.0, 4.0, 3.9, 3.8])
    rig.transport.gate = lambda: next(safe)
    await rig.transport.request("POST", "/x")
    assert [a.query for a in rig.server.asked] == [{"timeout": "3.900s"}]


async def test_a_connection_that_came_late_is_kept_for_the_next_attempt(manual_clock: ManualClock) -> None:
    connected = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Transport(ClusterConfig(url), clock=manual_clock) as transport:
        safe = iter([5.0, 4.0, 4.0, 4.0, 4.0, 0.0, 4.0, 4.0])
        transport.gate = lambda: next(safe)
        await transport.request("POST", "/late")
        with pytest.raises(LeadershipUncertain):
            await transport.request("POST", "/refused")
        await transport.request("POST", "/sent")
    assert connected == 1


@pytest.mark.parametrize("lost", [broken, reset])
async def test_a_write_without_an_answer_is_under_way_until_the_server_gives_up(
    rig: Rig, lost: Callable[[], Answer]
) -> None:
    """RT-LE-39."""
    rig.transport.gate = lambda: 0.5
    rig.server.answers(lost())
    began = time.monotonic()
    with pytest.raises(TransportError):
        await rig.transport.request("POST", "/x")
    await rig.transport.writes.ended()
    assert time.monotonic() - began >= 0.5


async def test_a_write_that_the_server_cannot_have_seen_is_not_under_way(manual_clock: ManualClock) -> None:
    async with Transport(ClusterConfig("http://127.0.0.1:1"), clock=manual_clock) as transport:
        transport.gate = lambda: 1e6
        with pytest.raises(TransportError, match="refused"):
            await transport.request("POST", "/x")
        async with asyncio.timeout(10):
            await transport.writes.ended()


async def test_a_write_is_cut_off_when_the_gate_shuts(rig: Rig) -> None:
    """RT-LE-32."""
    rig.transport.gate = lambda: 0.05
    with pytest.raises(TransportError) as caught:
        await rig.transport.request("POST", "/x")
    assert caught.value.kind == "timeout"


# -- pools -------------------------------------------------------------------------------------------------------


async def test_two_hundred_watches_do_not_hold_up_a_call(rig: Rig) -> None:
    """RT-CF-10."""

    async def hold(opened: asyncio.Semaphore) -> None:
        async with rig.transport.stream("/watch", {"watch": "1"}, idle_timeout=30, total_timeout=30):
            opened.release()
            await asyncio.Event().wait()

    opened = asyncio.Semaphore(0)
    watches = [asyncio.create_task(hold(opened)) for _ in range(200)]
    rig.server.answers(*[watch(bookmark(1), then="hang")] * 200)
    async with asyncio.timeout(20):
        for _ in watches:
            await opened.acquire()
    rig.server.answers(answer(200, b"ok"))
    async with asyncio.timeout(5):
        assert (await rig.transport.request("GET", "/x")).body == b"ok"
    for task in watches:
        task.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


async def test_calls_share_kept_connections_and_every_watch_has_a_fresh_one(rig: Rig) -> None:
    """RT-CF-10."""
    rig.server.answers(answer(200), answer(200), watch(), watch())
    await rig.transport.request("GET", "/a")
    await rig.transport.request("GET", "/b")
    for _ in range(2):
        async with rig.transport.stream("/w", {}, idle_timeout=5, total_timeout=5) as stream:
            assert [line async for line in stream.batches()] == []
    peers = [a.peer for a in rig.server.asked]
    assert peers[0] == peers[1]
    assert len(set(peers)) == 3
    kept = rig.transport._connections._sessions[Pool.UNARY].session.connector
    assert kept is not None
    assert kept._keepalive_timeout == 75


@pytest.mark.parametrize(("pool", "limit"), [(Pool.UNARY, 64), (Pool.LEASE, 2)])
async def test_a_pool_opens_no_more_connections_than_its_limit(rig: Rig, pool: Pool, limit: int) -> None:
    """RT-CF-10."""
    calls = [asyncio.create_task(rig.transport.request("GET", "/x", pool=pool)) for _ in range(limit + 5)]
    await rig.server.asked_at_least(limit)
    assert len({a.peer for a in rig.server.asked}) == limit
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_sockets_notice_dead_peers(rig: Rig) -> None:
    """RT-CF-11."""
    rig.server.answers(answer(200), watch(then="hang"))
    await rig.transport.request("GET", "/x")
    async with rig.transport.stream("/w", {}, idle_timeout=5, total_timeout=5):
        found = [
            link.transport.get_extra_info("socket")
            for lent in rig.transport._connections._sessions.values()
            if lent.session.connector is not None
            for link in [
                *lent.session.connector._acquired,
                *(entry[0] for entries in lent.session.connector._conns.values() for entry in entries),
            ]
            if link.transport is not None
        ]
        assert len(found) == 2
        options = [
            tuple(
                sock.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            for sock in found
        ]
        assert options == [(15, 5, 3)] * 2
        assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for sock in found)
        assert sorted(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for s in found) == [0, 30_000]


# -- streams -----------------------------------------------------------------------------------------------------


async def test_a_silent_stream_is_given_up(rig: Rig) -> None:
    """RT-RF-16."""
    rig.server.answers(watch(b'{"a":1}\n', then="hang"))
    lines: list[bytes] = []
    with pytest.raises(TransportError) as caught:
        await rig.read(0.1, 60, lines)
    assert lines == [b'{"a":1}']
    assert caught.value.kind == "timeout"


async def test_the_time_a_slow_consumer_takes_is_no_silence(rig: Rig) -> None:
    """RT-RF-16: the timer runs only while waiting for the server."""
    rig.server.answers(watch(b"1\n", b"2\n"))
    found: list[bytes] = []
    async with rig.transport.stream("/x", {}, idle_timeout=0.2, total_timeout=60) as stream:
        async for batch in stream.batches():
            found += batch
            await asyncio.sleep(0.3)
    assert found == [b"1", b"2"]


async def test_the_silence_limit_covers_the_response_headers(rig: Rig, manual_clock: ManualClock) -> None:
    """RT-RF-16: some proxies hold them back until the first event."""

    async def never(_: object) -> None:  # type: ignore[return]
        await asyncio.Event().wait()

    rig.server.answers(*[never] * 20)  # type: ignore[list-item]
    with pytest.raises(TransportError) as caught:
        async with rig.transport.stream("/x", {}, idle_timeout=0.05, total_timeout=3):
            pass
    assert caught.value.kind == "timeout"
    assert manual_clock.time == 2


async def test_a_stream_ends_for_good_after_its_total_time(rig: Rig) -> None:
    """RT-RF-16."""
    rig.server.answers(watch(b"1\n", then="hang", before=lambda: setattr(rig.clock, "time", 70.0)))
    with pytest.raises(TransportError) as caught:
        await rig.read(90, 60, [])
    assert caught.value.kind == "timeout"


async def test_an_overloaded_server_opens_the_watch_when_it_said_it_would(rig: Rig) -> None:
    """RT-CL-20."""
    rig.server.answers(answer(429, headers=BUSY), watch())
    async with rig.transport.stream("/x", {}, idle_timeout=5, total_timeout=60) as stream:
        assert stream.status == 200
    assert rig.clock.time == 2
