"""A controller that works on some shards only, in virtual time: real cache and queue, without a server."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from unit.runtime.conftest import LoopClock

from rbgctl.machinery.gvk import GVK, NN, Resource
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, Result
from rbgctl.runtime.handler import enqueue_mapped
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.sharding.assignment import by_label, shard_of
from rbgctl.runtime.sharding.led_shards import ShardStuck
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.workqueue import PRIORITY_LOW

# A loop of its own for each test: virtual time adds up on a shared one until timers lose their precision.
pytestmark = pytest.mark.looptime

KIND = GVK("example.org", "v1", "Thing")
OTHER = GVK("", "v1", "ConfigMap")
LABEL = "example.org/group"
COUNT = 3


def group_in(shard: int, skip: int = 0) -> str:
    """The name of a group in this shard."""
    found = (f"g{n}" for n in range(1000) if shard_of(f"ns/g{n}", COUNT) == shard)
    for _ in range(skip):
        next(found)
    return next(found)


def thing(name: str, group: str = "", rv: str = "1", namespace: str = "ns") -> Entry:
    labels = ((LABEL, group),) if group else ()
    return Entry(Header(namespace=namespace, name=name, uid=f"uid-{name}", rv=rv, labels=labels), b"{}")


class World:
    """One controller of things, which belong together by label, and what it did."""

    def __init__(self, clock: LoopClock, **options: Any) -> None:
        self.done: list[str] = []
        self.forgotten: list[str] = []
        self.answer: Callable[[Context], Awaitable[Result | None]] | None = None
        self.manager = Manager(
            ClusterConfig("http://127.0.0.1:1"),
            ManagerOptions(shards=COUNT, elector=lambda _: None),  # type: ignore[arg-type,return-value]
            resources=(Resource(KIND, "things", True),),
            clock=clock,
            rng=random.Random(1),
        )
        assert self.manager.shards is not None
        self.shards = self.manager.shards
        self.controller: Controller = (
            Builder()
            .for_(KIND)
            .sharded_by(by_label(LABEL), forgets=lambda key: self.forgotten.append(key.name))
            .with_options(ControllerOptions(**options))
            .reconciles_with(self._reconcile)
            .complete(self.manager)
        )
        self.manager.cache.declare(KIND)
        self.informer = self.manager.cache.informer(KIND)
        self.informer.prepare(Resource(KIND, "things", True))
        self.informer._synced.set()
        self._task: asyncio.Task[None] | None = None

    async def _reconcile(self, ctx: Context) -> Result | None:
        self.done.append(ctx.key.name)
        return await self.answer(ctx) if self.answer is not None else None

    def set(self, entry: Entry) -> None:
        self.informer.refresh(entry.header.key, entry)

    def delete(self, name: str) -> None:
        self.informer.refresh(NN("ns", name), None)

    async def start(self) -> None:
        self._task = asyncio.create_task(self.controller.run())
        await self.settle()

    async def settle(self) -> None:
        """Until nothing is left to do but to wait: virtual time passes only then, however slow the machine is."""
        await asyncio.sleep(0.01)

    async def open(self, shard: int, remaining: float = 10.0) -> None:
        await self.shards.open(shard, lambda: remaining)
        await self.settle()

    def take(self) -> list[str]:
        done, self.done = sorted(self.done), []
        return done

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


@pytest_asyncio.fixture(loop_scope="function")
async def make() -> AsyncIterator[Callable[..., World]]:
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(LoopClock(), **options))
        return made[-1]

    yield make
    for world in made:
        await world.end()


@pytest_asyncio.fixture(loop_scope="function")
async def world(make: Callable[..., World]) -> World:
    return make()


def one_of_each(world: World) -> None:
    for shard in range(COUNT):
        world.set(thing(f"in-{shard}", group_in(shard)))


async def test_keys_of_shards_that_are_not_led_are_dropped(world: World) -> None:
    one_of_each(world)
    await world.start()
    assert world.take() == []
    assert (len(world.controller.queue), world.controller.queue.waiting) == (0, 0)
    await world.open(1)
    assert world.take() == ["in-1"]
    for n in range(500):
        world.set(thing(f"more-{n}", group_in(2)))
    await world.settle()
    assert world.take() == []
    assert len(world.controller.queue) == 0  # nothing piles up


async def test_what_waits_for_a_retry_is_dropped_too(world: World) -> None:
    async def fail(_: Context) -> None:
        raise RuntimeError("again")

    one_of_each(world)
    await world.start()
    world.answer = fail
    await world.open(1)
    await world.shards.drain(1, 1.0)
    await asyncio.sleep(2000)
    assert world.controller.queue.waiting == 0
    assert world.controller.queue.num_requeues(NN("ns", "in-1")) == 0


async def test_all_keys_of_a_shard_are_queued_when_it_is_opened_at_low_priority(world: World) -> None:
    seen: list[int] = []

    async def note(ctx: Context) -> None:
        seen.append(ctx.priority)

    world.answer = note
    await world.start()
    one_of_each(world)
    world.set(thing("second-in-1", group_in(1, skip=1)))
    await world.settle()
    await world.open(1)
    assert world.take() == ["in-1", "second-in-1"]
    assert set(seen) == {PRIORITY_LOW}
    await world.shards.drain(1, 1.0)
    world.set(thing("in-1", group_in(1), rv="2"))
    await world.settle()
    assert world.take() == []
    await world.open(1)
    assert world.take() == ["in-1", "second-in-1"]


async def test_objects_of_one_group_are_in_one_shard_and_others_in_their_own(world: World) -> None:
    await world.start()
    await world.open(1)
    for n in range(20):
        world.set(thing(f"x-{n}", group_in(1)))
        world.set(thing(f"y-{n}", group_in(0)))
        world.set(thing(f"z-{n}"))
    await world.settle()
    alone = [f"z-{n}" for n in range(20) if shard_of(f"ns/z-{n}", COUNT) == 1]
    assert world.take() == sorted([*(f"x-{n}" for n in range(20)), *alone])


async def test_a_deleted_object_is_handled_where_it_lived(world: World) -> None:
    """Its label is gone with it; the key alone may lead to another shard."""
    names = [n for n in (f"t{n}" for n in range(50)) if shard_of(f"ns/{n}", COUNT) == 0][:2]
    world.set(thing(names[0], group_in(1)))
    world.set(thing(names[1], group_in(2)))
    await world.start()
    await world.open(0)
    await world.open(1)
    world.take()
    for name in names:
        world.delete(name)
    await world.settle()
    assert world.take() == [names[0]]


async def test_the_retry_of_a_deleted_object_is_made_where_it_lived(world: World) -> None:
    """Its clean-up would run nowhere otherwise."""
    name = next(n for n in (f"t{n}" for n in range(50)) if shard_of(f"ns/{n}", COUNT) == 0)
    passes: list[str] = []

    async def fail_once(ctx: Context) -> None:
        passes.append(ctx.key.name)
        if len(passes) == 1:
            raise OSError("once")

    world.set(thing(name, group_in(1)))
    await world.start()
    await world.open(1)
    world.answer = fail_once
    world.delete(name)
    loop = asyncio.get_running_loop()
    ends = loop.time() + 60
    while len(passes) < 2 and loop.time() < ends:
        await world.settle()
    assert passes == [name, name]


async def test_an_object_that_moves_to_another_group_is_handled_there(world: World) -> None:
    world.set(thing("a", group_in(0)))
    await world.start()
    await world.open(1)
    assert world.take() == []
    world.set(thing("a", group_in(1), rv="2"))
    await world.settle()
    assert world.take() == ["a"]


# ---- the write gate ----


async def test_a_reconcile_may_write_while_its_own_shard_is_led_and_so_may_its_tasks(world: World) -> None:
    """The gate of a shard is its own."""
    seen: dict[str, float] = {}

    async def ask(ctx: Context) -> None:
        async def from_a_task() -> None:
            seen[ctx.key.name] = world.shards.remaining()

        await asyncio.create_task(from_a_task())

    world.answer = ask
    one_of_each(world)
    await world.start()
    assert world.shards.remaining() == 0
    await world.open(0, remaining=7.0)
    await world.open(1, remaining=-1.0)
    assert seen == {"in-0": 7.0, "in-1": -1.0}
    assert world.shards.remaining() == 7.0  # events, for instance
    world.shards.shut()
    assert world.shards.remaining() == 0


# ---- handing over ----


async def test_draining_waits_for_running_reconciles_of_that_shard_only(world: World) -> None:
    let_go = asyncio.Event()

    async def wait(ctx: Context) -> None:
        if ctx.key.name == "in-1":
            await let_go.wait()
        if ctx.key.name == "in-2":
            await asyncio.Event().wait()

    world.answer = wait
    one_of_each(world)
    world.controller.max_concurrent = 5
    await world.start()
    await world.open(1)
    await world.open(2)
    draining = asyncio.create_task(world.shards.drain(1, 20.0))
    await world.settle()
    assert not draining.done()
    world.take()
    world.set(thing("more", group_in(1)))
    await world.settle()
    assert world.take() == []  # no new key of it
    world.set(thing("other", group_in(2)))
    await world.settle()
    assert world.take() == ["other"]  # the other shard goes on
    let_go.set()
    await draining
    assert sorted(world.forgotten) == ["in-1", "more"]
    assert not world.shards.serves(1)


async def test_a_drain_that_has_begun_can_be_hurried(world: World) -> None:
    """Somebody else works on the keys of the shard already."""

    async def hang(ctx: Context) -> None:
        await asyncio.Event().wait()

    world.answer = hang
    one_of_each(world)
    world.controller.max_concurrent = 5
    await world.start()
    await world.open(1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    draining = asyncio.create_task(world.shards.drain(1, 20.0))
    await world.settle()
    world.shards.hurry(1)
    await draining
    assert loop.time() - began < 1.0


async def test_what_still_runs_after_the_time_given_is_cancelled_and_not_a_failure(world: World) -> None:
    cancelled: list[str] = []

    async def hang(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(ctx.key.name)
            raise

    world.answer = hang
    one_of_each(world)
    world.controller.max_concurrent = 5
    await world.start()
    await world.open(1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.shards.drain(1, 20.0)
    assert 19.9 < loop.time() - began < 20.5
    assert cancelled == ["in-1"]
    value = world.manager.metrics.collectors.get_sample_value
    assert value("controller_runtime_reconcile_timeouts_total", {"controller": "thing"}) == 0


async def test_a_shard_is_not_handed_over_while_a_reconcile_defies_its_cancellation(world: World) -> None:
    free = asyncio.Event()

    async def deaf(_: Context) -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    world.answer = deaf
    one_of_each(world)
    await world.start()
    await world.open(1)
    with pytest.raises(ShardStuck, match="1 reconciles of shard 1 did not end 5 s after being cancelled"):
        await world.shards.drain(1, 1.0)
    assert world.forgotten == []
    free.set()


async def test_write_fences_of_a_shard_end_with_it(world: World) -> None:  # RT-CA-22
    """Who takes it over has none; they order the passes of one process, and are no lock."""
    one_of_each(world)
    await world.start()
    await world.open(1)
    owner = ("thing", NN("ns", "in-1"))
    world.manager.cache.record_write(owner, KIND, NN("ns", "in-1"), rv="999")
    await world.shards.drain(1, 1.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.manager.cache.caught_up(owner)
    assert loop.time() == began


# ---- what is not divided ----


async def test_a_controller_without_a_kind_hears_again_what_a_first_list_would_bring(world: World) -> None:
    done: list[str] = []
    shard = shard_of("ns/the-one", COUNT)

    async def reconcile(ctx: Context) -> None:
        done.append(ctx.key.name)

    builder = Builder().named("all").watches(KIND, enqueue_mapped(lambda _: [NN("ns", "the-one")]))
    controller = builder.reconciles_with(reconcile).complete(world.manager)
    one_of_each(world)
    task = asyncio.create_task(controller.run())
    await world.settle()
    assert done == []
    await world.open((shard + 1) % COUNT)
    assert done == []
    await world.open(shard)
    assert done == ["the-one"]
    task.cancel()
    await asyncio.wait([task])


async def test_controllers_that_need_no_leader_run_everywhere(world: World) -> None:
    """RT-CT-05: the default needs one."""
    assert ControllerOptions().needs_leader
    done: list[str] = []

    async def reconcile(ctx: Context) -> None:
        done.append(ctx.key.name)

    builder = Builder().named("everywhere").for_(KIND).with_options(ControllerOptions(needs_leader=False))
    controller = builder.reconciles_with(reconcile).complete(world.manager)
    one_of_each(world)
    task = asyncio.create_task(controller.run())
    await world.settle()
    assert sorted(done) == ["in-0", "in-1", "in-2"]
    task.cancel()
    await asyncio.wait([task])


async def test_what_cannot_be_divided_is_refused() -> None:
    class Job:
        def __str__(self) -> str:
            return "the job"

        async def run(self) -> None:
            return None

    options = ManagerOptions(shards=2, elector=lambda _: None)  # type: ignore[arg-type,return-value]
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), options)
    with pytest.raises(ValueError, match="the job cannot be divided into shards: only controllers can"):
        manager.add(Job())
    manager.add(Job(), group="other")
    undivided = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions())
    undivided.add(Job())
    assert undivided.shards is None


async def test_dividing_the_work_needs_leader_election() -> None:
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(shards=2))
    with pytest.raises(RuntimeError, match="needs leader election"):
        await manager.run()
