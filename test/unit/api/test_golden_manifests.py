"""Manifests of every feature through the models of their version: what goes in comes out (EX-90, IMP-1)."""

import json
from pathlib import Path
from typing import Any

import pytest

from rbgctl.api import kinds, labels, names
from rbgctl.api.crd.definitions import DEFINITIONS
from rbgctl.api.model import Model
from rbgctl.api.v1alpha1.rolebasedgroup import RoleBasedGroup as OldGroup
from rbgctl.api.v1alpha2.defaults import role_restart_policy, shared_service_selection
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.api.v1alpha2.workload_type import workload_type

MANIFESTS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "golden" / "manifests.jsonl").read_text(encoding="utf-8").splitlines()
]
MODELS: dict[tuple[str, str], type[Model]] = {
    (f"{kinds.GROUP}/{version.name}", definition.kind): version.model
    for definition in DEFINITIONS
    for version in definition.versions
}


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['from']}-{manifest['object']['kind']}-{manifest['object']['metadata']['name']}"


def unknown_to(model: Any, path: str = "") -> list[str]:
    """Paths of the fields that a model keeps without knowing them."""
    if isinstance(model, list):
        return [found for item in model for found in unknown_to(item, f"{path}[]")]
    if isinstance(model, dict):
        return [found for item in model.values() for found in unknown_to(item, f"{path}{{}}")]
    if not isinstance(model, Model):
        return []
    names = [f"{path}.{name}" for name in model.__pydantic_extra__ or ()]
    for name in model.model_fields_set & type(model).model_fields.keys():
        names += unknown_to(getattr(model, name), f"{path}.{name}")
    return names


@pytest.mark.parametrize("manifest", MANIFESTS, ids=named)
def test_manifests_survive_the_models(manifest: dict[str, Any]) -> None:  # IMP-1 IMP-2
    raw = manifest["object"]
    decoded = MODELS[raw["apiVersion"], raw["kind"]].decode(raw)
    assert decoded.dump() == raw
    # Everything that these manifests use is modelled, but for one field that never was part of the API.
    never = [".spec.group_template.metadata"] if manifest["from"].startswith("basic_rbgs_") else []
    assert unknown_to(decoded) == never


# What releases stored and newer schemas would refuse, or never had.
STORED = {
    "v0.4 wrote a leader-worker block on every role": (  # OLD-1
        OldGroup,
        {"name": "a", "template": {}, "leaderWorkerSet": {"patchLeaderTemplate": None, "size": 1}},
    ),
    "v0.4 took partitions as numbers": (  # OLD-1
        OldGroup,
        {"name": "a", "rolloutStrategy": {"rollingUpdate": {"partition": 2}}},
    ),
    "v0.5 had several components and labels": (  # OLD-2
        OldGroup,
        {"name": "a", "labels": {"x": "y"}, "components": [{"name": "c", "template": {}}]},
    ),
    "v0.6 had role templates with patches": (  # OLD-3
        OldGroup,
        {"name": "a", "templateRef": {"name": "t"}, "templatePatch": {}},
    ),
    "until v0.7.0-alpha.3 a group could be recreated": (  # OLD-4
        OldGroup,
        {"name": "a", "restartPolicy": "RecreateRBGOnPodRestart"},
    ),
    "v0.7.0-alpha.1 had the workload in v1alpha2": (  # OLD-5
        RoleBasedGroup,
        {"name": "a", "workload": {"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleInstanceSet"}},
    ),
    "v0.7.0-alpha.3 had the restart policy on the role": (  # OLD-6
        RoleBasedGroup,
        {"name": "a", "restartPolicy": "RecreateRBGOnPodRestart", "standalonePattern": {}},
    ),
    "v0.7.0 had it on the pattern as text": (  # OLD-7
        RoleBasedGroup,
        {"name": "a", "leaderWorkerPattern": {"restartPolicy": "None"}},
    ),
    "v0.8.0-alpha.3 had it there as an object": (  # OLD-8 OLD-10 RP-3
        RoleBasedGroup,
        {"name": "a", "customComponentsPattern": {"restartPolicy": {"type": "None", "baseDelaySeconds": 1}}},
    ),
    "v0.8.0-alpha.5 has both": (  # OLD-9
        RoleBasedGroup,
        {"name": "a", "leaderWorkerPattern": {"restartPolicy": "None", "restartPolicyConfig": {"type": "None"}}},
    ),
}


@pytest.mark.parametrize("case", STORED)
def test_what_any_release_stored_can_be_read(case: str) -> None:
    model, role = STORED[case]
    raw = {"metadata": {"name": "g"}, "spec": {"roles": [role]}, "status": {"roleStatuses": [{"name": "a"}]}}
    assert model.decode(raw).dump() == raw


def test_role_level_leftovers_do_nothing() -> None:  # OLD-5 OLD-6 OLD-10 A1-10 RP-2
    raw = {
        "name": "a",
        "workload": {"apiVersion": "apps/v1", "kind": "StatefulSet"},
        "restartPolicy": "None",
        "template": {"spec": {}},
        "templateRef": {"name": "t"},
        "leaderWorkerPattern": {},
    }
    role = RoleBasedGroup.decode({"spec": {"roles": [raw]}}).roles[0]
    assert (role.template, role.template_ref) == (None, None)
    assert workload_type(role.annotations).is_role_instance_set
    assert role_restart_policy(role).recreates


def test_objects_of_the_first_v1alpha2_releases() -> None:  # VER-1
    # v0.7.0-alpha.3: restart policy on the role, conditions that repeat a type, components named Leader and Worker.
    condition = {
        "type": "RestartInProgress",
        "status": "False",
        "reason": "",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"conditions": [condition, condition], "roleStatuses": [{"name": "a", "replicas": 1}]}
    role = {"name": "a", "restartPolicy": "RecreateRBGOnPodRestart", "leaderWorkerPattern": {"size": 2}}
    group = {"metadata": {"name": "g"}, "spec": {"roles": [role]}, "status": status}
    assert RoleBasedGroup.decode(group).dump() == group
    components = [{"name": "Leader", "size": 1, "template": {}}, {"name": "Worker", "size": 1, "template": {}}]
    instance = RoleInstance.decode({"metadata": {"name": "i"}, "spec": {"components": components}})
    assert [
        names.pod_name("i", labels.ROLE_TYPE_LEADER_WORKER_SET, component.name, 0) for component in instance.components
    ] == ["i-0", "i-0"]  # NAM-13 counts only `worker` from 1


def test_groups_of_v0_7_keep_their_policy_and_lose_the_workers_host_names() -> None:  # VER-2 VER-3
    # The schema took a string on the pattern; an unset service selection has meant the leader alone since v0.8.
    role = {"name": "a", "leaderWorkerPattern": {"size": 2, "restartPolicy": "None"}}
    found = RoleBasedGroup.decode({"spec": {"roles": [role]}}).roles[0]
    assert not role_restart_policy(found).recreates
    assert shared_service_selection(found) == "LeaderOnly"
    # Every other addition of v0.8 is absent and has its default.
    assert role_restart_policy(found).base_delay_seconds == 30
    status = RoleInstance.decode({"status": {"conditions": []}}).status
    assert (status.restart_count, status.last_restart_time) == (None, None)
