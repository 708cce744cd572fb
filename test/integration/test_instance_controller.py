"""The RoleInstance controller on a real API server; the test plays kubelet and set controller."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rbgctl.api import conditions, labels
from rbgctl.api.kinds import API_VERSION, RESOURCES, ROLE_INSTANCE
from rbgctl.controllers.instance.controller import declare
from rbgctl.controllers.instance.pods import POD
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.testing.envtest import EnvTest

EVENT = GVK("", "v1", "Event")
IMAGE = "registry.example/a:1"
TIME = "2024-05-01T10:00:00Z"
TIMEOUT = 20.0


@pytest.fixture(scope="module", autouse=True)
async def controller(env: EnvTest) -> AsyncIterator[None]:
    """The controller alone, on an API server without any other one: nothing is garbage collected either."""
    manager = Manager(env.config, ManagerOptions(name="instance-test", first_list_jitter=0.0), resources=RESOURCES)
    declare().complete(manager)
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await manager.elected.wait()
    yield
    stop.set()
    await running


class World:
    """One namespace: what a user, the set controller and kubelets do in it, and waiting for what follows."""

    def __init__(self, client: LiveClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def create(self, name: str, *components: RawObject, **spec: Any) -> RawObject:
        return await self.client.create(
            {
                "apiVersion": API_VERSION,
                "kind": "RoleInstance",
                "metadata": {
                    "namespace": self.namespace,
                    "name": name,
                    "labels": spec.pop("labels", {labels.ROLE_TYPE: "PodTemplate"}),
                    "annotations": spec.pop("annotations", {}),
                },
                "spec": {"components": list(components) or [component()], **spec},
            }
        )

    def key(self, name: str) -> NN:
        return NN(self.namespace, name)

    async def until(self, gvk: GVK, wanted: Callable[[dict[str, RawObject]], bool], what: str) -> dict[str, RawObject]:
        """The objects of a kind, by name, as soon as they are as wanted."""
        seen: dict[str, RawObject] = {}
        try:
            async with asyncio.timeout(TIMEOUT):
                if wanted(seen):
                    listed = await self.client.list(gvk, self.namespace)
                    if not listed.items:
                        return seen
                async for verb, obj in self.client.watch(gvk, self.namespace, timeout=TIMEOUT):
                    if verb == "DELETED":
                        seen.pop(obj["metadata"]["name"], None)
                    else:
                        seen[obj["metadata"]["name"]] = obj
                    if wanted(seen):
                        return seen
        except TimeoutError:
            pass
        raise AssertionError(f"never saw {what}; last: {json.dumps(seen)[:3000]}")

    async def pod(self, name: str, wanted: Callable[[RawObject], bool] = lambda _: True, what: str = "") -> RawObject:
        found = await self.until(POD, lambda all_: name in all_ and wanted(all_[name]), what or f"pod {name}")
        return found[name]

    async def instance(self, name: str, wanted: Callable[[RawObject], bool], what: str) -> RawObject:
        found = await self.until(ROLE_INSTANCE, lambda all_: name in all_ and wanted(all_[name]), what)
        return found[name]

    async def kubelet(self, name: str, **status: Any) -> None:
        """Write pod status as a kubelet would; conditions merge by type."""
        given = [{"type": k, "status": v, "lastTransitionTime": TIME} for k, v in status.pop("conditions", {}).items()]
        await self.client.patch(
            POD,
            self.key(name),
            Patch.strategic({"status": {**status, "conditions": given}}),
            subresource="status",
            field_manager="kubelet",
        )

    async def run(self, name: str) -> None:
        """Start the pod's containers; Ready follows when its gates are open."""
        await self.kubelet(name, phase="Running", conditions={"PodScheduled": "True", "ContainersReady": "True"})
        await self.pod(name, lambda p: gate(p, "InPlaceUpdateReady") == gate(p, "InstancePodReady") == "True", "gates")
        await self.kubelet(name, conditions={"Ready": "True"})


@pytest.fixture
def world(client: LiveClient, namespace: str) -> World:
    return World(client, namespace)


def component(name: str = "main", size: int = 1, image: str = IMAGE, **more: Any) -> RawObject:
    container = {"name": "c", "image": image}
    return {"name": name, "size": size, "template": {"spec": {"containers": [container]}}, **more}


def gate(obj: RawObject, type_: str) -> str:
    """Status of a condition, empty when there is none."""
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((str(c["status"]) for c in found if c["type"] == type_), "")


def is_ready(instance: RawObject) -> bool:
    return gate(instance, conditions.INSTANCE_READY) == "True"


async def test_one_pod_from_nothing_to_ready(world: World) -> None:
    await world.create("a-0")
    pod = await world.pod("a-0", lambda p: gate(p, "InstancePodReady") == "False", "closed gate")
    assert gate(pod, "InPlaceUpdateReady") == "True"
    await world.run("a-0")
    instance = await world.instance("a-0", is_ready, "Ready")
    assert instance["status"]["componentStatuses"][0]["readyReplicas"] == 1
