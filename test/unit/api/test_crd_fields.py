"""The schema of every field against the table in `crd_fields`, whose lines name the rules they stand for."""

import json
from typing import Any

import pytest
from unit.api.crd_fields import CONDITION, FIELDS, WORDS
from unit.api.schema_rows import rows

from rbgctl.api.crd import manifests
from rbgctl.api.crd.core_v1 import INT_OR_STRING

Node = dict[str, Any]

OWN_CONDITIONS = ("RoleInstanceSet", "RoleInstance", "Instance", "InstanceSet")
"""Kinds with conditions of an own, looser shape."""


def schemas(*, additions: bool = True) -> dict[tuple[str, str], Node]:
    return {
        (crd["spec"]["names"]["kind"], version["name"]): version["schema"]["openAPIV3Schema"]
        for crd in manifests(additions=additions)
        for version in crd["spec"]["versions"]
    }


ALL = schemas()
BASE = schemas(additions=False)


def table(text: str) -> list[tuple[str, str, str]]:
    for word, meaning in WORDS.items():
        text = text.replace(word, meaning)
    lines = [[*line.split("  ", 1), ""] for line in text.strip().splitlines()]
    return [(path, *_split(rest.strip())) for path, rest, *_ in lines]


def _split(rest: str) -> tuple[str, str]:
    said, _, rules = rest.partition("  ")
    return said, rules.strip()


def own_rows(kind: str, schema: Node) -> dict[str, str]:
    """Rows of a kind without what the table leaves out."""
    inner = ("spec.template.", "spec.groupTemplate.spec.") if kind == "RoleBasedGroupSet" else ()
    conditions = () if kind in OWN_CONDITIONS else ("status.conditions[].",)
    return {path: said for path, said in rows(schema) if not path.startswith((*inner, *conditions))}


@pytest.mark.parametrize("of", FIELDS, ids="/".join)
def test_fields(of: tuple[str, str]) -> None:
    assert own_rows(of[0], ALL[of]) == {path: said for path, said, _ in table(FIELDS[of])}


def test_the_table_has_every_kind_and_version() -> None:  # KIND-1..10
    assert FIELDS.keys() == ALL.keys()


@pytest.mark.parametrize("of", FIELDS, ids="/".join)
def test_without_additions_the_schema_is_that_of_the_go_operator(of: tuple[str, str]) -> None:
    assert own_rows(of[0], BASE[of]) == {
        path: said for path, said, rules in table(FIELDS[of]) if "addition" not in rules
    }


def test_conditions() -> None:  # GRP-71 RBGS-12 POL-10 WRM-33
    wanted = {path: said for path, said, _ in table(CONDITION)}
    found = {
        of: dict(rows(schema["properties"]["status"]["properties"]["conditions"]["items"]))
        for of, schema in ALL.items()
        if of[0] not in OWN_CONDITIONS and "conditions" in schema["properties"]["status"].get("properties", {})
    }
    assert {kind for kind, _ in found} == {
        "RoleBasedGroup",
        "RoleBasedGroupSet",
        "RoleBasedGroupScalingAdapter",
        "CoordinatedPolicy",
        "RoleBasedGroupWarmup",
    }
    assert all(fields == wanted for fields in found.values())


def spec_of(kind: str, version: str, *path: str) -> Node:
    node: Node = ALL[kind, version]["properties"]["spec"]
    for name in path:
        node = node["properties"][name]
    return {key: value for key, value in node.items() if key != "description"}


def test_a_group_set_embeds_the_spec_of_a_group() -> None:  # RBGS-4
    group = spec_of("RoleBasedGroup", "v1alpha2")
    assert spec_of("RoleBasedGroupSet", "v1alpha2", "groupTemplate", "spec") == group
    old = spec_of("RoleBasedGroup", "v1alpha1")
    assert spec_of("RoleBasedGroupSet", "v1alpha1", "template") == old


def test_versions_that_convert_by_name_have_the_same_fields() -> None:  # A1-2 KIND-3 KIND-7
    for kind in ("RoleBasedGroupScalingAdapter", "ClusterEngineRuntimeProfile"):
        assert json.dumps(ALL[kind, "v1alpha1"]) == json.dumps(ALL[kind, "v1alpha2"])


def test_int_or_string_takes_any_int_and_any_string() -> None:  # API-02
    role = spec_of("RoleBasedGroup", "v1alpha2")["properties"]["roles"]["items"]
    update = role["properties"]["rolloutStrategy"]["properties"]["rollingUpdate"]["properties"]
    for name in ("partition", "maxUnavailable", "maxSurge"):
        found = {key: value for key, value in update[name].items() if key not in {"default", "description"}}
        assert found == INT_OR_STRING
