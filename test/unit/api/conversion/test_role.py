"""Every field of a role in both directions."""

from typing import Any

import pytest
from unit.api.conversion.objects import (
    ROLE_INSTANCE_SET,
    STATEFUL_SET,
    TEMPLATE,
    V1,
    V2,
    WT,
    down,
    group,
    role_down,
    role_up,
    up,
)

SAME = {
    "labels": {"a": "b"},
    "replicas": 3,
    "dependencies": ["x", "y"],
    "servicePorts": [{"port": 80, "name": "http", "future": 1}],
    "minReadySeconds": 0,
    "engineRuntimes": [{"profileName": "p", "injectContainers": ["c"], "containers": [{"name": "c", "new": True}]}],
    "rolloutStrategy": {
        "type": "RollingUpdate",
        "rollingUpdate": {
            "type": "Recreate",
            "partition": "50%",
            "maxUnavailable": 2,
            "maxSurge": "10%",
            "paused": False,
            "inPlaceUpdateStrategy": {"gracePeriodSeconds": 0},
        },
    },
}


def test_fields_of_the_same_name_are_copied() -> None:
    """CV-9, CV-30, and of CV-14: `Recreate` stays as it is written."""
    assert role_up(**SAME) == {"name": "w", **SAME, "standalonePattern": {}}
    assert role_down(**SAME, standalonePattern={}) == {"name": "w", **SAME}


def test_recreate_is_kept_verbatim_and_read_as_recreate_pod_by_nobody_here() -> None:
    """CV-14"""
    rollout = {"type": "RollingUpdate", "rollingUpdate": {"type": "Recreate"}}
    assert role_up(rolloutStrategy=rollout)["rolloutStrategy"] == rollout
    assert role_down(rolloutStrategy=rollout, standalonePattern={})["rolloutStrategy"] == rollout


@pytest.mark.parametrize("empty", [None, [], {}])
def test_empty_lists_and_maps_and_nulls_are_left_out(empty: Any) -> None:
    """CV-4"""
    if empty is None:
        both = dict.fromkeys(SAME, None) | {"annotations": None, "scalingAdapter": None}
        assert role_up(**both, leaderWorkerSet=None, components=None, template=None, templatePatch=None) == {
            "name": "w",
            "standalonePattern": {},
        }
        assert role_down(**both, leaderWorkerPattern=None, standalonePattern={"template": None}) == {"name": "w"}
    else:
        keys = [k for k, v in SAME.items() if type(v) is type(empty) and k != "rolloutStrategy"] + (
            ["annotations"] if empty == {} else []
        )
        assert len(keys) >= 2
        assert role_up(**dict.fromkeys(keys, empty)) == {"name": "w", "standalonePattern": {}}
        assert role_down(**dict.fromkeys(keys, empty), standalonePattern={}) == {"name": "w"}


def test_nulls_inside_of_a_role_are_left_out() -> None:
    """CV-4: of each object that is built anew, in both directions, and they are not kept as data either."""
    nothing = dict.fromkeys(("size", "serviceName", "template"))
    component, adapter = {"name": "c", **nothing}, {"enable": None}
    assert role_up(components=[component, None], scalingAdapter=adapter, workload={"kind": None}) == {
        "name": "w",
        "scalingAdapter": {},
        "customComponentsPattern": {"components": [{"name": "c"}, None], "restartPolicyConfig": {}},
    }
    custom = {"components": [component], "restartPolicyConfig": {"type": None}, "restartPolicy": None}
    assert role_down(customComponentsPattern=custom, scalingAdapter=adapter) == {
        "name": "w",
        "scalingAdapter": {},
        "components": [{"name": "c"}],
    }
    nulls_v1 = dict.fromkeys(("size", "patchLeaderTemplate", "patchWorkerTemplate"))
    assert role_up(leaderWorkerSet=nulls_v1, templateRef={"name": None}, templatePatch=None, restartPolicy=None) == {
        "name": "w",
        "leaderWorkerPattern": {"restartPolicyConfig": {}, "templateRef": {}},
    }
    nulls_v2 = dict.fromkeys(("size", "leaderTemplatePatch", "workerTemplatePatch", "template"))
    assert role_down(leaderWorkerPattern={**nulls_v2, "templateRef": {"name": None, "patch": None}}) == {
        "name": "w",
        "leaderWorkerSet": {},
        "templateRef": {},
    }


def test_an_annotation_that_is_null_is_none() -> None:
    """CV-4"""
    assert role_up(annotations={WT: None, "a": "b"})["annotations"] == {"a": "b"}
    assert role_down(annotations={WT: None}, standalonePattern={}) == {"name": "w"}


@pytest.mark.parametrize("version", [V1, V2])
def test_roles_are_always_there_and_empty_role_templates_never(version: str) -> None:
    """CV-4, CV-8"""
    obj = {**group(version), "spec": {"roleTemplates": [], "roles": None}}
    assert (up if version == V1 else down)(obj)["spec"] == {"roles": []}


@pytest.mark.parametrize("version", [V1, V2])
def test_role_templates_are_copied_without_unknown_fields(version: str) -> None:
    """CV-8, CV-30, CV-4"""
    templates = [{"name": "b", "template": TEMPLATE}, {"name": "a", "template": TEMPLATE, "stray": 1}]
    converted = (up if version == V1 else down)(
        group(version, roleTemplates=[*templates, {"name": "c", "template": None}])
    )
    assert converted["spec"]["roleTemplates"] == [
        *({"name": n, "template": TEMPLATE} for n in ("b", "a")),
        {"name": "c"},
    ]


@pytest.mark.parametrize("enable", [True, False])
def test_scaling_adapter_has_no_labels_in_v1alpha1_and_keeps_its_zero(enable: bool) -> None:
    """CV-36, A1-9: upstream serves v1alpha1 without `enable: false` and `minReadySeconds: 0`."""
    adapter = {"enable": enable, "labels": {"a": "b"}}
    assert role_down(scalingAdapter=adapter, minReadySeconds=0)["scalingAdapter"] == {"enable": enable}
    assert role_down(scalingAdapter=adapter, minReadySeconds=0)["minReadySeconds"] == 0
    assert role_up(scalingAdapter={"enable": enable})["scalingAdapter"] == {"enable": enable}
    assert "scalingAdapter" not in role_up()


@pytest.mark.parametrize(
    ("workload", "annotations", "expected"),
    [
        (STATEFUL_SET, {"a": "b", WT: "old/v1/Kind"}, {"a": "b", WT: "apps/v1/StatefulSet"}),
        (STATEFUL_SET, None, {WT: "apps/v1/StatefulSet"}),
        ({"apiVersion": "apps/v1", "kind": ""}, {WT: "old/v1/Kind"}, {WT: "old/v1/Kind"}),
        ({"apiVersion": "", "kind": "StatefulSet"}, {"a": "b"}, {"a": "b"}),
        ({"kind": "StatefulSet"}, None, None),
        (None, {WT: "old/v1/Kind"}, {WT: "old/v1/Kind"}),
    ],
)
def test_workload_becomes_a_role_annotation(workload: Any, annotations: Any, expected: Any) -> None:
    """CV-10"""
    assert role_up(workload=workload, annotations=annotations).get("annotations") == expected


@pytest.mark.parametrize(
    ("text", "workload"),
    [
        (None, ROLE_INSTANCE_SET),
        ("", ROLE_INSTANCE_SET),
        ("malformed", ROLE_INSTANCE_SET),
        ("/Kind", ROLE_INSTANCE_SET),
        ("v1/Pod", {"apiVersion": "v1", "kind": "Pod"}),
        (
            "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet",
            {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet"},
        ),
    ],
)
def test_role_annotation_becomes_the_workload_and_stays(text: str | None, workload: Any) -> None:
    """TV-4, CV-31, CV-32"""
    annotations = {"a": "b"} if text is None else {"a": "b", WT: text}
    role = down(group(V2, {"name": "w", "annotations": annotations, "standalonePattern": {}}))["spec"]["roles"][0]
    assert (role["workload"], role["annotations"]) == (workload, annotations)


LEADER_WORKER = {"size": 4, "patchLeaderTemplate": {}, "patchWorkerTemplate": {"metadata": {"labels": {"r": "w"}}}}
COMPONENTS = [{"name": "b", "size": 2, "serviceName": "s", "template": TEMPLATE}, {"name": "a", "template": TEMPLATE}]


def test_leader_worker_set_wins_over_components() -> None:
    """CV-11"""
    assert role_up(leaderWorkerSet=LEADER_WORKER, components=COMPONENTS, template=TEMPLATE, restartPolicy="None") == {
        "name": "w",
        "leaderWorkerPattern": {
            "size": 4,
            "leaderTemplatePatch": {},
            "workerTemplatePatch": {"metadata": {"labels": {"r": "w"}}},
            "restartPolicyConfig": {"type": "None"},
            "template": TEMPLATE,
        },
    }
    assert role_up(leaderWorkerSet={})["leaderWorkerPattern"] == {"restartPolicyConfig": {}}


def test_a_leader_worker_set_of_size_one_on_a_stateful_set_stays_one() -> None:
    """CV-11, OLD-1: releases up to v0.4 stored it on every role, and upstream keeps it."""
    role = role_up(leaderWorkerSet={"size": 1}, workload=STATEFUL_SET, template=TEMPLATE)
    assert role["leaderWorkerPattern"] == {"size": 1, "restartPolicyConfig": {}, "template": TEMPLATE}
    assert "standalonePattern" not in role


def test_components_win_over_templates() -> None:
    """CV-12"""
    assert role_up(components=[*COMPONENTS, {"name": "c", "labels": {"stray": "1"}}], template=TEMPLATE) == {
        "name": "w",
        "customComponentsPattern": {"components": [*COMPONENTS, {"name": "c"}], "restartPolicyConfig": {}},
    }
    policy = "RecreateRoleInstanceOnPodRestart"
    role = role_up(components=COMPONENTS, templateRef={"name": "t"}, templatePatch={}, restartPolicy=policy)
    assert role == {
        "name": "w",
        "customComponentsPattern": {"components": COMPONENTS, "restartPolicyConfig": {"type": policy}},
    }


@pytest.mark.parametrize(
    ("role", "source"),
    [
        ({"template": TEMPLATE, "templateRef": {"name": "b"}, "templatePatch": {}}, {"template": TEMPLATE}),
        ({"templateRef": {"name": "b"}, "templatePatch": {}}, {"templateRef": {"name": "b", "patch": {}}}),
        ({"templateRef": {"name": "b"}, "templatePatch": None}, {"templateRef": {"name": "b"}}),
        ({"templateRef": {"name": "b"}}, {"templateRef": {"name": "b"}}),
        ({"templatePatch": {"spec": {}}}, {}),
        ({}, {}),
    ],
)
def test_template_source(role: Any, source: Any) -> None:
    """TV-5, CV-13, A1-13: an empty patch is one, null is none."""
    assert role_up(**role) == {"name": "w", "standalonePattern": source}
    lws = role_up(**role, leaderWorkerSet={"size": 2})["leaderWorkerPattern"]
    assert lws == {"size": 2, "restartPolicyConfig": {}, **source}


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ({"template": TEMPLATE, "templateRef": {"name": "b"}}, {"template": TEMPLATE}),
        ({"templateRef": {"name": "b", "patch": {}}}, {"templateRef": {"name": "b"}, "templatePatch": {}}),
        ({"templateRef": {"name": "b", "patch": None}}, {"templateRef": {"name": "b"}}),
        ({}, {}),
    ],
)
def test_template_source_of_a_pattern(pattern: Any, source: Any) -> None:
    """TV-5, CV-34"""
    assert role_down(standalonePattern=pattern) == {"name": "w", **source}
    lws = role_down(leaderWorkerPattern={"size": 2, **pattern})
    assert lws == {"name": "w", "leaderWorkerSet": {"size": 2}, **source}


def test_of_two_patterns_leader_worker_then_components_count() -> None:
    """CV-33"""
    leader_worker = {
        "size": 4,
        "leaderTemplatePatch": {},
        "workerTemplatePatch": LEADER_WORKER["patchWorkerTemplate"],
        "sharedServiceSelection": "All",
        "template": TEMPLATE,
    }
    custom = {"components": [COMPONENTS[0] | {"labels": {"a": "b"}, "annotations": {"a": "b"}}, COMPONENTS[1]]}
    standalone = {"templateRef": {"name": "t"}}
    patterns = {
        "standalonePattern": standalone,
        "customComponentsPattern": custom,
        "leaderWorkerPattern": leader_worker,
    }
    assert role_down(**patterns) == {"name": "w", "leaderWorkerSet": LEADER_WORKER, "template": TEMPLATE}
    del patterns["leaderWorkerPattern"]
    assert role_down(**patterns) == {"name": "w", "components": COMPONENTS}
    del patterns["customComponentsPattern"]
    assert role_down(**patterns) == {"name": "w", "templateRef": {"name": "t"}}
    assert role_down() == {"name": "w"}


@pytest.mark.parametrize("pattern", ["leaderWorkerPattern", "customComponentsPattern"])
@pytest.mark.parametrize(
    ("stored", "policy"),
    [
        ({"restartPolicy": "None"}, "None"),
        ({"restartPolicy": "RecreateRoleInstanceOnPodRestart", "restartPolicyConfig": {"type": "None"}}, "None"),
        ({"restartPolicyConfig": {"baseDelaySeconds": 5}}, None),
        ({"restartPolicyConfig": {"type": "", "baseDelaySeconds": 5}, "restartPolicy": "None"}, "None"),
        ({"restartPolicy": {"type": "None", "baseDelaySeconds": 5}}, "None"),
        ({"restartPolicy": {"type": "None"}, "restartPolicyConfig": {}}, None),
        ({"restartPolicy": "RecreateRBGOnPodRestart"}, "RecreateRBGOnPodRestart"),
        ({}, None),
    ],
)
def test_restart_policy_is_the_stored_one(pattern: str, stored: Any, policy: str | None) -> None:
    """TV-6, CV-35, RP-6, OLD-7, OLD-8, OLD-9, OLD-10, OLD-11: no default, no new spelling; an object is a config."""
    assert role_down(**{pattern: stored}, standalonePattern={}).get("restartPolicy") == policy


def test_role_level_fields_of_early_v1alpha2_count_for_nothing() -> None:
    """OLD-5, OLD-6, OLD-10: a workload and a restart policy beside the pattern do not get into v1alpha1."""
    stored = {"workload": STATEFUL_SET, "restartPolicy": "None", "leaderWorkerPattern": {"size": 2}}
    assert role_down(**stored) == {"name": "w", "leaderWorkerSet": {"size": 2}}


def test_the_retired_policy_passes_unchanged_through_both_directions() -> None:
    """OLD-4, OLD-11"""
    role = role_up(leaderWorkerSet={}, restartPolicy="RecreateRBGOnPodRestart")
    assert role["leaderWorkerPattern"]["restartPolicyConfig"] == {"type": "RecreateRBGOnPodRestart"}


def test_a_standalone_role_has_no_restart_policy() -> None:
    """TV-1, CV-12, CV-35"""
    assert role_up(restartPolicy="None", template=TEMPLATE) == {
        "name": "w",
        "standalonePattern": {"template": TEMPLATE},
    }
    assert "restartPolicy" not in role_down(standalonePattern={"restartPolicy": "None"})


def test_unknown_role_keys_do_not_come_alive() -> None:
    """CV-2: neither those of the other version nor new ones."""
    stray = {
        "standalonePattern": {"template": TEMPLATE},
        "customComponentsPattern": {},
        "podManagementPolicy": "Parallel",
    }
    assert role_up(**stray, newField=1) == {"name": "w", "standalonePattern": {}}
    old = {"template": TEMPLATE, "leaderWorkerSet": {"size": 3}, "components": COMPONENTS, "templatePatch": {}}
    assert role_down(**old, newField=1, standalonePattern={}) == {"name": "w"}


def test_pod_templates_pass_untouched() -> None:
    """CV-3: unknown fields, nulls and unusual quantities survive, nothing is added."""
    template = {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}}]}}
    template["spec"]["brandNew"] = None  # type: ignore[assignment]
    patch = {"spec": {"$patch": "replace", "x": None}}
    up_ = up(
        group(
            V1,
            {"name": "a", "leaderWorkerSet": {"patchLeaderTemplate": patch}, "template": template},
            {"name": "b", "components": [{"name": "c", "template": template}]},
            {"name": "c", "templateRef": {"name": "t"}, "templatePatch": patch},
            roleTemplates=[{"name": "t", "template": template}],
        )
    )
    a, b, c = up_["spec"]["roles"]
    assert a["leaderWorkerPattern"]["template"] == template
    assert a["leaderWorkerPattern"]["leaderTemplatePatch"] == patch
    assert b["customComponentsPattern"]["components"][0]["template"] == template
    assert c["standalonePattern"]["templateRef"]["patch"] == patch
    assert up_["spec"]["roleTemplates"][0]["template"] == template
    assert [r["name"] for r in down(up_)["spec"]["roles"]] == ["a", "b", "c"]
    assert down(up_)["spec"]["roles"][0]["template"] == template
