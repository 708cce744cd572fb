"""What one version has no place for: it is kept, comes back, and gives way to edits made in the other version."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from unit.api.conversion.objects import (
    COORDINATION,
    GANG,
    POLICY,
    STATEFUL_SET,
    TEMPLATE,
    TOPOLOGY,
    V1,
    V1_DATA,
    V2,
    V2_DATA,
    WT,
    annotations_of,
    copied,
    down,
    group,
    up,
)

from rbgctl.api.conversion import convert, convert_and_report, malformed_preservation
from rbgctl.machinery.gvk import RawObject

Role = dict[str, Any]
BOTH = {"name": "w", "workload": STATEFUL_SET, "annotations": {WT: "apps/v1/StatefulSet"}}
"""A v1alpha1 role as it is read: the annotation repeats the workload."""
COMPONENTS = [{"name": "a", "template": TEMPLATE}]
RIS = f"{V2}/RoleInstanceSet"

ONLY_V1ALPHA1: dict[str, Role] = {
    "restart policy of a standalone role": {"template": TEMPLATE, "restartPolicy": "None"},
    "retired restart policy": {"template": TEMPLATE, "restartPolicy": "RecreateRBGOnPodRestart"},
    "components beside leaderWorkerSet": {
        "leaderWorkerSet": {"size": 2},
        "components": COMPONENTS,
        "template": TEMPLATE,
    },
    "template beside components": {"components": COMPONENTS, "template": TEMPLATE},
    "templateRef beside components": {"components": COMPONENTS, "templateRef": {"name": "t"}, "templatePatch": {}},
    "templatePatch without templateRef": {"template": TEMPLATE, "templatePatch": {"spec": {}}},
    "templateRef beside template": {"template": TEMPLATE, "templateRef": {"name": "t"}},
    "empty lists and maps": {
        "labels": {},
        "dependencies": [],
        "servicePorts": [],
        "engineRuntimes": [],
        "components": [],
    },
    "unknown keys": {"template": TEMPLATE, "future": {"a": [1]}, "standalonePattern": {"template": TEMPLATE}},
    "half a workload": {"workload": {"kind": "Deployment"}},
    "no workload": {"workload": None},
    "wrong types": {
        "leaderWorkerSet": 5,
        "components": {"a": 1},
        "templateRef": "x",
        "scalingAdapter": [],
        "replicas": "x",
    },
    "wrong annotations": {"annotations": ["a"]},
}

ONLY_V1ALPHA2: dict[str, Role] = {
    "no workload annotation": {"annotations": None},
    "malformed workload annotation": {"annotations": {WT: "malformed", "a": "b"}},
    "pod management policy": {"podManagementPolicy": "OrderedReady"},
    "labels of the scaling adapter": {"scalingAdapter": {"enable": True, "labels": {"a": "b"}}},
    "service selection": {
        "leaderWorkerPattern": {"size": 2, "sharedServiceSelection": "All", "restartPolicyConfig": {}}
    },
    "service selection that the API server would refuse today": {
        "leaderWorkerPattern": {"size": 2, "sharedServiceSelection": "LeaderOnly", "restartPolicyConfig": {}}
    },
    "delays": {
        "leaderWorkerPattern": {"restartPolicyConfig": {"type": "None", "baseDelaySeconds": 1, "maxDelaySeconds": 2}}
    },
    "deprecated restart policy": {"leaderWorkerPattern": {"restartPolicy": "None"}},
    "both restart policies": {
        "customComponentsPattern": {
            "components": COMPONENTS,
            "restartPolicy": "None",
            "restartPolicyConfig": {"baseDelaySeconds": 1},
        }
    },
    "restart policy object": {"leaderWorkerPattern": {"restartPolicy": {"type": "None", "baseDelaySeconds": 5}}},
    "no restart policy config": {"leaderWorkerPattern": {"size": 2}},
    "component labels": {
        "customComponentsPattern": {
            "components": [{**COMPONENTS[0], "labels": {"a": "b"}, "annotations": {"c": "d"}}, {"name": "b"}],
            "restartPolicyConfig": {},
        }
    },
    "two patterns": {
        "leaderWorkerPattern": {"size": 2, "restartPolicyConfig": {}},
        "customComponentsPattern": {"components": COMPONENTS},
        "standalonePattern": {"template": TEMPLATE},
    },
    "template beside templateRef": {"standalonePattern": {"template": TEMPLATE, "templateRef": {"name": "t"}}},
    "no pattern": {},
    "empty components": {"customComponentsPattern": {"components": []}},
    "dead keys": {"standalonePattern": {}, "workload": STATEFUL_SET, "template": TEMPLATE, "restartPolicy": "None"},
    "wrong types": {"standalonePattern": 5, "leaderWorkerPattern": [], "scalingAdapter": "x", "podManagementPolicy": 7},
}
"""Each on a role with the workload annotation of a StatefulSet, unless it says otherwise."""


def without_nulls(role: Role) -> Role:
    return {key: value for key, value in role.items() if value is not None}


def spoke(role: Role) -> RawObject:
    return group(V1, without_nulls({**BOTH, **role}))


def hub(role: Role) -> RawObject:
    return group(V2, without_nulls({"name": "w", "annotations": {WT: "apps/v1/StatefulSet"}, **role}))


@pytest.mark.parametrize("case", ONLY_V1ALPHA1)
def test_what_only_v1alpha1_can_say_comes_back(case: str) -> None:
    """CV-50, CV-7"""
    before = spoke(ONLY_V1ALPHA1[case])
    stored = up(before)
    assert annotations_of(stored).keys() == {V1_DATA}
    assert down(stored) == before
    assert up(down(stored)) == stored


@pytest.mark.parametrize("case", ONLY_V1ALPHA2)
def test_what_only_v1alpha2_can_say_comes_back(case: str) -> None:
    """CV-51, CV-7, SA-4; OLD-7, OLD-8, OLD-9: in the spelling it was stored in."""
    before = hub(ONLY_V1ALPHA2[case])
    read = down(before)
    assert annotations_of(read).keys() == {V2_DATA}
    assert up(read) == before
    assert down(up(read)) == read


@pytest.mark.parametrize("case", ["v1alpha1", "v1alpha2"])
def test_usual_objects_carry_no_data(case: str) -> None:
    """CV-50, CV-51: the stored form is upstream's, and the values that the schema fills in are no loss."""
    if case == "v1alpha1":
        usual = group(
            V1,
            {**BOTH, "replicas": 1, "minReadySeconds": 0, "template": TEMPLATE, "scalingAdapter": {"enable": False}},
            {**BOTH, "name": "l", "leaderWorkerSet": {"size": 2}, "template": TEMPLATE, "restartPolicy": "None"},
            {**BOTH, "name": "c", "components": COMPONENTS},
            {**BOTH, "name": "r", "templateRef": {"name": "t"}, "templatePatch": {}},
            podGroupPolicy={"kubeScheduling": {"scheduleTimeoutSeconds": 60}},
            coordination=[{"name": "x", "roles": ["w"]}],
        )
        assert V1_DATA not in annotations_of(up(usual))
        assert V2_DATA not in annotations_of(down(up(usual)))
        assert down(up(usual)) == usual
        written = copy.deepcopy(usual)
        for role in written["spec"]["roles"]:
            del role["annotations"]
        assert up(written) == up(usual)
    else:
        config = {"type": "None", "baseDelaySeconds": 30, "maxDelaySeconds": 600}
        pattern = {"size": 1, "restartPolicyConfig": config, "template": TEMPLATE}
        usual = hub({"podManagementPolicy": "Parallel", "leaderWorkerPattern": pattern})
        assert "annotations" not in down(usual)["metadata"]


def test_a_native_role_keeps_even_values_that_the_schema_fills_in() -> None:
    """A1-14: they are stored when the object is created in v1alpha2, and a v1alpha1 write then has nothing to store."""
    config = {"type": "None", "baseDelaySeconds": 30, "maxDelaySeconds": 600}
    role = {"name": "w", "podManagementPolicy": "Parallel", "leaderWorkerPattern": {"restartPolicyConfig": config}}
    assert up(down(group(V2, role))) == group(V2, role)


def test_data_is_compact_json_by_role_name() -> None:
    """CV-51"""
    before = group(
        V2, {"name": "w", "podManagementPolicy": "OrderedReady", "standalonePattern": {}}, annotations={"a": "b"}
    )
    assert annotations_of(down(before)) == {
        "a": "b",
        V2_DATA: '{"spec":{"roles":{"w":{"annotations":{"rbg.workloads.x-k8s.io/role-workload-type":'
        '[["workloads.x-k8s.io/v1alpha2/RoleInstanceSet"],[]]},"podManagementPolicy":[[],["OrderedReady"]]}}}}',
    }


def test_data_follows_its_role() -> None:
    """CV-51: roles may be reordered, added and removed meanwhile."""
    policies = {"a": "OrderedReady", "b": "Parallel", "c": "OrderedReady"}
    roles = [{"name": n, "podManagementPolicy": p, "standalonePattern": {}} for n, p in policies.items()]
    read = down(group(V2, *roles))
    a, b, c = read["spec"]["roles"]
    read["spec"]["roles"] = [c, {**b, "name": "new"}, b]
    assert a["name"] == "a"
    found = {r["name"]: r.get("podManagementPolicy") for r in up(read)["spec"]["roles"]}
    assert found == {"c": "OrderedReady", "new": None, "b": "Parallel"}


def edited(role: Role, change: Callable[[Role], Any], direction: str = "v1alpha1") -> Role:
    """A role that was read in the other version and changed there."""
    read = copied(down(hub(role)) if direction == "v1alpha1" else up(spoke(role)))
    change(read["spec"]["roles"][0])
    back = up(read) if direction == "v1alpha1" else down(read)
    assert (V2_DATA if direction == "v1alpha1" else V1_DATA) not in annotations_of(back)
    result: Role = back["spec"]["roles"][0]
    return result


def test_edits_in_v1alpha1_win_over_kept_data() -> None:
    """CV-51: what belongs to a field that was changed is dropped, the rest comes back."""
    lws = {"size": 2, "sharedServiceSelection": "All", "restartPolicyConfig": {"type": "None", "baseDelaySeconds": 1}}
    role = {"podManagementPolicy": "OrderedReady", "leaderWorkerPattern": lws}
    after = edited(role, lambda r: r.update(restartPolicy="RecreateRoleInstanceOnPodRestart", replicas=9))
    assert (after["replicas"], after["podManagementPolicy"]) == (9, "OrderedReady")
    assert after["leaderWorkerPattern"]["sharedServiceSelection"] == "All"
    assert after["leaderWorkerPattern"]["restartPolicyConfig"] == {
        "type": "RecreateRoleInstanceOnPodRestart",
        "baseDelaySeconds": 1,
    }
    after = edited(role, lambda r: r.pop("leaderWorkerSet"))
    assert "leaderWorkerPattern" not in after
    assert after["podManagementPolicy"] == "OrderedReady"


@pytest.mark.parametrize("text", [None, RIS])
def test_leader_only_does_not_come_back_beside_another_workload(text: str | None) -> None:
    """CV-51, CEL-2: the API server would refuse each later write in v1alpha2."""
    pattern = {"size": 2, "sharedServiceSelection": "LeaderOnly", "restartPolicyConfig": {}}
    role = {"leaderWorkerPattern": pattern, "annotations": {"x": "y"} if text is None else {WT: text}}
    without = {"size": 3, "restartPolicyConfig": {}}

    def changed(r: Role) -> None:
        r.update(workload=STATEFUL_SET, leaderWorkerSet={"size": 3})

    after = edited(role, changed)
    assert (after["leaderWorkerPattern"], after["annotations"][WT]) == (without, "apps/v1/StatefulSet")
    # Any other edit leaves it, and the selection that goes with all workloads stays.
    after = edited(role, lambda r: r.update(leaderWorkerSet={"size": 3}, annotations={**r["annotations"], "new": "1"}))
    assert after["leaderWorkerPattern"] == {**pattern, "size": 3}
    after = edited({**role, "leaderWorkerPattern": {**pattern, "sharedServiceSelection": "All"}}, changed)
    assert after["leaderWorkerPattern"] == {**without, "sharedServiceSelection": "All"}


@pytest.mark.parametrize(
    "stored", [{"restartPolicy": "None"}, {"restartPolicy": {"type": "None", "baseDelaySeconds": 5}}]
)
@pytest.mark.parametrize(("policy", "config"), [("Recreate", {"type": "Recreate"}), (None, {})])
def test_a_changed_restart_policy_replaces_the_deprecated_one(stored: Any, policy: Any, config: Any) -> None:
    """CV-51"""
    after = edited({"leaderWorkerPattern": {"size": 2, **stored}}, lambda r: r.update(restartPolicy=policy))
    assert after["leaderWorkerPattern"] == {"size": 2, "restartPolicyConfig": config}


def test_a_changed_workload_is_written_as_annotation() -> None:
    """CV-51, CV-10"""
    for annotations in (None, {WT: "malformed"}):
        after = edited({"annotations": annotations}, lambda r: r.update(workload=STATEFUL_SET))
        assert after["annotations"] == {WT: "apps/v1/StatefulSet"}
    after = edited({"annotations": None}, lambda r: r.update(annotations={"new": "1"}))
    assert after["annotations"] == {"new": "1"}


def test_a_second_pattern_does_not_come_back_beside_another_first() -> None:
    """CV-51"""
    role = {"leaderWorkerPattern": {"size": 2}, "customComponentsPattern": {"components": COMPONENTS}}
    after = edited(role, lambda r: (r.pop("leaderWorkerSet"), r.update(template=TEMPLATE)))
    assert after.keys() == {"name", "annotations", "standalonePattern"}


def test_a_component_that_is_gone_takes_its_labels_along() -> None:
    """CV-51"""
    components = [
        {"name": "a", "labels": {"l": "1"}, "template": {}},
        {"name": "b", "labels": {"l": "2"}, "template": {}},
    ]
    role = {"customComponentsPattern": {"components": components}}
    after = edited(
        role, lambda r: r.update(components=[{"name": "c", "template": {}}, {**r["components"][1], "size": 3}])
    )
    assert after["customComponentsPattern"]["components"] == [
        {"name": "c", "template": {}},
        {**components[1], "size": 3},
    ]


def test_edits_in_v1alpha2_win_over_kept_data() -> None:
    """CV-50, CV-51: data of v1alpha1 goes stale in the same way, and is gone for good after the next write there."""
    role = {"template": TEMPLATE, "restartPolicy": "None"}

    def leader_worker(r: Role) -> None:
        r["leaderWorkerPattern"] = r.pop("standalonePattern")

    after = edited(role, leader_worker, "v1alpha2")
    assert "restartPolicy" not in after
    stored = up(spoke(role))
    leader_worker(stored["spec"]["roles"][0])
    assert V1_DATA in annotations_of(stored)
    assert V1_DATA not in annotations_of(up(down(stored)))

    role = {"components": COMPONENTS, "template": TEMPLATE}
    after = edited(role, lambda r: r.update(standalonePattern={}, customComponentsPattern=None), "v1alpha2")
    assert "template" not in after
    role = {"template": TEMPLATE, "templatePatch": {"spec": {}}}
    pattern = {"templateRef": {"name": "t"}}
    after = edited(role, lambda r: r.update(standalonePattern=pattern), "v1alpha2")
    assert "templatePatch" not in after
    assert after["templateRef"] == {"name": "t"}


def test_a_changed_policy_takes_effect_on_all_its_annotations() -> None:
    """CV-53, CV-51: annotations that v1alpha2 set differently give way when the field they belong to is changed."""
    stored = group(V2, annotations={POLICY: '{"kubeScheduling":{}}', GANG: "false", GANG + "-timeout": "7"})
    read = down(stored)
    assert up(copied(read)) == stored
    read["spec"]["podGroupPolicy"] = {"kubeScheduling": {"scheduleTimeoutSeconds": 9}}
    assert annotations_of(up(read)) == {
        POLICY: '{"kubeScheduling":{"scheduleTimeoutSeconds":9}}',
        GANG: "true",
        GANG + "-timeout": "9",
    }
    del read["spec"]["podGroupPolicy"]
    assert annotations_of(up(read)) == {GANG: "false", GANG + "-timeout": "7"}


def test_a_text_that_is_not_canonical_stays_until_the_field_changes() -> None:
    """CV-23, CV-51"""
    stored = group(V2, annotations={COORDINATION: '[ {"roles": ["w"], "name": "x"} ]'})
    read = down(stored)
    assert read["spec"]["coordination"] == [{"roles": ["w"], "name": "x"}]
    assert up(copied(read)) == stored
    read["spec"]["coordination"][0]["roles"] = ["v"]
    assert annotations_of(up(read)) == {COORDINATION: '[{"name":"x","roles":["v"]}]'}


def test_v1alpha2_data_never_reaches_the_hub() -> None:
    """CV-51: neither useful nor useless data, and v1alpha1 readers do not see what is stored for them."""
    data = {V2_DATA: '{"spec":{"gone":[["x"],["y"]]}}'}
    assert "annotations" not in up(group(V1, annotations=data))["metadata"]
    assert "annotations" not in down(group(V2, annotations=data))["metadata"]
    assert "annotations" not in down(group(V2, annotations={V1_DATA: data[V2_DATA]}))["metadata"]
    assert "annotations" not in up(group(V1, annotations={V1_DATA: data[V2_DATA]}))["metadata"]


MALFORMED = [
    "",
    "{",
    "5",
    "[]",
    '{"spec":5}',
    '{"spec":[1]}',
    '{"spec":[[],5]}',
    '{"spec":[[1,2],[]]}',
    '{"spec":[[],[],5]}',
    '{"spec":[[],[],{"a":{}}]}',
    '{"spec":' + '{"a":' * 40 + "[[],[]]" + "}" * 41,
    '{"spec":' + "[" * 1200,
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_data_is_no_obstacle(text: str) -> None:
    """CV-7: it is told, kept on the hub, and not taken over to it."""
    for key, version, other in ((V1_DATA, V2, V1), (V2_DATA, V1, V2)):
        before = group(version, annotations={key: text, "a": "b"})
        converted, problems = convert_and_report(copy.deepcopy(before), other)
        assert [p.annotation for p in problems] == [key]
        assert malformed_preservation(before) == problems
        assert annotations_of(converted) == ({key: text, "a": "b"} if key == V1_DATA else {"a": "b"})


def test_forged_data_changes_nothing_that_the_api_server_would_refuse() -> None:
    """CR-5, CV-7: else one object of one user would make every list of the kind fail."""
    leaves = {"a b/!": [[], ["x"]], "a": [[], ["x"]], TOPOLOGY: [[], [5]], GANG: [[], ["true"]], "b": [["c"], []]}
    data = orjson.dumps({"annotations": leaves, "metadata": {"name": [["g"], ["h"]]}, "kind": [[], ["x"]]}).decode()
    for key, version, other in ((V1_DATA, V2, V1), (V2_DATA, V1, V2)):
        before = group(version, annotations={key: data, "b": "c"})
        converted = convert(before, other)
        assert annotations_of(converted).items() >= {"b": "c", GANG: "true"}.items()
        assert annotations_of(converted).keys() <= {"b", GANG, V1_DATA, V2_DATA}
        assert converted["metadata"]["name"] == "g"
        assert converted["kind"] == "RoleBasedGroup"


def test_data_without_room_is_left_out_largest_first() -> None:
    """CR-5, CV-7: with more than 256 KiB of annotations the API server refuses the object, and with it the list."""
    big = {"size": 2, "leaderTemplatePatch": {"x": "y" * 3000}}
    roles = [
        {
            "name": f"r{i}",
            "customComponentsPattern": {"components": []},
            "leaderWorkerPattern": big,
            "x": "z" * 60_000 * i,
        }
        for i in range(1, 4)
    ]
    for room in (0, 500, 5_000, 100_000, 300_000):
        own = {"a": "b" * (256 * 1024 - 1 - min(room, 256 * 1024 - 1))}
        before = group(V2, *roles, annotations=own)
        read, problems = convert_and_report(before, V1)
        found = annotations_of(read)
        assert sum(len(k) + len(v) for k, v in found.items()) <= 256 * 1024
        assert found["a"] == own["a"]
        assert [p.annotation for p in problems] == [V2_DATA]
        kept = orjson.loads(found.get(V2_DATA, "{}")).get("spec", {}).get("roles", {})
        assert "x" not in kept.get("r3", {})
        assert ("x" in kept.get("r2", {})) == (room == 300_000)
        assert ("x" in kept.get("r1", {})) == (room >= 100_000)
        if room >= 5_000:
            assert all("customComponentsPattern" in role for role in kept.values())
            assert kept.keys() >= {"r1", "r2", "r3"}
        assert up(read)["spec"]["roles"][0]["leaderWorkerPattern"].items() >= big.items()


@pytest.mark.parametrize("levels", [240, 249, 260, 900])
def test_what_is_nested_too_deeply_is_left_out_alone(levels: int) -> None:
    """CV-7, CV-51: one deep field of one role does not cost the other fields, or the other roles, what is kept."""
    deep: Any = {}
    for _ in range(levels):
        deep = {"x": deep}
    lost = {"name": "b", "podManagementPolicy": "OrderedReady", "future": deep, "standalonePattern": {}}
    other = {"name": "a", "scalingAdapter": {"enable": True, "labels": {"l": "1"}}, "standalonePattern": {}}
    before = group(V2, other, lost)
    read, problems = convert_and_report(before, V1)
    back = convert(read, V2)
    if levels < 249:
        assert not problems
        assert back == before
    else:
        assert [p.annotation for p in problems] == [V2_DATA]
        assert problems[0].text.endswith("not kept: spec/roles/b/future")
        del lost["future"]
        assert back == group(V2, other, lost)


def test_a_single_field_that_is_nested_too_deeply_leaves_no_data() -> None:
    """CV-7: nothing but the deep field would be kept."""
    deep: Any = {}
    for _ in range(300):
        deep = {"x": deep}
    read, problems = convert_and_report(group(V1, {**BOTH, "template": TEMPLATE, "templatePatch": deep}), V2)
    assert "annotations" not in read["metadata"]
    assert [(p.annotation, p.text.rpartition(": ")[2]) for p in problems] == [(V1_DATA, "spec/roles/w/templatePatch")]
