"""Both round trips over made-up objects and over damaged copies of recorded ones: nothing is lost, nothing fails."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.api.conversion.objects import (
    COORDINATION,
    GANG,
    OLD_TOPOLOGY,
    POLICY,
    TOPOLOGY,
    V1,
    V1_DATA,
    V2,
    V2_DATA,
    WT,
)

from rbgctl.api.conversion import convert, malformed_preservation
from rbgctl.machinery.gvk import RawObject

GOLDEN = Path(__file__).parents[3] / "golden" / "versions.jsonl"
RECORDED = {v: [json.loads(line)[v.rpartition("/")[2]] for line in GOLDEN.open(encoding="utf-8")] for v in (V1, V2)}
MAPS = ("annotations", "labels")
DERIVED = (GANG, GANG + "-timeout", GANG + "-volcano-queue", GANG + "-volcano-priority", TOPOLOGY)

# --- objects ---------------------------------------------------------------------------------------------------------

TEXT = st.sampled_from(["", "a", "b", "None", "RecreateRoleInstanceOnPodRestart", "10%", "é<&>\u2028", "a/b/c", '"'])
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-3, 9), TEXT, st.just(0.5))
JUNK = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abcn"), inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.sampled_from(["a", "b", "c", "spec", "annotations"])
STRINGS = st.dictionaries(st.sampled_from(["x", "y", GANG]), TEXT, max_size=2)
TEMPLATE = st.fixed_dictionaries({"spec": st.fixed_dictionaries({"containers": st.just([{"name": "c"}]), "x": JUNK})})
COUNT = st.integers(0, 5)


def fields(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[RawObject]:
    """An object with any of these fields, some of them null, and now and then a field that nobody knows."""
    nullable = {key: st.one_of(value, value, value, value, st.none()) for key, value in optional.items()}
    return st.fixed_dictionaries({}, optional={**nullable, "future": JUNK})


def named(item: st.SearchStrategy[RawObject], unique: bool = True) -> st.SearchStrategy[list[RawObject]]:
    item = st.builds(lambda name, rest: {**rest, "name": name}, NAMES, item)
    return st.lists(item, max_size=3, unique_by=(lambda i: i["name"]) if unique else None)


ROLLOUT = fields(
    type=st.just("RollingUpdate"),
    rollingUpdate=fields(
        type=st.sampled_from(["Recreate", "InPlaceIfPossible", ""]),
        partition=COUNT,
        maxUnavailable=TEXT,
        paused=st.booleans(),
    ),
)
SHARED = {
    "labels": STRINGS,
    "replicas": COUNT,
    "dependencies": st.lists(TEXT, max_size=2),
    "servicePorts": st.lists(fields(port=COUNT), max_size=2),
    "minReadySeconds": COUNT,
    "engineRuntimes": st.lists(fields(profileName=TEXT), max_size=2),
    "rolloutStrategy": ROLLOUT,
}
POLICIES = st.sampled_from(["None", "RecreateRoleInstanceOnPodRestart", "RecreateRBGOnPodRestart", ""])
ROLE_TEMPLATES = named(fields(template=TEMPLATE))
ROLE_ANNOTATIONS = st.dictionaries(
    st.sampled_from(["x", WT, WT]),
    st.sampled_from(["apps/v1/StatefulSet", f"{V2}/RoleInstanceSet", "malformed", ""]),
    max_size=2,
)
WORKLOAD = fields(
    apiVersion=st.sampled_from(["apps/v1", V2, ""]), kind=st.sampled_from(["StatefulSet", "RoleInstanceSet", ""])
)
ROLE_V1 = fields(
    **SHARED,
    annotations=ROLE_ANNOTATIONS,
    scalingAdapter=fields(enable=st.booleans()),
    workload=WORKLOAD,
    restartPolicy=POLICIES,
    template=TEMPLATE,
    templateRef=fields(name=TEXT),
    templatePatch=JUNK,
    leaderWorkerSet=fields(size=COUNT, patchLeaderTemplate=JUNK, patchWorkerTemplate=JUNK),
    components=named(fields(size=COUNT, serviceName=TEXT, template=TEMPLATE), unique=False),
    standalonePattern=JUNK,
)
SOURCE = {"template": TEMPLATE, "templateRef": fields(name=TEXT, patch=JUNK)}
CONFIG = fields(type=POLICIES, baseDelaySeconds=st.sampled_from([0, 30]), maxDelaySeconds=st.sampled_from([0, 600]))
RESTART = {"restartPolicyConfig": CONFIG, "restartPolicy": st.one_of(POLICIES, CONFIG)}
ROLE_V2 = fields(
    **SHARED,
    annotations=ROLE_ANNOTATIONS,
    scalingAdapter=fields(enable=st.booleans(), labels=STRINGS),
    podManagementPolicy=st.sampled_from(["Parallel", "OrderedReady"]),
    standalonePattern=fields(**SOURCE),
    leaderWorkerPattern=fields(
        **SOURCE,
        **RESTART,
        size=COUNT,
        leaderTemplatePatch=JUNK,
        workerTemplatePatch=JUNK,
        sharedServiceSelection=st.sampled_from(["All", "LeaderOnly"]),
    ),
    customComponentsPattern=fields(
        **RESTART,
        components=named(
            fields(size=COUNT, serviceName=TEXT, template=TEMPLATE, labels=STRINGS, annotations=STRINGS), unique=False
        ),
    ),
    workload=WORKLOAD,
    template=JUNK,
    restartPolicy=POLICIES,
)
POLICY_V1 = fields(
    kubeScheduling=fields(scheduleTimeoutSeconds=COUNT), volcanoScheduling=fields(queue=TEXT, priorityClassName=TEXT)
)
COORDINATION_V1 = named(
    fields(
        roles=st.lists(TEXT, max_size=2),
        strategy=fields(
            rollingUpdate=fields(maxSkew=TEXT, partition=TEXT, maxUnavailable=TEXT),
            scaling=fields(maxSkew=TEXT, progression=TEXT),
        ),
    )
)
SPEC_V1 = fields(
    roles=named(ROLE_V1), roleTemplates=ROLE_TEMPLATES, podGroupPolicy=POLICY_V1, coordination=COORDINATION_V1
)
SPEC_V2 = fields(roles=named(ROLE_V2), roleTemplates=ROLE_TEMPLATES)


def json_text(value: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return st.one_of(value.map(lambda v: orjson.dumps(v).decode()), JUNK.map(lambda v: orjson.dumps(v).decode()), TEXT)


ANNOTATIONS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "x": TEXT,
            OLD_TOPOLOGY: TEXT,
            **dict.fromkeys(DERIVED, TEXT),
            POLICY: json_text(POLICY_V1),
            COORDINATION: json_text(COORDINATION_V1),
            V1_DATA: json_text(JUNK),
            V2_DATA: json_text(JUNK),
        },
    ),
)


def made(version: str, kind: str, annotations: Any, spec: Any) -> RawObject:
    metadata = {"name": "o", "namespace": "n", "labels": {"l": "1"}}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def objects(version: str, spec: st.SearchStrategy[Any]) -> st.SearchStrategy[RawObject]:
    group = st.builds(made, st.just(version), st.just("RoleBasedGroup"), ANNOTATIONS, spec)
    inner = (
        {"template": spec}
        if version == V1
        else {"groupTemplate": fields(labels=STRINGS, annotations=ANNOTATIONS, spec=spec)}
    )
    set_spec = fields(replicas=COUNT, **inner)
    return st.one_of(group, st.builds(made, st.just(version), st.just("RoleBasedGroupSet"), ANNOTATIONS, set_spec))


# --- damage ----------------------------------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, version: str) -> RawObject:
    """A recorded object with up to four places deleted, replaced, doubled or given a stray key."""
    obj = copy.deepcopy(draw(st.sampled_from(RECORDED[version])))
    for _ in range(draw(st.integers(0, 4))):
        node: Any = obj
        key: Any = "spec"
        for _ in range(draw(st.integers(0, 7))):
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            node = inner
            key = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        match draw(st.sampled_from(["delete", "replace", "double", "add"])):
            case "delete" if node is not obj:
                del node[key]
            case "replace":
                node[key] = draw(JUNK)
            case "double" if isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            case "add" if isinstance(node, dict) and node is not obj:
                stray = st.sampled_from([*STRAY, "future"])
                node.setdefault(draw(stray), draw(st.one_of(JUNK, st.just({}), st.just([]))))
    return obj


STRAY = [
    *("name", "annotations", "labels", "restartPolicy", "restartPolicyConfig", "workload", "template", "components"),
    *("leaderWorkerSet", "standalonePattern", "leaderWorkerPattern"),
    *("groupTemplate", "podGroupPolicy", "coordination"),
]

# --- what counts as the same -----------------------------------------------------------------------------------------


def normal(obj: RawObject) -> RawObject:
    """Less what is not meant to survive, in both versions: nulls, empty metadata.annotations, status, our own data."""
    obj = {
        key: _without_nulls(obj[key]) for key in ("apiVersion", "kind", "metadata", "spec") if obj.get(key) is not None
    }
    annotations = obj["metadata"].get("annotations", {})
    for key in (V1_DATA, V2_DATA):
        annotations.pop(key, None)
    if not annotations:
        obj["metadata"].pop("annotations", None)
    return obj


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_nulls(item) for key, item in value.items() if item is not None}
        # A string map of nothing but nulls is none at all.
        return {key: item for key, item in kept.items() if item != {} or key not in MAPS or value[key] == {}}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def roles_of(spec: Any) -> list[RawObject]:
    roles = spec.get("roles") if isinstance(spec, dict) else None
    return [role for role in roles if isinstance(role, dict)] if isinstance(roles, list) else []


def normal_v1(obj: RawObject) -> RawObject:
    """Annotations that only repeat a field, and lose against it, are no content of v1alpha1 (CV-10, CV-20, CV-21)."""
    obj = normal(obj)
    annotations = obj["metadata"].get("annotations", {})
    for key in DERIVED:
        annotations.pop(key, None)
    if not annotations:
        obj["metadata"].pop("annotations", None)
    spec = obj.get("spec")
    for role in roles_of(spec) + roles_of(spec.get("template") if isinstance(spec, dict) else None):
        if isinstance(role.get("annotations"), dict):
            role["annotations"].pop(WT, None)
            if not role["annotations"]:
                del role["annotations"]
    return obj


def normal_v2(obj: RawObject) -> RawObject:
    """Values that the schema fills in are as good as absent (A1-12); sets are completed by inheritance (CV-42)."""
    obj = normal(obj)
    spec = obj.get("spec")
    template = spec.get("groupTemplate") if isinstance(spec, dict) else None
    for role in roles_of(spec) + roles_of(template.get("spec") if isinstance(template, dict) else None):
        if role.get("podManagementPolicy") == "Parallel":
            del role["podManagementPolicy"]
        for config in _configs(role):
            for key, value in (("baseDelaySeconds", 30), ("maxDelaySeconds", 600)):
                if config.get(key) == value:
                    del config[key]
    if (
        obj["kind"] == "RoleBasedGroupSet"
        and isinstance(template, dict)
        and isinstance(template.get("annotations", {}), dict)
    ):
        own, inherited = obj["metadata"].get("annotations", {}), template.get("annotations", {})
        for key in (*DERIVED, COORDINATION):
            if key in inherited and inherited[key] == own.get(key):
                del inherited[key]
        if not inherited:
            template.pop("annotations", None)
    return obj


def _configs(role: RawObject) -> list[RawObject]:
    patterns = [role.get("leaderWorkerPattern"), role.get("customComponentsPattern")]
    configs = [p.get(k) for p in patterns if isinstance(p, dict) for k in ("restartPolicyConfig", "restartPolicy")]
    return [c for c in configs if isinstance(c, dict)]


def through(obj: RawObject, version: str) -> RawObject:
    """Converted as the API server has it done: parsed, keys sorted; the argument must not change. CV-6, CV-5"""
    before = copy.deepcopy(obj)
    text = orjson.dumps(convert(obj, version), option=orjson.OPT_SORT_KEYS)
    assert obj == before
    shuffled = orjson.loads(orjson.dumps(obj, option=orjson.OPT_SORT_KEYS))
    assert orjson.dumps(convert(shuffled, version), option=orjson.OPT_SORT_KEYS) == text
    converted: RawObject = orjson.loads(text)
    malformed_preservation(converted)
    assert converted["metadata"] | {"annotations": 0} == obj["metadata"] | {"annotations": 0}
    return converted


def round_trip(obj: RawObject, other: str, normal_form: Callable[[RawObject], RawObject]) -> None:
    there = through(obj, other)
    back = through(there, obj["apiVersion"])
    assert normal_form(back) == normal_form(obj)
    assert through(back, other) == there


@settings(max_examples=500, deadline=None)
@given(objects(V1, SPEC_V1))
def test_v1alpha1_objects_survive(obj: RawObject) -> None:
    """CV-50, CV-5, CV-6, CV-7"""
    round_trip(obj, V2, normal_v1)


@settings(max_examples=500, deadline=None)
@given(objects(V2, SPEC_V2))
def test_v1alpha2_objects_survive(obj: RawObject) -> None:
    """CV-51, CV-5, CV-6, CV-7, A1-14"""
    round_trip(obj, V1, normal_v2)


@settings(max_examples=500, deadline=None)
@given(damaged(V1))
def test_damaged_v1alpha1_objects_survive(obj: RawObject) -> None:
    """CV-50, CV-7, OLD-10"""
    round_trip(obj, V2, normal_v1)


@settings(max_examples=500, deadline=None)
@given(damaged(V2))
def test_damaged_v1alpha2_objects_survive(obj: RawObject) -> None:
    """CV-51, CV-7, OLD-10"""
    round_trip(obj, V1, normal_v2)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None)
@given(st.one_of(objects(V1, SPEC_V1), damaged(V1)))
def test_many_v1alpha1_objects_survive(obj: RawObject) -> None:
    """CV-50, CV-7"""
    round_trip(obj, V2, normal_v1)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None)
@given(st.one_of(objects(V2, SPEC_V2), damaged(V2)))
def test_many_v1alpha2_objects_survive(obj: RawObject) -> None:
    """CV-51, CV-7"""
    round_trip(obj, V1, normal_v2)


@settings(max_examples=300, deadline=None)
@given(JUNK, JUNK, JUNK, JUNK, st.sampled_from(["RoleBasedGroup", "RoleBasedGroupSet"]), st.sampled_from([V1, V2]))
def test_no_json_at_all_makes_conversion_fail(
    metadata: Any, spec: Any, status: Any, roles: Any, kind: str, version: str
) -> None:
    """CV-7, OLD-10"""
    obj = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "status": status}
    for candidate in (obj, {**obj, "spec": {"roles": roles, "template": spec, "groupTemplate": roles}}):
        before = copy.deepcopy(candidate)
        converted = convert(candidate, V1 if version == V2 else V2)
        assert candidate == before
        assert converted["kind"] == kind
        orjson.dumps(convert(converted, version))
        malformed_preservation(converted)
