"""Options of a controller: their defaults, and what each does under a manager, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rbgctl.machinery.gvk import NN
from rbgctl.machinery.plan import Plan
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, Result
from rbgctl.runtime.executor import observe_plan_execute
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.workqueue import WorkQueue

pytestmark = pytest.mark.looptime

A, B = NN("ns", "a"), NN("ns", "b")


class Feed:
    """A source that a test controls."""

    def __init__(self, *keys: NN, never_syncs: bool = False) -> None:
        self.keys = keys
        self.starts = 0
        self._never_syncs = never_syncs

    def __str__(self) -> str:
        return "feed"

    async def start(self, queue: WorkQueue[NN]) -> None:
        self.starts += 1
        for key in self.keys:
            queue.add(key)

    async def wait_for_sync(self) -> None:
        if self._never_syncs:
            await asyncio.Event().wait()

    def stop(self) -> None:
        pass


class Election:
    """A LeaderElector that is won when the test says so."""

    def __init__(self) -> None:
        self.win = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await self.win.wait()
        await on_started()
        await self._ended.wait()

    def remaining(self) -> float:
        return 100.0 if self.win.is_set() and not self._ended.is_set() else 0.0

    def healthy(self, tolerance: float) -> bool:
        return True

    async def stop(self, *, release: bool) -> None:
        self._ended.set()

    async def close(self, seconds: float) -> None:
        pass


class Trial:
    """A manager with one controller that notes its runs."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.runs: list[NN] = []
        self.election = Election()

    def __call__(
        self,
        *keys: NN,
        elected: bool = True,
        never_syncs: bool = False,
        reconcile: Any = None,
        manager: dict[str, Any] | None = None,
        **options: Any,
    ) -> tuple[Manager, Controller, Feed]:
        elector = {} if elected else {"elector": lambda _: self.election}
        made = Manager(
            ClusterConfig("http://127.0.0.1:1"), ManagerOptions(**elector, **(manager or {})), clock=self._clock
        )
        feed = Feed(*keys, never_syncs=never_syncs)
        controller = (
            Builder()
            .named("c")
            .watches_raw_source(lambda: feed)
            .with_options(ControllerOptions(**options))
            .reconciles_with(reconcile or self._note)
            .complete(made)
        )
        return made, controller, feed

    async def _note(self, ctx: Context) -> None:
        self.runs.append(ctx.key)


@pytest.fixture
def trial(loop_clock: Any) -> Trial:
    return Trial(loop_clock)


async def ended_after(manager: Manager) -> tuple[float, BaseException | None]:
    """Virtual seconds until the manager ended by itself, and why."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    task = asyncio.create_task(manager.run())
    await asyncio.wait([task], timeout=1000)
    return loop.time() - began, task.exception()


class Running:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._stop = asyncio.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._manager.run(self._stop))
        await asyncio.sleep(1)

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.wait([self._task])
        self._task.result()


@pytest.mark.parametrize(
    ("options", "manager", "seconds"),
    [({}, {}, 120.0), ({}, {"cache_sync_timeout": 30.0}, 30.0), ({"cache_sync_timeout": 5.0}, {}, 5.0)],
    ids=["default", "manager's flag", "controller's own"],
)
async def test_sources_must_sync_within_two_minutes_or_as_told(
    trial: Trial, options: dict[str, Any], manager: dict[str, Any], seconds: float
) -> None:  # RT-CT-02
    made, _, _ = trial(A, never_syncs=True, manager=manager, **options)
    took, error = await ended_after(made)
    assert took == pytest.approx(seconds, abs=0.5)
    assert str(error) == "failed to wait for c caches to sync feed: timed out waiting for cache to be synced"
    assert trial.runs == []


@pytest.mark.parametrize(("timeout", "ends"), [(5.0, True), (None, False)])
async def test_a_reconcile_ends_at_its_deadline_and_never_without_one(
    trial: Trial, timeout: float | None, ends: bool
) -> None:  # RT-CT-04
    waits: list[float] = []

    async def reconcile(ctx: Context) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await asyncio.sleep(700)
        finally:
            waits.append(loop.time() - began)

    made, _, _ = trial(A, reconcile=reconcile, reconcile_timeout=timeout)
    async with Running(made):
        await asyncio.sleep(600 if not ends else 5)
        timeouts = made.metrics.collectors.get_sample_value(
            "controller_runtime_reconcile_timeouts_total", {"controller": "c"}
        )
        assert (timeouts, len(waits)) == ((1.0, 1) if ends else (0.0, 0))
        await asyncio.sleep(200)
    assert waits[0] == pytest.approx(5.0 if ends else 700.0, abs=0.1)


async def test_a_controller_waits_for_the_election_unless_it_says_otherwise(trial: Trial) -> None:  # RT-CT-05
    made, _, _ = trial(A, elected=False)
    async with Running(made):
        await asyncio.sleep(60)
        assert trial.runs == []
        trial.election.win.set()
        await asyncio.sleep(1)
        assert trial.runs == [A]


async def test_a_controller_that_needs_no_leader_runs_at_once(trial: Trial) -> None:  # RT-CT-05
    made, _, feed = trial(A, elected=False, needs_leader=False)
    async with Running(made):
        assert trial.runs == [A]
        assert feed.starts == 1


@pytest.mark.parametrize(("options", "warm"), [({}, True), ({"warmup": False}, False)], ids=["default", "off"])
async def test_sources_are_warmed_up_before_the_election(
    trial: Trial, options: dict[str, Any], warm: bool
) -> None:  # RT-CT-06
    made, controller, feed = trial(A, elected=False, **options)
    async with Running(made):
        assert (feed.starts, len(controller.queue), trial.runs) == ((1, 1, []) if warm else (0, 0, []))
        trial.election.win.set()
        await asyncio.sleep(1)
        assert (feed.starts, trial.runs) == (1, [A])


@pytest.mark.parametrize("warmup", [True, False])
async def test_without_an_election_warmup_changes_nothing(trial: Trial, warmup: bool) -> None:  # RT-CT-06
    made, _, feed = trial(A, warmup=warmup)
    assert not list(made._groups["warmup"].unfinished())
    async with Running(made):
        assert (feed.starts, trial.runs) == (1, [A])


async def test_urgent_keys_are_reconciled_before_those_that_came_first(trial: Trial) -> None:  # RT-CT-08
    made, controller, _ = trial()
    controller.queue.add(A, priority=-100)
    controller.queue.add(B)
    async with Running(made):
        pass
    assert trial.runs == [B, A]


async def test_an_object_that_is_gone_is_a_success(trial: Trial) -> None:  # RT-CT-26
    def plan(_: object) -> Plan:
        raise AssertionError("there is nothing to plan")

    async def reconcile(ctx: Context) -> Result:
        async def observing() -> None:
            return None

        return await observe_plan_execute(ctx, observing(), plan)

    made, controller, _ = trial(A, reconcile=reconcile)
    async with Running(made):
        value = made.metrics.collectors.get_sample_value
        labels = {"controller": "c"}
        assert value("controller_runtime_reconcile_total", {**labels, "result": "success"}) == 1
        assert value("controller_runtime_reconcile_errors_total", labels) == 0
        assert controller.queue.waiting == 0
