"""The RoleInstance controller on a real API server; the test plays kubelet and set controller."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from integration.accounts import manager_account

from rbgctl.api import annotations, conditions, labels
from rbgctl.api.kinds import API_VERSION, RESOURCES, ROLE_INSTANCE
from rbgctl.controllers.instance.controller import declare
from rbgctl.controllers.instance.pods import POD
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.errors import ApiError
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.testing.envtest import EnvTest

EVENT = GVK("", "v1", "Event")
IMAGE = "registry.example/a:1"
TIME = "2024-05-01T10:00:00Z"
TIMEOUT = 20.0


@pytest.fixture(scope="module", autouse=True)
async def controller(env: EnvTest) -> AsyncIterator[None]:
    """The controller alone, on an API server without any other one: nothing is garbage collected either."""
    options = ManagerOptions(name="instance-test", first_list_jitter=0.0)
    manager = Manager(await manager_account(env), options, resources=RESOURCES)
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
        listed = await self.client.list(gvk, self.namespace)
        seen = {obj["metadata"]["name"]: obj for obj in listed.items}
        if wanted(seen):
            return seen
        async for verb, obj in self.client.watch(gvk, self.namespace, rv=listed.resource_version, timeout=TIMEOUT):
            if verb == "DELETED":
                seen.pop(obj["metadata"]["name"], None)
            else:
                seen[obj["metadata"]["name"]] = obj
            if wanted(seen):
                return seen
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


def uid(obj: RawObject) -> str:
    return str(obj["metadata"]["uid"])


def is_ready(instance: RawObject) -> bool:
    return gate(instance, conditions.INSTANCE_READY) == "True"


async def test_one_pod_from_nothing_to_ready(env: EnvTest, world: World) -> None:
    """RIN-12, RIN-17, RDY-1, RDY-4, STA-1 to STA-7, REV-4; and what it may cost."""
    audited = env.audit_log.stat().st_size
    await world.create("a-0")
    pod = await world.pod("a-0", lambda p: gate(p, "InstancePodReady") == "False", "closed gate")
    assert gate(pod, "InPlaceUpdateReady") == "True"
    assert [c["message"] for c in pod["status"]["conditions"] if c["type"] == "InstancePodReady"] == [
        '[{"userAgent":"Lifecycle","key":"InstanceReady"}]'
    ]
    await world.run("a-0")
    instance = await world.instance("a-0", is_ready, "Ready")
    status = instance["status"]
    revision = await world.client.get(CONTROLLER_REVISION, world.key(status["updateRevision"]))
    assert status["currentRevision"] == revision["metadata"]["name"]
    assert pod["metadata"]["labels"][labels.CONTROLLER_REVISION_HASH] == status["updateRevision"].rpartition("-")[2]
    assert status["componentStatuses"] == [
        {
            "name": "main",
            "size": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
            "scheduledReplicas": 1,
            "updatedReplicas": 1,
            "updatedReadyReplicas": 1,
        }
    ]
    managers = {(m["manager"], m.get("subresource", "")) for m in pod["metadata"]["managedFields"]}
    assert managers == {("roleinstance", ""), ("roleinstance", "status")}
    events = await world.until(
        EVENT, lambda found: any(e["reason"] == "SuccessfulCreate" for e in found.values()), "SuccessfulCreate"
    )
    assert {e["source"]["component"] for e in events.values()} == {"instance-controller"}
    writes = [w for w in written(env, audited, world.namespace) if "roleinstance" in w[2]]
    counts = Counter((verb, resource) for verb, resource, _ in writes)
    assert counts[("create", "controllerrevisions")] == counts[("create", "pods")] == 1
    assert counts[("patch", "pods/status")] == 2
    assert counts[("patch", "roleinstances/status")] <= 3
    assert sum(counts.values()) <= 7


async def test_failed_pod_is_replaced_under_its_name(world: World) -> None:
    """RIN-6.5; EVN-4."""
    await world.create("a-0")
    first = await world.pod("a-0")
    await world.kubelet("a-0", phase="Failed", reason="Evicted")
    second = await world.pod("a-0", lambda p: p["metadata"]["uid"] != first["metadata"]["uid"], "a new pod")
    assert second["metadata"]["name"] == "a-0"
    events = await world.until(
        EVENT, lambda found: any(e["reason"] == "SuccessfulDelete" for e in found.values()), "SuccessfulDelete"
    )
    assert any("Evicted" in e["message"] for e in events.values())


async def test_changed_template_makes_new_pods_and_a_new_revision(world: World) -> None:
    """RIN-19, RIN-20, STA-2, REV-6."""
    await world.create("a-0", component("main", 2), labels={})
    for name in ("a-0-main-0", "a-0-main-1"):
        await world.pod(name)
        await world.kubelet(name, phase="Running", conditions={"PodScheduled": "True", "ContainersReady": "True"})
    await world.run("a-0-main-0")
    await world.run("a-0-main-1")
    before = await world.instance("a-0", is_ready, "Ready")
    old = await world.until(POD, lambda found: len(found) == 2, "two pods")
    new_spec = {"spec": {"components": [component("main", 2, "registry.example/a:2")]}}
    await world.client.patch(ROLE_INSTANCE, world.key("a-0"), Patch.merge(new_spec), field_manager="set")
    # Running pods end gracefully; without a node nobody waits, as the API server removes them at once.
    pods = await world.until(
        POD,
        lambda found: (
            {n: p["spec"]["containers"][0]["image"] for n, p in found.items()}
            == dict.fromkeys(old, "registry.example/a:2")
        ),
        "two pods of the new image",
    )
    assert not {p["metadata"]["uid"] for p in pods.values()} & {p["metadata"]["uid"] for p in old.values()}
    after = await world.instance(
        "a-0", lambda i: i["status"]["currentRevision"] != before["status"]["currentRevision"], "the new revision"
    )
    assert after["status"]["observedGeneration"] == 2
    assert not is_ready(after)


async def test_pod_of_a_predecessor_is_waited_for(world: World) -> None:
    """RIN-1, RIN-12, STA-4: not ours, so it neither counts nor is touched; its end wakes us."""
    uid = "11111111-1111-1111-1111-111111111111"
    owner = {"apiVersion": API_VERSION, "kind": "RoleInstance", "name": "a-0", "uid": uid, "controller": True}
    old = await world.client.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": world.namespace, "name": "a-0", "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "c", "image": IMAGE}]},
        }
    )
    await world.kubelet("a-0", phase="Running", conditions={"ContainersReady": "True", "Ready": "True"})
    await world.create("a-0")
    instance = await world.instance("a-0", lambda i: gate(i, "RoleInstanceReady") != "", "a status")
    assert not is_ready(instance)
    await world.client.delete(POD, world.key("a-0"), grace_seconds=0)
    await world.pod("a-0", lambda p: p["metadata"]["uid"] != old["metadata"]["uid"], "our own pod")


async def test_in_place_phase_ends_when_the_set_says_so(world: World) -> None:
    """RDY-4, RDY-5, STA-3, STA-8: the set's condition is kept."""
    gate_type = conditions.INSTANCE_IN_PLACE_UPDATE_READY
    await world.create("a-0", readinessGates=[{"conditionType": gate_type}])
    await world.pod("a-0", lambda p: gate(p, "InstancePodReady") == "False", "closed gate")
    await world.kubelet("a-0", phase="Running", conditions={"PodScheduled": "True", "ContainersReady": "True"})
    held = await world.instance(
        "a-0", lambda i: _component(i).get("scheduledReplicas") == 1, "a status that knows the node"
    )
    assert next(c["reason"] for c in held["status"]["conditions"] if c["type"] == "RoleInstanceReady") == (
        "InplaceUpdateNotReady"
    )
    opened = [*held["status"]["conditions"], {"type": gate_type, "status": "True"}]
    await world.client.patch(
        ROLE_INSTANCE, world.key("a-0"), Patch.merge({"status": {"conditions": opened}}), subresource="status"
    )
    await world.run("a-0")
    ready = await world.instance("a-0", is_ready, "Ready")
    assert gate(ready, gate_type) == "True"


async def test_pods_that_the_api_server_refuses_are_reported(world: World) -> None:
    """RIN-4, STA-5, EVT-1."""
    await world.create("a-0", component(image=""))
    found = await world.instance("a-0", lambda i: gate(i, "FailedScale") == "True", "FailedScale")
    assert "image" in next(c["message"] for c in found["status"]["conditions"] if c["type"] == "FailedScale")
    await world.until(
        EVENT, lambda found: any(e["reason"] == "FailedCreate" for e in found.values()), "a FailedCreate event"
    )
    mended = {"spec": {"components": [component()]}}
    await world.client.patch(ROLE_INSTANCE, world.key("a-0"), Patch.merge(mended), field_manager="user")
    await world.instance("a-0", lambda i: gate(i, "FailedScale") == "False", "FailedScale turned off")


async def test_what_is_not_supported_is_said_in_an_event(world: World) -> None:
    await world.create("a-0", annotations={annotations.ROLE_INSTANCE_GANG_SCHEDULING: "true"})
    events = await world.until(
        EVENT, lambda found: any(e["reason"] == "UnsupportedFeature" for e in found.values()), "UnsupportedFeature"
    )
    assert any("gang scheduling" in e["message"] for e in events.values())


async def test_failed_pod_makes_the_whole_instance_anew_under_the_policy(world: World) -> None:
    # RST-1, RST-9, RST-10, STA-5, EVT-1
    policy = {"type": "RecreateRoleInstanceOnPodRestart", "baseDelaySeconds": 300}
    names = ["a-0-leader-0", "a-0-worker-0"]
    await world.create(
        "a-0",
        component("leader"),
        component("worker"),
        labels={labels.ROLE_TYPE: "Components"},
        restartPolicyConfig=policy,
    )
    first = await world.until(POD, lambda found: set(found) == set(names), "two pods")
    for name in names:
        await world.kubelet(name, phase="Running", conditions={"PodScheduled": "True", "ContainersReady": "True"})
    for name in names:
        await world.run(name)
    served = await world.instance("a-0", is_ready, "Ready")
    assert served["status"]["restartCount"] == 0
    await world.kubelet(names[1], phase="Failed", conditions={"Ready": "False", "ContainersReady": "False"})
    told = await world.instance("a-0", lambda i: gate(i, "Restarting") == "True", "Restarting")
    assert told["status"]["restartCount"] == 1
    assert not is_ready(told)

    def anew(found: dict[str, RawObject]) -> bool:
        return set(found) == set(names) and all(found[n]["metadata"]["uid"] != uid(first[n]) for n in names)

    await world.until(POD, anew, "both pods anew")
    for name in names:
        await world.kubelet(name, phase="Running", conditions={"PodScheduled": "True", "ContainersReady": "True"})
    for name in names:
        await world.run(name)
    await world.instance("a-0", lambda i: is_ready(i) and gate(i, "Restarting") == "", "Ready again, Restarting gone")
    events = await world.until(
        EVENT, lambda found: any(e["reason"] == "ReCreateInstance" for e in found.values()), "ReCreateInstance"
    )
    [said] = [e for e in events.values() if e["reason"] == "ReCreateInstance"]
    assert (said["type"], said["count"]) == ("Normal", 1)
    assert "pod a-0-worker-0 failed" in said["message"]


async def test_gate_change_never_hits_another_pod_of_the_name(world: World) -> None:
    """The uid in a strategic merge patch of pods/status is a precondition."""
    await world.create("a-0")
    await world.pod("a-0", lambda p: gate(p, "InstancePodReady") == "False", "closed gate")
    change = {"type": "Other", "status": "True", "lastTransitionTime": TIME}
    body = {"metadata": {"uid": "11111111-1111-1111-1111-111111111111"}, "status": {"conditions": [change]}}
    with pytest.raises(ApiError):
        await world.client.patch(POD, world.key("a-0"), Patch.strategic(body), subresource="status")
    assert gate(await world.client.get(POD, world.key("a-0")), "Other") == ""


def _component(instance: RawObject) -> RawObject:
    found: RawObject = ((instance.get("status") or {}).get("componentStatuses") or [{}])[0]
    return found


def written(env: EnvTest, since: int, namespace: str) -> list[tuple[str, str, str]]:
    """(verb, resource/subresource, user agent) of the writes in a namespace, but for events."""
    with env.audit_log.open("rb") as log:
        log.seek(since)
        entries = [json.loads(line) for line in log if line.endswith(b"\n")]
    found = []
    for entry in entries:
        ref = entry.get("objectRef") or {}
        if entry["verb"] not in {"create", "update", "patch", "delete"} or ref.get("resource") == "events":
            continue
        if ref.get("namespace") == namespace:
            path = "/".join(p for p in (ref["resource"], ref.get("subresource")) if p)
            found.append((entry["verb"], path, entry.get("userAgent") or ""))
    return found
