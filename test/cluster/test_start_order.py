"""Roles start in the order of their dependencies."""

from cluster.groups import POD, group, ready_group, role, wait_for
from rbgctl.api import labels
from rbgctl.api.kinds import ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import NN
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient


async def test_backend_pods_are_created_only_after_frontend_is_ready(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-65, RBG-66: told from the API server's own order of events."""
    slow = role("frontend")
    slow["standalonePattern"]["template"]["spec"]["containers"][0]["startupProbe"] = {
        "initialDelaySeconds": 2,
        "exec": {"command": ["true"]},
    }
    manifest = group(namespace, slow, role("backend", 3, dependencies=["frontend"]))
    before = (await client.list(POD, namespace)).resource_version
    sets_before = (await client.list(ROLE_INSTANCE_SET, namespace)).resource_version
    await client.apply(manifest, field_manager="user")
    await ready_group(client, NN(namespace, "shop"))

    first_backend = 0
    async for kind, pod in client.watch(POD, namespace, rv=before, timeout=10):
        if kind == "ADDED" and pod["metadata"]["labels"][labels.ROLE_NAME] == "backend":
            first_backend = int(pod["metadata"]["resourceVersion"])
            break
    frontend_ready = 0
    async for _kind, owner in client.watch(ROLE_INSTANCE_SET, namespace, rv=sets_before, timeout=10):
        ready = owner["metadata"]["name"] == "shop-frontend" and (owner.get("status") or {}).get("readyReplicas") == 1
        if ready:
            frontend_ready = int(owner["metadata"]["resourceVersion"])
            break
    assert 0 < frontend_ready < first_backend


async def test_backend_set_waits_while_frontend_cannot_start(
    client: LiveClient, manager: ManagerProcess, namespace: str
) -> None:
    """RBG-64..67: the waiting role has no workload, the group says which role it waits for, and it recovers."""
    manifest = group(
        namespace,
        role("frontend", image="registry.example/nonexistent:1"),
        role("backend", 2, dependencies=["frontend"]),
    )
    await client.apply(manifest, field_manager="user")
    await wait_for(
        client,
        POD,
        NN(namespace, "shop-frontend-0"),
        lambda p: any("waiting" in s["state"] for s in (p.get("status") or {}).get("containerStatuses") or ()),
    )
    sets = [s["metadata"]["name"] for s in (await client.list(ROLE_INSTANCE_SET, namespace)).items]
    assert sets == ["shop-frontend"]
    manifest["spec"]["roles"][0] = role("frontend", image="registry.example/a:2")
    await client.apply(manifest, field_manager="user")
    await ready_group(client, NN(namespace, "shop"))
