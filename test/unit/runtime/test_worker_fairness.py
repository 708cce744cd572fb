"""Nothing in the runtime may keep the event loop for itself while others wait."""

import asyncio
import itertools
import random
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, ControllerSupport
from rbgctl.runtime.metrics import Registry

pytestmark = pytest.mark.looptime


class Cache:
    """One that is always current."""

    async def caught_up(self, owner: Any, *, age: float) -> frozenset[Any]:
        return frozenset()

    def entry(self, gvk: GVK, key: NN) -> None:
        return None

    def forget_writes(self, owner: Any) -> None:
        return None


async def test_reconciles_that_wait_for_nothing_let_others_run_in_between(loop_clock: Any) -> None:
    """As after a restart of a settled cluster: every pass finds in the cache that there is nothing to do."""
    keys = [NN("ns", f"o{i}") for i in range(500)]
    done: list[NN] = []
    seen: list[int] = []

    async def reconcile(ctx: Context) -> None:
        done.append(ctx.key)

    async def bystander() -> None:
        while len(done) < len(keys):
            seen.append(len(done))
            await asyncio.sleep(0)
        seen.append(len(done))

    support = ControllerSupport(
        cache=Cache(),  # type: ignore[arg-type]
        live=None,  # type: ignore[arg-type]
        recorders=lambda component: component,  # type: ignore[arg-type,return-value]
        registry=Registry(),
        clock=loop_clock,
        rng=random.Random(1),
    )
    controller = Controller("c", reconcile, support, ControllerOptions(max_concurrent=4), kind=GVK("g", "v1", "Kind"))
    for key in keys:
        controller.queue.add(key)
    running = asyncio.create_task(controller.run())
    await bystander()
    running.cancel()
    await asyncio.wait([running])
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 8
