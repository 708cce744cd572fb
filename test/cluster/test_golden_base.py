"""What we make of basic_rbg_base, compared field by field with what the Go operator made of it."""

import json
import re
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


DELIBERATE = {
    "SFM-10": (
        r"\.storefront-backend-[01]\..*(role-instance-index|statefulset\.kubernetes\.io/pod-name): "
        r"'(storefront-backend-)?[01]' != '(storefront-backend-)?2'$",
        "each instance has its own ordinal; the recorded ones all carry the last one's (D1)",
    ),
    "REV-3": (
        r"\.storefront-backend-[01]\.(metadata\.labels\.controller-revision-hash|status\.(current|update)Revision): "
        r"'(storefront-backend-[01]-)?\w+' != '(storefront-backend-[01]-)?6969ddf9d5'$",
        "which makes their revisions, whose data hold those labels, other ones",
    ),
    "STA-7": (
        r"\.storefront-\w+-\d\.status\.labelSelector: 'rbg\.workloads\.x-k8s\.io/role-instance-name=storefront-\w+-\d' "
        r"!= '<absent>'$",
        "labelSelector is filled (D5)",
    ),
}
"""Every difference we want, by the rule that asks for it: how its line reads, and why."""


def unexpected(found: list[str]) -> list[str]:
    return [line for line in found if not any(re.search(pattern, line) for pattern, _ in DELIBERATE.values())]


def test_role_instances_are_the_same_but_for_what_we_do_on_purpose(ours: Objects, theirs: Objects) -> None:
    """RIN-1..4, STA-1..5, SFM-10, STA-7: and every deliberate difference is really there."""
    found = compared(ours, theirs, "roleinstances.workloads.x-k8s.io")
    assert unexpected(found) == []
    for rule, (pattern, why) in DELIBERATE.items():
        assert any(re.search(pattern, line) for line in found), f"{rule} no longer differs: {why}"


def test_pods_are_the_same_but_for_what_we_do_on_purpose(ours: Objects, theirs: Objects) -> None:
    """RIN-13..17, RDY-1, RBG-75, RBG-77: names, labels, env, gates, hostname, owners, conditions and managers."""
    mine = {"pods": [without_node(p) for p in ours["pods"]]}
    other = {"pods": [without_node(p) for p in theirs["pods"]]}
    assert unexpected(compared(mine, other, "pods")) == []
    for pod in ours["pods"]:
        ordinal = pod["metadata"]["name"].rpartition("-")[2]
        assert pod["metadata"]["labels"]["rbg.workloads.x-k8s.io/role-instance-index"] == ordinal


def test_revisions_are_the_same_but_for_what_we_do_on_purpose(ours: Objects, theirs: Objects) -> None:
    """REV-1..4, RBG-33..37: data, hashes in names, labels, annotations, owners, managers and numbers."""
    kind = "controllerrevisions.apps"
    found = compared(ours, theirs, kind)
    other_name = re.compile(r"\.storefront-backend-[01]-\w+: ")
    assert [line for line in found if not other_name.match(line)] == []
    assert len(found) == 4, "two revisions of ours for two recorded ones"
    assert len(ours[kind]) == len(theirs[kind])


def without_node(pod: RawObject) -> RawObject:
    """A pod without what the simulated node decides: placement, addresses, container ids, order of conditions."""
    labels = {k: v for k, v in pod["metadata"]["labels"].items() if not k.startswith("topology.kubernetes.io/")}
    status = pod["status"]
    ids = ("containerID", "imageID")
    return {
        **pod,
        "metadata": {**pod["metadata"], "labels": labels},
        "spec": {k: v for k, v in pod["spec"].items() if k != "nodeName"},
        "status": {
            "phase": status["phase"],
            "qosClass": status["qosClass"],
            "containers": [{k: v for k, v in c.items() if k not in ids} for c in status["containerStatuses"]],
            "conditions": {
                c["type"]: {k: v for k, v in c.items() if v}
                for c in status["conditions"]
                if c["type"] != "PodReadyToStartContainers"
            },
        },
    }
