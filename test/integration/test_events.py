"""Events as the API server stores them."""

import asyncio
import random

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.events import EVENT, Broadcaster
from rbgctl.runtime.testing.envtest import EnvTest

CONFIG_MAP = GVK("", "v1", "ConfigMap")


async def test_events_are_created_counted_and_flushed(env: EnvTest, client: LiveClient, namespace: str) -> None:
    # RT-EV-01, RT-EV-05, RT-EV-09
    body: RawObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "a"}}
    obj = await client.create(body)
    broadcaster = Broadcaster(client, clock=SystemClock(), rng=random.Random())
    task = asyncio.create_task(broadcaster.run())
    recorder = broadcaster.recorder("RoleBasedGroup")
    recorder.event(obj, "Normal", "Succeed", "all well")
    recorder.event(obj, "Warning", "Bad", "not well")
    async with asyncio.timeout(20):
        async for _, event in client.watch(EVENT, namespace):
            if event["reason"] == "Succeed":
                break
    for _ in range(3):
        recorder.event(obj, "Normal", "Succeed", "all well")
    await broadcaster.stop()
    task.cancel()
    await asyncio.wait([task])
    found = {e["reason"]: e for e in (await client.list(EVENT, namespace)).items}
    assert found["Succeed"]["count"] == 4
    assert found["Bad"]["count"] == 1
    assert found["Succeed"]["involvedObject"]["uid"] == obj["metadata"]["uid"]
    assert found["Succeed"]["source"]["component"] == found["Succeed"]["reportingComponent"] == "RoleBasedGroup"


async def test_an_expired_event_is_created_again_with_its_count(
    env: EnvTest, client: LiveClient, namespace: str
) -> None:  # RT-EV-05
    body: RawObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "a"}}
    obj = await client.create(body)
    broadcaster = Broadcaster(client, clock=SystemClock(), rng=random.Random())
    task = asyncio.create_task(broadcaster.run())
    recorder = broadcaster.recorder("c")
    recorder.event(obj, "Normal", "R", "m")
    async with asyncio.timeout(20):
        async for _, event in client.watch(EVENT, namespace):
            await client.delete(EVENT, NN.of(event))
            break
    recorder.event(obj, "Normal", "R", "m")
    await broadcaster.stop()
    task.cancel()
    await asyncio.wait([task])
    (again,) = (await client.list(EVENT, namespace)).items
    assert again["count"] == 2
