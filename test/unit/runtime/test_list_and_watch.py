"""Lists and watches against a server that answers by a script."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import pytest
from aiohttp import web
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import (
    Answer,
    Asked,
    ScriptedServer,
    answer,
    bookmark,
    event,
    failure,
    listing,
    obj,
    refused,
    reset,
    watch,
)

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.runtime import list_turn, reflector
from rbgctl.runtime.backoff import Backoff
from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.errors import Forbidden, Unauthorized
from rbgctl.runtime.fifo import Delta, OrderedFifo
from rbgctl.runtime.reflector import SHORT_CUTS, Reflector, WatchTarget
from rbgctl.runtime.store import Entry, EntryDecoder, Indexer, Tombstone
from rbgctl.runtime.transport import Transport

POD = GVK("", "v1", "Pod")
PODS = Resource(POD, "pods", True)
PATH = "/api/v1/pods"
SPEED = 10.0


class FastClock(SystemClock):
    """Time goes by ten times as fast; notes what was slept for."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    def now(self) -> datetime:
        return super().now()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(seconds / SPEED)


@dataclass
class Bench:
    server: ScriptedServer
    reflector: Reflector
    fifo: OrderedFifo
    store: Indexer
    clock: FastClock
    errors: list[Exception] = field(default_factory=list)
    relists: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    deltas: list[tuple[str, str]] = field(default_factory=list)
    queued: asyncio.Event = field(default_factory=asyncio.Event)

    def drain(self) -> list[tuple[str, str]]:
        """What was queued since the last call; it is stored now."""
        before = len(self.deltas)
        while len(self.fifo):
            self.fifo.pop(self._apply)
        return self.deltas[before:]

    def _apply(self, delta: Delta) -> None:
        match delta.item:
            case None:
                self.marks.append(delta.rv)
                return
            case Tombstone(key=key):
                self.store.remove(key)
            case Entry() as entry:
                key = entry.header.key
                if delta.type.value == "Deleted":
                    self.store.remove(key)
                else:
                    self.store.upsert(entry)
        self.deltas.append((delta.type.value, key.name))

    async def stored(self, **versions: str) -> None:
        """Until exactly these objects are stored in these versions."""
        wanted = {NN("ns", name): rv for name, rv in versions.items()}
        async with asyncio.timeout(10):
            while True:
                self.drain()
                if {k: e.header.rv for e in self.store.entries() for k in [e.header.key]} == wanted:
                    return
                self.queued.clear()
                await self.queued.wait()


Run = Callable[..., Any]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Starts a reflector on a server with the given script."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*script: Answer, streaming: bool | None = False, **options: Any) -> Bench:
            server = ScriptedServer()
            server.answers(*script)
            await stack.enter_async_context(server.running())
            config = ClusterConfig(server=server.url)
            transport = await stack.enter_async_context(Transport(config, clock=options.pop("clock", None)))
            store = Indexer()
            fifo = OrderedFifo(store)
            clock = FastClock()
            errors: list[Exception] = []
            relists: list[str] = []
            queued = asyncio.Event()
            target = WatchTarget(PODS, form=options.pop("form", "full"), labels=options.pop("labels", ""))
            reflector = Reflector(
                target,
                transport,
                fifo,
                EntryDecoder(POD),
                clock=clock,
                rng=random.Random(1),
                streaming=streaming,
                first_list_jitter=0.0,
                on_error=errors.append,
                on_relist=relists.append,
                on_queued=queued.set,
                **options,
            )
            task = asyncio.create_task(reflector.run())
            stack.push_async_callback(_cancelled, task)
            return Bench(server, reflector, fifo, store, clock, errors, relists, queued=queued)

        yield start


def kinds(asked: Sequence[Asked]) -> list[tuple[str, str | None]]:
    """What was asked for, and from which version."""

    def kind(one: Asked) -> str:
        return "stream" if "sendInitialEvents" in one.query else "watch" if one.is_watch else "list"

    return [(kind(one), rv(one)) for one in asked]


def rv(asked: Asked) -> str | None:
    return asked.query.get("resourceVersion")


def slowly(then: Answer) -> Answer:
    """The same answer after a second of the fast clock and a half."""

    async def give(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.5 / SPEED)
        return await then(request)

    return give


async def silent(_: web.Request) -> web.StreamResponse:
    """An answer that never comes."""
    await asyncio.Event().wait()
    raise AssertionError


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    async with asyncio.timeout(2):
        with contextlib.suppress(asyncio.CancelledError):
            await task


LISTED = listing(5)


# -- lists -----------------------------------------------------------------------------------------------------------


async def test_it_lists_from_any_version_and_watches_from_the_lists(run: Run) -> None:
    """RT-RF-03, RT-RF-05, RT-RF-07, RT-RF-08."""
    bench = await run(listing(5, obj("a", 3)), labels="x=y", watch_timeout=(300.0, 600.0))
    first, second = await bench.server.asked_at_least(2)
    assert first.path == second.path == PATH
    assert first.query == {"labelSelector": "x=y", "resourceVersion": "0", "limit": "500"}
    assert kinds([second])[0] == ("watch", "5")
    assert second.query["allowWatchBookmarks"] == "true"
    assert second.query["labelSelector"] == "x=y"
    assert 300 <= int(second.query["timeoutSeconds"]) < 600
    await bench.stored(a="3")
    assert bench.reflector.relists == 1
    assert bench.relists == []


async def test_pages_of_a_list_make_one_state(run: Run) -> None:
    """RT-RF-05: and a server that paged the cheap list is asked to page later ones too."""
    bench = await run(
        listing(5, obj("a", 3), then="next"),
        listing(5, obj("b", 4)),
        watch(event("ERROR", failure(410, "Expired"))),
        listing(9, obj("b", 4)),
    )
    first, second, _, again, _ = await bench.server.asked_at_least(5)
    assert "continue" not in first.query
    assert second.query["continue"] == "next"
    assert "resourceVersion" not in second.query
    assert again.query == {"resourceVersion": "5", "resourceVersionMatch": "NotOlderThan", "limit": "500"}
    await bench.stored(b="4")
    assert bench.deltas[0] == ("Replaced", "a")
    assert ("Deleted", "a") in bench.deltas


async def test_a_list_that_expires_between_pages_starts_over_in_one_piece(run: Run) -> None:
    """RT-RF-06: nothing of the first attempt is kept."""
    bench = await run(listing(5, obj("old", 1), then="next"), refused(410, "Expired"), listing(9, obj("new", 8)))
    requests = await bench.server.asked_at_least(4)
    assert requests[2].query == {}
    assert kinds([requests[3]])[0] == ("watch", "9")
    await bench.stored(new="8")
    assert bench.deltas == [("Replaced", "new")]


@pytest.mark.parametrize(
    "refusal",
    [
        refused(410, "Expired"),
        refused(410, "Gone"),
        refused(504, "Timeout", details={"causes": [{"reason": "ResourceVersionTooLarge"}]}),
        answer(504, orjson.dumps(failure(504, "Timeout", message="Too large resource version: 9, current: 5"))),
    ],
)
async def test_a_version_the_server_cannot_serve_leads_to_the_newest_at_once(run: Run, refusal: Answer) -> None:
    """RT-RF-06, RT-RV-06."""
    bench = await run(listing(5), watch(event("ERROR", failure(410, "Expired"))), refusal, listing(9, obj("a", 8)))
    requests = await bench.server.asked_at_least(5)
    assert kinds(requests) == [("list", "0"), ("watch", "5"), ("list", "5"), ("list", None), ("watch", "9")]
    assert requests[3].query == {"limit": "500"}
    # One pause before the list, none before its repetition.
    assert len(bench.clock.slept) == 1


async def test_a_list_that_fails_is_tried_again_after_a_pause_and_reported(run: Run) -> None:
    """RT-RF-02, RT-IN-08."""
    bench = await run(refused(403, "Forbidden"), refused(401, "Unauthorized"), answer(200, b"[nonsense"), LISTED)
    await bench.server.asked_at_least(5)
    assert [type(e) for e in bench.errors[:2]] == [Forbidden, Unauthorized]
    assert len(bench.errors) == 3
    first, second, third = bench.clock.slept
    assert 0.8 <= first <= 1.6
    assert 1.6 <= second <= 3.2
    assert 3.2 <= third <= 6.4


async def test_an_object_that_cannot_be_decoded_fails_the_whole_list(run: Run) -> None:
    """RT-QF-06: before anything of it is queued."""
    bench = await run(listing(5, obj("a", 3), {"metadata": "none"}), listing(6, obj("b", 3)))
    await bench.stored(b="3")
    assert bench.deltas == [("Replaced", "b")]


async def test_metadata_only_is_asked_for_and_stamped_with_the_kind(run: Run) -> None:
    """RT-CL-12."""
    partial = {**obj("a", 3), "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
    moved = {**partial, "metadata": {**partial["metadata"], "resourceVersion": "6"}}
    bench = await run(listing(5, partial), watch(event("MODIFIED", moved), then="hang"), form="metadata")
    listed, watched = await bench.server.asked_at_least(2)
    form = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"
    assert listed.headers["Accept"] == form.format("List")
    assert watched.headers["Accept"] == form.format("")
    await bench.stored(a="6")
    entry = bench.store.get(NN("ns", "a"))
    assert entry is not None
    assert entry.decode()["kind"] == "Pod"


# -- watches ---------------------------------------------------------------------------------------------------------


async def test_events_become_deltas_and_a_clean_end_resumes_at_the_newest_version(run: Run) -> None:
    """RT-RF-08, RT-RF-11: bookmarks count, and there is no pause and no list in between."""
    bench = await run(
        LISTED,
        watch(event("ADDED", obj("a", 6)), event("ADDED", obj("b", 7)), bookmark(9)),
        watch(event("MODIFIED", obj("a", 10)), event("DELETED", obj("b", 11))),
    )
    requests = await bench.server.asked_at_least(4)
    assert kinds(requests) == [("list", "0"), ("watch", "5"), ("watch", "9"), ("watch", "11")]
    assert bench.drain() == [("Added", "a"), ("Added", "b"), ("Updated", "a"), ("Deleted", "b")]
    assert bench.marks == ["5", "9"]
    assert bench.clock.slept == []
    assert bench.errors == []


async def test_a_bookmark_alone_moves_only_the_version(run: Run) -> None:
    """RT-RF-11."""
    bench = await run(LISTED, watch(bookmark(8)))
    requests = await bench.server.asked_at_least(3)
    assert kinds([requests[2]])[0] == ("watch", "8")
    assert bench.drain() == []


@pytest.mark.parametrize("reason", ["Expired", "Gone"])
@pytest.mark.parametrize("in_stream", [True, False])
async def test_an_expired_watch_leads_to_a_new_list(run: Run, reason: str, in_stream: bool) -> None:
    """RT-RF-09, RT-RF-10: from the last version, which the server may still have."""
    expired = watch(event("ERROR", failure(410, reason))) if in_stream else refused(410, reason)
    bench = await run(listing(5, obj("a", 3)), expired, listing(9, obj("b", 8)))
    requests = await bench.server.asked_at_least(4)
    assert kinds(requests) == [("list", "0"), ("watch", "5"), ("list", "5"), ("watch", "9")]
    await bench.stored(b="8")
    assert bench.relists == [reason]


@pytest.mark.parametrize("in_stream", [True, False])
async def test_an_overloaded_server_is_left_alone_for_a_while_but_not_asked_for_a_list(
    run: Run, in_stream: bool
) -> None:
    """RT-RF-09, RT-RF-10: 429."""
    busy = failure(429, "TooManyRequests")
    bench = await run(LISTED, *[watch(event("ERROR", busy)) if in_stream else answer(429, orjson.dumps(busy))] * 3)
    requests = await bench.server.asked_at_least(5)
    assert kinds(requests)[1:] == [("watch", "5")] * 4
    assert len(bench.clock.slept) == 3
    assert bench.clock.slept == sorted(bench.clock.slept)


@pytest.mark.parametrize(
    "line",
    [
        event("ERROR", failure(500, "InternalError")),
        event("SURPRISE", obj("a", 6)),
        b'{"type": "ADDED", "object": {"kind": "Pod"\n',
    ],
)
async def test_what_cannot_be_understood_leads_to_a_new_list(run: Run, line: Any) -> None:
    """RT-RF-10: the window for re-opening after an internal error is off."""
    bench = await run(LISTED, watch(event("ADDED", obj("a", 6)), line), listing(9, obj("a", 7)))
    requests = await bench.server.asked_at_least(4)
    assert kinds(requests)[2] == ("list", "6")
    await bench.stored(a="7")
    assert bench.relists == ["InternalError"]


async def test_any_other_refusal_of_a_watch_leads_to_a_new_list(run: Run) -> None:
    """RT-RF-09."""
    bench = await run(LISTED, refused(403, "Forbidden"), LISTED)
    assert kinds(await bench.server.asked_at_least(4))[2] == ("list", "5")
    assert isinstance(bench.errors[0], Forbidden)


async def test_events_of_other_kinds_are_skipped(run: Run) -> None:
    """RT-RF-11, RT-RF-15."""
    table = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "99"}}
    bench = await run(LISTED, watch(event("ADDED", table), event("ADDED", obj("a", 6))))
    requests = await bench.server.asked_at_least(3)
    assert kinds([requests[2]])[0] == ("watch", "6")
    assert bench.drain() == [("Added", "a")]


async def test_a_watch_cut_in_the_middle_resumes_where_it_was(run: Run) -> None:
    """RT-RF-10: half a line is asked for again."""
    half = b'{"type": "ADDED", "object": {"kind": "Conf'
    bench = await run(
        LISTED,
        watch(event("ADDED", obj("a", 6)), half, then="cut"),
        watch(event("ADDED", obj("b", 7)), then="hang"),
    )
    requests = await bench.server.asked_at_least(3)
    assert kinds([requests[2]])[0] == ("watch", "6")
    await bench.stored(a="6", b="7")
    assert bench.reflector.relists == 1


async def test_a_watch_that_ends_at_once_without_an_event_leads_to_a_new_list(run: Run) -> None:
    """RT-RF-01: very short watch."""
    bench = await run(LISTED, watch(), LISTED)
    assert kinds(await bench.server.asked_at_least(4)) == [("list", "0"), ("watch", "5"), ("list", "5"), ("watch", "5")]
    assert len(bench.clock.slept) == 1


async def test_a_watch_that_breaks_off_at_once_is_opened_again_after_a_pause_as_a_watch(run: Run) -> None:
    """RT-RF-10: as when the server goes away right after the list; what the list knew is still right."""
    script = [watch(then="cut")] * SHORT_CUTS
    bench = await run(LISTED, *script, watch(event("ADDED", obj("a", 6)), then="hang"))
    requests = await bench.server.asked_at_least(2 + len(script))
    assert kinds(requests) == [("list", "0"), *[("watch", "5")] * (len(script) + 1)]
    await bench.stored(a="6")
    assert bench.relists == []
    assert len(bench.clock.slept) == len(script)
    assert bench.clock.slept[0] >= 0.8


async def test_watches_that_keep_breaking_off_at_once_are_replaced_by_lists(run: Run) -> None:
    """Something between here and the server does not let watches through."""
    bench = await run(LISTED, *[watch(then="cut")] * (SHORT_CUTS + 1), listing(9, obj("a", 8)))
    assert kinds(await bench.server.asked_at_least(SHORT_CUTS + 4))[-2:] == [("list", "5"), ("watch", "9")]
    await bench.stored(a="8")


async def test_a_watch_with_events_is_no_part_of_a_row_of_broken_ones(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector, "SHORT_CUTS", 2)
    cut = watch(then="cut")
    script = [cut, cut, watch(bookmark(6), then="cut"), cut, cut]
    bench = await run(LISTED, *script)
    asked = await bench.server.asked_at_least(len(script) + 2)
    assert [kind for kind, _ in kinds(asked)] == ["list", *["watch"] * (len(script) + 1)]


async def test_a_list_that_fails_is_made_again_for_the_reason_it_was_made_for(run: Run) -> None:
    """What is counted is why the state had to be read again, not what went wrong on the way."""
    expired = watch(event("ERROR", failure(410, "Expired")))
    bench = await run(listing(5), expired, refused(403, "Forbidden"), refused(500, "InternalError"), listing(9))
    await bench.server.asked_at_least(6)
    assert bench.relists == ["Expired"]


async def test_a_watch_that_ends_without_an_event_after_a_while_is_just_resumed(run: Run) -> None:
    """RT-RF-02."""
    bench = await run(LISTED, slowly(watch()))
    assert kinds(await bench.server.asked_at_least(3))[1:] == [("watch", "5"), ("watch", "5")]
    assert bench.clock.slept == []


async def test_a_watch_that_cannot_be_opened_is_opened_again_without_a_list(run: Run) -> None:
    """RT-RF-09, RT-CL-21: the connection is reset instead of an answer."""
    bench = await run(LISTED, reset(), reset(), watch(event("ADDED", obj("a", 6)), then="hang"), clock=FastClock())
    requests = await bench.server.asked_at_least(4)
    assert kinds(requests)[1:] == [("watch", "5")] * 3
    await bench.stored(a="6")
    assert bench.reflector.relists == 1


async def test_a_server_that_refuses_connections_is_tried_again_without_a_list(run: Run) -> None:
    """RT-RF-09: as while it restarts."""
    bench = await run(LISTED, slowly(watch(event("ADDED", obj("a", 6)))))
    config, real = bench.reflector._transport.config, bench.server.url
    await bench.server.asked_at_least(2)
    config.server = "http://127.0.0.1:9"  # the discard port: nobody listens
    refusals: asyncio.Event = asyncio.Event()

    def note(error: Exception) -> None:
        bench.errors.append(error)
        if len(bench.errors) == 3:
            config.server = real
            refusals.set()

    bench.reflector._on_error = note
    async with asyncio.timeout(10):
        await refusals.wait()
    assert {getattr(e, "kind", None) for e in bench.errors} == {"refused"}
    assert kinds(await bench.server.asked_at_least(3))[2] == ("watch", "6")
    assert bench.reflector.relists == 1


async def test_a_silent_watch_is_given_up_and_resumed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """RT-RF-16: 90 s without a byte where bookmarks are known to come; here a tenth of a second."""
    assert reflector.BOOKMARK_SILENCE == 90.0
    monkeypatch.setattr(reflector, "BOOKMARK_SILENCE", 0.1)
    bench = await run(LISTED, watch(bookmark(7)), watch(then="hang"), watch(bookmark(8), then="hang"))
    began = time.monotonic()
    assert kinds(await bench.server.asked_at_least(4))[2:] == [("watch", "7"), ("watch", "7")]
    assert time.monotonic() - began < 5
    assert bench.reflector.relists == 1


async def test_a_silent_watch_without_bookmarks_ends_after_its_own_time(run: Run) -> None:
    """RT-RF-16: five seconds after the server should have ended it, which here is in the past but for a moment."""
    bench = await run(LISTED, watch(then="hang"), watch_timeout=(-4.8, -4.8))
    requests = await bench.server.asked_at_least(3)
    assert kinds(requests)[1:] == [("watch", "5"), ("watch", "5")]
    assert bench.reflector.relists == 1


async def test_objects_of_any_size_are_read(run: Run) -> None:
    """RT-RF-18: a line of 3 MiB."""
    huge = obj("a", 6, annotations={"x": "y" * (3 << 20)})
    bench = await run(LISTED, watch(event("ADDED", huge), then="hang"))
    await bench.stored(a="6")


# -- the initial state as a stream -----------------------------------------------------------------------------------


async def test_the_initial_state_may_come_as_a_stream_that_goes_on_as_the_watch(run: Run) -> None:
    """RT-RF-12, RT-RF-14: stored when the end is marked, not before."""
    initial = [
        event("ADDED", obj("a", 7)),
        event("ADDED", obj("gone", 3)),
        event("MODIFIED", obj("a", 8)),
        event("DELETED", obj("gone", 9)),
    ]
    bench = await run(watch(*initial, bookmark(9, end=True), event("ADDED", obj("b", 10))), streaming=None)
    requests = await bench.server.asked_at_least(2)
    assert requests[0].query["sendInitialEvents"] == "true"
    assert requests[0].query["resourceVersionMatch"] == "NotOlderThan"
    assert rv(requests[0]) == ""
    assert kinds(requests)[1] == ("watch", "10")
    assert bench.drain() == [("Replaced", "a"), ("Added", "b")]
    assert bench.marks == ["9"]


async def test_a_stream_that_breaks_before_its_end_leaves_what_was_known(run: Run) -> None:
    """RT-RF-13, RT-RF-14: its versions are no point to resume from."""
    bench = await run(
        watch(event("ADDED", obj("a", 7)), bookmark(8, end=True), event("ERROR", failure(410, "Expired"))),
        watch(event("ADDED", obj("b", 90)), then="cut"),
        listing(11, obj("c", 9)),
        streaming=None,
    )
    requests = await bench.server.asked_at_least(4)
    assert kinds(requests) == [("stream", ""), ("stream", "8"), ("list", "8"), ("watch", "11")]
    assert bench.drain() == [("Replaced", "a"), ("Deleted", "a"), ("Replaced", "c")]


@pytest.mark.parametrize(
    "refusal",
    [refused(422, "Invalid"), refused(403, "Forbidden"), watch(event("ADDED", obj("x", 3)))],
)
async def test_a_server_without_streams_is_asked_for_lists_from_then_on(run: Run, refusal: Answer) -> None:
    """RT-RF-04, RT-RF-14: remembered, so the next time it is a list at once."""
    expired = watch(event("ERROR", failure(410, "Expired")))
    bench = await run(refusal, listing(5, obj("a", 3)), expired, listing(6), streaming=None)
    requests = await bench.server.asked_at_least(5)
    assert kinds(requests) == [("stream", ""), ("list", "0"), ("watch", "5"), ("list", "5"), ("watch", "6")]
    assert bench.drain() == [("Replaced", "a"), ("Deleted", "a")]


async def test_an_overloaded_server_is_asked_for_the_stream_again(run: Run) -> None:
    """RT-RF-14."""
    bench = await run(refused(429, "TooManyRequests"), watch(bookmark(5, end=True), then="hang"), streaming=None)
    assert kinds(await bench.server.asked_at_least(2)) == [("stream", ""), ("stream", "")]
    assert bench.clock.slept[0] >= 0.8


async def test_a_stream_that_gets_no_answer_is_replaced_by_a_list_for_this_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 60 s, not ten attempts of 60 s; and nothing was learned about streams."""
    assert reflector.STREAM_SILENCE == 60.0
    monkeypatch.setattr(reflector, "STREAM_SILENCE", 0.1)
    expired = watch(event("ERROR", failure(410, "Expired")))
    bench = await run(silent, listing(5), expired, streaming=None)
    asked = await bench.server.asked_at_least(4)
    assert kinds(asked) == [("stream", ""), ("list", "0"), ("watch", "5"), ("stream", "5")]
    assert [getattr(e, "kind", "") for e in bench.errors] == ["timeout", ""]


# -- pauses ----------------------------------------------------------------------------------------------------------


def test_pauses_double_up_to_a_cap_and_start_over_after_quiet_minutes(manual_clock: ManualClock) -> None:
    """RT-RF-01."""
    rng = random.Random(3)
    backoff = Backoff(manual_clock, rng)
    bases = (0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0)
    for base in bases:
        assert base <= backoff.step() <= 2 * base
    manual_clock.time += 119
    assert backoff.step() >= 30
    manual_clock.time += 120
    assert 0.8 <= backoff.step() <= 1.6
    jitters = {round(Backoff(manual_clock, rng).step(), 6) for _ in range(50)}
    assert len(jitters) > 40


async def test_no_more_lists_run_at_once_than_the_gate_lets_in() -> None:
    """RT-RF-17."""
    gate = asyncio.Semaphore(2)
    async with ScriptedServer().running() as server, Transport(ClusterConfig(server=server.url)) as transport:
        tasks = [
            asyncio.create_task(
                Reflector(
                    WatchTarget(PODS),
                    transport,
                    OrderedFifo(Indexer()),
                    EntryDecoder(POD),
                    streaming=False,
                    list_gate=gate,
                    first_list_jitter=0.0,
                ).run()
            )
            for _ in range(5)
        ]
        await server.asked_at_least(2)
        assert gate.locked()
        assert len(server.asked) == 2
        for task in tasks:
            await _cancelled(task)


class HangingConversions(ScriptedServer):
    """Answers for pods only: other kinds wait for a webhook that does not."""

    def next_answer(self, request: web.Request) -> Answer:
        if request.path != PATH:
            return silent
        if "sendInitialEvents" in request.query:
            return watch(bookmark(5, end=True), then="hang")
        return watch(then="hang") if "watch" in request.query else LISTED


@pytest.mark.parametrize("streaming", [True, False])
async def test_lists_that_hang_do_not_keep_other_kinds_from_being_listed(
    streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list counts for 10 s without progress, here a fifth of a second."""
    assert list_turn.PATIENCE == 10.0
    monkeypatch.setattr(list_turn, "PATIENCE", 0.2)
    gate = asyncio.Semaphore(list_turn.LISTS_AT_ONCE)

    async with HangingConversions().running() as server, Transport(ClusterConfig(server=server.url)) as transport:

        def reflect(resource: Resource, synced: asyncio.Event) -> asyncio.Task[None]:
            reflector = Reflector(
                WatchTarget(resource),
                transport,
                OrderedFifo(Indexer()),
                EntryDecoder(resource.gvk),
                streaming=streaming,
                list_gate=gate,
                first_list_jitter=0.0,
                on_queued=synced.set,
            )
            return asyncio.create_task(reflector.run())

        hanging, pods = asyncio.Event(), asyncio.Event()
        group = GVK("example.com", "v1", "Thing")
        tasks = [reflect(Resource(group, f"things{n}", True), hanging) for n in range(list_turn.LISTS_AT_ONCE)]
        await server.asked_at_least(len(tasks))
        assert gate.locked()
        tasks.append(reflect(PODS, pods))
        async with asyncio.timeout(5):
            await pods.wait()
        assert not hanging.is_set()
        for task in tasks:
            await _cancelled(task)
    assert gate._value == list_turn.LISTS_AT_ONCE  # each place was given back once


async def test_a_list_keeps_its_turn_while_it_makes_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_turn, "PATIENCE", 0.2)
    gate = asyncio.Semaphore(1)
    async with list_turn.ListTurn(gate) as turn:
        for _ in range(10):
            await asyncio.sleep(0.05)
            assert gate.locked()
            turn.progress()
        await asyncio.wait_for(gate.acquire(), 5)
        assert gate.locked()
    assert gate.locked(), "what was given up is not given back again"
