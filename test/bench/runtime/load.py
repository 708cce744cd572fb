"""Objects of realistic size, and writes at a given rate whose answers are not decoded: load must cost little."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from rbgctl.runtime import GVK, NN, LiveClient, RawObject
from rbgctl.runtime.testing.envtest import new_namespace
from rbgctl.runtime.transport import Transport

POD = GVK("", "v1", "Pod")
GROUP = GVK("workloads.x-k8s.io", "v1alpha2", "RoleBasedGroup")
SENT = "bench.example.com/sent"
PODS_PER_NAMESPACE = 1000
AT_ONCE = 32

_VARIABLES = ("GROUP_NAME", "ROLE_NAME", "ROLE_INDEX", "INSTANCE_NAME")


def pod(namespace: str, number: int) -> RawObject:
    """A model server with a sidecar, about 6 KB as the API server returns it."""
    name = f"demo-backend-{number}"
    owner = {"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleInstance", "name": name, "controller": True}
    labels = {f"rbg.workloads.x-k8s.io/{key}": "demo" for key in ("group-name", "role-name", "instance", "set")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {**labels, "controller-revision-hash": "demo-backend-5d8f7c9b4"},
            "annotations": {"rbg.workloads.x-k8s.io/lifecycle-timestamp": "2026-01-01T00:00:00Z"},
            "ownerReferences": [{**owner, "uid": f"00000000-0000-4000-8000-{number:012d}"}],
        },
        "spec": {
            "hostname": name,
            "subdomain": "s-demo-backend",
            "containers": [_container("server", 9000, number), _container("router", 8000, number)],
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "volumes": [
                {"name": "config", "configMap": {"name": "demo-config"}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
            ],
        },
    }


def _container(name: str, port: int, number: int) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": 9000}, "periodSeconds": 5}
    return {
        "name": name,
        "image": f"registry.example/inference/{name}:1.0",
        "command": ["python3", "-m", "inference.launch", "--model-path", "/models/llama", "--port", "9000"],
        "env": [{"name": f"RBG_{key}", "value": f"demo-backend-{number}.s-demo-backend"} for key in _VARIABLES],
        "ports": [{"containerPort": port, "name": name}],
        "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "64Gi"}, "requests": {"cpu": "8"}},
        "readinessProbe": probe,
        "livenessProbe": probe,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/rbg"}, {"name": "shm", "mountPath": "/dev/shm"}],
    }


def group(namespace: str, number: int) -> RawObject:
    """A group of two roles."""
    template = {"spec": {"containers": [{"name": "server", "image": "registry.example/inference/server:1.0"}]}}
    roles = [{"name": n, "replicas": 2, "standalonePattern": {"template": template}} for n in ("router", "backend")]
    metadata = {"namespace": namespace, "name": f"demo-{number}"}
    return {"apiVersion": GROUP.api_version, "kind": GROUP.kind, "metadata": metadata, "spec": {"roles": roles}}


async def fill(client: LiveClient, pods: int, groups: int) -> tuple[list[NN], float]:
    """Create that many of each. Returns the keys of the pods and their mean size in bytes as served."""
    spaces = [await new_namespace(client, "bench") for _ in range(-(-pods // PODS_PER_NAMESPACE))]
    bytes_ = 0
    keys: list[NN] = []

    async def create(obj: RawObject) -> None:
        nonlocal bytes_
        made = await client.create(obj)
        if made["kind"] == "Pod":
            bytes_ += len(orjson.dumps(made))
            keys.append(NN.of(made))

    objects = [pod(spaces[i // PODS_PER_NAMESPACE], i) for i in range(pods)]
    await at_once([*objects, *(group(spaces[0], i) for i in range(groups))], create)
    return sorted(keys), bytes_ / max(pods, 1)


async def at_once(items: Sequence[RawObject], work: Callable[[RawObject], Awaitable[None]]) -> None:
    """Do `work` for all items, several at a time."""
    queue = list(reversed(items))

    async def worker() -> None:
        while queue:
            await work(queue.pop())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())


async def touch(transport: Transport, key: NN) -> str:
    """One small write to a pod, so one watch event; returns the new resourceVersion."""
    path = f"/api/v1/namespaces/{key.namespace}/pods/{key.name}"
    patch = orjson.dumps({"metadata": {"annotations": {SENT: str(time.monotonic())}}})
    answer = await transport.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
    if answer.status != 200:
        raise RuntimeError(f"PATCH {path}: {answer.status} {answer.body[:200]!r}")
    version = answer.body.split(b'"resourceVersion":"', 1)[1]
    return version[: version.index(b'"')].decode()


async def touch_steadily(transport: Transport, keys: Sequence[NN], rate: float, seconds: float) -> tuple[int, float]:
    """`rate` writes a second, round and round over the pods. Returns how many there were and the rate reached."""
    count = int(rate * seconds)
    began = time.monotonic()
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            early = began + number / rate - time.monotonic()
            if early > 0:
                await asyncio.sleep(early)
            await touch(transport, keys[number % len(keys)])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
    return count, count / (time.monotonic() - began)
