"""No new rule makes an update impossible, and what an update is judged by does not depend on how roles are ordered."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbgctl.api.validation.judgement import (
    GroupView,
    SetView,
    judge_group_create,
    judge_group_update,
    judge_set_create,
    judge_set_update,
)
from rbgctl.api.validation.problem import FieldError
from rbgctl.api.validation.ratchet import settle
from rbgctl.machinery.gvk import RawObject

RBG = "rbg.workloads.x-k8s.io/"
CONVERSION = "conversion.workloads.x-k8s.io/"

Strategy = st.SearchStrategy[Any]

JUNK: Strategy = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=3),
    st.builds(list),
    st.builds(dict),
    st.builds(lambda: [{}]),
)
NAMES: Strategy = st.sampled_from(["a", "b", "c", "", "A", "r" * 50, "r" * 40])
ANNOTATIONS: Strategy = st.dictionaries(
    st.sampled_from(
        [
            RBG + "role-workload-type",
            RBG + "role-instance-pattern",
            RBG + "group-gang-scheduling",
            RBG + "role-instance-gang-scheduling",
            CONVERSION + "v1alpha1-coordination",
            CONVERSION + "v1alpha1-pod-group-policy",
        ]
    ),
    st.sampled_from(["true", "", "{", "[]", "apps/v1/StatefulSet", "foo"]),
    max_size=4,
)


def roles(other: Strategy) -> Strategy:
    """Roles with all kinds of mistakes; `other` may stand where something else is wanted."""
    names = NAMES if other is NULL else NAMES | other
    count = st.sampled_from([0, 1, 3, -1]) | other
    amount = st.sampled_from([0, 1, 3, -1, 1 << 31, "10%", "x", "100%"]) | other
    containers = st.sampled_from([[], [{"name": "c"}], [{}], [{"name": "c"}, 5]]) | other
    template = st.fixed_dictionaries({"spec": st.fixed_dictionaries({"containers": containers})}) | other
    restart = (
        st.fixed_dictionaries({}, optional={"type": names, "baseDelaySeconds": count, "maxDelaySeconds": count}) | other
    )
    reference = st.fixed_dictionaries({"name": names}, optional={"patch": template}) | other
    source = {"template": template, "templateRef": reference}
    leader_worker = {**source, "size": count, "restartPolicy": restart, "restartPolicyConfig": restart}
    component = st.fixed_dictionaries({"name": names}, optional={"size": count, "template": template, "labels": other})
    rolling = st.fixed_dictionaries(
        {}, optional={"maxSurge": amount, "maxUnavailable": amount, "partition": amount, "paused": other}
    )
    return st.fixed_dictionaries(
        {"name": names},
        optional={
            "replicas": count,
            "dependencies": st.lists(names, max_size=3) | other,
            "annotations": ANNOTATIONS | other,
            "standalonePattern": st.fixed_dictionaries({}, optional=source) | other,
            "leaderWorkerPattern": st.fixed_dictionaries({}, optional=leader_worker) | other,
            "customComponentsPattern": st.fixed_dictionaries(
                {"components": st.lists(component if other is NULL else component | other, max_size=3) | other}
            )
            | other,
            "rolloutStrategy": st.fixed_dictionaries({"rollingUpdate": rolling}) | other,
            "servicePorts": other,
            "workload": other,
        },
    )


NULL: Strategy = st.none()
"""What an optional field may always be."""
entries = st.lists(st.fixed_dictionaries({"name": NAMES | JUNK, "template": JUNK}), max_size=2)
groups = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": NAMES | JUNK}, optional={"annotations": ANNOTATIONS | JUNK}) | JUNK},
    optional={
        "spec": st.fixed_dictionaries(
            {"roles": st.lists(roles(JUNK) | JUNK, max_size=4) | JUNK}, optional={"roleTemplates": entries | JUNK}
        )
        | JUNK
    },
)
"""Groups of any shape."""
named_roles = st.lists(roles(NULL), max_size=4, unique_by=lambda role: role["name"])
"""Roles as the schema admits them: of the right types, and of different names."""

searching = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def labelled(raw: RawObject) -> RawObject:
    new = copy.deepcopy(raw)
    if isinstance(new.get("metadata"), dict):
        new["metadata"]["labels"] = {"touched": "yes"}
    return new


def upstream(errors: Any) -> list[str]:
    """What the Go operator's own rules say, which hold on every write."""
    return [
        str(error) for error in errors if isinstance(error, str) or error.check.startswith(("rollout", "partition"))
    ]


@searching
@given(raw=groups)
def test_an_update_of_labels_is_only_refused_by_rules_of_the_go_operator(raw: RawObject) -> None:
    """VAL-4 alone (roles of one name have no identity to compare). Nothing that can be stored is unreadable."""
    judged = judge_group_update(GroupView.of(raw), GroupView.of(labelled(raw)), deprecated_types_enabled=False)
    assert [str(error) for error in judged.errors] == upstream(judged.errors)
    assert not any(".partition: " in text and "must be less" in text for text in map(str, judged.errors))
    assert all(len(text) <= 120 and text.isprintable() for text in judged.warnings)  # AR-5
    assert sum(len(text.encode()) for text in judged.warnings) <= 4096
    judge_group_create(GroupView.of(raw))


@searching
@given(raw=groups)
def test_an_update_of_a_set_s_labels_is_only_refused_for_deprecated_types(raw: RawObject) -> None:
    row = {"metadata": raw["metadata"], "spec": {"replicas": 2, "groupTemplate": raw}}
    judged = judge_set_update(SetView.of(row), SetView.of(labelled(row)), deprecated_types_enabled=False)
    assert all(isinstance(error, str) for error in judged.errors)
    judge_set_create(SetView.of(row))


def well_formed(name: str) -> dict[str, Any]:
    return {"name": name, "replicas": 1, "standalonePattern": {"template": {"spec": {"containers": [{"name": "c"}]}}}}


@searching
@given(before=named_roles, annotations=ANNOTATIONS, data=st.data())
def test_the_order_of_roles_means_nothing(before: list[Any], annotations: dict[str, str], data: st.DataObject) -> None:
    """A role that moves in its list keeps its problems; one that works can always be added."""
    metadata = {"name": "shop", "annotations": annotations}
    after = data.draw(st.permutations([*before, well_formed("new")]))
    old = GroupView.of({"metadata": metadata, "spec": {"roles": before}})
    new = GroupView.of({"metadata": metadata, "spec": {"roles": after}})
    assert not old.malformed
    judged = judge_group_update(old, new)
    assert [str(error) for error in judged.errors] == upstream(judged.errors)


def test_problems_are_compared_by_what_they_are_about() -> None:
    def problem(path: str, **fields: Any) -> FieldError:
        return FieldError(path, "x", **fields)

    old = [problem("spec.roles[0]", role="a", check="c", value=1)]
    new = [
        problem("spec.roles[1]", role="a", check="c", value=1),
        problem("spec.roles[1]", role="a", check="c", value=2),
        problem("spec.roles[1]", role="b", check="c", value=1),
        problem("spec.roles[1]", role="a", check="d", value=1),
    ]
    settled = settle(new, old)
    assert (settled.tolerated, settled.refused) == ((new[0],), tuple(new[1:]))


def test_a_problem_excuses_only_itself() -> None:
    """Not the same number in another field, not one more of its kind, not a worse value."""

    def group(*components: tuple[str, int], **fields: Any) -> GroupView:
        parts = [{**well_formed(name)["standalonePattern"], "name": name, "size": size} for name, size in components]
        role = {"name": "a", "replicas": 1, "customComponentsPattern": {"components": parts}, **fields}
        return GroupView.of({"metadata": {"name": "shop"}, "spec": {"roles": [role]}})

    def refused(old: GroupView, new: GroupView) -> list[str]:
        assert judge_group_update(old, old).errors == judge_group_update(new, new).errors == []
        return [str(error).partition(": ")[0] for error in judge_group_update(old, new).errors]

    ports = {"servicePorts": [{"name": "p", "port": 1, "targetPort": 1 << 31}]}
    surge = {"rolloutStrategy": {"rollingUpdate": {"maxSurge": 1 << 31}}}
    path = "spec.roles[0]"
    assert refused(group(("c", 1), **ports), group(("c", 1), **ports, **surge)) == [
        f"{path}.rolloutStrategy.rollingUpdate.maxSurge"
    ]
    components = f"{path}.customComponentsPattern.components"
    assert refused(group(("c", 1), ("c", 1)), group(("c", 1), ("c", 1), ("c", 1))) == [f"{components}[2].name"]
    assert refused(group(("c", -1)), group(("c", -5))) == [f"{components}[0].size"]
