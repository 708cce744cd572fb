"""What admission refuses, what it warns of, and that updates never become impossible."""

import copy
import time
from typing import Any

import pytest

from rbgctl.api.validation.judgement import (
    GroupView,
    Judgement,
    SetView,
    judge_group_create,
    judge_group_update,
    judge_set_create,
    judge_set_update,
)
from rbgctl.machinery.gvk import RawObject

RBG = "rbg.workloads.x-k8s.io/"
WORKLOAD_TYPE = RBG + "role-workload-type"
COORDINATION = "conversion.workloads.x-k8s.io/v1alpha1-coordination"
POD_GROUP_POLICY = "conversion.workloads.x-k8s.io/v1alpha1-pod-group-policy"
TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
PLAIN = {"name": "a", "replicas": 3, "standalonePattern": {"template": TEMPLATE}}


def role(name: str = "a", **fields: Any) -> dict[str, Any]:
    """A role that works, with fields added; a pattern among them replaces the standalone one."""
    made: dict[str, Any] = {"name": name, "replicas": 3, **fields}
    if not any(key.endswith("Pattern") for key in fields):
        made["standalonePattern"] = {"template": copy.deepcopy(TEMPLATE)}
    return made


def rolling(**fields: Any) -> dict[str, Any]:
    return {"rolloutStrategy": {"type": "RollingUpdate", "rollingUpdate": fields}}


def group(*roles: dict[str, Any], name: str = "shop", annotations: Any = None, **spec: Any) -> RawObject:
    made: RawObject = {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroup",
        "metadata": {"name": name, "namespace": "n"},
        "spec": {"roles": list(roles) or [role()], **spec},
    }
    if annotations:
        made["metadata"]["annotations"] = annotations
    return made


def group_set(*roles: dict[str, Any], name: str = "row", replicas: int = 2, annotations: Any = None) -> RawObject:
    template: RawObject = {"spec": {"roles": list(roles) or [role()]}}
    if annotations:
        template["annotations"] = annotations
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroupSet",
        "metadata": {"name": name, "namespace": "n"},
        "spec": {"replicas": replicas, "groupTemplate": template},
    }


def created(raw: RawObject, **options: Any) -> Judgement:
    return judge_group_create(GroupView.of(raw), **options)


def updated(old: RawObject, new: RawObject, **options: Any) -> Judgement:
    return judge_group_update(GroupView.of(old), GroupView.of(new), **options)


def texts(judged: Judgement) -> list[str]:
    return [str(error) for error in judged.errors]


def labelled(raw: RawObject) -> RawObject:
    """The same object with a label more."""
    new = copy.deepcopy(raw)
    new["metadata"]["labels"] = {"touched": "yes"}
    return new


BROKEN: dict[str, tuple[RawObject, str, str]] = {
    "no roles": (group() | {"spec": {"roles": []}}, "spec.roles", "the group has no roles"),
    "no spec": ({k: v for k, v in group().items() if k != "spec"}, "spec.roles", "the group has no spec"),
    "null roles": (group() | {"spec": {"roles": None}}, "spec.roles", "the group has no roles"),
    "gang twice": (
        group(annotations={RBG + "group-gang-scheduling": "true", RBG + "role-instance-gang-scheduling": "true"}),
        "metadata.annotations",
        "mutually exclusive",
    ),
    "unknown dependency": (group(role(dependencies=["z"])), "spec.roles[0].dependencies", "[z] not found in rbg"),
    "cycle": (
        group(role(dependencies=["b"]), role("b", dependencies=["a"])),
        "spec.roles[0].dependencies",
        "cycle detected for role 'a' (a -> b -> a)",
    ),
    "depends on itself": (group(role(dependencies=["a"])), "spec.roles[0].dependencies", "(a -> a)"),
    "duplicate role": (group(role(), role()), "spec.roles[1].name", 'duplicate role name "a"'),
    "long role name": (group(role("r" * 50)), "spec.roles[0].name", "at most 49"),
    "role name no label": (group(role("A_b")), "spec.roles[0].name", "not a valid DNS label"),
    "long pod name": (group(role("r" * 40), name="g" * 30), "spec.roles[0].name", "a host name has at most 63"),
    "collision": (
        group(role("r" * 40 + "1"), role("r" * 40 + "2"), name="g" * 40),
        "spec.roles[1].name",
        "shares the workload name",
    ),
    "size 0": (
        group(role(leaderWorkerPattern={"size": 0, "template": TEMPLATE})),
        "spec.roles[0].leaderWorkerPattern.size",
        "0 leaves no room for the leader",
    ),
    "no template": (group(role(standalonePattern={})), "spec.roles[0].standalonePattern", "has no pod template"),
    "no container": (
        group(role(standalonePattern={"template": {"spec": {"containers": []}}})),
        "spec.roles[0].standalonePattern.template.spec.containers",
        "at least one container",
    ),
    "component without container": (
        group(role(customComponentsPattern={"components": [{"name": "x", "template": {}}]})),
        "spec.roles[0].customComponentsPattern.components[0].template.spec.containers",
        "at least one container",
    ),
    "container without name": (
        group(
            role(customComponentsPattern={"components": [{"name": "x", "template": {"spec": {"containers": [{}]}}}]})
        ),
        "spec.roles[0].customComponentsPattern.components[0].template.spec.containers[0].name",
        "a container needs a name",
    ),
    "component without name": (
        group(role(customComponentsPattern={"components": [{"template": TEMPLATE}]})),
        "spec.roles[0].customComponentsPattern.components[0].name",
        "must not be empty",
    ),
    "component twice": (
        group(role(customComponentsPattern={"components": [{"name": "x", "template": TEMPLATE}] * 2})),
        "spec.roles[0].customComponentsPattern.components[1].name",
        'duplicate component name "x"',
    ),
    "component no label": (
        group(role(customComponentsPattern={"components": [{"name": "X", "template": TEMPLATE}]})),
        "spec.roles[0].customComponentsPattern.components[0].name",
        "not a valid DNS label",
    ),
    "component of negative size": (
        group(role(customComponentsPattern={"components": [{"name": "x", "size": -1, "template": TEMPLATE}]})),
        "spec.roles[0].customComponentsPattern.components[0].size",
        "-1 is no number of pods",
    ),
    "negative delay": (
        group(role(leaderWorkerPattern={"template": TEMPLATE, "restartPolicyConfig": {"baseDelaySeconds": -1}})),
        "spec.roles[0].leaderWorkerPattern.restartPolicyConfig.baseDelaySeconds",
        "-1 s cannot be waited",
    ),
    "delays the wrong way round": (
        group(
            role(
                leaderWorkerPattern={
                    "template": TEMPLATE,
                    "restartPolicyConfig": {"baseDelaySeconds": 9, "maxDelaySeconds": 8},
                }
            )
        ),
        "spec.roles[0].leaderWorkerPattern.restartPolicyConfig.maxDelaySeconds",
        "8 is less than baseDelaySeconds 9",
    ),
    "unknown instance pattern": (
        group(role(annotations={RBG + "role-instance-pattern": "stateless"})),
        f'spec.roles[0].annotations["{RBG}role-instance-pattern"]',
        "use Stateful or Stateless",
    ),
    "surge beyond 32 bits": (
        group(role(**rolling(maxSurge=1 << 31))),
        "spec.roles[0].rolloutStrategy.rollingUpdate.maxSurge",
        "2147483648 does not fit into 32 bits",
    ),
    "port beyond 32 bits": (
        group(role(servicePorts=[{"port": 1, "targetPort": 1 << 40}])),
        "spec.roles[0].servicePorts[0].targetPort",
        "does not fit into 32 bits",
    ),
    "probe beyond 32 bits": (
        group(
            role(
                standalonePattern={
                    "template": {
                        "spec": {"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"port": -1 << 40}}}]}
                    }
                }
            )
        ),
        "spec.roles[0].standalonePattern.template.spec.containers[0].livenessProbe.tcpSocket.port",
        "does not fit into 32 bits",
    ),
    "conversion data is no JSON": (
        group(annotations={COORDINATION: "{"}),
        f'metadata.annotations["{COORDINATION}"]',
        "is not JSON",
    ),
    "conversion data of a wrong shape": (
        group(annotations={COORDINATION: '[{"name": "x", "roles": "a"}]'}),
        f'metadata.annotations["{COORDINATION}"]',
        "[0].roles is not a list",
    ),
    "conversion policy of a wrong shape": (
        group(annotations={POD_GROUP_POLICY: '{"kubeScheduling": {"scheduleTimeoutSeconds": "x"}}'}),
        f'metadata.annotations["{POD_GROUP_POLICY}"]',
        "kubeScheduling.scheduleTimeoutSeconds is not an integer",
    ),
    "wrong type": (
        group(role(replicas="many")),
        "spec.roles[0].replicas",
        "should be a valid integer, found 'many'",
    ),
}
"""What the Go operator's webhook accepts and no controller can work with: refused when new, spared when stored."""

TEMPLATES: dict[str, tuple[RawObject, str, str]] = {
    "unknown reference": (
        group(role(standalonePattern={"templateRef": {"name": "t"}})),
        "spec.roles[0].templateRef.name",
        'template "t" not found in spec.roleTemplates',
    ),
    "reference and template": (
        group(
            role(standalonePattern={"templateRef": {"name": "t"}, "template": TEMPLATE}),
            roleTemplates=[{"name": "t", "template": TEMPLATE}],
        ),
        "spec.roles[0]",
        "mutually exclusive",
    ),
    "role template without name": (
        group(roleTemplates=[{"name": "", "template": TEMPLATE}]),
        "spec.roleTemplates[0].name",
        "must not be empty",
    ),
    "role template without container": (
        group(roleTemplates=[{"name": "t", "template": {}}]),
        "spec.roleTemplates[0].template.spec.containers",
        "must have at least one container",
    ),
    "no pattern": (
        group({"name": "a", "replicas": 1}),
        "spec.roles[0]",
        "has no pattern; exactly one of standalonePattern, leaderWorkerPattern, customComponentsPattern is needed",
    ),
    "two patterns": (
        group(
            role(
                standalonePattern={"template": TEMPLATE},
                customComponentsPattern={"components": [{"name": "x", "template": TEMPLATE}]},
            )
        ),
        "spec.roles[0]",
        "has standalonePattern, customComponentsPattern",
    ),
}
"""GRP-61, VAL-21, VAL-22: refused when new, only warned about on every update."""


@pytest.mark.parametrize(("raw", "path", "text"), [*BROKEN.values(), *TEMPLATES.values()], ids=[*BROKEN, *TEMPLATES])
def test_new_groups_that_no_controller_could_work_with_are_refused(raw: RawObject, path: str, text: str) -> None:
    """GRP-60, GRP-61, IMP-6, NAM-30, VAL-20, VLD-20, VLD-21, VLD-22, VLD-25, A1-14"""
    judged = created(raw)
    assert any(found.startswith(f"{path}: ") and text in found for found in texts(judged)), texts(judged)
    assert judged.refusal == texts(judged)[0] if len(judged.errors) == 1 else judged.refusal.startswith("[")


@pytest.mark.parametrize(("raw", "path", "text"), [*BROKEN.values(), *TEMPLATES.values()], ids=[*BROKEN, *TEMPLATES])
def test_stored_groups_stay_writable_and_the_user_is_told(raw: RawObject, path: str, text: str) -> None:
    """GRP-61, VAL-21, VAL-22, NAM-30: what was wrong before is warned about on an update."""
    judged = updated(raw, labelled(raw))
    assert texts(judged) == []
    assert any(warning.startswith(f"{path}: "[:117]) for warning in judged.warnings), judged.warnings


@pytest.mark.parametrize(("raw", "path", "text"), list(BROKEN.values()), ids=list(BROKEN))
def test_a_new_mistake_in_a_stored_group_is_refused(raw: RawObject, path: str, text: str) -> None:
    old = group(role("before"), name=raw["metadata"]["name"])
    judged = updated(old, raw)
    assert any(found.startswith(f"{path}: ") and text in found for found in texts(judged)), texts(judged)


@pytest.mark.parametrize(("raw", "path", "text"), list(TEMPLATES.values()), ids=list(TEMPLATES))
def test_patterns_and_templates_are_only_warned_about_on_updates(raw: RawObject, path: str, text: str) -> None:
    """GRP-61, VAL-21, VAL-22"""
    judged = updated(group(role("before")), raw)
    assert texts(judged) == []
    assert any(path in warning for warning in judged.warnings)


def test_names_of_roles_that_exist_are_only_warned_about() -> None:  # NAM-30
    old = group(role("r" * 40, replicas=10), name="g" * 20)
    new = copy.deepcopy(old)
    new["spec"]["roles"][0]["replicas"] = 11  # the highest ordinal gets a digit more
    assert created(old).errors == []
    assert created(new).errors
    judged = updated(old, new)
    assert judged.errors == []
    assert any("leads to pod name" in warning for warning in judged.warnings)
    new["spec"]["roles"].append(role("s" * 43))
    assert [text.partition(": ")[0] for text in texts(updated(old, new))] == ["spec.roles[1].name"]


def test_moved_roles_keep_their_problems() -> None:
    """A problem is the same wherever its role stands."""
    old = group(role("a", dependencies=["z"]), role("b", leaderWorkerPattern={"size": 0, "template": TEMPLATE}))
    new = copy.deepcopy(old)
    new["spec"]["roles"].reverse()
    new["spec"]["roles"].insert(0, role("first"))
    assert texts(updated(old, new)) == []
    new["spec"]["roles"][2]["dependencies"].append("y")
    assert texts(updated(old, new)) == [
        "spec.roles[2].dependencies: role [a] with dependency role [y] not found in rbg"
    ]


def test_a_group_that_works_is_neither_refused_nor_warned_about() -> None:
    judged = created(group(role(), role("b", dependencies=["a"])))
    assert (judged.errors, judged.warnings) == ([], [])


def test_a_reference_without_patch_is_the_template() -> None:  # VLD-23
    raw = group(
        role(standalonePattern={"templateRef": {"name": "t"}}), roleTemplates=[{"name": "t", "template": TEMPLATE}]
    )
    assert (created(raw).errors, created(raw).warnings) == ([], [])


def test_containers_may_come_from_patches() -> None:
    patch = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    pattern = {"size": 2, "template": {"spec": {"containers": []}}, "leaderTemplatePatch": patch}
    assert created(group(role(leaderWorkerPattern=pattern))).errors
    assert not created(group(role(leaderWorkerPattern={**pattern, "workerTemplatePatch": patch}))).errors
    assert not created(group(role(leaderWorkerPattern={**pattern, "size": 1}))).errors


@pytest.mark.parametrize(
    ("name", "detail"),
    [("Shop", "RFC 1123"), ("a.b", "must not contain dots"), ("x" * 64, "must be no more than 63"), ("-a", "RFC 1123")],
)
def test_a_new_name_must_be_a_dns_label(name: str, detail: str) -> None:
    """VAL-1, VLD-1: on create only."""
    raw = group(role("r"), name=name)
    first = texts(created(raw))[0]
    assert first.startswith(f'metadata.name: "{name}" is not a valid DNS label: ')
    assert detail in first
    assert not any("metadata.name" in text for text in texts(updated(raw, labelled(raw))))


def test_budgets_are_checked_when_they_are_written() -> None:
    """VAL-2, VAL-2a, VAL-2b, VAL-2c, VAL-2d, VLD-2: on create, and on updates that touch them; unavailable rounds up
    when there is no surge.
    """
    raw = group(role(**rolling(maxSurge="x", maxUnavailable="1", partition="y")))
    path = "spec.roles[0].rolloutStrategy.rollingUpdate"
    for judged in (created(raw), updated(group(), raw)):
        found = texts(judged)
        assert [text.partition(",")[0] for text in found] == [
            f'{path}.maxSurge: invalid value "x"',
            f'{path}.maxUnavailable: invalid value "1"',
            f'{path}.partition: invalid value "y"',
        ]
    both = group(role(**rolling(maxSurge=0, maxUnavailable=0)))
    assert texts(created(both)) == [f"{path}: maxSurge and maxUnavailable cannot both be 0"]
    assert updated(group(), both).errors
    assert created(group(role(replicas=5, **rolling(maxUnavailable="10%")))).errors == []
    assert created(group(role(replicas=5, **rolling(maxSurge=0, maxUnavailable="0%")))).errors
    for unchecked in (0, None):
        assert created(group(role(**{"replicas": unchecked, **rolling(maxSurge="x", partition="y")}))).errors == []


@pytest.mark.parametrize(("partition", "replicas"), [("50%", 1), ("100%", 4), (3, 3)])
def test_a_partition_must_leave_something_to_update(partition: Any, replicas: int) -> None:  # VAL-2e VLD-3
    raw = group(role(replicas=replicas, **rolling(partition=partition)))
    path = "spec.roles[0].rolloutStrategy.rollingUpdate.partition"
    assert texts(created(raw)) == [f"{path}: {partition} must be less than replicas {replicas}"]


def test_scaling_below_the_partition_is_accepted() -> None:
    """VLD-3: only replicas may differ, the user is told, and the object can be written afterwards."""
    old = group(role(replicas=5, **rolling(partition=3)))
    new = copy.deepcopy(old)
    new["spec"]["roles"][0]["replicas"] = 2
    judged = updated(old, new)
    assert judged.errors == []
    assert any("3 must be less than replicas 2" in warning for warning in judged.warnings)
    assert updated(new, labelled(new)).errors == []
    both = copy.deepcopy(new)
    both["spec"]["roles"][0]["minReadySeconds"] = 1
    assert updated(old, both).errors
    assert updated(new, both).errors == []  # what was accepted blocks no other edit of the role
    both["spec"]["roles"][0] |= rolling(partition=4)
    assert updated(new, both).errors
    added = copy.deepcopy(old)
    added["spec"]["roles"].append(role("b", replicas=1, **rolling(partition=1)))
    assert updated(old, added).errors


@pytest.mark.parametrize("fields", [{"maxSurge": 0, "maxUnavailable": 0}, {"maxSurge": "x"}, {"partition": "y"}])
def test_stored_budgets_that_cannot_work_block_nothing_else(fields: dict[str, Any]) -> None:
    old = group(role(**rolling(**fields)))
    new = labelled(old)
    new["spec"]["roles"][0]["minReadySeconds"] = 1
    judged = updated(old, new)
    assert judged.errors == []
    assert any("rollingUpdate" in warning for warning in judged.warnings)
    new["spec"]["roles"][0]["replicas"] = 4
    assert updated(old, new).errors
    changed = group(role(**rolling(**fields, paused=True)))
    assert updated(old, changed).errors
    assert updated(group(role("b")), old).errors


HINTS = (
    "the v1alpha1 schema defaults spec.roles[].workload",
    "workload.apiVersion=workloads.x-k8s.io/v1alpha2",
    "workload.kind=RoleInstanceSet",
    "controller.deprecatedWorkloadTypes.enabled=true",
    "--enable-deprecated-workload-types=true",
)


@pytest.mark.parametrize(
    "kind", ["apps/v1/StatefulSet", "apps/v1/Deployment", "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet"]
)
def test_deprecated_types_are_refused_when_they_are_off(kind: str) -> None:
    """VAL-4, VLD-5, DW-3: on every write; a second role shares the hint."""
    raw = group(role(annotations={WORKLOAD_TYPE: kind}))
    text = f'spec.roles[0] (role "a"): workload type "{kind}" is deprecated and not enabled on this cluster'
    for judged in (
        created(raw, deprecated_types_enabled=False),
        updated(raw, labelled(raw), deprecated_types_enabled=False),
    ):
        assert len(judged.errors) == 1
        assert judged.refusal.startswith(f"{text}; ")
        assert all(hint in judged.refusal for hint in HINTS)
    assert created(raw).errors == []
    raw["spec"]["roles"].append(role("b", annotations={WORKLOAD_TYPE: kind}))
    both = created(raw, deprecated_types_enabled=False).refusal
    assert both.startswith(f'[{text}, spec.roles[1] (role "b"): workload type "{kind}" is deprecated')
    assert both.count(HINTS[0]) == 1
    old_name = group(role(annotations={WORKLOAD_TYPE: "workloads.x-k8s.io/v1alpha1/InstanceSet"}))
    assert created(old_name, deprecated_types_enabled=False).errors == []
    gone = group(role("c"))
    assert updated(raw, gone, deprecated_types_enabled=False).errors == []


def test_a_group_set_is_checked_for_deprecated_types() -> None:  # VAL-4s VLD-5 VLD-6
    raw = group_set(role(annotations={WORKLOAD_TYPE: "apps/v1/Deployment"}))
    view = SetView.of(raw)
    for judged in (
        judge_set_create(view, deprecated_types_enabled=False),
        judge_set_update(view, SetView.of(labelled(raw)), deprecated_types_enabled=False),
    ):
        assert judged.refusal.startswith(
            'spec.groupTemplate.spec.roles[0] (role "a"): workload type "apps/v1/Deployment"'
        )
        assert all(hint in judged.refusal for hint in HINTS)
    assert judge_set_create(view).errors == []


def test_several_problems_make_one_text() -> None:
    """VAL-9: with a block of deprecated types as one of them."""
    raw = group(
        role(annotations={WORKLOAD_TYPE: "apps/v1/Deployment"}, **rolling(maxSurge="x")),
        role("b", annotations={WORKLOAD_TYPE: "apps/v1/Deployment"}),
    )
    refusal = created(raw, deprecated_types_enabled=False).refusal
    assert refusal.startswith("[spec.roles[0].rolloutStrategy")
    assert ', [spec.roles[0] (role "a"): ' in refusal
    assert refusal.endswith("]")


def test_an_object_that_is_being_deleted_can_lose_its_finalizers() -> None:
    """WH-8: skipped only while the spec stays as it is."""
    old = group(role(annotations={WORKLOAD_TYPE: "apps/v1/Deployment"}, **rolling(maxSurge="x")))
    old["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}
    new = copy.deepcopy(old)
    del new["metadata"]["finalizers"]
    assert updated(old, new, deprecated_types_enabled=False).errors == ()
    new["spec"]["roles"][0]["replicas"] = 4
    assert len(updated(old, new, deprecated_types_enabled=False).errors) == 2
    alive = labelled(old)
    del alive["metadata"]["deletionTimestamp"]
    assert updated(alive, alive, deprecated_types_enabled=False).errors
    row = group_set(role(annotations={WORKLOAD_TYPE: "apps/v1/Deployment"}))
    row["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    view = SetView.of(row)
    assert judge_set_update(view, view, deprecated_types_enabled=False).errors == ()


@pytest.mark.parametrize(("raw", "path", "text"), [*BROKEN.values(), *TEMPLATES.values()], ids=[*BROKEN, *TEMPLATES])
def test_templates_of_new_sets_are_judged_like_groups(raw: RawObject, path: str, text: str) -> None:
    row = group_set(name=raw["metadata"]["name"])
    row["spec"]["groupTemplate"] = {k: v for k, v in raw.items() if k == "spec"}
    row["spec"]["groupTemplate"]["annotations"] = raw["metadata"].get("annotations", {})
    inside = "spec.groupTemplate." + path.removeprefix("metadata.")
    found = texts(judge_set_create(SetView.of(row)))
    assert any(one.startswith(f"{inside}: ") and text in one for one in found), found
    touched = judge_set_update(SetView.of(row), SetView.of(labelled(row)))
    assert touched.errors == []
    assert any(warning.startswith(f"{inside}: "[:117]) for warning in touched.warnings)


def test_budgets_in_a_set_are_a_new_rule() -> None:
    """VAL-2 over the template: refused when new, spared when stored."""
    raw = group_set(role(**rolling(maxSurge="x")))
    view = SetView.of(raw)
    found = texts(judge_set_create(view))
    assert found[0].startswith("spec.groupTemplate.spec.roles[0].rolloutStrategy.rollingUpdate.maxSurge: invalid value")
    assert judge_set_update(view, SetView.of(labelled(raw))).errors == []
    assert judge_set_update(SetView.of(group_set()), view).errors


def test_child_names_that_will_be_refused_are_warned_about() -> None:
    """RS-3: a warning, no refusal."""
    judged = judge_set_create(SetView.of(group_set(name="s" * 62, replicas=11)))
    assert judged.errors == []
    assert any(warning.startswith("metadata.name: child ") for warning in judged.warnings)
    fine = judge_set_create(SetView.of(group_set(name="s" * 40, replicas=11)))
    assert (fine.errors, fine.warnings) == ([], [])
    # A name that fits the children, but not their pods, is refused.
    pods = judge_set_create(SetView.of(group_set(role("r" * 20), name="s" * 40, replicas=11)))
    assert [text.partition(": ")[0] for text in texts(pods)] == ["spec.groupTemplate.spec.roles[0].name"]


def test_groups_that_a_set_makes_are_not_refused_for_its_template() -> None:
    raw = group(role(leaderWorkerPattern={"size": 0, "template": TEMPLATE}))
    assert created(raw).errors
    owner = SetView.of(group_set(*copy.deepcopy(raw["spec"]["roles"])))
    judged = created(raw, owner=owner)
    assert judged.errors == []
    assert any("leaves no room for the leader" in warning for warning in judged.warnings)
    raw["metadata"]["name"] = "A"
    assert created(raw, owner=owner).errors  # VAL-1 is a rule of the Go operator


ODD: list[Any] = [
    {},
    {"metadata": None, "spec": None},
    {"metadata": [], "spec": "x"},
    {"metadata": {"name": 5, "annotations": {"a": 1}}, "spec": {"roles": {}}},
    {"metadata": {"name": "a"}, "spec": {"roles": [5, None, {}, {"name": 3}], "roleTemplates": [[], {"template": 4}]}},
    {"metadata": {"name": "a"}, "spec": {"roles": [{"name": "a", "dependencies": [1, {}], "servicePorts": [[]]}]}},
    {"metadata": {"name": "a"}, "spec": {"roles": [{"name": "a", "standalonePattern": {"template": "x"}}]}},
    {
        "metadata": {"name": "a"},
        "spec": {
            "roles": [
                {
                    "name": "a",
                    "customComponentsPattern": {"components": [None, {"template": {"spec": {"containers": [3]}}}]},
                    "leaderWorkerPattern": {"restartPolicy": {"type": 4}, "restartPolicyConfig": "None"},
                    "rolloutStrategy": {"rollingUpdate": {"partition": [], "maxSurge": 1.5, "maxUnavailable": True}},
                }
            ]
        },
    },
]


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_objects_of_any_shape_are_judged(raw: RawObject) -> None:
    """Never a crash, and never unchangeable because of what cannot be read."""
    before = copy.deepcopy(raw)
    judged = created(raw)
    assert judged.errors
    assert updated(raw, raw).errors == []
    row = {"metadata": {"name": "row"}, "spec": {"groupTemplate": raw}}
    for view in (SetView.of(raw), SetView.of(row), SetView.of({"spec": {"groupTemplate": "x"}})):
        judge_set_create(view)
        assert judge_set_update(view, view).errors == []
    assert raw == before


def test_stored_shapes_of_old_releases_are_read() -> None:
    """RP-3, OLD-11: a restart policy as an object under the old name, and a retired value."""
    pattern = {"template": TEMPLATE, "restartPolicy": {"type": "RecreateRBGOnPodRestart", "baseDelaySeconds": 1}}
    judged = created(group(role(leaderWorkerPattern=pattern)))
    assert judged.errors == []
    assert any("is retired and read as" in warning for warning in judged.warnings)


def test_cycles_of_thousands_of_roles_are_found_in_time() -> None:
    """A chain is no cycle; closed, all its roles are on one, and the message stays readable."""
    count = 3000
    chain = group(*(role(f"r{n}", dependencies=[f"r{n + 1}"] if n + 1 < count else []) for n in range(count)))
    assert created(chain).errors == []
    chain["spec"]["roles"][-1]["dependencies"] = ["r0"]
    judged = created(chain)
    assert len(judged.errors) == count
    assert "(r0 -> r1 -> r2 -> r3 -> r4 -> r5 -> ...)" in texts(judged)[0]
    assert judged.refusal.endswith(f", and {count - 100} more]")


def test_only_roles_on_a_cycle_are_named() -> None:  # VLD-25 RBG-64
    """Two cycles and what lies between, before and behind them."""
    wanted = {"a": ["b"], "b": ["a", "c"], "c": ["d"], "d": ["e"], "e": ["d"], "f": ["a"], "g": []}
    judged = created(group(*(role(name, dependencies=targets) for name, targets in wanted.items())))
    assert [error.role for error in judged.errors if not isinstance(error, str)] == ["a", "b", "d", "e"]


def test_thousands_of_roles_are_judged_in_time() -> None:
    """Names that become too long and partitions that became too large, in every role: no role is searched for."""
    count = 6000
    strategy = rolling(partition=10)

    def many(replicas: int) -> RawObject:
        return group(*(role(f"r{n:05}" + "x" * 34, replicas=replicas, **strategy) for n in range(count)), name="n" * 20)

    small, large = GroupView.of(many(9)), GroupView.of(many(11))
    for old, new, said in ((small, large, "leads to pod name"), (large, small, "must be less than replicas")):
        started = time.process_time()
        judged = judge_group_update(old, new)
        assert time.process_time() - started < 4  # seconds; it is below 1, and quadratic work takes far longer
        assert judged.errors == []
        assert said in judged.warnings[0]
