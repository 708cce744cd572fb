"""From a role's template to its instances' template."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.api import labels
from rbgctl.planning.env_injection import common_env, leader_worker_env, merge_env
from rbgctl.planning.pod_template import TemplateContext, instance_pod_template, mount_discovery_config
from rbgctl.planning.typed_encoding import TypedEncodingError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "basic_rbg_base.json").read_text())["objects"]


def names(variables: list[dict[str, Any]]) -> list[str]:
    return [v["name"] for v in variables]


def test_env_merge_vectors() -> None:
    """RBG-79, RBG-135."""
    existing = [
        {"name": "RBG_LWP_LEADER_ADDRESS", "value": "a"},
        {"name": "RBG_GROUP_NAME", "value": "g"},
        {"name": "U"},
    ]
    merged = merge_env(existing, [{"name": "RBG_LWP_GROUP_SIZE", "value": "3"}])
    assert names(merged) == ["RBG_GROUP_NAME", "RBG_LWP_GROUP_SIZE", "RBG_LWP_LEADER_ADDRESS", "U"]
    twice = merge_env([{"name": "U", "value": "1"}, {"name": "U", "value": "2"}], [{"name": "RBG_GROUP_NAME"}])
    assert twice == [{"name": "RBG_GROUP_NAME"}, {"name": "U", "value": "2"}]


@given(st.lists(st.sampled_from(["RBG_A", "RBG_LWP_B", "C", "D"])), st.lists(st.sampled_from(["RBG_A", "C", "RBG_X"])))
def test_env_merge_keeps_each_name_once_and_injected_values_win(existing: list[str], injected: list[str]) -> None:
    """RBG-79."""
    old = [{"name": n, "value": f"old{i}"} for i, n in enumerate(existing)]
    new = [{"name": n, "value": f"new{i}"} for i, n in enumerate(injected)]
    merged = merge_env(old, new)
    assert sorted(names(merged)) == sorted({*existing, *injected})
    values = {v["name"]: v["value"] for v in merged}
    assert all(values[n].startswith("new") for n in injected)


def test_common_env_is_sorted_and_has_no_index_for_stateless_roles() -> None:
    """RBG-77."""
    stateful = names(common_env("g", "r", stateful=True))
    assert stateful == sorted(stateful)
    assert set(stateful) - set(names(common_env("g", "r", stateful=False))) == {"RBG_ROLE_INDEX"}


def test_variables_of_a_leader_stand_in_the_order_that_references_need() -> None:
    """RBG-78, RBG-79: six sorted common ones, three of leader-worker, the user's; ours win over the user's."""
    own = [{"name": "RBG_ROLE_NAME", "value": "mine"}, {"name": "USER", "value": "$(RBG_LWP_LEADER_ADDRESS)"}]
    template = {"spec": {"containers": [{"name": "a", "env": own}], "initContainers": [{"name": "i"}]}}
    context = TemplateContext("g", "r", True, {}, leader_worker_env("s-g-r", "ns"))
    spec = instance_pod_template(template, context)["spec"]
    variables = spec["containers"][0]["env"]
    assert names(variables) == [
        "RBG_COMPONENT_INDEX",
        "RBG_COMPONENT_NAME",
        "RBG_GROUP_NAME",
        "RBG_ROLE_INDEX",
        "RBG_ROLE_INSTANCE_NAME",
        "RBG_ROLE_NAME",
        "RBG_LWP_LEADER_ADDRESS",
        "RBG_LWP_WORKER_INDEX",
        "RBG_LWP_GROUP_SIZE",
        "USER",
    ]
    assert variables[5] == {"name": "RBG_ROLE_NAME", "value": "r"}
    assert variables[6]["value"] == "$(RBG_ROLE_INSTANCE_NAME)-0.s-g-r.ns"
    assert spec["initContainers"] == [{"name": "i", "resources": {}}]


def test_a_template_with_a_value_of_the_wrong_type_is_refused_with_its_path() -> None:
    """RBG-141."""
    with pytest.raises(TypedEncodingError, match=r"role r: template\.spec\.containers must be a list"):
        instance_pod_template({"spec": {"containers": "a"}}, TemplateContext("g", "r", True, {}))


def test_the_discovery_mount_respects_what_is_there() -> None:
    """NAM-7, RBG-75: a volume of that name, and a mount of that name and path, stay."""
    spec: dict[str, Any] = {
        "volumes": [{"name": "rbg-cluster-config", "emptyDir": {}}],
        "initContainers": [{"name": "i"}],
        "containers": [
            {"name": "a", "volumeMounts": [{"name": "rbg-cluster-config", "mountPath": "/etc/rbg"}]},
            {"name": "b", "volumeMounts": [{"name": "rbg-cluster-config", "mountPath": "/other"}]},
        ],
    }
    mount_discovery_config(spec, "g")
    assert spec["volumes"] == [{"name": "rbg-cluster-config", "emptyDir": {}}]
    assert spec["initContainers"] == [{"name": "i"}]
    assert [len(c["volumeMounts"]) for c in spec["containers"]] == [1, 2]


def test_the_template_is_the_recorded_one() -> None:
    """NAM-7, RBG-75, RBG-77, RBG-81, RBG-141: as the Go operator rendered it; the input is untouched."""
    group = GOLDEN["rolebasedgroups.v1alpha2.workloads.x-k8s.io"][0]
    for role in group["spec"]["roles"]:
        recorded = next(
            s
            for s in GOLDEN["roleinstancesets.workloads.x-k8s.io"]
            if s["metadata"]["name"] == f"storefront-{role['name']}"
        )
        component = recorded["spec"]["roleInstanceTemplate"]["components"][0]
        common = recorded["spec"]["selector"]["matchLabels"]
        template = role["standalonePattern"]["template"]
        before = copy.deepcopy(template)
        context = TemplateContext("storefront", role["name"], True, {**common, labels.COMPONENT_SIZE: "1"})
        assert instance_pod_template(template, context) == component["template"]
        assert template == before
