"""A reflector against random histories of a collection, with everything that can go wrong on the way (§13.6)."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.runtime.scripted import bookmark, event, failure, obj

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.errors import TransportError
from rbgctl.runtime.fifo import Delta, DeltaType, OrderedFifo
from rbgctl.runtime.reflector import SHORT_CUTS, Reflector, WatchTarget
from rbgctl.runtime.store import Entry, EntryDecoder, Indexer, Tombstone
from rbgctl.runtime.testing.clocks import ManualClock
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.transport import Response


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Thousands of faults would spend most of their time in logging."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


POD = GVK("", "v1", "Pod")
TARGET = WatchTarget(Resource(POD, "pods", True))
NAMES = st.sampled_from("abcdef")
PAGE = 2

LIST_FAULTS = st.sampled_from(["", "expired", "too large", "error", "broken"])
WATCH_FAULTS = st.sampled_from(
    [
        *("end", "cut", "cut at once", "silence", "bookmarks", "compacted"),
        *("expired", "busy", "garbage", "failed"),
        *("refused", "overloaded", "forbidden"),
    ]
)
FATAL = {"expired", "garbage", "failed", "forbidden"}
"""Watch faults after which the whole state must be read again. A compaction is counted when it is noticed."""


@dataclass(frozen=True)
class Change:
    """The next thing that happens to an object: it appears, changes or goes; or goes and is made anew."""

    name: str
    kind: str


CHANGES = st.builds(Change, NAMES, st.sampled_from(["set", "set", "delete", "recreate"]))


@dataclass
class History:
    """A collection whose versions count its changes; stands in for a Transport.

    streams: whether it can stream the initial state. pages: whether it honours `limit`. read: called between any two
    things it sends, and takes some of what was queued (a slow reader). known: the newest version that was sent whole,
    where everything must go on. only_newest: it lost its older versions and refuses them until it was asked for the
    newest. wrong: requests that should not have been made; the reflector would take an exception for a fault.
    """

    changes: list[Change]
    list_faults: list[str]
    watch_faults: list[tuple[str, int]]
    streams: bool
    pages: bool
    rng: random.Random
    clock: ManualClock
    before: int
    read: Callable[[], None] = lambda: None
    rv: int = 10
    compacted: int = 0
    known: int | None = None
    only_newest: bool = False
    paged: bool = False
    wrong: list[str] = field(default_factory=list)
    alive: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[int, bytes]] = field(default_factory=list)
    snapshots: dict[str, tuple[int, list[dict[str, Any]]]] = field(default_factory=dict)
    injected: Counter[str] = field(default_factory=Counter)
    states_asked: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    tracing: Tracing = field(default_factory=Tracing)

    def __post_init__(self) -> None:
        self.happen(self.before)
        self.compacted = self.rv

    def happen(self, count: int) -> None:
        """The next `count` changes take place."""
        for change in self.changes[:count]:
            old = self.alive.get(change.name)
            if old is not None and change.kind in {"delete", "recreate"}:
                self.rv += 1
                self._tell("DELETED", obj(change.name, self.rv, old["metadata"]["uid"]))
                del self.alive[change.name]
            if change.kind != "delete":
                self.rv += 1
                known = self.alive.get(change.name)
                uid = known["metadata"]["uid"] if known else f"{change.name}-{self.rv}"
                self.alive[change.name] = obj(change.name, self.rv, uid)
                self._tell("MODIFIED" if known else "ADDED", self.alive[change.name])
        del self.changes[:count]

    def _tell(self, kind: str, what: dict[str, Any]) -> None:
        self.events.append((self.rv, event(kind, what)))

    def state(self) -> list[dict[str, Any]]:
        items = list(self.alive.values())
        self.rng.shuffle(items)
        return items

    # -- lists ------------------------------------------------------------------------------------------------

    async def request(self, _method: str, _path: str, *, params: Mapping[str, str], **_: Any) -> Response:
        self.happen(1)
        self.read()
        token = params.get("continue", "")
        if not token:
            await self._state_asked(params)
            if "limit" in params and params.get("resourceVersion", "") not in {"", "0"} and not self.paged:
                self.wrong.append(f"limit of a server that does not page: {params}")
        fault = self.list_faults.pop(0) if self.list_faults else ""
        fatal = fault in {"broken", "error"} or (fault == "expired" and token)
        unusable = (
            not token and params.get("resourceVersion") and (self.only_newest or fault in {"expired", "too large"})
        )
        if fatal or (unusable and not self.only_newest):
            self.injected[fault] += 1
        if fault == "broken":
            raise TransportError("reset", "list")
        if fault == "error":
            return Response(500, {}, orjson.dumps(failure(500, "InternalError")))
        if unusable:
            self.only_newest = True
        if fault == "expired" and (token or unusable):
            return Response(410, {}, orjson.dumps(failure(410, "Expired")))
        if unusable:
            causes = {"causes": [{"reason": "ResourceVersionTooLarge"}]}
            return Response(504, {}, orjson.dumps(failure(504, "Timeout", details=causes)))
        self.only_newest = False
        rv, items = self.snapshots.pop(token) if token else (self.rv, self.state())
        metadata = {"resourceVersion": str(rv)}
        if self.pages and "limit" in params and len(items) > PAGE:
            metadata["continue"] = f"after-{self.rv}-{len(items)}"
            self.snapshots[metadata["continue"]] = rv, items[PAGE:]
            items = items[:PAGE]
            self.paged = self.paged or params.get("resourceVersion") == "0"
        else:
            self.known = rv
        return Response(200, {}, orjson.dumps({"kind": "PodList", "metadata": metadata, "items": items}))

    async def _state_asked(self, params: Mapping[str, str]) -> None:
        """The whole state was asked for: at the newest version, at any, or at the one where it got to."""
        self.states_asked += 1
        if params.get("resourceVersion", "") not in {"", "0", str(self.known)}:
            self.wrong.append(f"state asked for at a version that was never reached: {params}")
        if self.states_asked > 100:
            self.wrong.append("it does not come to rest")
            self.idle.set()
            await asyncio.Event().wait()

    # -- watches ----------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def stream(self, _path: str, params: Mapping[str, str], **_: Any) -> AsyncIterator["HistoryStream"]:
        self.read()
        initial = "sendInitialEvents" in params
        if initial:
            await self._state_asked(params)
        elif params["resourceVersion"] != str(self.known):
            self.wrong.append(f"watch resumed at another version than {self.known}: {params}")
        fault, count = self.watch_faults.pop(0) if self.watch_faults else ("", 0)
        self.injected[fault] += 1
        if fault == "refused":
            raise TransportError("refused", "watch")
        if fault == "overloaded":
            yield HistoryStream(self, params, "", 0, 429)
        elif fault == "forbidden":
            yield HistoryStream(self, params, "", 0, 403)
        elif initial and not self.streams:
            yield HistoryStream(self, params, "", 0, 422)
        elif initial and self.only_newest and params["resourceVersion"]:
            yield HistoryStream(self, params, "", 0, 410)
        elif not initial and int(params["resourceVersion"]) < self.compacted:
            # After a compaction beyond what it was sent, reading everything again is right.
            self.injected["noticed compaction"] += self.known < self.compacted
            yield HistoryStream(self, params, "", 0, 410)
        else:
            yield HistoryStream(self, params, fault, count, 200)

    @property
    def lists_allowed(self) -> int:
        """1 and what was injected that makes going on from a version impossible."""
        causes = (*FATAL, "expired", "too large", "noticed compaction", "broken", "error")
        kept_breaking_off = self.injected["cut at once"] // (SHORT_CUTS + 1)
        return 1 + kept_breaking_off + sum(self.injected[cause] for cause in set(causes))


class HistoryStream:
    idle_timeout = 0.0

    def __init__(self, history: History, params: Mapping[str, str], fault: str, count: int, status: int) -> None:
        self.history, self.params, self.fault, self.count, self.status = history, params, fault, count, status
        self.headers: Mapping[str, str] = {}

    async def body(self) -> bytes:
        reason = {429: "TooManyRequests", 403: "Forbidden", 422: "Invalid", 410: "Expired"}[self.status]
        return orjson.dumps(failure(self.status, reason))

    async def batches(self) -> AsyncIterator[list[bytes]]:
        history = self.history
        if self.fault == "cut at once":
            raise TransportError("reset", "watch")
        if "sendInitialEvents" in self.params:
            lines = [event("ADDED", item) for item in history.state()]
            if self.fault == "cut":
                yield lines[:1]
                raise TransportError("eof", "watch")
            # An object that comes and goes while the state is being sent.
            lines += [event("ADDED", obj("ghost", history.rv)), event("DELETED", obj("ghost", history.rv))]
            history.only_newest = False
            seen = history.known = history.rv
            yield [*lines, bookmark(seen, end=True)]
        else:
            seen = int(self.params["resourceVersion"])
        left = self.count if self.fault else 1 << 30
        while left > 0:
            history.read()
            new = [(rv, line) for rv, line in history.events if rv > seen][:left]
            if new:
                seen, left = new[-1][0], left - len(new)
                history.known = seen
                yield [line for _, line in new]
                if history.rng.random() < 0.3:
                    yield [self.bookmark()] * history.rng.randint(1, 2)
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
            case "bookmarks":
                if seen == history.rv:
                    yield [self.bookmark()] * 2
                    history.compacted = history.rv
            case "compacted":
                history.happen(3)
                history.compacted = history.rv
            case "expired":
                yield [event("ERROR", failure(410, "Expired"))]
            case "busy":
                yield [event("ERROR", failure(429, "TooManyRequests"))]
            case "failed":
                yield [event("ERROR", failure(500, "InternalError"))]
            case "garbage":
                yield [b"{}"]

    def bookmark(self) -> bytes:
        """Of a version that nothing here has: other collections count too."""
        history = self.history
        if history.known == history.rv:
            history.rv += 3
            history.known = history.rv
        assert history.known is not None
        return bookmark(history.known)


@dataclass
class Reader:
    """Takes some deltas when called, as an informer that is busy elsewhere does, and checks each."""

    fifo: OrderedFifo
    store: Indexer
    rng: random.Random
    newest: dict[str, int] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        for _ in range(self.rng.choice([0, 0, 1, 2, 5])):
            if len(self.fifo):
                self.fifo.pop(self.apply)

    def rest(self) -> None:
        while len(self.fifo):
            self.fifo.pop(self.apply)

    def apply(self, delta: Delta) -> None:
        match delta.item:
            case Tombstone(key=key):
                assert key.name in self.present, "a deletion was made up"
                self.present.discard(key.name)
                self.store.remove(key)
            case Entry() as entry:
                name, rv = entry.header.name, int(entry.header.rv)
                assert rv >= self.newest.get(name, 0), "an object went back in time"
                self.newest[name] = rv
                if delta.type is DeltaType.DELETED:
                    self.present.discard(name)
                    self.store.remove(entry.header.key)
                else:
                    assert name != "ghost", "what came and went while the state was sent was told"
                    self.present.add(name)
                    self.store.upsert(entry)


async def converges(history: History, streaming: bool | None) -> None:
    store = Indexer()
    fifo = OrderedFifo(store)
    reader = history.read = Reader(fifo, store, history.rng)
    reflector = Reflector(
        TARGET,
        history,  # type: ignore[arg-type]
        fifo,
        EntryDecoder(POD),
        clock=history.clock,
        rng=history.rng,
        streaming=streaming,
        first_list_jitter=0,
    )
    task = asyncio.create_task(reflector.run())
    idle = asyncio.create_task(history.idle.wait())
    async with asyncio.timeout(20):
        await asyncio.wait([task, idle], return_when=asyncio.FIRST_COMPLETED)
    reader.rest()
    for ending in (task, idle):
        ending.cancel()
    await asyncio.wait([task, idle])
    assert task.cancelled(), task
    wanted = {name: item["metadata"] for name, item in history.alive.items()}
    found = {e.header.name: e.header for e in store.entries()}
    assert found.keys() == wanted.keys() == reader.present
    for name, header in found.items():
        assert (header.rv, header.uid) == (wanted[name]["resourceVersion"], wanted[name]["uid"])
    assert not history.wrong
    assert fifo.has_synced
    assert int(reflector.last_rv) == history.rv
    assert reflector.relists <= history.lists_allowed


FAULTY = {
    "changes": st.lists(CHANGES, max_size=40),
    "list_faults": st.lists(LIST_FAULTS, max_size=6),
    "watch_faults": st.lists(st.tuples(WATCH_FAULTS, st.integers(0, 5)), max_size=8),
    "streams": st.booleans(),
    "pages": st.booleans(),
    "before": st.integers(0, 12),
    "streaming": st.sampled_from([None, None, False]),
    "seed": st.integers(0, 1 << 16),
}


def run_alone(coroutine: Coroutine[Any, Any, None]) -> None:
    """Like asyncio.run, but the loop of other tests stays the current one."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(coroutine)


def run(seed: int, streaming: bool | None, **history: Any) -> None:
    rng = random.Random(seed)
    run_alone(converges(History(**history, rng=rng, clock=ManualClock()), streaming))


@settings(max_examples=300, deadline=None)
@given(**FAULTY)
def test_whatever_goes_wrong_the_store_ends_as_the_server(**drawn: Any) -> None:
    """RT-RF-02 to RT-RF-14: never backwards per object, and no more lists than faults that need one."""
    run(**drawn)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None)
@given(**FAULTY)
def test_whatever_goes_wrong_the_store_ends_as_the_server_many_times(**drawn: Any) -> None:
    run(**drawn)


@settings(max_examples=100, deadline=None)
@given(
    changes=st.lists(CHANGES, max_size=40),
    watch_faults=st.lists(st.tuples(st.sampled_from(["end", "bookmarks"]), st.integers(0, 5)), max_size=8),
    streams=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_without_faults_the_state_is_read_once(
    changes: list[Change], watch_faults: list[tuple[str, int]], streams: bool, seed: int
) -> None:
    """RT-RF-02, RT-RF-08: ends of healthy watches, with or without bookmarks, never lead to a list."""

    async def check() -> None:
        rng = random.Random(seed)
        history = History(changes, [], watch_faults, streams, False, rng, ManualClock(), 5)
        await converges(history, streams)
        assert history.states_asked == 1

    run_alone(check())
