"""A reflector against random histories of a collection, with faults; and what its streams do when versions expire."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import ScriptedServer, bookmark, event, failure, listing, obj, refused, watch

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.errors import TransportError
from rbgctl.runtime.fifo import Delta, DeltaType, OrderedFifo
from rbgctl.runtime.reflector import STREAM_RETRY, Reflector, WatchTarget
from rbgctl.runtime.store import Entry, EntryDecoder, Indexer, Tombstone
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.transport import Response, Transport

POD = GVK("", "v1", "Pod")
TARGET = WatchTarget(Resource(POD, "pods", True))
NAMES = st.sampled_from("abcd")

# What goes wrong with one request. Those in RELISTS make it impossible to go on from a version.
LIST_FAULTS = st.sampled_from(["", "expired", "too large", "error", "broken"])
WATCH_FAULTS = st.sampled_from(
    ["end", "cut", "silence", "bookmark", "expired", "busy", "garbage", "refused", "overloaded", "error"]
)
RELISTS = {"expired", "garbage", "error"}


@dataclass(frozen=True)
class Change:
    """The next thing that happens to an object: it appears, changes or goes."""

    name: str
    delete: bool


CHANGES = st.builds(Change, NAMES, st.booleans())


@dataclass
class History:
    """A collection whose versions count its changes; stands in for a Transport."""

    changes: list[Change]
    list_faults: list[str]
    watch_faults: list[tuple[str, int]]
    streams: bool
    rng: random.Random
    clock: ManualClock
    rv: int = 0
    relists_allowed: int = 1
    alive: dict[str, int] = field(default_factory=dict)
    events: list[tuple[int, bytes]] = field(default_factory=list)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    tracing: Tracing = field(default_factory=Tracing)

    def happen(self, count: int) -> None:
        """The next `count` changes take place."""
        for change in self.changes[:count]:
            self.rv += 1
            kind = "MODIFIED" if change.name in self.alive else "ADDED"
            if change.delete and self.alive.pop(change.name, None) is None:
                continue
            if not change.delete:
                self.alive[change.name] = self.rv
            self.events.append((self.rv, event("DELETED" if change.delete else kind, obj(change.name, self.rv))))
        del self.changes[:count]

    def state(self) -> list[dict[str, Any]]:
        items = [obj(name, rv) for name, rv in self.alive.items()]
        self.rng.shuffle(items)
        return items

    async def request(self, _method: str, _path: str, *, params: Mapping[str, str], **_: Any) -> Response:
        self.happen(1)
        fault = self.list_faults.pop(0) if self.list_faults else ""
        if fault == "broken":
            raise TransportError("reset", "list")
        if fault == "error":
            return Response(500, {}, orjson.dumps(failure(500, "InternalError")))
        if fault == "expired" and params.get("resourceVersion"):
            return Response(410, {}, orjson.dumps(failure(410, "Expired")))
        if fault == "too large" and params.get("resourceVersion"):
            causes = {"causes": [{"reason": "ResourceVersionTooLarge"}]}
            return Response(504, {}, orjson.dumps(failure(504, "Timeout", details=causes)))
        body = {"kind": "PodList", "metadata": {"resourceVersion": str(self.rv)}, "items": self.state()}
        return Response(200, {}, orjson.dumps(body))

    @contextlib.asynccontextmanager
    async def stream(self, _path: str, params: Mapping[str, str], **_: Any) -> AsyncIterator["HistoryStream"]:
        fault, count = self.watch_faults.pop(0) if self.watch_faults else ("", 0)
        self.relists_allowed += fault in RELISTS
        if fault == "refused":
            raise TransportError("refused", "watch")
        if fault == "overloaded":
            yield HistoryStream(self, params, "", 0, 429)
        elif fault == "error":
            yield HistoryStream(self, params, "", 0, 403)
        elif "sendInitialEvents" in params and not self.streams:
            yield HistoryStream(self, params, "", 0, 422)
        else:
            yield HistoryStream(self, params, fault, count, 200)


class HistoryStream:
    idle_timeout = 0.0

    def __init__(self, history: History, params: Mapping[str, str], fault: str, count: int, status: int) -> None:
        self.history, self.params, self.fault, self.count, self.status = history, params, fault, count, status
        self.headers: Mapping[str, str] = {}

    async def body(self) -> bytes:
        reason = {429: "TooManyRequests", 403: "Forbidden", 422: "Invalid"}[self.status]
        return orjson.dumps(failure(self.status, reason))

    async def batches(self) -> AsyncIterator[list[bytes]]:
        history = self.history
        if "sendInitialEvents" in self.params:
            lines = [event("ADDED", item) for item in history.state()]
            if self.fault == "cut":
                yield lines[:1]
                raise TransportError("eof", "watch")
            # An object that comes and goes while the state is being sent.
            lines += [event("ADDED", obj("ghost", history.rv)), event("DELETED", obj("ghost", history.rv))]
            yield [*lines, bookmark(history.rv, end=True)]
            seen = history.rv
        else:
            seen = int(self.params["resourceVersion"])
        left = self.count if self.fault else 1 << 30
        while left > 0:
            new = [(rv, line) for rv, line in history.events if rv > seen][:left]
            if new:
                yield [line for _, line in new]
                seen, left = new[-1][0], left - len(new)
            elif history.changes:
                history.happen(2)
            elif self.fault:
                break
            else:
                history.idle.set()
                await asyncio.Event().wait()
        # Not a very short watch, which would rightly lead to a list.
        history.clock.time += 5
        match self.fault:
            case "cut":
                raise TransportError("reset", "watch")
            case "silence":
                raise TransportError("timeout", "watch")
            case "bookmark":
                yield [bookmark(seen), bookmark(seen)]
            case "expired":
                yield [event("ERROR", failure(410, "Expired"))]
            case "busy":
                yield [event("ERROR", failure(429, "TooManyRequests"))]
            case "garbage":
                yield [b"{}"]


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(CHANGES, max_size=30),
    list_faults=st.lists(LIST_FAULTS, max_size=4),
    watch_faults=st.lists(st.tuples(WATCH_FAULTS, st.integers(0, 5)), max_size=6),
    streams=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whatever_goes_wrong_the_store_ends_as_the_server(
    changes: list[Change], list_faults: list[str], watch_faults: list[tuple[str, int]], streams: bool, seed: int
) -> None:
    """RT-RF-02 to RT-RF-14: never backwards per object, and no more lists than faults that need one."""

    async def run() -> None:
        clock, rng = ManualClock(), random.Random(seed)
        history = History(changes, list_faults, watch_faults, streams, rng, clock)
        store = Indexer()
        fifo = OrderedFifo(store)
        reflector = Reflector(
            TARGET,
            history,
            fifo,
            EntryDecoder(POD),
            clock=clock,
            rng=rng,
            first_list_jitter=0,  # type: ignore[arg-type]
        )
        newest: dict[str, int] = {}

        def apply(delta: Delta) -> None:
            match delta.item:
                case Tombstone():
                    store.remove(delta.item.key)
                case Entry():
                    name, rv = delta.item.header.name, int(delta.item.header.rv)
                    assert rv >= newest.get(name, 0), "an object went back in time"
                    newest[name] = rv
                    if delta.type is DeltaType.DELETED:
                        store.remove(delta.item.header.key)
                    else:
                        store.upsert(delta.item)

        task = asyncio.create_task(reflector.run())
        async with asyncio.timeout(10):
            await asyncio.wait([task, asyncio.ensure_future(history.idle.wait())], return_when=asyncio.FIRST_COMPLETED)
        while len(fifo):
            fifo.pop(apply)
        task.cancel()
        await asyncio.wait([task])
        assert {e.header.name: int(e.header.rv) for e in store.entries()} == history.alive
        assert fifo.has_synced
        assert reflector.relists <= history.relists_allowed

    asyncio.run(run())


# -- streams whose version expires ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def reflecting(server: ScriptedServer, clock: ManualClock) -> AsyncIterator[Reflector]:
    async with Transport(ClusterConfig(server.url), clock=clock) as transport:
        reflector = Reflector(
            TARGET, transport, OrderedFifo(Indexer()), EntryDecoder(POD), clock=clock, first_list_jitter=0
        )
        task = asyncio.create_task(reflector.run())
        yield reflector
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()


async def test_a_stream_at_a_version_the_server_lost_is_asked_for_the_newest_at_once(manual_clock: ManualClock) -> None:
    """RT-RF-14."""
    async with ScriptedServer().running() as server:
        server.answers(
            watch(bookmark(5, end=True), event("ERROR", failure(410, "Expired"))),
            refused(410, "Expired"),
            watch(event("ADDED", obj("a", 8)), bookmark(9, end=True)),
        )
        async with reflecting(server, manual_clock) as reflector:
            asked = await server.asked_at_least(4)
            assert [a.query["resourceVersion"] for a in asked] == ["", "5", "", "9"]
            assert manual_clock.time < 2 * 0.8  # one pause, for the watch that expired
            assert reflector.relists == 2


async def test_a_server_without_streams_is_tried_again_after_ten_minutes(manual_clock: ManualClock) -> None:
    """RT-RF-14, RT-OP-02."""

    def expires(seconds: float) -> Any:
        def later() -> None:
            manual_clock.time += seconds

        return watch(event("ERROR", failure(410, "Expired")), before=later)

    async with ScriptedServer().running() as server:
        server.answers(refused(422, "Invalid"), listing(7), expires(1), listing(8), expires(STREAM_RETRY))
        async with reflecting(server, manual_clock):
            asked = await server.asked_at_least(6)
            assert ["sendInitialEvents" in a.query for a in asked] == [True, False, False, False, False, True]
