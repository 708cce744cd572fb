"""The fault proxy in front of a server that answers by a script."""

import asyncio
import contextlib
import random
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
from unit.runtime.scripted import ScriptedServer, answer, bookmark, event, obj, watch

from rbgctl.runtime.config import ClusterConfig, StaticToken
from rbgctl.runtime.errors import ApiError, Expired, TooManyRequests
from rbgctl.runtime.testing.fault_proxy import FaultProxy
from rbgctl.runtime.testing.faults import (
    CONFLICT,
    EXPIRED,
    INTERNAL,
    TOO_LARGE,
    UNAVAILABLE,
    WATCHES,
    WRITES,
    Break,
    Delay,
    Drop,
    Match,
    Refuse,
    RepeatBookmarks,
    Rule,
    Seen,
    WatchError,
    too_many_requests,
)
from rbgctl.runtime.transport import LineSplitter

PODS = "/api/v1/namespaces/ns/pods"


@dataclass
class Bench:
    server: ScriptedServer
    proxy: FaultProxy
    session: aiohttp.ClientSession

    async def ask(self, method: str = "GET", path: str = PODS, **options: object) -> tuple[int, bytes]:
        async with self.session.request(method, self.proxy.config.server + path, **options) as found:  # type: ignore[arg-type]
            return found.status, await found.read()

    @contextlib.asynccontextmanager
    async def watching(self, path: str = PODS + "?watch=1") -> AsyncIterator["Watching"]:
        async with self.session.get(self.proxy.config.server + path) as found:
            yield Watching(found)


class Watching:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self._splitter = LineSplitter()
        self._lines: list[bytes] = []

    async def line(self) -> bytes:
        """The next one, empty at a clean end."""
        while not self._lines:
            chunk = await asyncio.wait_for(self.answer.content.readany(), 10)
            if not chunk:
                return b""
            self._lines += self._splitter.feed(chunk)
        return self._lines.pop(0) + b"\n"

    async def rest(self) -> list[bytes]:
        found = []
        while line := await self.line():
            found.append(line)
        return found


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with ScriptedServer().running() as server, FaultProxy(ClusterConfig(server.url)) as proxy:
        connector = aiohttp.TCPConnector(ssl=proxy.config.ssl_context() or True)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Bench(server, proxy, session)


def lines(*names: str) -> list[bytes]:
    return [event("ADDED", obj(name, n)) for n, name in enumerate(names, 1)]


async def test_without_rules_requests_and_answers_pass_unchanged(bench: Bench) -> None:
    bench.server.answers(answer(201, b'{"a":1}', {"Warning": '299 - "old"', "Content-Type": "application/json"}))
    headers = {"User-Agent": "me/1", "Content-Type": "application/merge-patch+json", "Accept": "a/b"}
    url = bench.proxy.config.server + PODS + "/x%2Fy?fieldManager=rbg%20x"
    async with bench.session.patch(url, data=b"{}", headers=headers) as found:
        assert (found.status, await found.read()) == (201, b'{"a":1}')
        assert found.headers["Warning"] == '299 - "old"'
    (asked,) = bench.server.asked
    assert (asked.method, asked.body, asked.query) == ("PATCH", b"{}", {"fieldManager": "rbg x"})
    assert {name: asked.headers[name] for name in headers} == headers
    (seen,) = bench.proxy.requests
    assert (seen.status, seen.forwarded, seen.faults, seen.user_agent) == (201, True, [], "me/1")


async def test_clients_must_trust_the_proxys_own_authority(bench: Bench) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await bench.ask(ssl=ssl.create_default_context())


async def test_a_token_of_the_client_replaces_the_credentials_of_the_proxy() -> None:
    async with ScriptedServer().running() as server:
        config = ClusterConfig(server.url, credential=StaticToken("given"))
        async with FaultProxy(config) as proxy, aiohttp.ClientSession() as session:
            server.answers(answer(200), answer(200))
            context = proxy.config.ssl_context() or True
            for headers in ({}, StaticToken("own").headers()):
                async with session.get(proxy.config.server + PODS, ssl=context, headers=headers):
                    pass
        assert [a.headers["Authorization"] for a in server.asked] == ["Bearer given", "Bearer own"]


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_dropped_request_gets_no_answer_whether_it_was_carried_out_or_not(
    bench: Bench, forwarded: bool, reset: bool
) -> None:
    bench.server.answers(answer(200), answer(200, b"fine"))
    bench.proxy.add(Drop(forwarded=forwarded, reset=reset), WRITES, times=1)
    error = aiohttp.ClientOSError if reset else aiohttp.ServerDisconnectedError
    with pytest.raises(error):
        await bench.ask("POST", data=b"{}")
    assert len(bench.server.asked) == forwarded
    assert (bench.proxy.requests[0].forwarded, bench.proxy.requests[0].status) == (forwarded, 0)
    assert (await bench.ask("POST", data=b"{}"))[0] == 200


@pytest.mark.parametrize("fault", [EXPIRED, CONFLICT, TOO_LARGE, INTERNAL, UNAVAILABLE, too_many_requests(2)])
async def test_a_refused_request_gets_a_status_and_is_not_carried_out(bench: Bench, fault: Refuse) -> None:
    bench.proxy.add(fault)
    async with bench.session.get(bench.proxy.config.server + PODS) as found:
        error = ApiError.from_response("GET", found.status, found.headers, await found.read())
        assert (error.code, error.reason) == (fault.code, fault.reason)
        assert found.headers.get("Retry-After") == (str(fault.retry_after) if fault.retry_after else None)
    if fault is TOO_LARGE:
        assert error.causes[0].reason == "ResourceVersionTooLarge"
    if fault.code == 429:
        assert isinstance(error, TooManyRequests)
        assert error.retry_after == 2
    assert not bench.server.asked


@pytest.mark.parametrize("reset", [False, True])
async def test_an_answer_breaks_after_so_many_bytes(bench: Bench, reset: bool) -> None:
    bench.server.answers(answer(200, b"0123456789"))
    bench.proxy.add(Break(after=4, reset=reset))
    async with bench.session.get(bench.proxy.config.server + PODS) as found:
        assert (found.status, found.headers["Content-Length"]) == (200, "10")
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)) as caught:
            await found.read()
    assert ("reset by peer" in str(caught.value)) is reset


async def test_a_delay_comes_before_the_request_is_passed_on(bench: Bench) -> None:
    bench.server.answers(answer(200))
    bench.proxy.add(Delay(0.2))
    began = time.monotonic()
    asking = asyncio.create_task(bench.ask())
    await bench.proxy.until(lambda: bool(bench.proxy.requests))
    assert not bench.server.asked
    await asking
    assert time.monotonic() - began >= 0.2


async def test_a_frozen_server_keeps_connections_open_and_answers_when_it_thaws(bench: Bench) -> None:
    (first,) = lines("a")
    bench.server.answers(watch(first, then="hang"), answer(200, b"late"))
    async with bench.watching() as watching:
        assert await watching.line() == first
        frozen = bench.proxy.freeze()
        asking = asyncio.create_task(bench.ask())
        await bench.proxy.until(lambda: frozen.held == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.1)
        assert len(bench.server.asked) == 1
        frozen.lift()
        assert (await asking)[1] == b"late"


async def test_held_back_events_come_late_but_complete_and_in_order(bench: Bench) -> None:
    sent = lines("a", "b", "c")
    bench.server.answers(watch(*sent, then="hang"), answer(200, b"now"))
    held = bench.proxy.hold_events(Match(resource="pods"))
    async with bench.watching() as watching:
        assert watching.answer.status == 200
        await bench.proxy.until(lambda: held.held == 1)
        assert (await bench.ask())[1] == b"now"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watching.answer.content.readany(), 0.1)
        held.lift()
        assert [await watching.line() for _ in sent] == sent


@pytest.mark.parametrize("after", [0, 2])
async def test_a_watch_ends_with_an_error_after_so_many_events(bench: Bench, after: int) -> None:
    sent = lines("a", "b", "c")
    bench.server.answers(watch(*sent[:after], then="hang"))
    bench.proxy.add(WatchError(error=EXPIRED, after=after))
    async with bench.watching() as watching:
        *events, last = await watching.rest()
    assert events == sent[:after]
    error = ApiError.from_status(orjson.loads(last)["object"])
    assert (orjson.loads(last)["type"], type(error)) == ("ERROR", Expired)


async def test_a_watch_just_ends(bench: Bench) -> None:
    sent = lines("a", "b")
    bench.server.answers(watch(*sent, then="hang"))
    bench.proxy.add(WatchError(after=1))
    async with bench.watching() as watching:
        assert await watching.rest() == sent[:1]


@pytest.mark.parametrize("after", [0, 100])
async def test_a_watch_breaks_in_the_middle_of_an_event(bench: Bench, after: int) -> None:
    sent = lines("a", "b")
    assert len(sent[0]) > 100
    bench.server.answers(watch(*sent, then="hang"))
    bench.proxy.add(Break(after=after, reset=False))
    async with bench.watching() as watching:
        with pytest.raises(aiohttp.ClientPayloadError):
            await watching.answer.read()


async def test_bookmarks_are_repeated_and_events_are_not(bench: Bench) -> None:
    sent = [*lines("a"), bookmark(5), *lines("b")]
    bench.server.answers(watch(*sent))
    bench.proxy.add(RepeatBookmarks(2), WATCHES)
    async with bench.watching() as watching:
        assert await watching.rest() == [sent[0], sent[1], sent[1], sent[1], sent[2]]


async def test_running_watches_are_ended_and_cut_from_outside(bench: Bench) -> None:
    sent = lines("a")
    bench.server.answers(watch(*sent, then="hang"), watch(*sent, then="hang"))
    async with bench.watching(PODS + "?watch=1&x=1") as one, bench.watching() as other:
        assert [await one.line(), await other.line()] == sent * 2
        assert bench.proxy.end_watches(Match(resource="secrets")) == 0
        assert bench.proxy.end_watches() == 2
        for watching in (one, other):
            (last,) = await watching.rest()
            assert orjson.loads(last)["object"]["reason"] == "Expired"
    await bench.proxy.until(lambda: not bench.proxy.running)
    bench.server.answers(watch(*sent, then="hang"))
    async with bench.watching() as watching:
        await watching.line()
        assert bench.proxy.cut(WATCHES, reset=True) == 1
        with pytest.raises(aiohttp.ClientPayloadError):
            await watching.line()


async def test_a_server_that_is_down_refuses_and_comes_back_under_the_same_address(bench: Bench) -> None:
    bench.server.answers(watch(*lines("a"), then="hang"), answer(200, b"back"))
    address = bench.proxy.config.server
    async with bench.watching() as watching:
        await watching.line()
        bench.proxy.refuse_connections()
        with pytest.raises(aiohttp.ClientPayloadError):
            await watching.line()
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await bench.ask()
    assert isinstance(caught.value.os_error, ConnectionRefusedError)
    await bench.proxy.accept_connections()
    assert bench.proxy.config.server == address
    assert (await bench.ask())[1] == b"back"


async def test_an_upstream_that_hangs_up_makes_the_proxy_hang_up(bench: Bench) -> None:
    bench.server.answers(watch(*lines("a"), then="cut"))
    async with bench.watching() as watching:
        assert await watching.line() == lines("a")[0]
        with pytest.raises(aiohttp.ClientPayloadError):
            await watching.line()


async def test_a_client_that_leaves_ends_the_watch_at_the_server(bench: Bench) -> None:
    bench.server.answers(watch(*lines("a"), then="hang"))
    async with bench.watching() as watching:
        await watching.line()
        assert len(bench.proxy.running) == 1
    await bench.proxy.until(lambda: not bench.proxy.running)


async def test_clearing_ends_every_fault(bench: Bench) -> None:
    bench.server.answers(answer(200, b"fine"))
    bench.proxy.add(INTERNAL)
    bench.proxy.freeze()
    asking = asyncio.create_task(bench.ask())
    await bench.proxy.until(lambda: bool(bench.proxy.running))
    bench.proxy.clear()
    assert (await asking)[0] == 500, "it was hit before"
    assert (await bench.ask())[1] == b"fine"


async def test_waiting_says_what_was_asked_last(bench: Bench) -> None:
    bench.server.answers(answer(200))
    await bench.ask()
    with pytest.raises(AssertionError, match=r"within 0\.05 s.*\n.*pods"):
        await bench.proxy.until(lambda: False, timeout=0.05)


# -- which requests are hit ------------------------------------------------------------------------------------------


def hits(rule: Rule, requests: Iterable[Seen], seed: int = 0) -> list[int]:

    rng = random.Random(seed)
    return [n for n, seen in enumerate(requests) if rule.strikes(seen, rng)]


def test_the_nth_request_is_hit_and_the_seed_decides_a_share() -> None:
    requests = [Seen("GET", PODS, {}) for _ in range(2000)]
    assert hits(Rule(INTERNAL, skip=3, times=2), requests) == [3, 4]
    once, again = (hits(Rule(INTERNAL, probability=0.05), requests, seed=7) for _ in range(2))
    assert once == again
    assert once != hits(Rule(INTERNAL, probability=0.05), requests, seed=8)
    assert 60 <= len(once) <= 140
    assert Counter(f for r in requests for f in r.faults)["Refuse"] >= len(once)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/v1/namespaces/ns/pods/a/status", ("pods", "ns", "a", "status")),
        ("/apis/apps/v1/namespaces/ns/controllerrevisions", ("controllerrevisions", "ns", "", "")),
        ("/api/v1/namespaces/ns", ("namespaces", "", "ns", "")),
        ("/api/v1/namespaces/ns/status", ("namespaces", "", "ns", "status")),
        ("/api/v1/nodes", ("nodes", "", "", "")),
        ("/apis/apps/v1", ("", "", "", "")),
        ("/readyz", ("", "", "", "")),
    ],
)
def test_the_path_names_resource_namespace_name_and_subresource(path: str, found: tuple[str, ...]) -> None:
    seen = Seen("GET", path, {})
    assert (seen.resource, seen.namespace, seen.name, seen.subresource) == found


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        (Match(), [0, 1, 2, 3]),
        (Match(methods=("POST", "PUT")), [3]),
        (Match(resource="pods"), [0, 1, 2]),
        (Match(namespace="ns", watch=False), [0, 3]),
        (WATCHES, [1, 2]),
        (Match(streaming=True), [2]),
        (Match(watch=True, streaming=False), [1]),
        (Match(name="a"), [3]),
        (Match(path="secrets?/"), [3]),
        (Match(user_agent="me"), [0]),
        (WRITES, [3]),
    ],
)
def test_a_match_holds_when_all_of_it_does(match: Match, wanted: list[int]) -> None:
    requests = [
        Seen("GET", PODS, {}, "not-me/1"),
        Seen("GET", PODS, {"watch": "1"}),
        Seen("GET", PODS, {"watch": "true", "sendInitialEvents": "true"}),
        Seen("PUT", "/api/v1/namespaces/ns/secrets/a", {}),
    ]
    assert [n for n, seen in enumerate(requests) if match(seen)] == wanted
    assert [seen.is_list for seen in requests] == [True, False, False, False]
