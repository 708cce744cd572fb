"""Nodes without machines, on which kwok lets pods run, fail and end by the rules in `stages/`."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from rbgctl.machinery.gvk import GVK, RawObject
from rbgctl.runtime.client import LiveClient

STAGES = Path(__file__).parent / "stages"
STAGE_CRD = STAGES / "crd"
NODE = GVK("", "v1", "Node")
SERVICE_ACCOUNT = GVK("", "v1", "ServiceAccount")
ZONES = 2


def stage_files(extra: Iterable[Path] = ()) -> list[Path]:
    """Ours and further Stage files or directories of them."""
    return [f for s in (STAGES, *extra) for f in (sorted(s.glob("*.yaml")) if s.is_dir() else [s])]


def stage_objects(extra: Iterable[Path] = ()) -> list[RawObject]:
    return [d for f in stage_files(extra) for d in yaml.safe_load_all(f.read_text()) if d]


def node(index: int, *, gpus: int = 0) -> RawObject:
    """Zones alternate between z1 and z2; `gpus` is the capacity of nvidia.com/gpu."""
    name = f"node-{index}"
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "250", "ephemeral-storage": "1Ti"}
    if gpus:
        capacity["nvidia.com/gpu"] = str(gpus)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": f"z{index % ZONES + 1}",
            },
        },
        "status": {"capacity": capacity, "allocatable": capacity},
    }


async def until_pods_can_run(client: LiveClient, nodes: int) -> None:
    """`nodes` nodes Ready, their start-up taint gone, and the default service account there."""
    ready: set[str] = set()
    async for _type, found in client.watch(NODE, timeout=60):
        conditions = {c["type"]: c["status"] for c in found["status"].get("conditions") or ()}
        taints = {t["key"] for t in found["spec"].get("taints", ())}
        if conditions.get("Ready") == "True" and "node.kubernetes.io/not-ready" not in taints:
            ready.add(found["metadata"]["name"])
        if len(ready) >= nodes:
            break
    async for _type, _account in client.watch(SERVICE_ACCOUNT, "default", fields="metadata.name=default", timeout=60):
        break
