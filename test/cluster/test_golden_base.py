"""What we make of basic_rbg_base, compared field by field with what the Go operator made of it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cluster.golden import differences, normalised, uids
from cluster.groups import CONFIG_MAP, CONTROLLER_REVISION, POD, SERVICE, ready_group
from rbgctl.api.kinds import ROLE_BASED_GROUP, ROLE_INSTANCE, ROLE_INSTANCE_SET
from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.playground.deployment import ManagerProcess
from rbgctl.runtime.client import LiveClient

GOLDEN = Path(__file__).parents[1] / "golden" / "basic_rbg_base.json"
NAMESPACE = "rec-a0-001"
"""The namespace of the record: group-uid labels are made from it, and revision hashes from those."""

KINDS: dict[str, GVK] = {
    "rolebasedgroups.v1alpha2.workloads.x-k8s.io": ROLE_BASED_GROUP,
    "roleinstancesets.workloads.x-k8s.io": ROLE_INSTANCE_SET,
    "roleinstances.workloads.x-k8s.io": ROLE_INSTANCE,
    "pods": POD,
    "services": SERVICE,
    "configmaps": CONFIG_MAP,
    "controllerrevisions.apps": CONTROLLER_REVISION,
}

Objects = dict[str, list[RawObject]]


@pytest.fixture(scope="session")
def theirs() -> Objects:
    objects: Objects = json.loads(GOLDEN.read_text())["objects"]
    return objects


@pytest.fixture(scope="session")
async def ours(cluster: Any, manager: ManagerProcess) -> AsyncIterator[Objects]:
    client: LiveClient = cluster.client(user_agent="user")
    await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for manifest in json.loads(GOLDEN.read_text())["input"]:
        placed = json.loads(json.dumps(manifest).replace("<ns>", NAMESPACE))
        await client.apply(placed, field_manager="user")
    await ready_group(client, NN(NAMESPACE, "storefront"))
    raw = {name: (await client.list(gvk, NAMESPACE)).items for name, gvk in KINDS.items()}
    raw["configmaps"] = [c for c in raw["configmaps"] if c["metadata"]["name"] != "kube-root-ca.crt"]
    known = uids(o for items in raw.values() for o in items)
    yield {
        name: sorted((normalised(o, NAMESPACE, known) for o in items), key=lambda o: str(o["metadata"]["name"]))
        for name, items in raw.items()
    }
    await client.delete(ROLE_BASED_GROUP, NN(NAMESPACE, "storefront"), propagation="Foreground")


def compared(ours: Objects, theirs: Objects, kind: str) -> list[str]:
    mine = {o["metadata"]["name"]: o for o in ours[kind]}
    other = {o["metadata"]["name"]: o for o in theirs[kind]}
    return differences(mine, other)


def test_group_is_the_same(ours: Objects, theirs: Objects) -> None:
    assert compared(ours, theirs, "rolebasedgroups.v1alpha2.workloads.x-k8s.io") == []


def test_role_instance_sets_are_the_same(ours: Objects, theirs: Objects) -> None:
    """Labels, annotations, spec, status and managers: RBG-12, RBG-82..87, SFM-5, STA-10."""
    assert compared(ours, theirs, "roleinstancesets.workloads.x-k8s.io") == []


def test_services_are_the_same(ours: Objects, theirs: Objects) -> None:
    """RBG-107, RBG-108."""
    assert compared(ours, theirs, "services") == []


def test_discovery_config_map_is_the_same(ours: Objects, theirs: Objects) -> None:
    """RBG-45, RBG-46."""
    assert compared(ours, theirs, "configmaps") == []
