"""Scaling, image changes, self-healing and deletion of a group of standalone roles."""

from cluster.groups import (
    CONTROLLER_REVISION,
    OURS,
    POD,
    SERVICE,
    group,
    is_ready,
    names,
    ready_group,
    role,
    wait_for,
    wait_gone,
)
from rbgctl.api.kinds import ROLE_BASED_GROUP, ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import NN
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient, Patch


async def test_scale_up_keeps_existing_pods_and_scale_down_removes_the_highest_ordinals(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """SFM-6, SFM-9, SFM-19."""
    key = NN(namespace, "shop")
    await client.apply(group(namespace, role("web", 2)), field_manager="user")
    await ready_group(client, key)
    first = {p["metadata"]["name"]: p["metadata"]["uid"] for p in (await client.list(POD, namespace)).items}
    await client.apply(group(namespace, role("web", 4)), field_manager="user")
    await ready_group(client, key)
    grown = {p["metadata"]["name"]: p["metadata"]["uid"] for p in (await client.list(POD, namespace)).items}
    assert sorted(grown) == [f"shop-web-{i}" for i in range(4)]
    assert {n: grown[n] for n in first} == first
    await client.apply(group(namespace, role("web", 1)), field_manager="user")
    await ready_group(client, key)
    await wait_for(client, ROLE_INSTANCE_SET, NN(namespace, "shop-web"), lambda s: s["status"]["replicas"] == 1)
    left = [p["metadata"]["name"] for p in (await client.list(POD, namespace)).items if not _ending(p)]
    assert left == ["shop-web-0"]


async def test_each_pod_has_its_own_index(client: LiveClient, manager: ManagerProcess, namespace: str) -> None:
    """SFM-10: instances made in one pass do not share identity labels."""
    await client.apply(group(namespace, role("web", 3)), field_manager="user")
    await ready_group(client, NN(namespace, "shop"))
    pods = (await client.list(POD, namespace)).items
    found = {p["metadata"]["name"]: p["metadata"]["labels"]["rbg.workloads.x-k8s.io/role-instance-index"] for p in pods}
    assert found == {f"shop-web-{i}": str(i) for i in range(3)}


async def test_image_change_rolls_one_role_and_leaves_the_other_alone(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-40, SFM-14: and the new image runs everywhere in that role."""
    key = NN(namespace, "shop")
    await client.apply(group(namespace, role("web", 1), role("api", 3)), field_manager="user")
    await ready_group(client, key)
    before = {p["metadata"]["name"]: p["metadata"]["uid"] for p in (await client.list(POD, namespace)).items}
    changed = group(namespace, role("web", 1), role("api", 3, image="registry.example/a:2"))
    await client.apply(changed, field_manager="user")
    await wait_for(
        client,
        ROLE_INSTANCE_SET,
        NN(namespace, "shop-api"),
        lambda s: (
            s["status"].get("observedGeneration") == s["metadata"]["generation"]
            and s["status"]["updatedReadyReplicas"] == 3
            and s["status"]["currentRevision"] == s["status"]["updateRevision"]
        ),
        timeout=90,
    )
    await wait_for(client, ROLE_BASED_GROUP, key, is_ready)
    pods = {p["metadata"]["name"]: p for p in (await client.list(POD, namespace)).items if not _ending(p)}
    assert {n: p["spec"]["containers"][0]["image"] for n, p in pods.items()} == {
        "shop-web-0": "registry.example/a:1",
        **{f"shop-api-{i}": "registry.example/a:2" for i in range(3)},
    }
    assert pods["shop-web-0"]["metadata"]["uid"] == before["shop-web-0"]
    revisions = await names(client, CONTROLLER_REVISION, namespace)
    assert sum(r.startswith("shop-api-") and r.count("-") == 2 for r in revisions) == 2


async def test_deleted_and_failed_pods_come_back(client: LiveClient, manager: ManagerProcess, namespace: str) -> None:
    """RIN-6, RIN-12: same name, new pod; the instance object stays."""
    key = NN(namespace, "shop")
    await client.apply(group(namespace, role("web", 2)), field_manager="user")
    await ready_group(client, key)
    instance = await client.get(ROLE_INSTANCE, NN(namespace, "shop-web-0"))
    pod = await client.get(POD, NN(namespace, "shop-web-0"))
    await client.delete(POD, NN(namespace, "shop-web-0"))
    again = await wait_for(
        client, POD, NN(namespace, "shop-web-0"), lambda p: p["metadata"]["uid"] != pod["metadata"]["uid"] and _ready(p)
    )
    failed = {"status": {"phase": "Failed", "reason": "Evicted"}}
    await client.patch(POD, NN(namespace, "shop-web-0"), Patch.merge(failed), subresource="status")
    await wait_for(
        client,
        POD,
        NN(namespace, "shop-web-0"),
        lambda p: p["metadata"]["uid"] != again["metadata"]["uid"] and _ready(p),
    )
    await ready_group(client, key)
    assert (await client.get(ROLE_INSTANCE, NN(namespace, "shop-web-0")))["metadata"]["uid"] == (
        instance["metadata"]["uid"]
    )


async def test_removed_role_disappears_with_its_service(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-49, RBG-116, RBG-117."""
    key = NN(namespace, "shop")
    await client.apply(group(namespace, role("web"), role("cache")), field_manager="user")
    await ready_group(client, key)
    await client.apply(group(namespace, role("web")), field_manager="user")
    found = await wait_for(
        client,
        ROLE_BASED_GROUP,
        key,
        lambda g: is_ready(g) and [s["name"] for s in g["status"]["roleStatuses"]] == ["web"],
    )
    assert found["spec"]["roles"][0]["name"] == "web"
    service = NN(namespace, "s-shop-cache")
    listed = await client.list(SERVICE, namespace)
    if any(s["metadata"]["name"] == service.name for s in listed.items):
        async for kind, obj in client.watch(SERVICE, namespace, rv=listed.resource_version, timeout=60):
            if kind == "DELETED" and obj["metadata"]["name"] == service.name:
                break
    assert await names(client, ROLE_INSTANCE_SET, namespace) == ["shop-web"]
    assert await names(client, SERVICE, namespace) == ["s-shop-web"]


async def test_deleting_the_group_removes_everything(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-119: by garbage collection, without finalizers of ours."""
    key = NN(namespace, "shop")
    await client.apply(group(namespace, role("web", 2), role("api")), field_manager="user")
    ready = await ready_group(client, key)
    assert "finalizers" not in ready["metadata"]
    await client.delete(ROLE_BASED_GROUP, key, propagation="Background")
    for gvk in OURS:
        await wait_gone(client, gvk, namespace)


def _ending(pod: dict[str, object]) -> bool:
    return "deletionTimestamp" in pod["metadata"]  # type: ignore[operator]


def _ready(pod: dict[str, object]) -> bool:
    status = pod.get("status") or {}
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())  # type: ignore[attr-defined]
