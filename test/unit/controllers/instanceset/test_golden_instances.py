"""The instances we plan for a recorded set are those that the Go operator made of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from unit.controllers.instanceset.world import START

from rbgctl.api import labels
from rbgctl.api.v1alpha2.roleinstanceset import RoleInstanceSet
from rbgctl.controllers.instanceset.observed import Observed
from rbgctl.controllers.instanceset.plan import plan
from rbgctl.machinery.plan import Create, writes

OBJECTS = json.loads((Path(__file__).parents[3] / "golden" / "basic_rbg_base.json").read_text())["objects"]
SETS = {s["metadata"]["name"]: s for s in OBJECTS["roleinstancesets.workloads.x-k8s.io"]}
INSTANCES = OBJECTS["roleinstances.workloads.x-k8s.io"]


def as_served(recorded: dict[str, Any]) -> dict[str, Any]:
    """The recorded set as it was before its controller had seen it."""
    name = recorded["metadata"]["name"]
    metadata = {k: v for k, v in recorded["metadata"].items() if k != "managers"}
    metadata |= {"uid": f"<uid:RoleInstanceSet/{name}>", "resourceVersion": "1"}
    return {k: v for k, v in {**recorded, "metadata": metadata}.items() if k != "status"}


def planned(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    raw = as_served(SETS[name])
    steps = writes(plan(Observed(owner=RoleInstanceSet.decode(raw), raw=raw), START).steps)
    made = [w.obj for w in steps if isinstance(w, Create)]
    assert {w.field_manager for w in steps} == {"instanceset-manager"}
    return [o for o in made if o["kind"] == "RoleInstance"], [o for o in made if o["kind"] == "ControllerRevision"]


def as_made(recorded: dict[str, Any]) -> dict[str, Any]:
    """A recorded instance without what the API server and other controllers added, and with its own ordinal (D1)."""
    metadata = {k: v for k, v in recorded["metadata"].items() if k not in {"managers", "generation"}}
    spec = {k: v for k, v in recorded["spec"].items() if k != "readyPolicy"}
    ordinal = metadata["labels"][labels.ROLE_INSTANCE_INDEX]
    own = {labels.ROLE_INSTANCE_INDEX: ordinal, labels.STATEFULSET_POD_NAME: metadata["name"]}
    for component in spec["components"]:
        component["template"]["metadata"]["labels"] |= own
    return {"apiVersion": recorded["apiVersion"], "kind": recorded["kind"], "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("name", SETS)
def test_instances_are_the_recorded_ones_but_for_their_own_ordinal(name):
    """LBL-45, SFM-10, RIS-1, defect D1"""
    recorded = [as_made(json.loads(json.dumps(i))) for i in INSTANCES if i["metadata"]["name"].startswith(f"{name}-")]
    assert planned(name)[0] == recorded
    assert recorded


@pytest.mark.parametrize("name", SETS)
def test_revision_is_the_recorded_one(name):
    """REV-1, REV-3, REV-4"""
    (made,) = planned(name)[1]
    (recorded,) = [
        r
        for r in OBJECTS["controllerrevisions.apps"]
        if r["metadata"]["name"] == SETS[name]["status"]["updateRevision"]
    ]
    metadata = {k: v for k, v in recorded["metadata"].items() if k != "managers"}
    assert made == {**recorded, "metadata": metadata}


def test_instances_carry_the_labels_of_the_set_of_its_selector_and_their_own():
    """LBL-45: exactly these; the selector's win over the set's, ours over both."""
    raw = as_served(next(iter(SETS.values())))
    name = raw["metadata"]["name"]
    raw["metadata"]["labels"] = {"team": "a", "both": "set", labels.ROLE_INSTANCE_INDEX: "9"}
    raw["spec"] |= {"replicas": 1, "selector": {"matchLabels": {"picked": "yes", "both": "selector"}}}
    steps = writes(plan(Observed(owner=RoleInstanceSet.decode(raw), raw=raw), START).steps)
    made = {w.obj["kind"]: w.obj["metadata"] for w in steps if isinstance(w, Create)}
    assert made["RoleInstance"]["labels"] == {
        "team": "a",
        "both": "selector",
        "picked": "yes",
        labels.CONTROLLER_REVISION_HASH: made["ControllerRevision"]["name"],
        labels.STATEFULSET_POD_NAME: f"{name}-0",
        labels.ROLE_INSTANCE_INDEX: "0",
    }
