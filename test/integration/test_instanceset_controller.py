"""The RoleInstanceSet controller on a real API server, with no more rights than it declares.

The test plays the instance controller.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rbgctl.api import annotations, conditions, events, labels
from rbgctl.api.kinds import API_VERSION, RESOURCES, ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.controllers.instanceset.controller import declare
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.errors import Conflict, NotFound
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.rbac import PolicyRule, cluster_role
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

EVENT = GVK("", "v1", "Event")
GATE = conditions.INSTANCE_IN_PLACE_UPDATE_READY
TIMEOUT = 20.0
TIME = "2024-05-01T10:00:00Z"
MANAGER = "instanceset-manager"


@pytest.fixture(scope="module", autouse=True)
async def controller(env: EnvTest) -> AsyncIterator[None]:
    """The controller alone, under a service account that may do what it declares and record events, no more."""
    admin = env.client()
    namespace = await new_namespace(admin)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sets", "namespace": namespace}}
    await admin.create(account)
    config = await env.config_for_service_account(namespace, "sets")
    rules = declare().rules(RestMapper(None, *RESOURCES))
    role = cluster_role("instanceset-test", [*rules, PolicyRule("", "events", ("create", "patch"))])
    await admin.create(role)
    await admin.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "instanceset-test"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "instanceset-test"},
            "subjects": [{"kind": "ServiceAccount", "name": "sets", "namespace": namespace}],
        }
    )
    manager = Manager(
        config,
        ManagerOptions(name="instanceset-test", first_list_jitter=0.0, max_concurrent=4),
        resources=RESOURCES,
    )
    declare().complete(manager)
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await manager.elected.wait()
    yield
    stop.set()
    await running


class World:
    """One namespace: what users and the instance controller do in it, and waiting for what follows."""

    def __init__(self, client: LiveClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    def key(self, name: str) -> NN:
        return NN(self.namespace, name)

    async def create(self, name: str = "web", *, metadata: RawObject | None = None, **spec: Any) -> RawObject:
        selector = {labels.GROUP_NAME: "g", labels.ROLE_NAME: name}
        return await self.client.create(
            {
                "apiVersion": API_VERSION,
                "kind": "RoleInstanceSet",
                "metadata": {"namespace": self.namespace, "name": name, "labels": selector, **(metadata or {})},
                "spec": {
                    "replicas": 3,
                    "selector": {"matchLabels": selector},
                    "roleInstanceTemplate": template("web:1"),
                    "updateStrategy": {"type": "RecreatePod", "maxUnavailable": 1},
                    **spec,
                },
            }
        )

    async def edit(self, name: str = "web", **patch: Any) -> None:
        await self.client.patch(ROLE_INSTANCE_SET, self.key(name), Patch.merge(patch), field_manager="user")

    async def get(self, gvk: GVK, name: str) -> RawObject:
        return await self.client.get(gvk, self.key(name))

    async def instances(self) -> dict[str, RawObject]:
        return {o["metadata"]["name"]: o for o in (await self.client.list(ROLE_INSTANCE, self.namespace)).items}

    async def until(self, gvk: GVK, wanted: Callable[[dict[str, RawObject]], bool], what: str) -> dict[str, RawObject]:
        """The objects of a kind, by name, as soon as they are as wanted."""
        seen: dict[str, RawObject] = {}
        listed = await self.client.list(gvk, self.namespace)
        seen.update((o["metadata"]["name"], o) for o in listed.items)
        if wanted(seen):
            return seen
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                async for verb, obj in self.client.watch(
                    gvk, self.namespace, rv=listed.resource_version, timeout=TIMEOUT
                ):
                    if verb == "DELETED":
                        seen.pop(obj["metadata"]["name"], None)
                    else:
                        seen[obj["metadata"]["name"]] = obj
                    if wanted(seen):
                        return seen
        raise AssertionError(f"never saw {what}; last: {json.dumps(seen)[:3000]}")

    async def status(self, name: str = "web", **wanted: Any) -> RawObject:
        """The set as soon as its status says this about its newest spec."""

        def says(found: dict[str, RawObject]) -> bool:
            status = found[name].get("status") or {} if name in found else {}
            current = name in found and status.get("observedGeneration") == found[name]["metadata"]["generation"]
            return current and all(status.get(k) == v for k, v in wanted.items())

        return (await self.until(ROLE_INSTANCE_SET, says, f"set {name} with {wanted}"))[name]

    async def event(self, reason: str, component: str) -> RawObject:
        def recorded(found: dict[str, RawObject]) -> bool:
            return any((e["reason"], e["source"]["component"]) == (reason, component) for e in found.values())

        found = await self.until(EVENT, recorded, f"event {reason} of {component}")
        return next(e for e in found.values() if e["reason"] == reason)

    async def play(self) -> None:
        """The instance controller: whatever the spec says is running, and Ready unless a gate is closed."""
        listed = await self.client.list(ROLE_INSTANCE, self.namespace)
        for instance in listed.items:
            await self.report(instance)
        async for verb, instance in self.client.watch(ROLE_INSTANCE, self.namespace, rv=listed.resource_version):
            if verb != "DELETED":
                await self.report(instance)

    async def report(self, instance: RawObject) -> None:
        meta, status = instance["metadata"], instance.get("status") or {}
        old = {c["type"]: c for c in status.get("conditions") or ()}
        gates = [g["conditionType"] for g in instance["spec"].get("readinessGates") or ()]
        closed = GATE in gates and old.get(GATE, {}).get("status") != "True"
        ready = {"type": conditions.INSTANCE_READY, "status": "False" if closed else "True", "lastTransitionTime": TIME}
        names = [(c["name"], c.get("size", 1)) for c in instance["spec"]["components"]]
        wanted = {
            "observedGeneration": meta["generation"],
            "conditions": list({**old, conditions.INSTANCE_READY: ready}.values()),
            "componentStatuses": [
                {
                    "name": name,
                    "size": size,
                    "readyReplicas": size,
                    "availableReplicas": size,
                    "scheduledReplicas": size,
                    "updatedReplicas": size,
                    "updatedReadyReplicas": size,
                }
                for name, size in names
            ],
        }
        if status == wanted:
            return
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": wanted}
        with contextlib.suppress(Conflict, NotFound):
            await self.client.patch(
                ROLE_INSTANCE, NN.of(instance), Patch.merge(patch), subresource="status", field_manager="roleinstance"
            )


@pytest.fixture
async def world(client: LiveClient, namespace: str) -> AsyncIterator[World]:
    made = World(client, namespace)
    playing = asyncio.create_task(made.play())
    yield made
    assert not playing.done() or playing.exception() is None
    playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing


def template(image: str, **spec: Any) -> RawObject:
    pod = {"spec": {"containers": [{"name": "c", "image": image}]}}
    return {"components": [{"name": "web", "size": 1, "template": pod}], **spec}


def image(instance: RawObject) -> str:
    return instance["spec"]["components"][0]["template"]["spec"]["containers"][0]["image"]


def uids(found: dict[str, RawObject]) -> dict[str, str]:
    return {name: o["metadata"]["uid"] for name, o in found.items()}


def managers(obj: RawObject) -> set[tuple[str, str, str]]:
    return {(m["manager"], m["operation"], m.get("subresource", "")) for m in obj["metadata"]["managedFields"]}


async def test_set_gets_its_instances_revision_status_and_events(world: World):
    """SFM-10, REV-4, SFM-21, 04 §15, 04 §16"""
    await world.create()
    found = await world.status(readyReplicas=3, availableReplicas=3, replicas=3, updatedReadyReplicas=3)
    instances = await world.instances()
    assert sorted(instances) == ["web-0", "web-1", "web-2"]
    for ordinal in range(3):
        instance = instances[f"web-{ordinal}"]
        pod = instance["spec"]["components"][0]["template"]["metadata"]["labels"]
        assert (pod[labels.ROLE_INSTANCE_INDEX], pod[labels.STATEFULSET_POD_NAME]) == (str(ordinal), f"web-{ordinal}")
        assert (MANAGER, "Update", "") in managers(instance)
        assert instance["spec"]["readyPolicy"] == "AllPodReady"
    revision = await world.get(CONTROLLER_REVISION, found["status"]["updateRevision"])
    assert managers(revision) == {(MANAGER, "Update", "")}
    assert (MANAGER, "Update", "status") in managers(found)
    event = await world.event(events.SUCCESSFUL_CREATE, events.COMPONENT_INSTANCE_SET_STATEFUL)
    assert (event["type"], event["involvedObject"]["name"]) == ("Normal", "web")


async def test_passes_without_a_reason_write_nothing(world: World):
    """SFM-21, RIS-1"""
    await world.create()
    await world.status(readyReplicas=3, availableReplicas=3)
    before = {n: o["metadata"]["resourceVersion"] for n, o in (await world.instances()).items()}
    await world.edit(metadata={"annotations": {"someone": "else"}})
    await world.edit(spec={"replicas": 4})
    await world.status(readyReplicas=4)
    after = {n: o["metadata"]["resourceVersion"] for n, o in (await world.instances()).items()}
    assert {n: after[n] for n in before} == before


async def test_image_change_replaces_one_instance_at_a_time_from_the_top(world: World):
    """SFM-14, SFM-15, SFM-16, SFM-18"""
    await world.create()
    old = await world.status(readyReplicas=3)
    before = await world.instances()
    gone: list[str] = []
    fewest = len(before)

    async def watch() -> None:
        nonlocal fewest
        there = set(before)
        listed = await world.client.list(ROLE_INSTANCE, world.namespace)
        started.set()
        async for verb, obj in world.client.watch(ROLE_INSTANCE, world.namespace, rv=listed.resource_version):
            name = obj["metadata"]["name"]
            if verb == "DELETED":
                gone.append(name)
                there.discard(name)
            else:
                there.add(name)
            fewest = min(fewest, len(there))

    started = asyncio.Event()
    watching = asyncio.create_task(watch())
    await started.wait()
    await world.edit(spec={"roleInstanceTemplate": template("web:2")})
    done = await world.status(updatedReadyReplicas=3, readyReplicas=3, currentReplicas=3)
    watching.cancel()
    after = await world.instances()
    assert {image(i) for i in after.values()} == {"web:2"}
    assert not set(uids(after).values()) & set(uids(before).values())
    assert (gone, fewest) == (["web-2", "web-1", "web-0"], 2)
    assert done["status"]["currentRevision"] == done["status"]["updateRevision"] != old["status"]["updateRevision"]


async def test_in_place_update_keeps_the_instances_and_ends_with_open_gates(world: World):
    """IPI-1, IPI-4, IPI-5, IPI-7, defect D1"""
    await world.create(updateStrategy={"type": "InPlaceIfPossible"}, roleInstanceTemplate=template("web:1"))
    await world.status(readyReplicas=3)
    before = uids(await world.instances())
    for tag in ("web:2", "web:3"):
        await world.edit(spec={"roleInstanceTemplate": template(tag)})
        done = await world.status(updatedReadyReplicas=3, readyReplicas=3, availableReplicas=3)
        after = await world.instances()
        assert uids(after) == before
        assert {image(i) for i in after.values()} == {tag}
        for name, instance in after.items():
            pod = instance["spec"]["components"][0]["template"]["metadata"]["labels"]
            assert pod[labels.STATEFULSET_POD_NAME] == name
            assert instance["spec"]["readinessGates"] == [{"conditionType": GATE}]
            assert instance["spec"]["readyPolicy"] == "AllPodReady"
            state = json.loads(instance["metadata"]["annotations"][annotations.INPLACE_UPDATE_STATE])
            assert state["revision"] == done["status"]["updateRevision"]
            gate = next(c for c in instance["status"]["conditions"] if c["type"] == GATE)
            assert gate["status"] == "True"


async def test_revert_in_the_middle_brings_everything_back_to_the_first_revision(world: World):
    """SFM-21, REV-6, defect D2"""
    await world.create()
    first = (await world.status(readyReplicas=3))["status"]["updateRevision"]
    await world.edit(spec={"roleInstanceTemplate": template("web:2")})
    await world.until(ROLE_INSTANCE, lambda found: any(image(i) == "web:2" for i in found.values()), "the new image")
    await world.edit(spec={"roleInstanceTemplate": template("web:1")})
    done = await world.status(updatedReadyReplicas=3, readyReplicas=3, updateRevision=first, currentRevision=first)
    assert {image(i) for i in (await world.instances()).values()} == {"web:1"}
    assert done["status"]["updatedReplicas"] == 3


async def test_surge_never_serves_less_than_replicas(world: World):
    """SFM-3, SFM-12, 04 §17.1"""
    await world.create(replicas=2, updateStrategy={"type": "RecreatePod", "maxSurge": 1, "maxUnavailable": 0})
    await world.status(readyReplicas=2)
    most = 0

    def count(found: dict[str, RawObject]) -> bool:
        nonlocal most
        most = max(most, len(found))
        return False

    watching = asyncio.create_task(world.until(ROLE_INSTANCE, count, ""))
    await world.edit(spec={"roleInstanceTemplate": template("web:2")})
    await world.status(updatedReadyReplicas=2, replicas=2, currentReplicas=2)
    watching.cancel()
    assert most == 3
    assert sorted(await world.instances()) == ["web-0", "web-1"]


async def test_scale_sub_resource_reaches_both_directions(world: World):
    """SFM-9, SFM-23"""
    await world.create(replicas=1)
    await world.status(readyReplicas=1)
    for replicas in (3, 0):
        await world.client.set_scale(ROLE_INSTANCE_SET, world.key("web"), replicas)
        await world.status(replicas=replicas, readyReplicas=replicas)
        assert len(await world.instances()) == replicas
    scale = await world.client.get_scale(ROLE_INSTANCE_SET, world.key("web"))
    assert scale["status"] == {
        "replicas": 0,
        "selector": f"{labels.GROUP_NAME}=g,{labels.ROLE_NAME}=web",
    }


async def test_lost_instance_is_adopted_and_departed_one_released(world: World):
    """SFM-2, defect D8: merge patches that a custom resource accepts"""
    owner = await world.create(replicas=2)
    await world.status(readyReplicas=2)
    before = uids(await world.instances())

    def owned(name: str, by: str | None) -> Callable[[dict[str, RawObject]], bool]:
        def judge(found: dict[str, RawObject]) -> bool:
            refs = found[name]["metadata"].get("ownerReferences") or [] if name in found else []
            return [r["uid"] for r in refs] == ([by] if by else [])

        return judge

    orphaned = {"metadata": {"ownerReferences": None}}
    await world.client.patch(ROLE_INSTANCE, world.key("web-1"), Patch.merge(orphaned))
    await world.until(ROLE_INSTANCE, owned("web-1", owner["metadata"]["uid"]), "the adoption")
    assert uids(await world.instances()) == before

    await world.edit(spec={"replicas": 1})
    await world.status(replicas=1)
    leaving = {"metadata": {"labels": {labels.ROLE_NAME: "mine"}}}
    await world.client.patch(ROLE_INSTANCE, world.key("web-0"), Patch.merge(leaving))
    await world.until(ROLE_INSTANCE, owned("web-0", None), "the release")
    await world.event(events.FAILED_CREATE, events.COMPONENT_INSTANCE_SET_STATEFUL)
    assert uids(await world.instances())["web-0"] == before["web-0"]
    await world.client.delete(ROLE_INSTANCE, world.key("web-0"))
    await world.status(readyReplicas=1, replicas=1)


async def test_terminating_set_makes_nothing_anew(world: World):
    """SFM-7, RIS-10"""
    await world.create(metadata={"finalizers": ["test/hold"], "labels": {labels.GROUP_NAME: "g"}})
    await world.status(readyReplicas=3)
    await world.client.delete(ROLE_INSTANCE_SET, world.key("web"))
    await world.client.delete(ROLE_INSTANCE, world.key("web-1"))
    # Another set that goes through proves that the deletion above has been looked at.
    await world.create("next", replicas=1)
    await world.status("next", readyReplicas=1)
    assert sorted(await world.instances()) == ["next-0", "web-0", "web-2"]
    await world.edit(metadata={"finalizers": None})


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("Sideways", events.UNKNOWN_ROLE_INSTANCE_PATTERN), ("Stateless", events.FAILED_UPDATE)],
)
async def test_set_that_cannot_be_served_is_told_so_and_gets_nothing(world: World, pattern: str, reason: str):
    """RIS-6"""
    await world.create(metadata={"annotations": {annotations.ROLE_INSTANCE_PATTERN: pattern}})
    event = await world.event(reason, events.COMPONENT_INSTANCE_SET)
    assert event["type"] == "Warning"
    assert pattern in event["message"]
    assert await world.instances() == {}


async def test_unusable_number_is_named_in_an_event(world: World):
    """SFM-3"""
    await world.create(updateStrategy={"maxSurge": "lots"})
    event = await world.event(events.FAILED_UPDATE, events.COMPONENT_INSTANCE_SET)
    assert "spec.updateStrategy.maxSurge" in event["message"]


async def test_old_revisions_are_cut_to_the_limit(world: World):
    """REV-9"""
    await world.create(replicas=1, revisionHistoryLimit=1)
    await world.status(readyReplicas=1)
    names = []
    for tag in ("web:2", "web:3", "web:4"):
        await world.edit(spec={"roleInstanceTemplate": template(tag)})
        done = await world.status(updatedReadyReplicas=1, currentReplicas=1)
        names.append(done["status"]["updateRevision"])
    wanted = set(names[-2:])
    await world.until(CONTROLLER_REVISION, lambda found: set(found) == wanted, "two revisions")
