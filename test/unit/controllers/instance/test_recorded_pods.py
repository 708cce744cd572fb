"""The pods of recorded instances: what the Go operator made of them is what we would make.

recorded_pods.json holds, from runs of the Go operator on a real cluster, one instance of each role of several groups
(standalone, leader-worker, custom components; stateful and stateless) with its pods as they came to rest.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.pod_creation import new_pod
from rbgctl.controllers.instance.pods import slots
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.instance_revision import resolve_instance
from rbgctl.planning.revisions import name_of, short_hash

RECORDED = json.loads((Path(__file__).parent / "recorded_pods.json").read_text(encoding="utf-8"))
ITEMS = [item for items in RECORDED.values() for item in items]
every_instance = pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["instance"]["metadata"]["name"])


def fresh(item: RawObject) -> RawObject:
    """The recorded instance as it was before anything was made of it."""
    raw: RawObject = item["instance"]
    uid = f"<uid:RoleInstance/{raw['metadata']['name']}>"
    return {**raw, "metadata": {**raw["metadata"], "uid": uid}, "status": {}}


@every_instance
def test_the_pods_are_those_of_the_go_operator(item: RawObject) -> None:
    """Everything we send is what was recorded, and nothing but the cluster added to it. RIN-12 … RIN-17"""
    raw = fresh(item)
    revision_hash = short_hash(resolve_instance(raw, []).update)
    made = [new_pod(raw, slot, revision_hash) for slot in slots(RoleInstance.decode(raw))]
    ours = {p["metadata"]["name"]: p for p in made}
    recorded = {p["metadata"]["name"]: p for p in item["pods"]}
    assert sorted(ours) == sorted(recorded)
    for name, pod in ours.items():
        theirs = recorded[name]
        found = {k: v for k, v in theirs["metadata"]["labels"].items() if not k.startswith("topology.kubernetes.io/")}
        assert pod["metadata"]["labels"] == found
        for field in ("generateName", "annotations", "finalizers", "ownerReferences"):
            assert pod["metadata"].get(field) == theirs["metadata"].get(field), field
        for field in ("hostname", "subdomain", "readinessGates"):
            assert pod["spec"].get(field) == theirs["spec"].get(field), field
        assert missing(pod["spec"], theirs["spec"]) == []
        for container, other in zip(pod["spec"]["containers"], theirs["spec"]["containers"], strict=True):
            assert [e["name"] for e in container.get("env") or ()] == [e["name"] for e in other.get("env") or ()]


@every_instance
def test_the_revision_is_named_as_the_go_operator_names_it(item: RawObject) -> None:  # REV-1, REV-3, REV-4
    assert name_of(resolve_instance(fresh(item), []).update) == item["instance"]["status"]["updateRevision"]


def missing(ours: Any, theirs: Any, path: str = "spec") -> list[str]:
    """What we would send and the record has not: maps as subsets, lists as prefixes (admission appends)."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [line for k, v in ours.items() for line in missing(v, theirs.get(k), f"{path}.{k}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) <= len(theirs):
        return [line for i, v in enumerate(ours) for line in missing(v, theirs[i], f"{path}[{i}]")]
    return [] if ours == theirs else [f"{path}: {ours!r}, recorded {theirs!r}"]
