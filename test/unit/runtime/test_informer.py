"""Store and handlers behind a reflector, fed by hand."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs
from unit.runtime.conftest import LoopClock, ManualClock
from unit.runtime.scripted import ScriptedServer, event, listing, obj, watch

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.machinery.selectors import LabelSelector
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.feed import YIELD_EVERY, Feed, FeedSettings
from rbgctl.runtime.fifo import DeltaType
from rbgctl.runtime.informer import Informer, KindOptions, Registration
from rbgctl.runtime.queued_handler import QueuedHandler
from rbgctl.runtime.store import Entry, Header, Tombstone
from rbgctl.runtime.transport import Transport

POD = GVK("", "v1", "Pod")
PODS = Resource(POD, "pods", True)
KEY = NN("ns", "a")


@dataclass
class Told:
    """A handler that writes down what it hears."""

    heard: list[str] = field(default_factory=list)
    fails: bool = False
    pause: float = 0.0

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._note(f"add {_text(entry)}{' initial' if initial else ''}")

    def on_update(self, old: Entry, new: Entry) -> None:
        self._note(f"update {_text(old)} {_text(new)}")

    def on_delete(self, last: Entry | Tombstone) -> None:
        if isinstance(last, Entry):
            self._note(f"delete {_text(last)}")
        else:
            self._note(f"gone {_text(last.last) if last.last else last.key}")

    def _note(self, text: str) -> None:
        self.heard.append(text)
        if self.pause:
            time.sleep(self.pause)
        if self.fails:
            raise RuntimeError("handler")


def _text(entry: Entry) -> str:
    return f"{entry.header.uid}@{entry.header.rv}"


def entry(rv: int, uid: str = "u", name: str = "a") -> Entry:
    return Entry(Header("ns", name, uid, str(rv)), b"{}")


def new_informer(clock: ManualClock | LoopClock, options: KindOptions | None = None) -> Informer:
    settings = FeedSettings(
        clock=clock, rng=random.Random(1), list_gate=asyncio.Semaphore(4), first_list_jitter=0.0, streaming=False
    )
    return Informer(POD, options or KindOptions(), settings)


@pytest.fixture
def informer(manual_clock: ManualClock) -> Informer:
    informer = new_informer(manual_clock)
    informer.prepare(PODS)
    return informer


def only_feed(informer: Informer) -> Feed:
    (feed,) = informer.feeds.values()
    return feed


def apply_all(informer: Informer) -> None:
    feed = only_feed(informer)
    while len(feed.fifo):
        feed.fifo.pop(feed.apply)


def feed(informer: Informer, kind: DeltaType, one: Entry) -> None:
    only_feed(informer).fifo.add(kind, one)
    apply_all(informer)


def relist(informer: Informer, rv: int, *entries: Entry) -> None:
    only_feed(informer).fifo.replace(entries, str(rv))
    apply_all(informer)


# -- notifications -----------------------------------------------------------------------------------------------


def test_handlers_hear_of_changes_after_the_store_has_them(informer: Informer) -> None:
    """RT-ST-04."""
    told = Told()
    seen: list[bool] = []
    told.on_add = lambda entry, *, initial: seen.append(informer.store.get(entry.header.key) is entry)  # type: ignore[method-assign]
    told.on_delete = lambda last: seen.append(informer.store.get(KEY) is None)  # type: ignore[method-assign]
    informer.add_handler(told)
    feed(informer, DeltaType.ADDED, entry(1))
    feed(informer, DeltaType.DELETED, entry(2))
    assert seen == [True, True]


def test_an_object_s_life_is_told_as_it_happened(informer: Informer) -> None:
    """RT-ST-04, RT-QF-07: a deletion of an object never seen is told too."""
    told = Told()
    informer.add_handler(told)
    relist(informer, 1, entry(1))
    feed(informer, DeltaType.UPDATED, entry(2))
    feed(informer, DeltaType.DELETED, entry(3))
    feed(informer, DeltaType.DELETED, entry(4, "v", "b"))
    assert told.heard == ["add u@1 initial", "update u@1 u@2", "delete u@3", "delete v@4"]


def test_what_a_list_no_longer_has_is_told_with_its_last_state(informer: Informer) -> None:
    """RT-IN-07, RT-QF-03."""
    told = Told()
    informer.add_handler(told)
    relist(informer, 1, entry(1))
    relist(informer, 5)
    assert told.heard[1:] == ["gone u@1"]


def test_an_object_made_anew_in_between_is_told_as_two(informer: Informer) -> None:
    """RT-ST-06."""
    told = Told()
    informer.add_handler(told)
    relist(informer, 1, entry(1, "old"))
    relist(informer, 9, entry(8, "new"))
    assert told.heard[1:] == ["gone old@1", "add new@8"]


def test_a_handler_added_late_hears_everything_once(informer: Informer) -> None:
    """RT-IN-02, RT-IN-03."""
    relist(informer, 2, entry(1), entry(2, "v", "b"))
    told = Told()
    informer.add_handler(told)
    feed(informer, DeltaType.UPDATED, entry(3))
    assert told.heard == ["add u@1 initial", "add v@2 initial", "update u@1 u@3"]


def test_a_removed_handler_hears_nothing_more(informer: Informer) -> None:
    """RT-IN-04."""
    told, other = Told(), Told()
    registration: Registration = informer.add_handler(told)
    informer.add_handler(other)
    informer.remove_handler(registration)
    informer.remove_handler(registration)
    feed(informer, DeltaType.ADDED, entry(1))
    assert told.heard == []
    assert other.heard == ["add u@1"]


def test_a_failing_handler_stops_nobody(informer: Informer) -> None:
    """RT-IN-05."""
    bad, good = Told(fails=True), Told()
    informer.add_handler(bad)
    informer.add_handler(good)
    with capture_logs() as logs:
        feed(informer, DeltaType.ADDED, entry(1))
        feed(informer, DeltaType.UPDATED, entry(2))
    assert good.heard == bad.heard == ["add u@1", "update u@1 u@2"]
    assert informer.handler_failures == 2
    assert len(logs) == 2


def test_an_equal_version_is_an_update_too(informer: Informer) -> None:
    """RT-ST-05: after a new list or a resync; predicates must not assume a change."""
    told = Told()
    informer.add_handler(told)
    relist(informer, 1, entry(1))
    relist(informer, 2, entry(1))
    only_feed(informer).fifo.resync()
    apply_all(informer)
    assert told.heard[1:] == ["update u@1 u@1"] * 2


def test_the_applied_version_follows_what_the_store_has(informer: Informer) -> None:
    """RT-QF-12: not what has been received."""
    feed = only_feed(informer)
    feed.fifo.replace([entry(3)], "7")
    feed.fifo.add(DeltaType.UPDATED, entry(9))
    feed.fifo.progress("12")
    found = []
    while len(feed.fifo):
        feed.fifo.pop(feed.apply)
        found.append(feed.applied_rv)
    assert found == ["", "7", "9", "12"]


def test_updates_of_one_object_are_never_merged(informer: Informer) -> None:
    """RT-QF-01, RT-QF-02: one entry per event, told in the order in which they arrived."""
    told = Told()
    informer.add_handler(told)
    fifo = only_feed(informer).fifo
    fifo.add(DeltaType.ADDED, entry(1))
    fifo.add(DeltaType.UPDATED, entry(2))
    fifo.add(DeltaType.ADDED, entry(3, "v", "b"))
    fifo.add(DeltaType.UPDATED, entry(4))
    fifo.add(DeltaType.DELETED, entry(5))
    assert len(fifo) == 5
    apply_all(informer)
    assert told.heard == ["add u@1", "update u@1 u@2", "add v@3", "update u@2 u@4", "delete u@5"]


class Slow:
    """A handler that waits until it may go on, and notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.go_on = asyncio.Event()
        self.news = asyncio.Event()

    async def _note(self, text: str) -> None:
        await self.go_on.wait()
        self.heard.append(text)
        self.news.set()
        if text == "add u@1":
            raise RuntimeError("handler")

    async def on_add(self, entry: Entry, *, initial: bool) -> None:
        await self._note(f"add {_text(entry)}{' initial' if initial else ''}")

    async def on_update(self, old: Entry, new: Entry) -> None:
        await self._note(f"update {_text(old)} {_text(new)}")

    async def on_delete(self, last: Entry | Tombstone) -> None:
        assert isinstance(last, Entry)
        await self._note(f"delete {_text(last)}")


async def heard(handler: Slow, count: int) -> list[str]:
    async with asyncio.timeout(5):
        while len(handler.heard) < count:
            handler.news.clear()
            await handler.news.wait()
    return handler.heard


async def test_a_slow_handler_delays_nobody_else(informer: Informer) -> None:
    """RT-IN-01, RT-IN-05: its events wait for it alone, counted, in order, and one that fails does not end it."""
    slow, fast = Slow(), Told()
    async with QueuedHandler(slow) as queue:
        informer.add_handler(queue)
        informer.add_handler(fast)
        feed(informer, DeltaType.ADDED, entry(1))
        feed(informer, DeltaType.UPDATED, entry(2))
        feed(informer, DeltaType.DELETED, entry(3))
        await asyncio.sleep(0)
        assert fast.heard == ["add u@1", "update u@1 u@2", "delete u@3"]
        assert (slow.heard, queue.pending, informer.pending) == ([], 3, 3)
        slow.go_on.set()
        with capture_logs() as logs:
            assert await heard(slow, 3) == fast.heard
        assert [e["event"] for e in logs] == ["event handler failed"]
        await asyncio.sleep(0)
        assert informer.pending == 0


async def test_a_slow_handler_is_synced_when_it_has_handled_the_first_list(informer: Informer) -> None:
    """RT-IN-03: not as soon as the store has."""
    slow = Slow()
    async with QueuedHandler(slow) as queue:
        registration = informer.add_handler(queue)
        relist(informer, 5, entry(4), entry(5, "v", "b"))
        only_feed(informer).synced = True
        informer._applied()
        assert informer.has_synced
        assert not registration.has_synced
        slow.go_on.set()
        assert await heard(slow, 2) == ["add u@4 initial", "add v@5 initial"]
        await asyncio.sleep(0)
        assert registration.has_synced


async def test_a_handler_that_falls_far_behind_is_reported_once(informer: Informer) -> None:
    """RT-IN-01: above ten thousand events."""
    queue = QueuedHandler(Slow())
    informer.add_handler(queue)
    with capture_logs() as logs:
        for rv in range(1, 10_003):
            queue.on_add(entry(rv), initial=False)
    assert [(e["event"], e["pending"]) for e in logs] == [("a handler does not keep up", 10_001)]
    assert informer.pending == 10_002


# -- handlers that come late ---------------------------------------------------------------------------------------


def filled(informer: Informer, count: int) -> None:
    relist(informer, count, *[entry(n + 1, f"u{n}", f"o{n:05}") for n in range(count)])
    only_feed(informer).synced = True
    informer._applied()


async def test_a_late_handler_hears_of_thousands_in_turns_and_of_what_happens_meanwhile_after_that(
    informer: Informer,
) -> None:
    """RT-IN-02, RT-IN-03, RT-QF-11: nothing is lost or doubled, and others get their turn in between."""
    filled(informer, 1000)
    early, late = Told(), Told()
    informer.add_handler(early)
    await asyncio.sleep(0)
    registration = informer.add_handler(late)
    assert len(late.heard) == YIELD_EVERY
    assert not registration.has_synced
    assert informer.pending == 1000 - YIELD_EVERY
    feed(informer, DeltaType.UPDATED, entry(2000, "u0", "o00000"))
    feed(informer, DeltaType.DELETED, entry(2001, "u999", "o00999"))
    feed(informer, DeltaType.ADDED, entry(2002, "new", "new"))
    most_at_once = before = len(late.heard)
    while not registration.has_synced:
        await asyncio.sleep(0)
        most_at_once = max(most_at_once, len(late.heard) - before)
        before = len(late.heard)
    assert most_at_once <= YIELD_EVERY
    assert late.heard == [
        *[f"add u{n}@{n + 1} initial" for n in range(1000)],
        *["update u0@1 u0@2000", "delete u999@2001", "add new@2002"],
    ]
    assert informer.pending == 0
    feed(informer, DeltaType.DELETED, entry(2003, "new", "new"))
    assert late.heard[-1] == early.heard[-1] == "delete new@2003"


async def test_a_late_handler_that_takes_long_leaves_the_loop_every_5_ms(
    informer: Informer, manual_clock: ManualClock
) -> None:
    """RT-QF-11."""

    class Slow(Told):
        def on_add(self, entry: Entry, *, initial: bool) -> None:
            super().on_add(entry, initial=initial)
            manual_clock.time += 0.002

    filled(informer, YIELD_EVERY + 10)
    slow = Slow()
    registration = informer.add_handler(slow)
    for turn in range(1, 4):
        await asyncio.sleep(0)
        assert len(slow.heard) == YIELD_EVERY + 3 * turn
    await registration.wait_until_told()
    assert len(slow.heard) == YIELD_EVERY + 10


@pytest.mark.parametrize("ends", ["handler", "informer"])
async def test_a_late_handler_that_is_removed_meanwhile_hears_nothing_more(informer: Informer, ends: str) -> None:
    filled(informer, 1000)
    late = Told()
    registration = informer.add_handler(late)
    feed(informer, DeltaType.ADDED, entry(2002, "new", "new"))
    if ends == "handler":
        informer.remove_handler(registration)
    else:
        informer.remove()
    async with asyncio.timeout(5):
        await registration.wait_until_told()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(late.heard) == YIELD_EVERY


async def test_a_late_handler_may_remove_itself_while_it_hears_of_the_past(informer: Informer) -> None:
    filled(informer, 10)
    late = Told()
    registrations: list[Registration] = []
    feed_twice = iter([None, None])

    def on_add(entry: Entry, *, initial: bool) -> None:
        late.heard.append(entry.header.name)
        if next(feed_twice, "stop") == "stop":
            informer.remove_handler(informer._registrations[-1])

    late.on_add = on_add  # type: ignore[method-assign]
    registrations.append(informer.add_handler(late))
    await registrations[0].wait_until_told()
    assert len(late.heard) == 3


# -- live reads --------------------------------------------------------------------------------------------------


def test_a_live_read_is_told_like_an_event(informer: Informer) -> None:
    """RT-CA-20."""
    told = Told()
    informer.add_handler(told)
    informer.refresh(KEY, entry(4))
    informer.refresh(KEY, entry(4))
    informer.refresh(KEY, entry(6))
    informer.refresh(KEY, None)
    informer.refresh(KEY, None)
    assert told.heard == ["add u@4", "update u@4 u@6", "gone u@6"]


def test_a_live_read_older_than_the_watch_changes_nothing(informer: Informer) -> None:
    """RT-CA-20."""
    feed(informer, DeltaType.ADDED, entry(9))
    informer.refresh(KEY, entry(4))
    assert informer.store.get(KEY) == entry(9)


@pytest.mark.parametrize("kind", [DeltaType.UPDATED, DeltaType.ADDED, DeltaType.DELETED])
def test_what_the_watch_still_says_of_the_past_is_not_believed(informer: Informer, kind: DeltaType) -> None:
    """RT-CA-20: of the same object, or of the one that had its name before."""
    informer.refresh(KEY, entry(9, "new"))
    for uid in ("new", "old"):
        feed(informer, kind, entry(5, uid))
    assert informer.store.get(KEY) == entry(9, "new")
    assert only_feed(informer).applied_rv == "5"


def test_an_object_found_gone_does_not_come_back_with_its_past(informer: Informer) -> None:
    """RT-CA-20: and its deletion is told once."""
    told = Told()
    informer.add_handler(told)
    feed(informer, DeltaType.ADDED, entry(1))
    informer.refresh(KEY, None)
    feed(informer, DeltaType.UPDATED, entry(2))
    relist(informer, 3, entry(2))
    feed(informer, DeltaType.DELETED, entry(4))
    assert told.heard == ["add u@1", "gone u@1"]
    feed(informer, DeltaType.ADDED, entry(5, "new"))
    assert told.heard[2:] == ["add new@5"]


def test_a_list_from_before_a_live_read_does_not_take_it_back(informer: Informer) -> None:
    """RT-CA-20: whether it has an older state or none at all."""
    feed(informer, DeltaType.ADDED, entry(1))
    informer.refresh(KEY, entry(9))
    relist(informer, 5, entry(4))
    assert informer.store.get(KEY) == entry(9)
    informer.refresh(NN("ns", "b"), entry(9, "v", "b"))
    relist(informer, 8, entry(4))
    assert informer.store.get(NN("ns", "b")) == entry(9, "v", "b")


def test_after_a_restore_from_a_backup_the_server_wins_in_the_end(informer: Informer) -> None:
    """RT-CA-21: its versions are smaller then."""
    informer.refresh(KEY, entry(900))
    relist(informer, 5, entry(4))
    relist(informer, 5, entry(4))
    assert informer.store.get(KEY) == entry(4)
    relist(informer, 3)
    assert informer.store.get(KEY) is None


def test_live_reads_are_forgotten_after_five_minutes(informer: Informer, manual_clock: ManualClock) -> None:
    """RT-CA-21."""
    informer.refresh(KEY, entry(9))
    manual_clock.time = 301.0
    only_feed(informer).fifo.progress("20")
    apply_all(informer)
    relist(informer, 5)
    assert informer.store.get(KEY) is None


# -- resync ------------------------------------------------------------------------------------------------------


class Ticks(ManualClock):
    """Time stands still while somebody sleeps, until `tick` lets them wake."""

    def __init__(self) -> None:
        super().__init__()
        self._asleep: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._woken: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._asleep.put_nowait(woken)
        await woken
        self.time += seconds

    async def tick(self) -> None:
        """Wake the sleeper; returns when it sleeps again."""
        woken = self._woken or await self._asleep.get()
        woken.set_result(None)
        self._woken = await self._asleep.get()


async def test_only_those_whose_turn_it_is_hear_of_what_they_know() -> None:
    """RT-ST-05, RT-IN-06: each handler has its own period; all hear of repeats until the first check."""
    clock = Ticks()
    informer = new_informer(clock, KindOptions(resync=10.0))
    informer.prepare(PODS)
    often, seldom, never = Told(), Told(), Told()
    informer.add_handler(often, resync=1.0)
    informer.add_handler(seldom)
    informer.add_handler(never, resync=0)
    relist(informer, 1, entry(1))
    relist(informer, 2, entry(1))
    handlers = (often, seldom, never)
    assert [h.heard[1:] for h in handlers] == [["update u@1 u@1"]] * 3
    checking = asyncio.create_task(informer._resync(1.0))
    counts = []
    for _ in range(20):
        await clock.tick()
        apply_all(informer)
        counts.append([len(h.heard) - 2 for h in handlers])
    assert counts[0] == [1, 0, 0]
    assert counts[-1] == [20, 2, 0]
    # What really changed is told to everybody, a list that repeats it to those whose turn it was last.
    feed(informer, DeltaType.UPDATED, entry(5))
    relist(informer, 6, entry(5))
    assert [h.heard[-1] for h in handlers] == ["update u@5 u@5", "update u@5 u@5", "update u@1 u@5"]
    late = informer.add_handler(Told(), resync=0.001)
    assert late.resync == max(1.0, informer._check_period)
    assert 0.9 <= informer._check_period <= 1.1
    checking.cancel()
    await asyncio.wait([checking])


def test_no_handler_is_told_everything_more_than_once_a_second(informer: Informer) -> None:
    """RT-IN-06."""
    assert informer.add_handler(Told(), resync=0.001).resync == 1.0
    assert informer.add_handler(Told(), resync=7.0).resync == 7.0


# -- options -----------------------------------------------------------------------------------------------------


def test_declarations_of_one_kind_are_joined() -> None:
    """RT-CA-13: whoever declared first."""

    def index(header: Header) -> list[str]:
        return [header.name]

    a = KindOptions(keep_annotations=("x",), keep_managers=frozenset({"m"}), resync=60)
    b = KindOptions(keep_annotations=("x", "y"), keep_managers=frozenset({"n"}), indexes={"i": index}, resync=0)
    both = a.merged(b)
    assert (both.keep_annotations, both.keep_managers) == (("x", "y"), {"m", "n"})
    assert (both.indexes, both.resync) == ({"i": index}, 60)


@pytest.mark.parametrize(
    "other",
    [
        KindOptions(labels=LabelSelector.has("x")),
        KindOptions(namespace="n"),
        KindOptions(fields="a=b"),
        KindOptions(hot=lambda _: ("other",)),
        KindOptions(indexes={"i": lambda _: ["other"]}),
    ],
)
def test_contradictions_are_refused(other: KindOptions) -> None:
    """RT-ST-03, RT-CA-13."""
    mine = KindOptions(hot=lambda _: ("mine",), indexes={"i": lambda _: ["mine"]})
    with pytest.raises(ValueError, match="two declarations"):
        mine.merged(other)


@pytest.mark.parametrize("options", [{"resync": 0.5}, {"labels": LabelSelector.from_object(None)}])
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    """RT-IN-06, RT-SL-01."""
    with pytest.raises(ValueError, match=r"resync|nothing"):
        KindOptions(**options)  # type: ignore[arg-type]


# -- running -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer().running() as running:
        yield running


async def test_it_is_synced_when_the_first_list_has_been_told(server: ScriptedServer, loop_clock: LoopClock) -> None:
    """RT-IN-03, RT-QF-04."""
    informer = new_informer(loop_clock)
    told = Told()
    registration = informer.add_handler(told)
    server.answers(listing(7, obj("a", 1), obj("b", 2)), watch(event("ADDED", obj("c", 8)), then="hang"))
    async with Transport(ClusterConfig(server.url), clock=loop_clock) as transport:
        task = asyncio.create_task(informer.run(PODS, transport))
        assert not registration.has_synced
        async with asyncio.timeout(5):
            await informer.wait_for_sync()
            assert registration.has_synced
            assert told.heard[:2] == ["add uid-a@1 initial", "add uid-b@2 initial"]
            while len(told.heard) < 3:
                await informer.changed().wait()
        assert told.heard[2] == "add uid-c@8"
        task.cancel()
        await asyncio.wait([task])


async def test_an_event_that_cannot_be_applied_is_logged_and_not_tried_again(
    server: ScriptedServer, loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-QF-09: those behind it are applied."""
    informer = new_informer(loop_clock)
    upsert, tried = informer.store.upsert, list[str]()

    def broken(one: Entry) -> Entry | None:
        tried.append(one.header.name)
        if one.header.name == "a":
            raise MemoryError
        return upsert(one)

    monkeypatch.setattr(informer.store, "upsert", broken)
    server.answers(listing(7, obj("a", 1), obj("b", 2)))
    async with Transport(ClusterConfig(server.url), clock=loop_clock) as transport:
        with capture_logs() as logs:
            task = asyncio.create_task(informer.run(PODS, transport))
            async with asyncio.timeout(5):
                await informer.wait_for_sync()
        assert tried == ["a", "b"]
        assert informer.store.get(NN("ns", "b")) is not None
        assert [e["event"] for e in logs if e["log_level"] == "error"] == ["event could not be applied"]
        task.cancel()
        await asyncio.wait([task])


async def test_nothing_happens_between_taking_an_event_out_and_storing_it(informer: Informer) -> None:
    """RT-QF-09: a new list in between would miss the object, and never tell that it is gone."""
    told = Told()
    informer.add_handler(told)
    fifo = only_feed(informer).fifo
    fifo.add(DeltaType.ADDED, entry(1))
    other = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: (fifo.replace([], "9"), other.set_result(None)))
    fifo.pop(only_feed(informer).apply)
    assert not other.done()
    await other
    apply_all(informer)
    assert told.heard == ["add u@1", "gone u@1"]


async def test_others_get_their_turn_while_many_events_are_applied(
    server: ScriptedServer, loop_clock: LoopClock
) -> None:
    """RT-QF-11: after 200 entries or 5 ms, whichever is first."""
    informer, turns = new_informer(loop_clock), list[int]()
    told = Told()
    informer.add_handler(told)
    server.answers(listing(7, *(obj(f"p{n:04}", 1) for n in range(1000))))

    async def count() -> None:
        while not informer.has_synced:
            turns.append(len(told.heard))
            await asyncio.sleep(0)

    async with Transport(ClusterConfig(server.url), clock=loop_clock) as transport:
        task = asyncio.create_task(informer.run(PODS, transport))
        async with asyncio.timeout(5):
            await count()
        assert max(b - a for a, b in itertools.pairwise(turns)) <= 200
        task.cancel()
        await asyncio.wait([task])

        slow = new_informer(loop_clock)
        seen: list[int] = []
        slow.add_handler(told)
        told.heard.clear()
        told.pause = 0.006
        slow.prepare(PODS)
        only_feed(slow).fifo.replace([entry(1, name=f"p{n}") for n in range(3)], "7")
        only_feed(slow).drain()
        for _ in range(3):
            seen.append(len(told.heard))
            await asyncio.sleep(0)
        assert seen == [1, 2, 3]


async def test_running_twice_is_logged_and_ignored(server: ScriptedServer, loop_clock: LoopClock) -> None:
    """RT-IN-04."""
    informer = new_informer(loop_clock)
    server.answers(listing(7, obj("a", 1)))
    async with Transport(ClusterConfig(server.url), clock=loop_clock) as transport:
        task = asyncio.create_task(informer.run(PODS, transport))
        async with asyncio.timeout(5):
            await informer.wait_for_sync()
            with capture_logs() as logs:
                await informer.run(PODS, transport)
        assert [e["event"] for e in logs] == ["informer started twice, ignored"]
        assert len([one for one in server.asked if not one.is_watch]) == 1
        informer.remove()
        with pytest.raises(RuntimeError, match="already stopped"):
            informer.add_handler(Told())
        task.cancel()
        await asyncio.wait([task])


async def test_everything_is_told_again_once_per_resync_period(server: ScriptedServer, loop_clock: LoopClock) -> None:
    """RT-CA-01: without a list."""
    informer = new_informer(loop_clock, KindOptions(resync=1.0))
    told = Told()
    informer.add_handler(told)
    server.answers(listing(7, obj("a", 1)))
    async with Transport(ClusterConfig(server.url), clock=loop_clock) as transport:
        task = asyncio.create_task(informer.run(PODS, transport))
        began = loop_clock.monotonic()
        async with asyncio.timeout(5):
            while len(told.heard) < 2:
                await informer.changed().wait()
        assert 0.9 <= loop_clock.monotonic() - began < 1.5
        assert told.heard == ["add uid-a@1 initial", "update uid-a@1 uid-a@1"]
        assert len(server.asked) == 2
        task.cancel()
        await asyncio.wait([task])
