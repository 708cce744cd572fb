"""Applying a RoleBasedGroup and waiting for it on watches."""

from collections.abc import Callable
from typing import Any

from rbgctl.api.kinds import ROLE_BASED_GROUP, ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient

POD = GVK("", "v1", "Pod")
SERVICE = GVK("", "v1", "Service")
CONFIG_MAP = GVK("", "v1", "ConfigMap")
CONTROLLER_REVISION = GVK("apps", "v1", "ControllerRevision")
EVENT = GVK("", "v1", "Event")
OURS = (ROLE_BASED_GROUP, ROLE_INSTANCE_SET, ROLE_INSTANCE, POD, SERVICE, CONTROLLER_REVISION)


def role(name: str, replicas: int = 1, *, image: str = "registry.example/a:1", **fields: Any) -> RawObject:
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    return {"name": name, "replicas": replicas, "standalonePattern": {"template": template}, **fields}


def group(namespace: str, *roles: RawObject, name: str = "shop") -> RawObject:
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"roles": list(roles)},
    }


async def wait_for(
    client: LiveClient,
    gvk: GVK,
    key: NN,
    condition: Callable[[RawObject], bool],
    *,
    timeout: float = 60.0,
) -> RawObject:
    """The object once `condition` holds, watching it. AssertionError with its last state after `timeout` s."""
    last: RawObject | None = None
    async for kind, obj in client.watch(gvk, key.namespace, fields=f"metadata.name={key.name}", timeout=timeout):
        last = obj
        if kind != "DELETED" and condition(obj):
            return obj
    raise AssertionError(f"{gvk.kind} {key} did not get there within {timeout} s; last seen: {last}")


async def wait_gone(client: LiveClient, gvk: GVK, namespace: str, *, timeout: float = 60.0) -> None:
    """Until no object of the kind is left in the namespace."""
    listed = await client.list(gvk, namespace)
    left = {o["metadata"]["name"] for o in listed.items}
    if not left:
        return
    async for kind, obj in client.watch(gvk, namespace, rv=listed.resource_version, timeout=timeout):
        name = obj["metadata"]["name"]
        if kind == "DELETED":
            left.discard(name)
        elif kind == "ADDED":
            left.add(name)
        if not left:
            return
    raise AssertionError(f"still there after {timeout} s: {gvk.kind} {sorted(left)}")


def is_ready(obj: RawObject) -> bool:
    """The group says Ready about its current generation."""
    status = obj.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    return (
        status.get("observedGeneration") == obj["metadata"]["generation"]
        and ready is not None
        and ready["status"] == "True"
        and ready.get("observedGeneration") == obj["metadata"]["generation"]
    )


async def ready_group(client: LiveClient, key: NN, *, timeout: float = 60.0) -> RawObject:
    return await wait_for(client, ROLE_BASED_GROUP, key, is_ready, timeout=timeout)


async def names(client: LiveClient, gvk: GVK, namespace: str) -> list[str]:
    return sorted(o["metadata"]["name"] for o in (await client.list(gvk, namespace)).items)
