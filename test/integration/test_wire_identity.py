"""Who our controllers say they are: in metrics, log lines and events, on a real API server."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from integration.accounts import manager_account
from structlog.testing import capture_logs

from rbgctl.api.kinds import API_VERSION, ROLE_BASED_GROUP, ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.manager import ManagerOptions, build
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import SystemClock
from rbgctl.runtime.events import EVENT, Broadcaster
from rbgctl.runtime.manager import Manager
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.envtest import EnvTest

NEW_EVENT = GVK("events.k8s.io", "v1", "Event")
NAMES = {  # RT-ID-06
    ROLE_BASED_GROUP.kind: "workloads-rolebasedgroup",
    ROLE_INSTANCE_SET.kind: "roleinstanceset",
    ROLE_INSTANCE.kind: "roleinstance",
}
COMPONENTS = {  # RT-ID-07
    ROLE_BASED_GROUP.kind: {"RoleBasedGroup"},
    ROLE_INSTANCE_SET.kind: {"roleinstanceset-controller", "stateful-instanceset-controller", "instanceset-controller"},
    ROLE_INSTANCE.kind: {"instance-controller"},
}


@contextlib.asynccontextmanager
async def running(env: EnvTest) -> AsyncIterator[Manager]:
    """The whole manager until the block ends."""
    manager = build(await manager_account(env), ManagerOptions(health_probe_bind_address="0"))
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    try:
        async with asyncio.timeout(30):
            await manager.elected.wait()
        yield manager
    finally:
        stop.set()
        await task


def value(manager: Manager, name: str, **labels: str) -> float:
    return manager.metrics.collectors.get_sample_value(f"controller_runtime_{name}", labels) or 0.0


async def test_controllers_are_known_by_their_names_and_gone_objects_are_no_error(env: EnvTest, namespace: str) -> None:
    # RT-ID-06, RT-CT-20, RT-CT-26
    async with running(env) as manager:
        assert {c.kind.kind: name for name, c in manager.controllers.items() if c.kind} == NAMES
        for kind, name in NAMES.items():
            assert manager.controllers[name]._described(NN(namespace, "x"), "id")["controller"] == name
            before = value(manager, "reconcile_total", controller=name, result="success")
            with capture_logs() as lines:
                manager.controllers[name].queue.add(NN(namespace, "never-was"))
                await eventually(
                    lambda name=name, before=before: (
                        value(manager, "reconcile_total", controller=name, result="success") > before
                    )
                )
            # Other keys are those of other tests on the same API server.
            told = [line for line in lines if line.get("name") == "never-was"]
            assert not [line for line in told if line["log_level"] in {"warning", "error"}], kind


def group(namespace: str) -> RawObject:
    template = {"spec": {"containers": [{"name": "main", "image": "a:1"}]}}
    role = {"name": "web", "replicas": 1, "standalonePattern": {"template": template}}
    return {
        "apiVersion": API_VERSION,
        "kind": "RoleBasedGroup",
        "metadata": {"namespace": namespace, "name": "shop"},
        "spec": {"roles": [role]},
    }


async def test_events_name_the_component_twice(env: EnvTest, client: LiveClient, namespace: str) -> None:  # RT-ID-07
    async with running(env):
        await client.apply(group(namespace), field_manager="user")

        async def by_kind() -> dict[str, list[RawObject]]:
            found: dict[str, list[RawObject]] = {}
            for event in (await client.list(EVENT, namespace)).items:
                found.setdefault(event["involvedObject"]["kind"], []).append(event)
            return found

        events = await eventually(by_kind, lambda found: set(found) >= set(COMPONENTS), timeout=30)
    for kind, components in COMPONENTS.items():
        for event in events[kind]:
            assert event["source"]["component"] == event["reportingComponent"]
            assert event["source"]["component"] in components


async def test_events_are_core_ones_and_shown_in_the_newer_form_too(
    client: LiveClient, namespace: str
) -> None:  # RT-EV-22
    body: RawObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "a"}}
    obj = await client.create(body)
    broadcaster = Broadcaster(client, clock=SystemClock(), rng=random.Random())
    task = asyncio.create_task(broadcaster.run())
    for _ in range(3):
        broadcaster.recorder("RoleBasedGroup").event(obj, "Warning", "Bad", "not well")
    await broadcaster.stop()
    task.cancel()
    await asyncio.wait([task])
    (core,) = (await client.list(EVENT, namespace, fields="reason=Bad,involvedObject.name=a")).items
    assert (core["reason"], core["count"], core["message"], core["type"]) == ("Bad", 3, "not well", "Warning")
    assert "eventTime" not in {k for k, v in core.items() if v}
    (newer,) = (await client.list(NEW_EVENT, namespace)).items
    assert newer["metadata"]["uid"] == core["metadata"]["uid"]
    assert (newer["reason"], newer["deprecatedCount"], newer["note"]) == ("Bad", 3, "not well")
    assert newer["regarding"]["uid"] == obj["metadata"]["uid"]
    assert newer["reportingController"] == newer["deprecatedSource"]["component"] == "RoleBasedGroup"
