"""What expectation stores are for elsewhere, the fence guarantees here: nothing is decided twice from an old cache.

A controller with random names keeps a number of pods at a revision. Its cache is as late as the test likes, answers get
lost, others delete its pods. Whatever happens, it never creates one too many, never deletes or updates one twice.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.runtime.conftest import ManualClock
from unit.runtime.scripted import obj

from rbgctl.machinery.gvk import GVK, NN, RawObject, Resource
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import Patch
from rbgctl.runtime.errors import ApiError, NotFound, TransportError
from rbgctl.runtime.feed import FeedSettings
from rbgctl.runtime.fence import MAX_AGE, MAX_OWNERS, Fences
from rbgctl.runtime.fifo import DeltaType
from rbgctl.runtime.informer import Informer
from rbgctl.runtime.kind_options import KindOptions
from rbgctl.runtime.read_your_writes import ReadYourWrites

POD = GVK("", "v1", "Pod")
PODS = Resource(POD, "pods", True)
OWNER = ("controller", NN("ns", "set"))


@dataclass
class Server:
    """Pods, and what was done to them. In place of a LiveClient; `faults` are taken by the next writes."""

    pods: dict[str, RawObject] = field(default_factory=dict)
    rv: int = 0
    log: list[tuple[DeltaType, RawObject]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    wanted: int = 0
    deleted: list[str] = field(default_factory=list)
    robbed: bool = False

    def _change(self, kind: DeltaType, name: str, **labels: str) -> RawObject:
        self.rv += 1
        pod = obj(name, self.rv, labels=labels)
        self.log.append((kind, pod))
        if kind is DeltaType.DELETED:
            del self.pods[name]
        else:
            self.pods[name] = pod
        return pod

    def _fault(self) -> str:
        return self.faults.pop() if self.faults else ""

    def _answer(self, fault: str, answer: Any) -> Any:
        if fault == "lost":
            raise TransportError("eof", "no answer")
        return answer

    async def create(self, pod: RawObject, *, field_manager: str = "") -> RawObject:
        fault = self._fault()
        if fault == "refused":
            raise ApiError({"code": 403, "reason": "Forbidden"})
        assert len(self.pods) < self.wanted, "one too many was created"
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        made: RawObject = self._answer(fault, self._change(DeltaType.ADDED, name, **labels))
        return made

    async def patch(self, _: GVK, key: NN, patch: Patch, **__: Any) -> RawObject:
        fault = self._fault()
        if fault == "refused":
            raise ApiError({"code": 403, "reason": "Forbidden"})
        if key.name not in self.pods:
            raise not_found(key)
        revision = dict(patch.body)["metadata"]["labels"]["rev"]  # type: ignore[call-overload]
        assert self.pods[key.name]["metadata"]["labels"]["rev"] != revision, "the same update was made twice"
        changed: RawObject = self._answer(fault, self._change(DeltaType.UPDATED, key.name, rev=revision))
        return changed

    async def delete(self, _: GVK, key: NN, *, uid: str | None = None, **__: Any) -> None:
        fault = self._fault()
        if fault == "refused":
            raise ApiError({"code": 403, "reason": "Forbidden"})
        assert uid not in self.deleted, "one pod was deleted twice"
        if key.name not in self.pods:
            raise not_found(key)
        assert self.robbed or len(self.pods) > self.wanted, "one too many was deleted"
        self.deleted.append(uid or "")
        self._change(DeltaType.DELETED, key.name)
        self._answer(fault, None)

    async def get(self, _: GVK, key: NN, **__: Any) -> RawObject:
        if key.name not in self.pods:
            raise not_found(key)
        return self.pods[key.name]

    def lose(self, number: int) -> None:
        """Somebody else deletes one, which no memory of one's own writes can tell."""
        if self.pods:
            self.robbed = True
            self._change(DeltaType.DELETED, sorted(self.pods)[number % len(self.pods)])


def not_found(key: NN) -> NotFound:
    return NotFound({"code": 404, "reason": "NotFound", "message": f"{key}"})


class World:
    """The server, a cache that follows it when told to, and the controller."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = ManualClock()
        feed_settings = FeedSettings(clock=self.clock, rng=random.Random(seed), list_gate=asyncio.Semaphore())
        self.server = Server()
        self.informer = Informer(POD, KindOptions(), feed_settings)
        self.informer.prepare(PODS)
        self.stale_reads = 0
        self.writes = ReadYourWrites(self._find, self.server, self.clock, self._count)  # type: ignore[arg-type]
        self.client = CachedClient(self, self.server, OWNER)  # type: ignore[arg-type]
        self.rng = random.Random(seed)
        self.shown = 0
        self.revision = "1"
        (self.feed,) = self.informer.feeds.values()
        self.feed.fifo.replace([], "0")
        self._apply()

    def _find(self, _: GVK, form: str) -> Informer | None:
        return self.informer if form == "full" else None

    def _count(self) -> None:
        self.stale_reads += 1

    def record_write(self, *args: Any, **what: Any) -> None:
        self.writes.record(*args, **what)

    def show(self, count: int) -> None:
        """The cache learns of the next `count` changes."""
        for kind, pod in self.server.log[self.shown : self.shown + count]:
            self.feed.fifo.add(kind, self.feed.decoder.entry(orjson.dumps(pod)))
            self.shown += 1
        self._apply()

    def _apply(self) -> None:
        while len(self.feed.fifo):
            self.feed.fifo.pop(self.feed.apply)
        self.informer._applied()

    async def reconcile(self, *, timeout: float = 0.0, fenced: bool = True) -> None:
        """Create, delete and update as needed, going by the cache alone."""
        if fenced:
            await self.writes.caught_up(OWNER, timeout=timeout)
        seen = sorted(self.informer.store.entries(), key=lambda e: e.header.name)
        for _ in range(self.server.wanted - len(seen)):
            name = f"p-{self.rng.getrandbits(64):x}"
            await self.client.create(obj(name, "", labels={"rev": self.revision}))
        for entry in seen[self.server.wanted :]:
            try:
                await self.client.delete(POD, entry.header.key, uid=entry.header.uid)
            except NotFound:
                continue
        for entry in seen[: self.server.wanted]:
            if entry.header.label("rev") != self.revision:
                patch = Patch.merge({"metadata": {"labels": {"rev": self.revision}}})
                try:
                    await self.client.patch(POD, entry.header.key, patch)
                except NotFound:
                    continue


STEPS = st.one_of(
    st.tuples(st.just("reconcile"), st.integers(0, 6)),
    st.tuples(st.just("reconcile while the cache catches up"), st.integers(0, 6)),
    st.tuples(st.just("scale"), st.integers(0, 4)),
    st.tuples(st.just("revise"), st.integers(0, 3)),
    st.tuples(st.just("lose"), st.integers(0, 5)),
    st.tuples(st.just("fault"), st.sampled_from(["lost", "refused", ""])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=25), st.integers(0, 3))
def test_nothing_is_decided_twice_however_late_the_cache_is(steps: list[tuple[str, Any]], start: int) -> None:
    """RT-EX-01, RT-EX-04, RT-CL-31: creations, deletions and updates, with answers refused or lost."""

    async def run() -> None:
        world = World()
        world.server.wanted = start
        for step, value in steps:
            await act(world, step, value)
        world.server.faults.clear()
        for _ in range(3):  # nothing else happens: it converges
            await reconcile(world)
            world.show(99)
        assert len(world.server.pods) == world.server.wanted
        assert {p["metadata"]["labels"]["rev"] for p in world.server.pods.values()} <= {world.revision}

    loop = asyncio.new_event_loop()  # asyncio.run would take the session's loop away from the tests that follow
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


async def act(world: World, step: str, value: Any) -> None:
    match step:
        case "reconcile":
            world.show(value)
            await reconcile(world)
        case "reconcile while the cache catches up":
            waiting = asyncio.create_task(reconcile(world, timeout=60.0))
            while not waiting.done():
                await asyncio.sleep(0)
                world.show(1)
        case "scale":
            world.server.wanted = value
        case "revise":
            world.revision = str(value)
        case "lose":
            world.server.lose(value)
        case _:
            world.server.faults.append(value)


async def reconcile(world: World, timeout: float = 0.0) -> None:
    with contextlib.suppress(TransportError, ApiError):  # retried by the next step
        await world.reconcile(timeout=timeout)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (lambda w: setattr(w.server, "wanted", 1), "too many was created"),
        (lambda w: (made(w, 2), setattr(w.server, "wanted", 1)), "deleted twice"),
        (lambda w: (made(w, 1), setattr(w, "revision", "2")), "made twice"),
    ],
)
async def test_without_the_fence_each_of_them_happens(before: Callable[[World], Any], text: str) -> None:
    """RT-EX-01: that is what the test above is able to see."""
    world = World()
    before(world)
    await world.reconcile(fenced=False)
    with pytest.raises(AssertionError, match=text):
        await world.reconcile(fenced=False)


def made(world: World, count: int) -> None:
    world.server.wanted = count
    for number in range(count):
        world.server._change(DeltaType.ADDED, f"p-{number}", rev="1")
    world.show(count)


async def test_a_cache_that_shows_nothing_any_more_delays_a_key_but_never_blocks_it() -> None:
    """RT-EX-02: after the time-out the state is read live and the work goes on, each time."""
    world = World()
    for wanted in (1, 2, 4, 0, 3):
        world.server.wanted = wanted
        await world.reconcile()
        assert len(world.server.pods) == wanted
    assert world.stale_reads > 0


def test_expectations_end_after_five_minutes() -> None:
    """RT-EX-01: however unsatisfied."""
    fences = Fences()
    fences.record(OWNER, (POD, NN("ns", "a"), "full"), rv="9", gone_uid="", unknown=False, at=100.0)
    assert MAX_AGE == 300.0
    assert fences.pending(OWNER, 400.0)
    assert not fences.pending(OWNER, 400.1)


def test_fences_are_bounded_and_end_with_their_object() -> None:
    """RT-EX-03: the owners that wrote longest ago are forgotten first."""
    assert Fences().limit == MAX_OWNERS == 100_000
    fences = Fences(limit=3)
    for owner in ("a", "b", "c", "a", "d"):
        fences.record(owner, (POD, NN("ns", owner), "full"), rv="9", gone_uid="", unknown=False, at=0.0)
    assert [bool(fences.pending(owner, 1.0)) for owner in "abcd"] == [True, False, True, True]
    fences.forget("c")
    fences.forget("unknown")
    assert fences.pending("c", 1.0) == {}
    assert len(fences) == 2


async def test_two_controllers_do_not_wait_for_each_other() -> None:
    """RT-EX-03: even for the same object."""
    world = World()
    world.server.wanted = 1
    await world.reconcile()
    async with asyncio.timeout(5):
        assert await world.writes.caught_up(("another", OWNER[1]), timeout=60) == frozenset()
    assert await world.writes.caught_up(OWNER, timeout=0) != frozenset()


@pytest.mark.parametrize("late", ["full", "metadata"])
async def test_both_informers_of_a_kind_have_to_show_a_write(late: str) -> None:
    """RT-CA-20, RT-CA-04: reads may go to either of them."""
    worlds = {"full": World(), "metadata": World()}
    worlds["full"].writes = writes = ReadYourWrites(
        lambda _, form: worlds[form].informer,
        worlds["full"].server,  # type: ignore[arg-type]
        worlds["full"].clock,
        worlds["full"]._count,
    )
    writes.record(OWNER, POD, NN("ns", "a"), rv="1")
    for form, world in worlds.items():
        world.server._change(DeltaType.ADDED, "a")
        if form != late:
            world.show(1)
    waiting = asyncio.create_task(writes.caught_up(OWNER, timeout=60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    worlds[late].show(1)
    async with asyncio.timeout(5):
        assert await waiting == frozenset()
