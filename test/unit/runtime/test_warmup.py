"""Whether a controller hears of objects before it is elected."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.builder import Builder
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.controller import Context, ControllerOptions
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.workqueue import WorkQueue

pytestmark = pytest.mark.looptime


class Election:
    """Elected when a test says so."""

    def __init__(self) -> None:
        self.won = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await self.won.wait()
        await on_started()
        await self._ended.wait()

    def remaining(self) -> float:
        return 10.0

    def healthy(self, tolerance: float) -> bool:
        return True

    async def stop(self, *, release: bool) -> None:
        self._ended.set()

    async def close(self, seconds: float) -> None:
        return None


class Feed:
    """A source with one key."""

    def __init__(self) -> None:
        self.starts = 0

    async def start(self, queue: WorkQueue[NN]) -> None:
        self.starts += 1
        queue.add(NN("ns", "a"))

    async def wait_for_sync(self) -> None:
        return None

    def stop(self) -> None:
        return None

    def replay(self) -> None:
        return None


@pytest.mark.parametrize(
    ("options", "elects", "hears_before"),
    [
        (ControllerOptions(), True, True),
        (ControllerOptions(warmup=True), True, True),
        (ControllerOptions(warmup=False), True, False),
        (ControllerOptions(), False, None),
        (ControllerOptions(warmup=False), False, None),
    ],
    ids=["by default", "wanted", "not wanted", "without election", "without election, not wanted"],
)
async def test_sources_start_before_the_election_unless_that_is_not_wanted(
    options: ControllerOptions, elects: bool, hears_before: bool | None
) -> None:
    """RT-CT-05, RT-CT-06: reconciles wait for the election either way; without one warm-up changes nothing."""
    election, feed, done = Election(), Feed(), []

    async def reconcile(ctx: Context) -> None:
        done.append(ctx.key.name)

    manager = Manager(
        ClusterConfig("http://127.0.0.1:1"), ManagerOptions(elector=(lambda _: election) if elects else None)
    )
    Builder().named("c").watches_raw_source(lambda: feed).with_options(options).reconciles_with(reconcile).complete(
        manager
    )
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await asyncio.sleep(1)
    if elects:
        assert (feed.starts, done) == (int(hears_before is True), [])
        election.won.set()
        await asyncio.sleep(1)
    assert (feed.starts, done) == (1, ["a"])
    stop.set()
    await running


async def test_a_controller_that_needs_no_leader_does_not_wait_for_one() -> None:  # RT-CT-05
    election, feed, done = Election(), Feed(), []

    async def reconcile(ctx: Context) -> None:
        done.append(ctx.key.name)

    manager = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(elector=lambda _: election))
    builder = Builder().named("c").watches_raw_source(lambda: feed).with_options(ControllerOptions(needs_leader=False))
    builder.reconciles_with(reconcile).complete(manager)
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await asyncio.sleep(1)
    assert done == ["a"]
    stop.set()
    await running
