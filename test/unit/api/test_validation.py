"""What is refused beyond the schema, and how it is told."""

from typing import Any

import pytest

from rbgctl.api import validation
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup

WORKLOAD_TYPE = "rbg.workloads.x-k8s.io/role-workload-type"
GANG = "rbg.workloads.x-k8s.io/group-gang-scheduling"
INSTANCE_GANG = "rbg.workloads.x-k8s.io/role-instance-gang-scheduling"
TEMPLATE = {"spec": {"containers": [{"name": "c"}]}}


def group(
    *roles: dict[str, Any],
    templates: list[dict[str, Any]] | None = None,
    annotations: dict[str, str] | None = None,
    name: str = "shop",
) -> RoleBasedGroup:
    spec: dict[str, Any] = {"roles": [{"name": "a", **role} for role in roles]}
    if templates is not None:
        spec["roleTemplates"] = templates
    return RoleBasedGroup.decode({"metadata": {"name": name, "annotations": annotations or {}}, "spec": spec})


def texts(errors: list[validation.FieldError]) -> list[str]:
    return [str(error) for error in errors]


def test_a_plain_group_passes_everything() -> None:
    plain = group({"standalonePattern": {"template": TEMPLATE}}, {"name": "b", "dependencies": ["a"]})
    assert validation.pre_check(plain) is None
    assert not validation.dependencies(plain)
    assert not validation.role_names(plain)
    assert not validation.rollouts(plain)


def test_two_ways_of_gang_scheduling_exclude_each_other() -> None:  # RBG-30.1 VLD-20
    failure = validation.pre_check(group(annotations={GANG: "true", INSTANCE_GANG: "true"}))
    assert failure
    assert failure.reason == "InvalidGangSchedulingAnnotations"
    assert f'"{GANG}"' in failure.event_message
    assert f'"{INSTANCE_GANG}"' in failure.event_message
    assert validation.pre_check(group(annotations={GANG: "true", INSTANCE_GANG: "True"})) is None


def test_role_templates() -> None:  # RBG-30.2 VLD-21
    entries = [
        {"name": "", "template": {}},
        {"name": "Big", "template": TEMPLATE},
        {"name": "ok", "template": TEMPLATE},
        {"name": "ok", "template": {"spec": {"containers": []}}},
    ]
    failure = validation.pre_check(group(templates=entries))
    assert failure
    assert failure.reason == "InvalidRoleTemplates"
    found = texts(list(failure.errors))
    assert found[0] == "spec.roleTemplates[0].name: must not be empty"
    assert found[1].startswith('spec.roleTemplates[1].name: "Big" is not a valid DNS label: ')
    assert found[2:] == [
        'spec.roleTemplates[3]: duplicate template name "ok"',
        "spec.roleTemplates[3].template.spec.containers: must have at least one container",
    ]
    assert str(failure) == f"invalid role templates: [{', '.join(found)}]"
    assert not failure.event_message.startswith("invalid")


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (
            {"standalonePattern": {"templateRef": {"name": "t"}, "template": TEMPLATE}},
            "spec.roles[0]: templateRef and template are mutually exclusive, only one can be set",
        ),
        (
            {
                "leaderWorkerPattern": {"templateRef": {"name": "t"}},
                "annotations": {WORKLOAD_TYPE: "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet"},
            },
            "spec.roles[0].templateRef: not supported for LeaderWorkerSet workloads"
            " (use RoleInstanceSet with LeaderWorkerPattern instead)",
        ),
        (
            {
                "standalonePattern": {"templateRef": {"name": "t"}},
                "annotations": {WORKLOAD_TYPE: "other/v1/InstanceSet"},
            },
            "spec.roles[0].templateRef: not supported for InstanceSet workloads",
        ),
        (
            {"leaderWorkerPattern": {"templateRef": {"name": "u"}}},
            'spec.roles[0].templateRef.name: template "u" not found in spec.roleTemplates',
        ),
    ],
)
def test_template_references(role: dict[str, Any], text: str) -> None:  # RBG-30.3 VLD-22
    failure = validation.pre_check(group(role, templates=[{"name": "t", "template": TEMPLATE}]))
    assert failure
    assert failure.reason == "InvalidTemplateRef"
    assert str(failure) == f"invalid template references: {text}"


def test_a_reference_needs_no_patch() -> None:  # VLD-23
    role = {"standalonePattern": {"templateRef": {"name": "t"}}}
    assert validation.pre_check(group(role, templates=[{"name": "t", "template": TEMPLATE}])) is None


def test_a_reference_behind_a_standalone_pattern_is_not_looked_at() -> None:  # HF-16
    role = {"standalonePattern": {"template": TEMPLATE}, "leaderWorkerPattern": {"templateRef": {"name": "u"}}}
    assert validation.pre_check(group(role)) is None


def test_unsupported_workload_types() -> None:  # RBG-30.4 VLD-24
    failure = validation.pre_check(
        group({"annotations": {WORKLOAD_TYPE: "batch/v1/Job"}}, {"name": "b", "annotations": {WORKLOAD_TYPE: "x"}})
    )
    assert failure
    assert failure.reason == "FailedReconcileWorkload"
    assert [error.role for error in failure.errors] == ["a", "b"]
    assert "role a: unsupported workload type: batch/v1/Job" in str(failure)
    assert "workloads.x-k8s.io/v1alpha2/RoleInstanceSet" in str(failure)


def test_the_first_failing_group_of_checks_is_reported() -> None:  # RBG-30
    failure = validation.pre_check(
        group({"annotations": {WORKLOAD_TYPE: "x"}}, templates=[{"name": "t", "template": {}}])
    )
    assert failure
    assert failure.reason == "InvalidRoleTemplates"


def test_unknown_dependencies() -> None:  # RBG-64 VLD-25
    found = validation.dependencies(group({"dependencies": ["b", "z"]}, {"name": "b", "dependencies": ["b"]}))
    assert texts(found) == ["spec.roles[0].dependencies: role [a] with dependency role [z] not found in rbg"]


@pytest.mark.parametrize(
    ("edges", "on_cycle"),
    [({"a": ["a"]}, {"a"}), ({"a": ["b"], "b": ["c"], "c": ["b"]}, {"b", "c"}), ({"a": ["b"], "b": []}, set())],
)
def test_cycles_name_a_role_that_stands_on_one(edges: dict[str, list[str]], on_cycle: set[str]) -> None:  # RBG-64
    found = validation.dependencies(group(*({"name": n, "dependencies": d} for n, d in edges.items())))
    assert bool(found) == bool(on_cycle)
    for error in found:
        assert error.role in on_cycle
        assert error.message == (f"failed to sort roles by dependency order: cycle detected for role '{error.role}'")


def test_role_names_must_fit_into_what_is_made_of_them() -> None:  # NAM-30
    found = validation.role_names(group({"name": "a" * 50}, {"name": "Upper"}, {"name": "b"}, {"name": "b"}))
    assert [error.path for error in found] == [f"spec.roles[{i}].name" for i in (0, 1, 2, 3)]
    assert "50 characters, at most 49" in found[0].message
    assert "not a valid DNS label" in found[1].message
    assert 'duplicate role name "b"' in found[2].message


def test_workload_names_that_collide_after_cutting_are_found() -> None:  # NAM-30 RBG-1
    found = validation.role_names(group({"name": "b" * 40 + "1"}, {"name": "b" * 40 + "2"}, name="g" * 40))
    assert len([error for error in found if "shares the workload name" in error.message]) == 2


@pytest.mark.parametrize(
    ("role", "suffix"),
    [
        ({"standalonePattern": {}, "replicas": 11}, "-10"),
        ({"leaderWorkerPattern": {"size": 12}}, "-0-11"),
        (
            {"customComponentsPattern": {"components": [{"name": "long", "size": 2}, {"name": "x", "size": 1}]}},
            "-0-long-1",
        ),
        (
            {"standalonePattern": {}, "annotations": {"rbg.workloads.x-k8s.io/role-instance-pattern": "Stateless"}},
            "-xxxxx",
        ),
    ],
)
def test_the_longest_pod_name_counts(role: dict[str, Any], suffix: str) -> None:  # NAM-30
    fits = 63 - len("g-") - len(suffix)
    name = "r" * min(fits, 49)
    parent = group({**role, "name": name}, name="g")
    assert validation.longest_pod_name("g", parent.roles[0]) == f"g-{name}{suffix}"
    long_group = "g" * (63 - len(name) - len(suffix))
    if "Stateless" not in str(role):  # the name of a stateless instance is cut to fit
        found = validation.role_names(group({**role, "name": name}, name=long_group))
        assert any("host name" in error.message for error in found)


def test_exactly_one_pattern() -> None:  # GRP-61
    found = validation.patterns(
        group({}, {"standalonePattern": {}, "customComponentsPattern": {}}, {"standalonePattern": {}})
    )
    assert [error.path for error in found] == ["spec.roles[0]", "spec.roles[1]"]
    assert found[0].message.startswith("has no pattern; ")
    assert found[1].message.startswith("has standalonePattern, customComponentsPattern; ")


def rolling(replicas: int | None, **fields: Any) -> list[str]:
    role: dict[str, Any] = {"rolloutStrategy": {"rollingUpdate": fields}}
    if replicas is not None:
        role["replicas"] = replicas
    prefix = "spec.roles[0].rolloutStrategy.rollingUpdate"
    return [text.removeprefix(prefix) for text in texts(validation.rollouts(group(role)))]


def test_rollout_budgets() -> None:  # VLD-2
    assert rolling(3, maxSurge=0, maxUnavailable=0) == [": maxSurge and maxUnavailable cannot both be 0"]
    assert rolling(3, maxUnavailable="10%") == []
    assert rolling(5, maxUnavailable="10%", maxSurge="10%") == []
    assert rolling(3, maxSurge="x", maxUnavailable="1")[0].startswith('.maxSurge: invalid value "x"')
    assert rolling(3, maxSurge="x", maxUnavailable="1")[1].startswith('.maxUnavailable: invalid value "1"')
    assert rolling(3, maxSurge=-1) == []
    for unchecked in (0, None):
        assert rolling(unchecked, maxSurge="x") == []


def test_partition_must_leave_something_to_update() -> None:  # VLD-3
    assert rolling(1, partition="50%") == [".partition: 50% must be less than replicas 1"]
    assert rolling(4, partition="100%") == [".partition: 100% must be less than replicas 4"]
    assert rolling(4, partition=3) == []
    assert rolling(4, partition="no")[0].startswith('.partition: invalid value "no"')


def test_several_problems_make_one_text() -> None:  # VAL-9
    assert validation.aggregate(["a"]) == "a"
    assert validation.aggregate(["a", "b", "a"]) == "[a, b]"
    assert validation.aggregate(["a", "a"]) == "a"
