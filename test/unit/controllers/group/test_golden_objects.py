"""Objects of the group controller, compared with those the Go operator made: every pattern and rollout it recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.controllers.group.world import World

from rbgctl.api import annotations, names
from rbgctl.api.v1alpha2.rolebasedgroup import RoleSpec
from rbgctl.api.v1alpha2.workload_type import workload_type
from rbgctl.controllers.group.discovery import config_map, discovered_roles
from rbgctl.controllers.group.observe import Observed
from rbgctl.controllers.group.role_instance_set import role_instance_set
from rbgctl.controllers.group.service import effective_name, headless_service
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.group_revision import resolve_group

GOLDEN = Path(__file__).parents[3] / "golden" / "group_objects.jsonl"
RECORDS = {r["record"]: r for r in map(json.loads, GOLDEN.read_text().splitlines())}
DEFAULTED = {"revisionHistoryLimit"}
"""Fields of a set that the API server fills and nobody sends."""
ALLOCATED = {("kitchen-line", "chef.orders")}
"""A port annotation: the recording operator had its port allocator on, which is off by default (RBG-125)."""

CASES = [
    pytest.param(name, raw["metadata"]["name"], id=f"{name}-{raw['metadata']['name']}")
    for name, record in RECORDS.items()
    for raw in record["groups"]
]


class Case:
    """One recorded group before anything was made of it, and what was."""

    def __init__(self, record: str, group: str) -> None:
        text = json.dumps(RECORDS[record]).replace("<ns>", RECORDS[record]["namespace"])
        found = json.loads(text)
        raw = next(g for g in found["groups"] if g["metadata"]["name"] == group)
        raw["metadata"]["uid"] = f"<uid:RoleBasedGroup/{group}>"
        del raw["status"]
        self.observed: Observed = World(raw).observed()
        self.resolution = resolve_group(raw, [])
        self.services = {r.name: effective_name(self.observed, r) for r in self.observed.group.roles}

        def mine(kind: str) -> dict[str, RawObject]:
            owned = (o for o in found[kind] if o["metadata"]["name"].removeprefix("s-").startswith(group))
            return {o["metadata"]["name"]: o for o in owned}

        self.sets, self.recorded_services = mine("roleInstanceSets"), mine("services")
        self.config_maps, self.revisions = mine("configMaps"), mine("groupRevisions")

    @property
    def roles(self) -> list[RoleSpec]:
        """Those that a RoleInstanceSet runs."""
        return [r for r in self.observed.group.roles if workload_type(r.annotations).is_role_instance_set]

    def planned(self, role: RoleSpec) -> RawObject:
        revision = self.resolution.role_hashes[role.name]
        return role_instance_set(self.observed, role, service=self.services[role.name], revision=revision)


@pytest.mark.parametrize(("record", "group"), CASES)
def test_role_instance_sets_are_the_recorded_ones(record: str, group: str) -> None:
    """LBL-40, LBL-43, RBG-12, RBG-40, RBG-69, RBG-70, RBG-75..79, RBG-82..87, RBG-129, RBG-141."""
    case = Case(record, group)
    assert case.sets.keys() == {names.workload_name(group, r.name) for r in case.roles}
    for role in case.roles:
        ours = case.planned(role)
        theirs = case.sets[ours["metadata"]["name"]]
        name = ours["metadata"]["name"]
        noted = {k: v for k, v in theirs["metadata"]["annotations"].items() if (name, k) not in ALLOCATED}
        assert ours["metadata"]["labels"] == theirs["metadata"]["labels"]
        assert ours["metadata"]["annotations"] == noted
        assert ours["metadata"]["ownerReferences"] == theirs["metadata"]["ownerReferences"]
        assert ours["spec"] == {k: v for k, v in theirs["spec"].items() if k not in DEFAULTED}


@pytest.mark.parametrize(("record", "group"), CASES)
def test_services_are_the_recorded_ones(record: str, group: str) -> None:
    """LBL-48, RBG-107..109."""
    case = Case(record, group)
    assert case.recorded_services.keys() == {case.services[r.name] for r in case.roles}
    for role in case.roles:
        ours = headless_service(case.observed, role, case.services[role.name], case.planned(role))
        theirs = case.recorded_services[ours["metadata"]["name"]]
        assert ours["metadata"]["labels"] == theirs["metadata"]["labels"]
        assert ours["metadata"]["annotations"] == theirs["metadata"]["annotations"]
        assert ours["spec"].items() <= theirs["spec"].items()
        unresolved: list[dict[str, Any]] = [{**o, "uid": ""} for o in ours["metadata"]["ownerReferences"]]
        assert unresolved == [{**o, "uid": ""} for o in theirs["metadata"]["ownerReferences"]]


@pytest.mark.parametrize(("record", "group"), CASES)
def test_the_discovery_config_map_is_the_recorded_one_to_the_byte(record: str, group: str) -> None:
    """PAY-8, NAM-7, RBG-45, RBG-46: other bytes would be a write at every take-over."""
    case = Case(record, group)
    roles = discovered_roles(case.observed, case.services)
    if not roles:
        assert case.config_maps == {}, "a group of stateless roles has none"
        return
    ours = config_map(case.observed, roles)
    theirs = case.config_maps[group]
    assert ours["data"] == theirs["data"]
    assert ours["metadata"]["ownerReferences"] == theirs["metadata"]["ownerReferences"]
    assert set(yaml.safe_load(ours["data"]["config.yaml"])) == {"group", "roles"}


@pytest.mark.parametrize(("record", "group"), CASES)
def test_the_revision_is_the_recorded_one(record: str, group: str) -> None:
    """RBG-33..37: name, number and data, so that a take-over makes no new one (RBG-43)."""
    case = Case(record, group)
    ours = case.resolution.revision
    theirs = case.revisions[ours["metadata"]["name"]]
    assert ours["data"] == theirs["data"]
    assert ours["revision"] == theirs["revision"]
    assert ours["metadata"]["labels"] == theirs["metadata"]["labels"]


def test_the_records_hold_every_pattern() -> None:
    """Guards the comparison above against comparing too little."""
    roles = [role for r in RECORDS.values() for g in r["groups"] for role in g["spec"]["roles"]]
    assert {p for role in roles for p in role if p.endswith("Pattern")} == {
        "standalonePattern",
        "leaderWorkerPattern",
        "customComponentsPattern",
    }
    stateless = annotations.PATTERN_STATELESS
    assert any(stateless in (role.get("annotations") or {}).values() for role in roles)
