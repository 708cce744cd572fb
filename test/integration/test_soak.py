"""A long life in short: churn and watches that end all the time must leave nothing behind."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bench.runtime import load
from bench.runtime.measure import CRDS, Subject, subject

from rbgctl.runtime import NN, LiveClient
from rbgctl.runtime.testing.envtest import EnvTest

STANDING = 100
PASSING = 20


@pytest.fixture
async def own_env() -> AsyncIterator[EnvTest]:
    """Nobody else's objects may be in the way of counting."""
    async with EnvTest(crds=[CRDS]) as started:
        yield started


async def churn(client: LiveClient, namespace: str, keys: list[NN], seconds: float) -> None:
    """Pods come and go, others change, until the time is over."""
    ends = asyncio.get_running_loop().time() + seconds
    transport = client._transport
    for turn in itertools.count():
        passing = [load.pod(namespace, 1_000_000 + turn * PASSING + i) for i in range(PASSING)]
        made = [await client.create(pod) for pod in passing]
        for i in range(PASSING):
            await load.touch(transport, keys[(turn * PASSING + i) % len(keys)])
        for pod in made:
            await client.delete(load.POD, NN.of(pod), grace_seconds=0)
        if asyncio.get_running_loop().time() >= ends:
            return
        await asyncio.sleep(0.1)  # the rate of the churn, not a wait for anything


async def at_rest(ask: Subject, client: LiveClient, keys: list[NN]) -> dict[str, Any]:
    """The process's state once both informers have shown that they are alive: each saw a write made just now."""
    version = await load.touch(client._transport, keys[0])
    await ask("await", kind="Pod", namespace=keys[0].namespace, name=keys[0].name, rv=version)
    group = await client.create(load.group(keys[0].namespace, 9_999))
    version = group["metadata"]["resourceVersion"]
    await ask("await", kind="RoleBasedGroup", namespace=keys[0].namespace, name="demo-9999", rv=version)
    await client.delete(load.GROUP, NN.of(group))
    return await ask("health")


@pytest.mark.parametrize(
    ("warm", "seconds"),
    [pytest.param(3.0, 6.0), pytest.param(120.0, 600.0, marks=[pytest.mark.nightly, pytest.mark.timeout(1200)])],
)
async def test_churn_and_ending_watches_leave_nothing_behind(own_env: EnvTest, warm: float, seconds: float) -> None:
    """RT-AC-07: memory grows by less than 5 %, open files stay, no informer dies.

    Watches end every one to three seconds, so ten minutes see more of them than a day does.
    """
    client = own_env.client()
    keys, _ = await load.fill(client, STANDING, 2)
    async with subject(own_env, watch_timeout=(1.0, 3.0), jitter=0.0) as ask:
        await ask("sync", kinds=["Pod", "RoleBasedGroup"])
        await churn(client, keys[0].namespace, keys, warm)
        before = await at_rest(ask, client, keys)
        await churn(client, keys[0].namespace, keys, seconds)
        after = await at_rest(ask, client, keys)
    assert after["objects"]["Pod"] == STANDING
    assert after["rss"] <= 1.05 * before["rss"]
    assert abs(after["fds"] - before["fds"]) <= 1  # a watch may be between two connections
    assert after["tasks"] <= before["tasks"] + 2
    assert after["relists"] == {}
