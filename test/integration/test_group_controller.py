"""The RoleBasedGroup controller on a real API server, with no more rights than it declares.

The test plays the set controller and the garbage collector is missing, so that only this controller writes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cluster.audit import AuditLog, Request, by_kind

from rbgctl.api import annotations, labels
from rbgctl.api.kinds import API_VERSION, RESOURCES, ROLE_BASED_GROUP, ROLE_INSTANCE_SET
from rbgctl.controllers.group.controller import declare
from rbgctl.controllers.group.observe import CONFIG_MAP, SERVICE
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.planning.revisions import CONTROLLER_REVISION
from rbgctl.runtime import executor
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.rbac import PolicyRule, cluster_role
from rbgctl.runtime.testing.asserts import eventually, stays, wait_for, wait_gone
from rbgctl.runtime.testing.envtest import EnvTest, new_namespace

EVENT = GVK("", "v1", "Event")
TIMEOUT = 20.0
ACCOUNT = "groups"
GOLDEN = Path(__file__).parents[1] / "golden" / "group_objects.jsonl"


class Operator:
    """A manager that runs the controller alone; can be stopped and started again."""

    def __init__(self, config: ClusterConfig, audit_log: Path, user: str) -> None:
        self.config = config
        self.audit_log = audit_log
        self.user = user
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        options = ManagerOptions(name="group-test", first_list_jitter=0.0, max_concurrent=4)
        manager = Manager(self.config, options, resources=RESOURCES)
        declare().complete(manager)
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(manager.run(self._stop))
        await manager.elected.wait()

    async def stop(self) -> None:
        self._stop.set()
        if self._running is not None:
            await self._running

    def audit(self, namespace: str) -> Callable[[], list[Request]]:
        """A probe: what it wrote in the namespace from now on."""
        log = AuditLog(self.audit_log, self.user)
        return lambda: [r for r in log.writes() if r.namespace == namespace]


@pytest.fixture(scope="module")
async def operator(env: EnvTest) -> AsyncIterator[Operator]:
    """Under a service account that may do what the controller declares and record events, no more."""
    admin = env.client()
    namespace = await new_namespace(admin)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}
    await admin.create(account)
    rules = declare().rules(RestMapper(None, *RESOURCES))
    await admin.create(cluster_role("group-test", [*rules, PolicyRule("", "events", ("create", "patch"))]))
    await admin.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "group-test"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "group-test"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        }
    )
    config = await env.config_for_service_account(namespace, ACCOUNT)
    assert env.audit_log is not None
    made = Operator(config, env.audit_log, f"system:serviceaccount:{namespace}:{ACCOUNT}")
    await made.start()
    yield made
    await made.stop()


def role(name: str, replicas: int = 1, *dependencies: str, image: str = "a:1", **fields: Any) -> RawObject:
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    depends = {"dependencies": list(dependencies)} if dependencies else {}
    return {"name": name, "replicas": replicas, "standalonePattern": {"template": template}, **depends, **fields}


class World:
    """One namespace: what users and the set controller do in it, and waiting for what follows."""

    def __init__(self, client: LiveClient, namespace: str, operator: Operator) -> None:
        self.client = client
        self.namespace = namespace
        self.operator = operator
        self.writes = operator.audit(namespace)

    def key(self, name: str) -> NN:
        return NN(self.namespace, name)

    async def apply(self, *roles: RawObject, **metadata: Any) -> RawObject:
        return await self.client.apply(
            {
                "apiVersion": API_VERSION,
                "kind": "RoleBasedGroup",
                "metadata": {"namespace": self.namespace, "name": "shop", **metadata},
                "spec": {"roles": list(roles)},
            },
            field_manager="user",
        )

    async def get(self, gvk: GVK, name: str) -> RawObject:
        return await self.client.get(gvk, self.key(name))

    async def until(self, gvk: GVK, name: str, wanted: Callable[[RawObject], bool] = bool) -> RawObject:
        return await wait_for(self.client, gvk, self.key(name), wanted, timeout=TIMEOUT)

    async def act(self, name: str, ready: int | None = None) -> None:
        """The set controller brings a set to its spec; `ready` instances are ready (all by default)."""
        found = await self.until(ROLE_INSTANCE_SET, name)
        replicas = found["spec"]["replicas"]
        status = {
            "observedGeneration": found["metadata"]["generation"],
            **dict.fromkeys(("replicas", "updatedReplicas", "currentReplicas", "availableReplicas"), replicas),
            **dict.fromkeys(("readyReplicas", "updatedReadyReplicas"), replicas if ready is None else ready),
        }
        await self.client.patch(
            ROLE_INSTANCE_SET,
            self.key(name),
            Patch.merge({"status": status}),
            subresource="status",
            field_manager="instanceset-manager",
        )

    async def ready(self, status: str = "True", text: str = "") -> RawObject:
        """The group once Ready, speaking of the present generation, has that status and `text` in its message."""

        def says(group: RawObject) -> bool:
            found = [c for c in (group.get("status") or {}).get("conditions") or () if c["type"] == "Ready"]
            current = found and found[0]["observedGeneration"] == group["metadata"]["generation"]
            return bool(current and found[0]["status"] == status and text in found[0]["message"])

        return await self.until(ROLE_BASED_GROUP, "shop", says)

    async def settled(self) -> None:
        """Until nothing has been written for half a second."""
        seen = -1
        while seen != len(self.writes()):
            seen = len(self.writes())
            await asyncio.sleep(0.5)  # no watch tells that nothing comes

    async def versions(self) -> dict[str, str]:
        """resourceVersion of everything that the controller makes, and of the group."""
        kinds = (ROLE_BASED_GROUP, ROLE_INSTANCE_SET, SERVICE, CONFIG_MAP, CONTROLLER_REVISION)
        found = [o for gvk in kinds for o in (await self.client.list(gvk, self.namespace)).items]
        return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in found}

    async def reasons(self) -> list[tuple[str, str, str]]:
        found = (await self.client.list(EVENT, self.namespace)).items
        return sorted((e["type"], e["reason"], e["source"]["component"]) for e in found)


@pytest.fixture
async def world(client: LiveClient, namespace: str, operator: Operator) -> World:
    return World(client, namespace, operator)


def managers(obj: RawObject) -> set[tuple[str, str, str]]:
    return {(m["manager"], m["operation"], m.get("subresource", "")) for m in obj["metadata"]["managedFields"]}


def owners(obj: RawObject) -> list[tuple[str, str]]:
    return [(o["kind"], o["uid"]) for o in obj["metadata"].get("ownerReferences") or ()]


async def test_a_group_gets_its_objects_in_the_order_of_dependencies(world: World) -> None:
    """RBG-26, RBG-65, RBG-107, RBG-111; verbs and managers of 03 §26."""
    await world.apply(role("web", 2), role("api", 1, "web"))
    await world.act("shop-web", ready=1)
    group = await world.ready("False", "role api waits for web (1/2 ready)")
    assert "shop-api" not in {o["metadata"]["name"] for o in (await world.client.list(ROLE_INSTANCE_SET)).items}
    await world.act("shop-web")
    await world.act("shop-api")
    group = await world.ready()
    assert group["status"]["observedGeneration"] == 1
    assert [(s["name"], s["readyReplicas"]) for s in group["status"]["roleStatuses"]] == [("web", 2), ("api", 1)]
    assert managers(group) == {
        ("user", "Apply", ""),
        ("rolebasedgroup", "Update", ""),
        ("rbg", "Apply", "status"),
    }
    assert group["metadata"]["annotations"] == {annotations.DISCOVERY_CONFIG_MODE: "refine"}
    for name in ("web", "api"):
        found = await world.get(ROLE_INSTANCE_SET, f"shop-{name}")
        service = await world.get(SERVICE, f"s-shop-{name}")
        assert owners(found) == [("RoleBasedGroup", group["metadata"]["uid"])]
        assert owners(service) == [("RoleInstanceSet", found["metadata"]["uid"])]
        assert ("rbg", "Apply", "") in managers(found)
        assert managers(service) == {("rbg", "Apply", "")}
    config = await world.get(CONFIG_MAP, "shop")
    assert managers(config) == {("rbg", "Apply", "")}
    assert "shop-web-1.s-shop-web" in config["data"]["config.yaml"]
    (revision,) = (await world.client.list(CONTROLLER_REVISION, world.namespace)).items
    assert managers(revision) == {("rolebasedgroup", "Update", "")}
    assert owners(revision) == [("RoleBasedGroup", group["metadata"]["uid"])]


async def test_events_tell_what_changed_once(world: World) -> None:
    """RBG-131: reasons and component of 03 §25; a wait is told once however far its dependency gets."""
    await world.apply(role("web", 3), role("api", 1, "web"))
    for ready in range(4):
        await world.act("shop-web", ready=ready)
    await world.act("shop-api")
    await world.ready()
    await world.settled()

    def told(found: list[tuple[str, str, str]]) -> bool:
        return {reason for _, reason, _ in found} == {"DependencyNotMet", "Succeed", "SucceedCreateRevision"}

    found = await eventually(world.reasons, told)
    assert found.count(("Warning", "DependencyNotMet", "RoleBasedGroup")) == 1
    assert all(component == "RoleBasedGroup" for _, _, component in found)


async def test_creation_costs_what_it_must_and_rest_costs_nothing(world: World) -> None:
    """RBG-82, RBG-46, RBG-110: every write is one that changes something."""
    await world.apply(role("web", 2), role("api", 1, "web"))
    await world.act("shop-web")
    await world.act("shop-api")
    await world.ready()
    await world.settled()
    counted = by_kind(world.writes())
    assert counted.pop("patch rolebasedgroups/status") <= 6
    assert counted == {
        "create controllerrevisions": 1,
        "patch rolebasedgroups": 1,
        "patch configmaps": 1,
        "patch roleinstancesets": 2,
        "patch services": 2,
    }
    before = await world.versions()
    more = world.operator.audit(world.namespace)
    await world.client.patch(ROLE_BASED_GROUP, world.key("shop"), touch("mine"), field_manager="user")
    await world.client.patch(ROLE_INSTANCE_SET, world.key("shop-web"), touch("mine"), field_manager="user")
    await world.client.patch(SERVICE, world.key("s-shop-web"), touch("mine"), field_manager="user")
    await stays(world.client, ROLE_INSTANCE_SET, world.key("shop-api"), bool, during=1.0)
    assert more() == []
    after = await world.versions()
    assert {k for k in after if after[k] != before[k]} == {
        "RoleBasedGroup/shop",
        "RoleInstanceSet/shop-web",
        "Service/s-shop-web",
    }


def touch(key: str) -> Patch:
    """A foreign annotation and label: nothing to us."""
    return Patch.merge({"metadata": {"annotations": {key: "1"}, "labels": {key: "1"}}})


def without_image(found: RawObject) -> str:
    template = found["spec"]["roleInstanceTemplate"]["components"][0]["template"]
    return str(template["spec"]["containers"][0]["image"])


async def test_what_others_change_of_ours_is_put_right(world: World) -> None:
    """RBG-106, RBG-23: edits of owned fields, of Service and ConfigMap, and deletions."""
    await world.apply(role("web"))
    await world.act("shop-web")
    await world.ready()
    merge = Patch.merge
    name = "shop-web"
    await world.client.patch(ROLE_INSTANCE_SET, world.key(name), merge({"spec": {"replicas": 7}}))
    await world.until(ROLE_INSTANCE_SET, name, lambda o: o["spec"]["replicas"] == 1)
    label = {"metadata": {"labels": {labels.ROLE_TYPE: "x"}, "annotations": {annotations.ROLE_SIZE: "9"}}}
    await world.client.patch(ROLE_INSTANCE_SET, world.key(name), merge(label))
    await world.until(ROLE_INSTANCE_SET, name, lambda o: o["metadata"]["labels"][labels.ROLE_TYPE] == "PodTemplate")
    await world.client.patch(SERVICE, world.key("s-shop-web"), merge({"spec": {"selector": {labels.ROLE_NAME: "x"}}}))
    await world.until(SERVICE, "s-shop-web", lambda o: o["spec"]["selector"][labels.ROLE_NAME] == "web")
    await world.client.patch(CONFIG_MAP, world.key("shop"), merge({"data": {"config.yaml": "x"}}))
    await world.until(CONFIG_MAP, "shop", lambda o: "shop-web-0" in o["data"]["config.yaml"])
    for gvk, gone in ((SERVICE, "s-shop-web"), (CONFIG_MAP, "shop"), (ROLE_INSTANCE_SET, "shop-web")):
        uid = (await world.get(gvk, gone))["metadata"]["uid"]
        await world.client.delete(gvk, world.key(gone))
        await world.until(gvk, gone, lambda o, old=uid: o["metadata"]["uid"] != old)
    workload = await world.get(ROLE_INSTANCE_SET, "shop-web")
    owned = ("RoleInstanceSet", workload["metadata"]["uid"])
    await world.until(SERVICE, "s-shop-web", lambda o: owners(o) == [owned])  # RBG-111


async def test_what_is_not_ours_is_never_overwritten_though_it_has_a_name_we_need(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group says what is in its way, once, and goes on by itself when it is gone."""
    monkeypatch.setattr(executor, "NAME_TAKEN_SECONDS", 0.5)
    meta = {"namespace": world.namespace}
    foreign = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": "shop"}, "data": {"mine": "1"}},
        {
            "apiVersion": API_VERSION,
            "kind": "RoleInstanceSet",
            "metadata": {**meta, "name": "shop-web"},
            "spec": {"selector": {"matchLabels": {"app": "mine"}}, "roleInstanceTemplate": {"components": []}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**meta, "name": "s-shop-web"},
            "spec": {"clusterIP": "None", "selector": {"app": "mine"}},
        },
    ]
    kept = [await world.client.create(obj) for obj in foreign]
    await world.apply(role("web"))
    for obj in kept:
        kind, name = obj["kind"], obj["metadata"]["name"]
        await world.ready("False", f"{kind} {name} exists and ")
        live = await world.get(GVK.of(obj), name)
        assert live["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]
        if kind == "ConfigMap":
            # Its roles are spoken of once its discovery mode is recorded.
            await world.until(ROLE_BASED_GROUP, "shop", lambda o: bool(o["status"]["roleStatuses"]))
            await world.settled()
            before = len(world.writes())
            await asyncio.sleep(1.5)  # three looks at what is in the way, none of which may write
            assert len(world.writes()) == before
        await world.client.delete(GVK.of(obj), world.key(name))
    await world.act("shop-web")
    await world.ready()


async def test_two_groups_whose_services_share_a_name_do_not_take_it_from_each_other(world: World) -> None:
    """shop/a-b and shop-a/b both make `s-shop-a-b`."""
    await world.apply(role("a-b"))
    await world.act("shop-a-b")
    await world.ready()
    await world.client.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "RoleBasedGroup",
            "metadata": {"namespace": world.namespace, "name": "shop-a"},
            "spec": {"roles": [role("b")]},
        },
        field_manager="user",
    )

    def told(group: RawObject) -> bool:
        return "belongs to group shop" in json.dumps((group.get("status") or {}).get("conditions") or ())

    await world.until(ROLE_BASED_GROUP, "shop-a", told)
    service = await world.get(SERVICE, "s-shop-a-b")
    assert service["spec"]["selector"][labels.GROUP_NAME] == "shop"


async def test_a_service_that_lost_its_label_is_still_ours(world: World) -> None:
    await world.apply(role("web"))
    await world.act("shop-web")
    await world.ready()
    lost = Patch.merge({"metadata": {"labels": {labels.GROUP_NAME: None}}})
    await world.client.patch(SERVICE, world.key("s-shop-web"), lost)
    await world.until(SERVICE, "s-shop-web", lambda o: labels.GROUP_NAME in o["metadata"]["labels"])


async def test_scale_and_image_reach_the_workload_and_only_an_image_makes_a_revision(world: World) -> None:
    """RBG-38, RBG-40, RBG-48."""
    await world.apply(role("web"))
    await world.act("shop-web")
    await world.ready()
    await world.apply(role("web", 3))
    await world.until(ROLE_INSTANCE_SET, "shop-web", lambda o: o["spec"]["replicas"] == 3)
    await world.ready("False")
    await world.act("shop-web")
    await world.ready()
    assert len((await world.client.list(CONTROLLER_REVISION, world.namespace)).items) == 1
    await world.apply(role("web", 3, image="a:2"))
    await world.until(ROLE_INSTANCE_SET, "shop-web", lambda o: without_image(o) == "a:2")
    await world.ready("False", "has not acted on the current spec")
    await world.act("shop-web")
    group = await world.ready()
    assert group["status"]["observedGeneration"] == 3
    assert len((await world.client.list(CONTROLLER_REVISION, world.namespace)).items) == 2


async def test_a_removed_role_goes_while_another_waits(world: World) -> None:
    """RBG-27, RBG-116, RBG-49."""
    await world.apply(role("web"), role("old"))
    await world.act("shop-web")
    await world.act("shop-old")
    await world.ready()
    await world.act("shop-web", ready=0)
    await world.apply(role("web"), role("new", 1, "web"))
    await wait_gone(world.client, ROLE_INSTANCE_SET, world.key("shop-old"), timeout=TIMEOUT)
    group = await world.ready("False", "role new waits for web")
    assert [s["name"] for s in group["status"]["roleStatuses"]] == ["web", "new"]


async def test_an_annotation_wakes_the_group_and_what_it_asks_for_is_refused_by_name(world: World) -> None:
    """RBG-23."""
    await world.apply(role("web"))
    await world.act("shop-web")
    await world.ready()
    gang = {annotations.GROUP_GANG_SCHEDULING: "true"}
    await world.client.patch(ROLE_BASED_GROUP, world.key("shop"), Patch.merge({"metadata": {"annotations": gang}}))
    await world.ready("False", "gang scheduling is not supported")
    await eventually(world.reasons, lambda found: ("Warning", "FailedReconcileWorkload", "RoleBasedGroup") in found)
    gone = {annotations.GROUP_GANG_SCHEDULING: None}
    await world.client.patch(ROLE_BASED_GROUP, world.key("shop"), Patch.merge({"metadata": {"annotations": gone}}))
    await world.ready()


async def test_a_schemaless_patch_of_the_wrong_shape_is_told_with_its_field(world: World) -> None:
    """RBG-74: the API server lets it through."""
    pattern = {"templateRef": {"name": "shared", "patch": "text"}}
    await world.client.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "RoleBasedGroup",
            "metadata": {"namespace": world.namespace, "name": "shop"},
            "spec": {
                "roles": [{"name": "web", "replicas": 1, "standalonePattern": pattern}],
                "roleTemplates": [{"name": "shared", "template": {"spec": {"containers": [{"name": "a"}]}}}],
            },
        },
        field_manager="user",
    )
    await world.ready("False", "spec.roles[0].standalonePattern.templateRef.patch")


async def test_a_leader_worker_role_from_a_role_template(world: World) -> None:
    """RBG-69, RBG-70, RBG-86: server-side apply keeps the components as one list (RBG-85)."""
    pattern = {
        "size": 3,
        "templateRef": {"name": "shared", "patch": {"spec": {"containers": [{"name": "main", "image": "b:1"}]}}},
        "workerTemplatePatch": {"spec": {"containers": [{"name": "main", "env": [{"name": "W", "value": "1"}]}]}},
    }
    body = {
        "apiVersion": API_VERSION,
        "kind": "RoleBasedGroup",
        "metadata": {"namespace": world.namespace, "name": "shop"},
        "spec": {
            "roles": [{"name": "web", "replicas": 2, "leaderWorkerPattern": pattern}],
            "roleTemplates": [{"name": "shared", "template": {"spec": {"containers": [{"name": "main"}]}}}],
        },
    }
    await world.client.apply(body, field_manager="user")
    found = await world.until(ROLE_INSTANCE_SET, "shop-web")
    components = found["spec"]["roleInstanceTemplate"]["components"]
    assert [(c["name"], c["size"]) for c in components] == [("leader", 1), ("worker", 2)]
    assert without_image(found) == "b:1"
    await world.act("shop-web")
    await world.ready()
    await world.settled()
    more = world.operator.audit(world.namespace)
    pattern["size"] = 2
    await world.client.apply(body, field_manager="user")
    await world.until(
        ROLE_INSTANCE_SET,
        "shop-web",
        lambda o: [c["size"] for c in o["spec"]["roleInstanceTemplate"]["components"]] == [1, 1],
    )
    await world.act("shop-web")
    await world.ready()
    assert by_kind(more())["patch roleinstancesets"] == 1


async def test_a_deleted_group_is_left_to_garbage_collection(world: World) -> None:
    """RBG-26.b, RBG-119: nothing is written for a group that is going or gone, and a new one of its name works."""
    await world.apply(role("web"))
    await world.act("shop-web")
    await world.ready()
    await world.settled()
    more = world.operator.audit(world.namespace)
    finalizers = ["example.com/hold"]
    await world.client.patch(ROLE_BASED_GROUP, world.key("shop"), Patch.merge({"metadata": {"finalizers": finalizers}}))
    await world.client.delete(ROLE_BASED_GROUP, world.key("shop"))
    await world.client.delete(SERVICE, world.key("s-shop-web"))
    await world.until(ROLE_BASED_GROUP, "shop", lambda o: "deletionTimestamp" in o["metadata"])
    await world.act("shop-web", ready=0)
    await stays(world.client, ROLE_BASED_GROUP, world.key("shop"), bool, during=0.5)
    assert more() == []
    old = await world.get(ROLE_BASED_GROUP, "shop")
    await world.client.patch(ROLE_BASED_GROUP, world.key("shop"), Patch.merge({"metadata": {"finalizers": None}}))
    await wait_gone(world.client, ROLE_BASED_GROUP, world.key("shop"), uid=old["metadata"]["uid"], timeout=TIMEOUT)
    new = await world.apply(role("web"))
    mine = ("RoleBasedGroup", new["metadata"]["uid"])
    await world.until(ROLE_INSTANCE_SET, "shop-web", lambda o: owners(o) == [mine])
    await world.act("shop-web")
    await world.ready()


async def test_a_restart_costs_one_config_map_apply_that_changes_nothing(world: World) -> None:
    """RBG-46."""
    await world.apply(role("web"))
    await world.act("shop-web")
    await world.ready()
    await world.settled()
    before = await world.versions()
    await world.operator.stop()
    more = world.operator.audit(world.namespace)
    await world.operator.start()
    await eventually(more, timeout=TIMEOUT)
    await world.settled()
    assert by_kind(more()) == {"patch configmaps": 1}
    assert await world.versions() == before


# -- take-over ------------------------------------------------------------------------------------------------

TAKEN_OVER = [
    "basic_rbg_dependency_role-dependencies",
    "basic_rbg_patterns_custom-components-pattern",
    "basic_rbg_patterns_standalone-pattern",
    "basic_rbg_restart-policy_restart-policy",
    "basic_rbg_update-strategy_rolling-update",
    "basic_rbg_update-strategy_rolling-update-with-partition",
    "extra_leader-worker-size-4",
    "extra_max-surge-rollout",
    "extra_refine-discovery-service-ports",
]
SERVICE_FIELDS = ("type", "clusterIP", "publishNotReadyAddresses", "selector")


class Predecessor:
    """Puts back what the Go operator left of a record: same objects, same managers, uids of this cluster."""

    def __init__(self, world: World, record: RawObject) -> None:
        self.world = world
        text = json.dumps(record).replace("<ns>", record["namespace"]).replace("<time>", "2026-01-01T00:00:00Z")
        self.record: RawObject = json.loads(text)
        self.uids: dict[str, str] = {}

    async def leave(self) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.world.namespace}}
        await self.world.client.create(namespace)
        for group in self.record["groups"]:
            await self.put(group, "user", group["spec"])
        for workload in self.record["roleInstanceSets"]:
            await self.put(workload, "rbg", {k: v for k, v in workload["spec"].items() if k != "revisionHistoryLimit"})
            await self.world.act(workload["metadata"]["name"])
        for service in self.record["services"]:
            await self.put(service, "rbg", {k: service["spec"][k] for k in SERVICE_FIELDS})
        for config in self.record["configMaps"]:
            await self.put(config, "rbg", None)
        for revision in self.record["groupRevisions"]:
            made = {k: v for k, v in revision.items() if k in {"apiVersion", "kind", "data", "revision"}}
            await self.world.client.create(
                {**made, "metadata": self.metadata(revision)}, field_manager="rolebasedgroup"
            )
        for group in self.record["groups"]:
            meta = {"name": group["metadata"]["name"], "namespace": self.world.namespace}
            body = {**identity_of(group), "metadata": meta, "status": group["status"]}
            await self.world.client.apply(body, field_manager="rbg", subresource="status")

    async def put(self, obj: RawObject, manager: str, spec: RawObject | None) -> None:
        body = {**identity_of(obj), "metadata": self.metadata(obj)}
        body |= {"spec": spec} if spec is not None else {"data": obj["data"]}
        made = await self.world.client.apply(body, field_manager=manager)
        self.uids[f"<uid:{obj['kind']}/{obj['metadata']['name']}>"] = made["metadata"]["uid"]

    def metadata(self, obj: RawObject) -> RawObject:
        given = {k: v for k, v in obj["metadata"].items() if k in {"name", "namespace", "labels", "annotations"}}
        references = [{**o, "uid": self.uids[o["uid"]]} for o in obj["metadata"].get("ownerReferences") or ()]
        return {**given, **({"ownerReferences": references} if references else {})}


def identity_of(obj: RawObject) -> RawObject:
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}


@pytest.mark.parametrize("name", TAKEN_OVER)
async def test_taking_over_from_the_go_operator_changes_nothing(
    env: EnvTest, client: LiveClient, operator: Operator, name: str
) -> None:
    """RBG-43, RBG-141, RBG-44, RBG-50: revision, workloads, Services and status are already as we want them."""
    record = next(r for r in map(json.loads, GOLDEN.read_text().splitlines()) if r["record"] == name)
    world = World(client, record["namespace"], operator)
    await operator.stop()
    try:
        await Predecessor(world, record).leave()
        before = await world.versions()
        more = operator.audit(world.namespace)
    finally:
        await operator.start()
    wanted = {"patch configmaps": len(record["groups"])}
    await eventually(lambda: by_kind(more()) == wanted, timeout=TIMEOUT)
    await world.settled()
    assert by_kind(more()) == wanted, [str(w) for w in more()]
    assert await world.versions() == before
