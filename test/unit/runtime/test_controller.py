"""The loop around a reconciler, in virtual time and without a server."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, ControllerSupport, Result
from rbgctl.runtime.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    LeadershipUncertain,
    NotFound,
    TerminalError,
)
from rbgctl.runtime.executor import PlanFailed
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.workqueue import WorkQueue

pytestmark = pytest.mark.looptime

KIND = GVK("g", "v1", "Kind")
A, B = NN("ns", "a"), NN("ns", "b")


class Cache:
    """As much of a cache as a controller touches by itself."""

    def __init__(self) -> None:
        self.waits: list[Any] = []
        self.forgotten: list[Any] = []
        self.exists = True
        self.error: Exception | None = None

    async def caught_up(self, owner: Any, *, age: float) -> frozenset[Any]:
        self.waits.append(owner)
        if self.error is not None:
            raise self.error
        return frozenset()

    def entry(self, gvk: GVK, key: NN) -> Entry | None:
        return Entry(Header(key.namespace, key.name, "u", "1"), b"{}") if self.exists else None

    def forget_writes(self, owner: Any) -> None:
        self.forgotten.append(owner)


@dataclass
class Feed:
    """A source that a test controls."""

    keys: list[NN] = field(default_factory=list)
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0
    stops: int = 0
    queue: WorkQueue[NN] | None = None
    error: Exception | None = None
    blocks: bool = False

    def __str__(self) -> str:
        return "kind source: Kind.g"

    async def start(self, queue: WorkQueue[NN]) -> None:
        self.starts += 1
        if self.error is not None:
            raise self.error
        if self.blocks:
            await asyncio.Event().wait()
        self.queue = queue
        for key in self.keys:
            queue.add(key)

    async def wait_for_sync(self) -> None:
        await self.synced.wait()

    def stop(self) -> None:
        self.stops += 1


def synced(*keys: NN) -> Feed:
    feed = Feed(list(keys))
    feed.synced.set()
    return feed


@dataclass
class Bench:
    controller: Controller
    registry: Registry
    cache: Cache

    def value(self, name: str, **labels: str) -> float:
        found = self.registry.collectors.get_sample_value(name, {"controller": "c", **labels})
        return -1 if found is None else found


Reconcile = Callable[[Context], Awaitable[Result | None]]


@pytest.fixture
def bench(loop_clock: Any) -> Callable[..., Bench]:
    def make(reconcile: Reconcile, *sources: Any, **options: Any) -> Bench:
        registry, cache = Registry(), Cache()
        support = ControllerSupport(
            cache=cache,  # type: ignore[arg-type]
            live=None,  # type: ignore[arg-type]
            recorders=lambda component: component,  # type: ignore[arg-type,return-value]
            registry=registry,
            clock=loop_clock,
            rng=random.Random(1),
        )
        options.setdefault("limiter", ItemExponential(1.0, 100.0))
        controller = Controller("c", reconcile, support, ControllerOptions(**options), kind=KIND)
        for source in sources:
            controller.watch(source)
        return Bench(controller, registry, cache)

    return make


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def status(cls: type[ApiError], text: str = "no") -> ApiError:
    return cls({"status": "Failure", "message": text, "reason": cls.default_reason, "code": 400})


def terminating() -> ApiError:
    """What the server answers to a creation in a namespace that is being deleted (RT-ER-04)."""
    causes = [{"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": ""}]
    answer = {"status": "Failure", "message": "no", "reason": "Forbidden", "code": 403, "details": {"causes": causes}}
    return ApiError.from_status(answer)


# ---- the result table, RT-CT-21 ----


async def requeued(controller: Controller) -> float | None:
    """Seconds after which the key is handed out again, None within a minute."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(60):
            await controller.queue.get()
    except TimeoutError:
        return None
    return round(loop.time() - began, 1)


@pytest.mark.parametrize(
    ("answer", "label", "again", "failures"),
    [
        (TerminalError("bad"), "error", None, 3),
        (RuntimeError("bad"), "error", 8.0, 4),
        (Result(requeue_after=7.0), "requeue_after", 7.0, 0),
        (Result(requeue_after=7.0, requeue=True), "requeue_after", 7.0, 0),
        (Result(requeue=True), "requeue", 8.0, 4),
        (Result(), "success", None, 0),
        (None, "success", None, 0),
    ],
    ids=["terminal", "error", "requeue_after", "requeue_after beats requeue", "requeue", "empty result", "none"],
)
async def test_what_becomes_of_the_key(
    bench: Callable[..., Bench], answer: Any, label: str, again: float | None, failures: int
) -> None:  # RT-CT-21
    async def reconcile(ctx: Context) -> Result | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    b = bench(reconcile, synced())
    queue = b.controller.queue
    for _ in range(3):
        queue._limiter.when(A)  # three failures so far
    queue.add(A, priority=5)
    await b.controller._process(*await queue.get())
    queue.done(A)
    assert queue.num_requeues(A) == failures
    assert b.value("controller_runtime_reconcile_total", result=label) == 1
    assert b.value("controller_runtime_reconcile_errors_total") == (label == "error")
    assert b.value("controller_runtime_terminal_reconcile_errors_total") == isinstance(answer, TerminalError)
    assert b.value("controller_runtime_reconcile_time_seconds_count") == 1
    assert await requeued(b.controller) == again


@pytest.mark.parametrize("answer", [RuntimeError(), Result(requeue_after=1.0), Result(requeue=True)])
async def test_requeues_keep_the_priority(bench: Callable[..., Bench], answer: Any) -> None:  # RT-PQ-06
    async def reconcile(ctx: Context) -> Result | None:
        priorities.append(ctx.priority)
        if isinstance(answer, Exception):
            raise answer
        return answer

    priorities: list[int] = []
    b = bench(reconcile, synced())
    b.controller.queue.add(A, priority=-7)
    worker = asyncio.create_task(b.controller._worker())
    await asyncio.sleep(5)
    await ended(worker)
    assert set(priorities) == {-7}
    assert len(priorities) >= 2


async def test_a_result_may_set_the_next_priority(bench: Callable[..., Bench]) -> None:  # RT-PQ-11
    async def reconcile(ctx: Context) -> Result | None:
        priorities.append(ctx.priority)
        return Result(requeue_after=1.0, priority=9)

    priorities: list[int] = []
    b = bench(reconcile, synced())
    b.controller.queue.add(A)
    worker = asyncio.create_task(b.controller._worker())
    await asyncio.sleep(1.5)
    await ended(worker)
    assert priorities == [0, 9]


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (status(Conflict), "info"),
        (status(AlreadyExists), "info"),
        (PlanFailed([status(Conflict), status(AlreadyExists)]), "info"),
        (PlanFailed([status(Conflict), RuntimeError("x")]), "error"),
        (LeadershipUncertain("maybe not"), "info"),
        (terminating(), "info"),
        (PlanFailed([status(Conflict), terminating()]), "info"),
        (status(Forbidden), "error"),
        (status(NotFound), "error"),
        (RuntimeError("x"), "error"),
    ],
)
async def test_conflicts_are_routine_other_errors_are_not(
    bench: Callable[..., Bench], error: Exception, level: str
) -> None:  # RT-CT-23, RT-ER-04
    async def reconcile(ctx: Context) -> Result | None:
        raise error

    b = bench(reconcile, synced())
    with capture_logs() as lines:
        await b.controller._process(A, 0)
    assert [line["log_level"] for line in lines] == [level]
    assert b.controller.queue.waiting == 1  # all the same a failure of the key
    assert b.value("controller_runtime_reconcile_errors_total") == 1


# ---- defects and deadlines ----


async def test_a_defect_is_counted_and_retried(bench: Callable[..., Bench]) -> None:  # RT-CT-03, RT-CT-22
    async def reconcile(ctx: Context) -> Result | None:
        raise KeyError("missing")

    b = bench(reconcile, synced())
    with capture_logs() as lines:
        await b.controller._process(A, 0)
    assert any("panic: KeyError('missing') [recovered]" in str(line.get("error")) for line in lines)
    assert b.value("controller_runtime_reconcile_panics_total") == 1
    assert b.value("controller_runtime_reconcile_errors_total") == 1
    assert b.controller.queue.waiting == 1


async def test_without_recover_a_defect_stops_the_controller(bench: Callable[..., Bench]) -> None:
    # RT-CT-03, RT-CT-22
    async def reconcile(ctx: Context) -> Result | None:
        raise KeyError("missing")

    b = bench(reconcile, synced(A), recover=False)
    with pytest.raises(KeyError):
        await asyncio.wait_for(b.controller.run(), 10)
    assert b.value("controller_runtime_reconcile_panics_total") == 1
    assert b.value("controller_runtime_reconcile_time_seconds_count") == 1  # RT-CT-17


async def test_a_hung_reconcile_is_cancelled_counted_and_retried(bench: Callable[..., Bench]) -> None:  # RT-CT-24
    cancelled = asyncio.Event()

    async def reconcile(ctx: Context) -> Result | None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return None

    b = bench(reconcile, synced())
    loop = asyncio.get_running_loop()
    began = loop.time()
    await b.controller._process(A, 0)
    assert loop.time() - began == pytest.approx(120.0, abs=0.1)
    assert cancelled.is_set()
    assert b.value("controller_runtime_reconcile_timeouts_total") == 1
    assert b.value("controller_runtime_reconcile_errors_total") == 1
    assert b.value("controller_runtime_reconcile_time_seconds_count") == 1  # RT-CT-17
    assert b.controller.queue.waiting == 1


async def test_a_timeout_raised_by_the_reconciler_is_an_ordinary_error(bench: Callable[..., Bench]) -> None:
    async def reconcile(ctx: Context) -> Result | None:
        raise TimeoutError("its own")

    b = bench(reconcile, synced())
    await b.controller._process(A, 0)
    assert b.value("controller_runtime_reconcile_timeouts_total") == 0
    assert b.value("controller_runtime_reconcile_errors_total") == 1


async def test_a_reconciler_that_cancels_itself_fails_its_key_only(bench: Callable[..., Bench]) -> None:
    async def reconcile(ctx: Context) -> Result | None:
        raise asyncio.CancelledError

    b = bench(reconcile, synced())
    await b.controller._process(A, 0)
    assert b.value("controller_runtime_reconcile_errors_total") == 1


async def test_the_fence_of_the_key_is_awaited_first(bench: Callable[..., Bench]) -> None:  # RT-CA-20
    async def reconcile(ctx: Context) -> Result | None:
        order.append("reconcile")
        return None

    order: list[Any] = []
    b = bench(reconcile, synced())
    b.cache.waits = order
    await b.controller._process(A, 0)
    assert order == [("c", A), "reconcile"]
    b.cache.error = RuntimeError("live read failed")
    await b.controller._process(A, 0)
    assert order[2:] == [("c", A)]
    assert b.value("controller_runtime_reconcile_errors_total") == 1


async def test_the_fence_of_a_key_whose_object_is_gone_is_dropped(bench: Callable[..., Bench]) -> None:  # RT-EX-03
    b = bench(reconcile_nothing, synced())
    await b.controller._process(A, 0)
    assert b.cache.forgotten == []
    b.cache.exists = False
    await b.controller._process(A, 0)
    assert b.cache.forgotten == [("c", A)]


# ---- start and stop ----


async def test_no_worker_takes_a_key_before_every_source_is_synced(bench: Callable[..., Bench]) -> None:  # RT-CT-12
    runs: list[NN] = []

    async def reconcile(ctx: Context) -> Result | None:
        runs.append(ctx.key)
        return None

    late = Feed([B])
    b = bench(reconcile, synced(A), late)
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(60)
    assert runs == []
    late.synced.set()
    await asyncio.sleep(0.1)
    assert set(runs) == {A, B}
    await ended(task)
    assert late.stops == 1


async def test_series_exist_before_the_first_sync(bench: Callable[..., Bench]) -> None:  # RT-CT-17
    b = bench(reconcile_nothing, Feed(), max_concurrent=7)
    for result in ("error", "requeue_after", "requeue", "success"):
        assert b.value("controller_runtime_reconcile_total", result=result) == 0
    for name in ("reconcile_errors_total", "terminal_reconcile_errors_total", "reconcile_panics_total"):
        assert b.value(f"controller_runtime_{name}") == 0
    assert b.value("controller_runtime_active_workers") == 0
    assert b.value("controller_runtime_max_concurrent_reconciles") == 7


async def reconcile_nothing(ctx: Context) -> Result | None:
    return None


async def test_sources_start_together(bench: Callable[..., Bench]) -> None:  # RT-CT-11
    class Second(Feed):
        async def start(self, queue: WorkQueue[NN]) -> None:
            await super().start(queue)
            self.synced.set()
            first.synced.set()

    first = Feed()
    b = bench(reconcile_nothing, first, Second(), cache_sync_timeout=30.0)
    async with asyncio.timeout(1):
        await b.controller.warmup()
    await b.controller.close()


async def test_a_source_that_never_syncs_is_named(bench: Callable[..., Bench]) -> None:  # RT-CT-11
    b = bench(reconcile_nothing, synced(), Feed(), cache_sync_timeout=30.0)
    text = r"failed to wait for c caches to sync kind source: Kind.g: timed out waiting for cache to be synced"
    with pytest.raises(TimeoutError, match=text):
        await asyncio.wait_for(b.controller.run(), 31)


async def test_a_source_whose_start_blocks_is_named(bench: Callable[..., Bench]) -> None:  # RT-CT-11
    b = bench(reconcile_nothing, Feed(blocks=True), cache_sync_timeout=30.0)
    with pytest.raises(
        TimeoutError, match=r"timed out waiting for source kind source: Kind.g to Start\. Please ensure"
    ):
        await asyncio.wait_for(b.controller.run(), 31)


async def test_a_source_that_cannot_start_fails_the_controller(bench: Callable[..., Bench]) -> None:  # RT-CT-11
    b = bench(reconcile_nothing, synced(), Feed(error=RuntimeError("no such kind")))
    with pytest.raises(RuntimeError, match="no such kind"):
        await b.controller.run()


async def test_cancelled_while_syncing_takes_no_key(bench: Callable[..., Bench]) -> None:  # RT-CT-13
    runs: list[NN] = []

    async def reconcile(ctx: Context) -> Result | None:
        runs.append(ctx.key)
        return None

    feed = Feed([A])
    b = bench(reconcile, feed)
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(1)
    await ended(task)
    assert task.cancelled()
    assert runs == []
    assert feed.stops == 1


async def test_starting_twice_is_an_error(bench: Callable[..., Bench]) -> None:  # RT-CT-10
    b = bench(reconcile_nothing, synced())
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError, match="started more than once"):
        await b.controller.run()
    assert not task.done()
    await ended(task)


async def test_stop_finishes_what_runs_and_drops_the_rest(bench: Callable[..., Bench]) -> None:  # RT-CT-14
    finished: list[NN] = []

    async def reconcile(ctx: Context) -> Result | None:
        await asyncio.sleep(10)
        finished.append(ctx.key)
        return Result(requeue_after=1.0)

    b = bench(reconcile, synced(A, B))
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert finished == [A]
    assert b.value("controller_runtime_reconcile_total", result="error") == 0
    assert b.value("controller_runtime_active_workers") == 0
    assert len(b.controller.queue) == b.controller.queue.waiting == 0


async def test_the_second_cancellation_ends_the_running_reconcile(bench: Callable[..., Bench]) -> None:  # RT-CT-14
    async def reconcile(ctx: Context) -> Result | None:
        await asyncio.sleep(1000)
        return None

    b = bench(reconcile, synced(A), reconcile_timeout=None)
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(5)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()
    assert b.value("controller_runtime_reconcile_errors_total") == 0


async def test_warmup_and_run_share_their_sources(bench: Callable[..., Bench]) -> None:  # RT-CT-16
    runs: list[NN] = []

    async def reconcile(ctx: Context) -> Result | None:
        runs.append(ctx.key)
        return None

    feed = Feed([A])
    b = bench(reconcile, feed)
    warm = [asyncio.create_task(b.controller.warmup()) for _ in range(2)]
    await asyncio.sleep(1)
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(1)
    assert (feed.starts, runs) == (1, [])
    feed.synced.set()
    await asyncio.sleep(0.1)
    assert (feed.starts, runs) == (1, [A])
    await asyncio.gather(*warm)
    await ended(task)


async def test_a_warm_controller_that_never_ran_can_be_closed(bench: Callable[..., Bench]) -> None:  # RT-CT-16
    feed = synced(A)
    b = bench(reconcile_nothing, feed)
    await b.controller.warmup()
    assert len(b.controller.queue) == 1
    await b.controller.close()
    assert feed.stops == 1
    assert len(b.controller.queue) == 0


async def test_sources_added_to_a_running_controller_start_at_once(bench: Callable[..., Bench]) -> None:  # RT-CT-15
    runs: list[NN] = []

    async def reconcile(ctx: Context) -> Result | None:
        runs.append(ctx.key)
        return None

    b = bench(reconcile, synced())
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError):
        b.controller.watch(Feed())
    unsynced = Feed([A])
    await b.controller.start_source(unsynced)
    await asyncio.sleep(0.1)
    assert runs == [A]
    with pytest.raises(RuntimeError, match="cannot"):
        await b.controller.start_source(Feed(error=RuntimeError("cannot")))
    await ended(task)
    assert unsynced.stops == 1


async def test_concurrency_is_bounded_and_a_key_is_never_run_twice_at_once(bench: Callable[..., Bench]) -> None:
    # RT-CT-01, RT-WQ-05
    running: set[NN] = set()
    most = 0

    async def reconcile(ctx: Context) -> Result | None:
        nonlocal most
        assert ctx.key not in running
        running.add(ctx.key)
        most = max(most, len(running))
        await asyncio.sleep(rng.random())
        running.discard(ctx.key)
        return None if rng.random() < 0.5 else Result(requeue_after=rng.random())

    rng = random.Random(3)
    feed = synced()
    b = bench(reconcile, feed, max_concurrent=4)
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(0)
    for n in range(300):
        b.controller.queue.add(NN("ns", str(n % 13)))
        await asyncio.sleep(0.05)
    assert most == 4
    await ended(task)
    assert not running


# ---- what a reconciler is given ----


async def test_context_and_log_lines_carry_the_identity_of_the_run(bench: Callable[..., Bench]) -> None:  # RT-CT-20
    seen: list[Context] = []

    async def reconcile(ctx: Context) -> Result | None:
        seen.append(ctx)
        ctx.avoided_writes(3)
        ctx.log.info("hello")
        with ctx.step("observe") as span:
            span.set(lambda: pytest.fail("no attributes may be built while tracing is off"))
        return None

    b = bench(reconcile, synced())
    with capture_logs() as lines:
        await b.controller._process(A, 0)
        await b.controller._process(A, 0)
    assert seen[0].key == A
    assert seen[0].recorder == "c"
    assert seen[0].recorder_for("other") == "other"
    assert seen[0].reconcile_id != seen[1].reconcile_id
    assert seen[0].reconcile_id[14] == "4"  # a version 4 uuid
    hello = lines[0]
    assert hello["reconcileID"] == seen[0].reconcile_id
    expected = {"controller": "c", "controllerGroup": "g", "controllerKind": "Kind", "namespace": "ns", "name": "a"}
    assert {k: hello[k] for k in expected} == expected
    assert hello["Kind"] == {"name": "a", "namespace": "ns"}
    assert b.value("rbg_runtime_avoided_writes_total") == 6


async def test_workers_are_counted_while_they_work(bench: Callable[..., Bench]) -> None:  # RT-CT-20
    active: list[float] = []

    async def reconcile(ctx: Context) -> Result | None:
        await asyncio.sleep(1)
        active.append(b.value("controller_runtime_active_workers"))
        return None

    b = bench(reconcile, synced(A, B), max_concurrent=2)
    task = asyncio.create_task(b.controller.run())
    await asyncio.sleep(5)
    assert active[0] == 2
    assert b.value("controller_runtime_active_workers") == 0
    await ended(task)
