"""Warnings: legal, but without effect, with another one, or deprecated."""

from typing import Any

import pytest

from rbgctl.api.validation import companions
from rbgctl.api.validation.judgement import GroupView, SetView, judge_group_create, judge_set_create
from rbgctl.api.validation.wording import bounded
from rbgctl.machinery.gvk import RawObject

RBG = "rbg.workloads.x-k8s.io/"
OLD = "rolebasedgroup.workloads.x-k8s.io/"
TYPE = RBG + "role-workload-type"
TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
LWP = {"size": 2, "template": TEMPLATE}


def group(annotations: Any = None, **role: Any) -> RawObject:
    pattern = {} if any(key.endswith("Pattern") for key in role) else {"standalonePattern": {"template": TEMPLATE}}
    metadata: RawObject = {"name": "shop"} | ({"annotations": annotations} if annotations else {})
    return {"metadata": metadata, "spec": {"roles": [{"name": "a", "replicas": 4, **pattern, **role}]}}


def warned(raw: RawObject) -> list[str]:
    judged = judge_group_create(GroupView.of(raw))
    assert judged.errors == []
    return list(judged.warnings)


def rolling(**fields: Any) -> dict[str, Any]:
    return {"rollingUpdate": fields}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            group(workload={}),
            "spec.roles[0].workload: is v1alpha1 and has no effect; use annotation role-workload-type",
        ),
        (group(template={}), "spec.roles[0].template: is v1alpha1 and has no effect; use standalonePattern.template"),
        (group(templateRef={}), "spec.roles[0].templateRef: is v1alpha1"),
        (group(templatePatch={}), "spec.roles[0].templatePatch: is v1alpha1"),
        (group(leaderWorkerSet={}), "spec.roles[0].leaderWorkerSet: is v1alpha1"),
        (group(components=[]), "spec.roles[0].components: is v1alpha1"),
        (group(restartPolicy="None"), "spec.roles[0].restartPolicy: is v1alpha1"),
        (group(replicaz=3), "spec.roles[0].replicaz: unknown field, has no effect"),
        (group(min_ready_seconds=3), "spec.roles[0].min_ready_seconds: unknown field, has no effect"),
    ],
)
def test_keys_of_a_role_that_nothing_reads(raw: RawObject, expected: str) -> None:  # API-07 A1-10
    assert [text[: len(expected)] for text in warned(raw)] == [expected]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["d"], 'no container is called "d", and the field is not read'),
        (["c"], "is not read, the profile goes into the whole pod"),
    ],
)
def test_inject_containers(names: list[str], expected: str) -> None:  # GRP-30
    raw = group(engineRuntimes=[{"profileName": "p", "injectContainers": names}])
    assert warned(raw) == [f"spec.roles[0].engineRuntimes[0].injectContainers: {expected}"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("batch/v1/Job", 'unknown workload type "batch/v1/Job"; use workloads.x-k8s.io/v1alpha2/RoleInstanceSet'),
        ("foo", 'unknown workload type "foo"; use workloads.x-k8s.io/v1alpha2/RoleInstanceSet'),
        ("workloads.x-k8s.io/v1alpha1/InstanceSet", "v1alpha1 InstanceSet is run as workloads.x-k8s.io/v1alpha2/Role"),
    ],
)
def test_workload_types_that_are_only_warned_about(kind: str, expected: str) -> None:  # HF-20 DW-2 DW-6 VLD-24 VAL-23
    found = warned(role_annotated({TYPE: kind}))
    assert len(found) == 1
    assert found[0].startswith(f"spec.roles[0]: {expected}")


def role_annotated(annotations: dict[str, str]) -> RawObject:
    raw = group()
    raw["spec"]["roles"][0]["annotations"] = annotations
    return raw


@pytest.mark.parametrize(
    "kind",
    ["apps/v1/StatefulSet", "apps/v1/Deployment", "workloads.x-k8s.io/v1alpha2/RoleInstanceSet", ""],
)
def test_workload_types_that_are_run(kind: str) -> None:  # HF-20
    assert warned(role_annotated({TYPE: kind})) == []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (group({RBG + "group-exclusive-topology": ""}), "metadata.annotations[group-exclusive-topology]: is empty"),
        (group({RBG + "group-gang-scheduling": "True"}), 'metadata.annotations[group-gang-scheduling]: "True" is off'),
        (
            group({RBG + "group-gang-scheduling-timeout": "1m"}),
            'metadata.annotations[group-gang-scheduling-timeout]: "1m" is no number of seconds, 60 is used',
        ),
        (
            group({RBG + "role-instance-gang-scheduling": "true"}),
            "metadata.annotations[role-instance-gang-scheduling]: has no effect here; set it on roles",
        ),
        (
            group({OLD + "exclusive-topology": "zone"}),
            f"metadata.annotations: old key {OLD}exclusive-topology; write group-exclusive-topology",
        ),
        (
            group({OLD + "exclusive-topology": "zone", RBG + "group-exclusive-topology": "rack"}),
            f"metadata.annotations: old key {OLD}exclusive-topology; group-exclusive-topology counts",
        ),
        (
            group({OLD + "group-exclusive-topology": "zone"}),
            f"metadata.annotations: old key {OLD}group-exclusive-topology has no effect",
        ),
        (
            role_annotated({RBG + "role-disable-exclusive": "true"}),
            "spec.roles[0].annotations[role-disable-exclusive]: has no effect here; set it in the pod template",
        ),
        (role_annotated({RBG + "role-size": "3"}), "spec.roles[0].annotations[role-size]: is written by the operator"),
        (
            role_annotated({RBG + "role-inplace-scheduling": "preferred"}),
            'spec.roles[0].annotations[role-inplace-scheduling]: "preferred" has no effect; use Preferred or Required',
        ),
        (
            role_annotated({RBG + "role-inplace-scheduling-granularity": "Node"}),
            'spec.roles[0].annotations[role-inplace-scheduling-granularity]: "Node" has no effect; use Pod or Comp',
        ),
        (
            role_annotated({"instance.rolebasedgroup.workloads.x-k8s.io/pattern": "Stateless"}),
            "spec.roles[0].annotations: old key instance.rolebasedgroup.workloads.x-k8s.io/pattern; write",
        ),
    ],
)
def test_annotations_without_the_effect_they_seem_to_have(raw: RawObject, expected: str) -> None:  # OLD-12
    assert [text[: len(expected)] for text in warned(raw)] == [expected]


def test_annotations_that_mean_what_they_say() -> None:
    """Keys that kept the old prefix, and what conversion puts beside an old key."""
    same = {OLD + "exclusive-topology": "zone", RBG + "group-exclusive-topology": "zone"}
    assert warned(group(same)) == []
    assert warned(role_annotated({OLD + "port-allocator": "{}", RBG + "role-instance-gang-scheduling": "false"})) == []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            group(leaderWorkerPattern={**LWP, "restartPolicy": "None"}),
            "spec.roles[0].leaderWorkerPattern.restartPolicy: is deprecated; use restartPolicyConfig.type",
        ),
        (
            group(
                leaderWorkerPattern={**LWP, "restartPolicyConfig": {"type": "RecreateRBGOnPodRestart"}},
            ),
            "spec.roles[0].leaderWorkerPattern: RecreateRBGOnPodRestart is retired and read as Recreate",
        ),
        (
            group(rolloutStrategy=rolling(type="Recreate")),
            "spec.roles[0].rolloutStrategy.rollingUpdate.type: Recreate is the v1alpha1 spelling; use RecreatePod",
        ),
        (
            group(rolloutStrategy=rolling(type="Fast")),
            'spec.roles[0].rolloutStrategy.rollingUpdate.type: unknown "Fast" counts as InPlaceIfPossible',
        ),
        (
            group(rolloutStrategy=rolling(maxSurge=-1)),
            "spec.roles[0].rolloutStrategy.rollingUpdate.maxSurge: -1 is negative; use 0 or more",
        ),
        (
            group(rolloutStrategy=rolling(maxUnavailable="-50%")),
            "spec.roles[0].rolloutStrategy.rollingUpdate.maxUnavailable: -50% is negative",
        ),
        (group(rolloutStrategy=rolling(partition=-2)), "spec.roles[0].rolloutStrategy.rollingUpdate.partition: -2 is"),
        (
            group(rolloutStrategy=rolling(inPlaceUpdateStrategy={"gracePeriodSeconds": -1})),
            "spec.roles[0].rolloutStrategy.rollingUpdate.inPlaceUpdateStrategy.gracePeriodSeconds: is negative",
        ),
        (group(minReadySeconds=-1), "spec.roles[0].minReadySeconds: -1 is negative; use 0 or more"),
        (group(customComponentsPattern={"components": []}), "spec.roles[0].customComponentsPattern: has no components"),
        (
            group(customComponentsPattern={"components": [{"name": "x", "size": 0, "template": TEMPLATE}]}),
            "spec.roles[0].customComponentsPattern.components[0]: size 0, it has no pods",
        ),
    ],
)
def test_fields_that_are_deprecated_or_odd(raw: RawObject, expected: str) -> None:  # GRP-48 GRP-17 VAL-2
    assert [text[: len(expected)] for text in warned(raw)] == [expected]


def test_sets_are_warned_about_in_their_own_words() -> None:  # API-07 CV-42
    raw: RawObject = {
        "metadata": {"name": "row", "annotations": {RBG + "group-gang-scheduling": "true"}},
        "spec": {
            "replicas": -1,
            "groupTemplate": {
                "annotations": {RBG + "group-exclusive-topology": ""},
                "spec": group(workload={})["spec"],
            },
        },
    }
    judged = judge_set_create(SetView.of(raw))
    assert judged.errors == []
    assert [text.partition(": ")[0] for text in judged.warnings] == [
        "spec.replicas",
        "metadata.annotations[group-gang-scheduling]",
        "spec.groupTemplate.annotations[group-exclusive-topology]",
        "spec.groupTemplate.spec.roles[0].workload",
    ]


def test_warnings_are_short_clean_and_not_too_many() -> None:  # AR-5
    raw = group(**{"x" * 500 + "\n\x00": 1, "y\r\n": 2})
    found = warned(raw)
    assert len(found) == 2
    for text in found:
        assert len(text) <= 120
        assert text.isprintable()
    many = bounded(f"{number:04} {'w' * 200}" for number in range(1000))
    assert sum(len(text) for text in many) <= 4096
    assert many[-1] == f"and {1000 - (len(many) - 1)} more warnings"
    assert bounded(["a", "b", "a"]) == ["a", "b"]
    assert bounded(["a\nb\x00\u2028c"]) == ["a?b??c"]
    assert bounded("w" * 100 + str(n) for n in range(5)) == ["w" * 100 + str(n) for n in range(5)]


GROUP: RawObject = {
    "metadata": {"name": "shop", "uid": "u"},
    "spec": {"roles": [{"name": "a"}, {"name": "b"}]},
}


def policy(*roles: str, **strategy: Any) -> RawObject:
    rule = {"name": "r", "roles": list(roles) or ["a", "b"], "strategy": strategy}
    return {"kind": "CoordinatedPolicy", "metadata": {"name": "shop"}, "spec": {"policies": [rule]}}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (policy("a", "z", scaling={}), 'spec.policies[0].roles: the group has no role "z"'),
        (policy("a", "a", scaling={"maxSkew": "5%"}), 'spec.policies[0].roles: "a" is named more than once'),
        (policy(), "spec.policies[0].strategy: is empty, the rule has no effect"),
        (
            policy(scaling={"maxSkew": "0%"}),
            "spec.policies[0].strategy.scaling.maxSkew: 0% means one replica at a time",
        ),
        (policy(scaling={"maxSkew": 5}), 'spec.policies[0].strategy.scaling.maxSkew: "5" holds the roles back'),
        (policy(scaling={"maxSkew": "5 %"}), 'spec.policies[0].strategy.scaling.maxSkew: "5 %" holds'),
        (policy(scaling={"maxSkew": "101%"}), 'spec.policies[0].strategy.scaling.maxSkew: "101%" holds'),
        (policy(scaling={"maxSkew": "NaN%"}), 'spec.policies[0].strategy.scaling.maxSkew: "NaN%" holds'),
        (
            policy("a", rollingUpdate={"maxSkew": "5%"}),
            "spec.policies[0].strategy.rollingUpdate: has no effect on a rule with fewer than two roles",
        ),
        (
            policy(rollingUpdate={"partition": "x"}),
            'spec.policies[0].strategy.rollingUpdate.partition: "x" is neither a number nor a percentage',
        ),
        (
            policy(rollingUpdate={"maxUnavailable": -1}),
            "spec.policies[0].strategy.rollingUpdate.maxUnavailable: -1 is negative",
        ),
        (
            policy(rollingUpdate={"maxSkew": 2}),
            "spec.policies[0].strategy.rollingUpdate.maxSkew: the number 2 counts as strict alternation",
        ),
    ],
)
def test_policies(obj: RawObject, expected: str) -> None:  # CP-3 CP-11 CP-24 CP-25 CP-30 CP-44 POL-21
    assert [text[: len(expected)] for text in companions.policy_advice(obj, GROUP)][:1] == [expected]


@pytest.mark.parametrize("strategy", [{"scaling": {"maxSkew": " 2.5% "}}, {"rollingUpdate": {"maxSkew": "10%"}}])
def test_policies_that_work(strategy: dict[str, Any]) -> None:
    assert list(companions.policy_advice(policy(**strategy), GROUP)) == []


def test_policies_whose_group_is_not_there() -> None:  # CP-1 POL-20
    assert next(iter(companions.policy_advice(policy(), None))).startswith('metadata.name: no RoleBasedGroup "shop"')
    named = policy()
    named["spec"]["targetRoleBasedGroup"] = {"name": "other"}
    assert companions.group_of(named) == "other"
    told = next(iter(companions.policy_advice(named, None)))
    assert told == 'spec.targetRoleBasedGroup.name: no RoleBasedGroup "other" exists here'


def test_scaling_adapters() -> None:  # ADP-20
    obj: RawObject = {
        "kind": "RoleBasedGroupScalingAdapter",
        "metadata": {"ownerReferences": [{"uid": "u"}]},
        "spec": {"replicas": 1, "scaleTargetRef": {"name": "shop", "role": "a"}},
    }
    assert companions.group_of(obj) == "shop"
    assert list(companions.adapter_advice(obj, GROUP)) == []
    by_hand = {**obj, "metadata": {}, "spec": {"replicas": -1, "scaleTargetRef": {"name": "shop", "role": "z"}}}
    assert [text.partition(": ")[0] for text in companions.adapter_advice(by_hand, GROUP)] == [
        "spec.replicas",
        "spec.scaleTargetRef.role",
        "metadata.ownerReferences",
    ]
    assert [text.partition(": ")[0] for text in companions.adapter_advice(obj, None)] == ["spec.scaleTargetRef.name"]


def test_warm_ups() -> None:  # WRM-16 WRM-17
    target = {"name": "shop", "roles": {"a": {}, "z": {}}}
    obj: RawObject = {"kind": "RoleBasedGroupWarmup", "metadata": {}, "spec": {"targetRoleBasedGroup": target}}
    assert companions.group_of(obj) == "shop"
    assert list(companions.warmup_advice(obj, GROUP)) == ['spec.targetRoleBasedGroup.roles: the group has no role "z"']
    assert [text.partition(": ")[0] for text in companions.warmup_advice(obj, None)] == [
        "spec.targetRoleBasedGroup.name"
    ]
    assert list(companions.warmup_advice({"kind": "RoleBasedGroupWarmup", "spec": {"targetNodes": {}}}, None)) == []


@pytest.mark.parametrize("obj", [{}, {"spec": []}, {"spec": {"policies": [3, {"roles": "x", "strategy": 5}]}}])
def test_companions_of_any_shape(obj: RawObject) -> None:
    for kind in ("CoordinatedPolicy", "RoleBasedGroupScalingAdapter", "RoleBasedGroupWarmup"):
        companions.group_of({"kind": kind, **obj})
    for advice in (companions.policy_advice, companions.adapter_advice, companions.warmup_advice):
        for parent in (None, GROUP, {}):
            list(advice(obj, parent))
