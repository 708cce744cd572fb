"""Metadata: what podGroupPolicy, coordination and exclusive topology become, and how they come back."""

import copy
from typing import Any

import pytest
from unit.api.conversion.objects import (
    COORDINATION,
    GANG,
    OLD_TOPOLOGY,
    POLICY,
    TOPOLOGY,
    V1,
    V2,
    V2_DATA,
    annotations_of,
    down,
    group,
    up,
)

from rbgctl.api.conversion import convert_and_report

TIMEOUT = GANG + "-timeout"
QUEUE = GANG + "-volcano-queue"
PRIORITY = GANG + "-volcano-priority"


def annotations_up(annotations: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return annotations_of(up(group(V1, annotations=annotations, **spec)))


def test_metadata_is_translated_and_comes_back() -> None:
    """TV-3, CV-20, CV-21, CV-22, CV-37, CV-38, ANN-60, ANN-61"""
    policy = {"kubeScheduling": {"scheduleTimeoutSeconds": 120}}
    rules = [
        {"name": "c", "roles": ["p", "d"], "strategy": {"scaling": {"maxSkew": "5%", "progression": "OrderReady"}}}
    ]
    before = group(V1, annotations={OLD_TOPOLOGY: "kubernetes.io/hostname"}, podGroupPolicy=policy, coordination=rules)
    hub = up(before)
    assert annotations_of(hub) == {
        OLD_TOPOLOGY: "kubernetes.io/hostname",
        TOPOLOGY: "kubernetes.io/hostname",
        GANG: "true",
        TIMEOUT: "120",
        POLICY: '{"kubeScheduling":{"scheduleTimeoutSeconds":120}}',
        COORDINATION: '[{"name":"c","roles":["p","d"],'
        '"strategy":{"scaling":{"maxSkew":"5%","progression":"OrderReady"}}}]',
    }
    assert hub["spec"] == {"roles": []}
    assert down(hub) == before
    assert annotations_of(down(hub)) == {OLD_TOPOLOGY: "kubernetes.io/hostname"}


def test_only_annotations_of_metadata_change() -> None:
    """CV-1, CR-5"""
    metadata = {
        "name": "g",
        "namespace": "n",
        "uid": "u",
        "labels": {"l": "1"},
        "finalizers": ["f"],
        "managedFields": [{"manager": "m", "apiVersion": V1}],
        "annotations": {"a": "b", OLD_TOPOLOGY: "zone"},
    }
    hub = up({**group(V1), "metadata": metadata})
    assert hub["metadata"] == {**metadata, "annotations": {"a": "b", OLD_TOPOLOGY: "zone", TOPOLOGY: "zone"}}
    assert down(hub)["metadata"] == metadata
    assert up({**group(V1), "metadata": {"name": "g"}})["metadata"] == {"name": "g"}


@pytest.mark.parametrize("value", ["", "zone"])
def test_exclusive_topology_is_translated_even_when_empty(value: str) -> None:
    """CV-20, ANN-62"""
    assert annotations_up({OLD_TOPOLOGY: value}) == {OLD_TOPOLOGY: value, TOPOLOGY: value}
    assert annotations_up({OLD_TOPOLOGY: value, TOPOLOGY: "other"})[TOPOLOGY] == value
    assert annotations_of(down(group(V2, annotations={OLD_TOPOLOGY: value, TOPOLOGY: value}))) == {OLD_TOPOLOGY: value}


@pytest.mark.parametrize(
    ("policy", "text", "gang"),
    [
        (
            {"kubeScheduling": {"scheduleTimeoutSeconds": 0}},
            '{"kubeScheduling":{"scheduleTimeoutSeconds":0}}',
            {GANG: "true", TIMEOUT: "0"},
        ),
        ({"kubeScheduling": {}}, '{"kubeScheduling":{}}', {GANG: "true"}),
        (
            {"volcanoScheduling": {"queue": "q", "priorityClassName": "p"}},
            '{"volcanoScheduling":{"priorityClassName":"p","queue":"q"}}',
            {GANG: "true", QUEUE: "q", PRIORITY: "p"},
        ),
        ({"volcanoScheduling": {"queue": "q"}}, '{"volcanoScheduling":{"queue":"q"}}', {GANG: "true", QUEUE: "q"}),
        ({"volcanoScheduling": {}}, '{"volcanoScheduling":{}}', {GANG: "true"}),
        (
            {"volcanoScheduling": {"queue": "q"}, "kubeScheduling": {"scheduleTimeoutSeconds": 5}},
            '{"kubeScheduling":{"scheduleTimeoutSeconds":5},"volcanoScheduling":{"queue":"q"}}',
            {GANG: "true", TIMEOUT: "5"},
        ),
        ({}, "{}", {}),
    ],
)
def test_pod_group_policy(policy: Any, text: str, gang: Any) -> None:
    """CV-21, CV-23, A1-11: kubeScheduling wins; user values of keys not written are left alone."""
    assert annotations_up(podGroupPolicy=policy) == {POLICY: text, **gang}
    mine = dict.fromkeys((GANG, TIMEOUT, QUEUE, PRIORITY), "mine")
    found = annotations_up(dict(mine), podGroupPolicy=policy)
    assert {k: v for k, v in found.items() if k in mine or k == POLICY} == {POLICY: text, **mine, **gang}
    assert down(up(group(V1, podGroupPolicy=policy))) == group(V1, podGroupPolicy=policy)


def test_empty_optional_members_are_not_written() -> None:
    """CV-23, CV-21"""
    found = annotations_up(podGroupPolicy={"volcanoScheduling": {"queue": "", "priorityClassName": ""}})
    assert found[POLICY] == '{"volcanoScheduling":{}}'
    assert QUEUE not in found
    assert PRIORITY not in found


def test_text_of_a_coordination_is_that_of_go() -> None:
    """CV-23: order of members, HTML escapes, UTF-8 otherwise, `roles` even without any."""
    rules = [
        {
            "strategy": {
                "scaling": {"progression": "OrderScheduled", "maxSkew": "1%"},
                "rollingUpdate": {"maxUnavailable": "3%", "partition": "2%", "maxSkew": "1%"},
            },
            "roles": ["<a>&\u2028\u2029é"],
            "name": "x",
        },
        {"name": "y", "strategy": {"rollingUpdate": {}}},
        {"name": "z", "roles": [], "strategy": {"scaling": {"maxSkew": ""}}},
    ]
    assert annotations_up(coordination=rules)[COORDINATION] == (
        '[{"name":"x","roles":["\\u003ca\\u003e\\u0026\\u2028\\u2029é"],"strategy":'
        '{"rollingUpdate":{"maxSkew":"1%","partition":"2%","maxUnavailable":"3%"},'
        '"scaling":{"maxSkew":"1%","progression":"OrderScheduled"}}},'
        '{"name":"y","roles":null,"strategy":{"rollingUpdate":{}}},'
        '{"name":"z","roles":[],"strategy":{"scaling":{}}}]'
    )


@pytest.mark.parametrize("rules", [None, []])
def test_no_coordination_writes_nothing(rules: Any) -> None:
    """CV-22"""
    assert COORDINATION not in annotations_up(coordination=rules)


def test_native_gang_and_topology_annotations_stay_visible() -> None:
    """CV-38: upstream hides them from v1alpha1 readers, whose next write then loses them."""
    native = {GANG: "true", TIMEOUT: "9", QUEUE: "q", PRIORITY: "p", TOPOLOGY: "zone", "a": "b"}
    assert annotations_of(down(group(V2, annotations=native))) == native
    assert annotations_of(up(down(group(V2, annotations=native)))) == native


def test_a_derived_annotation_is_hidden_only_where_it_says_the_same() -> None:
    """CV-38"""
    stored = {POLICY: '{"kubeScheduling":{"scheduleTimeoutSeconds":5}}', GANG: "true", TIMEOUT: "7", QUEUE: "q"}
    before = group(V2, annotations={**stored, OLD_TOPOLOGY: "a", TOPOLOGY: "b"})
    seen = annotations_of(down(before))
    assert seen.pop(V2_DATA)
    assert seen == {TIMEOUT: "7", QUEUE: "q", OLD_TOPOLOGY: "a", TOPOLOGY: "b"}
    assert up(down(before)) == before


def test_annotations_that_end_up_empty_are_dropped() -> None:
    """CV-38, CV-4"""
    assert "annotations" not in down(up(group(V1, podGroupPolicy={"kubeScheduling": {}})))["metadata"]


BROKEN = {
    POLICY: [
        "{",
        "5",
        '{"kubeScheduling":5}',
        '{"kubeScheduling":{"scheduleTimeoutSeconds":"5"}}',
        '{"volcanoScheduling":{"queue":true}}',
    ],
    COORDINATION: ["[", "{}", "[5]", '[{"roles":"x"}]', '[{"name":"a","roles":[null]}]', '[{"name":7}]'],
}


@pytest.mark.parametrize(("key", "text"), [(k, t) for k, texts in BROKEN.items() for t in texts])
def test_a_malformed_annotation_stays_where_it_is(key: str, text: str) -> None:
    """CV-7: the field is left unset, the annotation kept, the problem told; nothing is lost."""
    hub = group(V2, annotations={key: text, GANG: "true"})
    spoke, problems = convert_and_report(copy.deepcopy(hub), V1)
    assert [p.annotation for p in problems] == [key]
    assert spoke["spec"] == {"roles": []}
    assert annotations_of(spoke) == {key: text, GANG: "true"}
    assert convert_and_report(spoke, V2).obj == hub


@pytest.mark.parametrize(
    ("key", "text"), [(POLICY, ""), (POLICY, "null"), (COORDINATION, "[]"), (COORDINATION, "null")]
)
def test_an_annotation_that_holds_nothing_is_no_problem(key: str, text: str) -> None:
    """CV-37"""
    hub = group(V2, annotations={key: text})
    assert down(hub)["spec"] == {"roles": []}
    assert up(down(hub)) == hub
