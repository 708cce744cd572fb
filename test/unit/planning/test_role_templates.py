"""Which pod templates a role is made from."""

from typing import Any

import pytest

from rbgctl.api.v1alpha2.defaults import leader_worker_size
from rbgctl.api.v1alpha2.rolebasedgroup import RoleBasedGroup
from rbgctl.machinery.gvk import RawObject
from rbgctl.planning.role_templates import TemplateError, base_template, leader_template, worker_template
from rbgctl.planning.typed_encoding import TypedEncodingError


def template(image: str = "a:1", *more: str) -> RawObject:
    containers = [{"name": "main", "image": image, "env": [{"name": "A", "value": "1"}]}]
    return {"spec": {"containers": containers + [{"name": n, "image": n} for n in more]}}


def group(role: RawObject, *templates: RawObject) -> RoleBasedGroup:
    spec = {"roles": [{"name": "web", "replicas": 1, **role}], "roleTemplates": list(templates)}
    return RoleBasedGroup.decode({"metadata": {"name": "shop", "namespace": "ns"}, "spec": spec})


def base_of(role: RawObject, *templates: RawObject) -> RawObject:
    made = group(role, *templates)
    return base_template(made, made.roles[0])


def images(made: RawObject) -> list[tuple[str, str]]:
    return [(c["name"], c.get("image", "")) for c in made["spec"]["containers"]]


SHARED = {"name": "base", "template": template("base:1", "side")}


def test_an_inline_template_is_used_typed() -> None:
    """RBG-69, RBG-36, HF-19."""
    made = base_of({"standalonePattern": {"template": {**template(), "unknown": 1}}})
    assert images(made) == [("main", "a:1")]
    assert "unknown" not in made
    assert made["spec"]["containers"][0]["resources"] == {}


@pytest.mark.parametrize("patch", [{}, None], ids=["empty", "absent"])
def test_a_role_template_is_used_as_it_is_without_a_patch(patch: Any) -> None:
    """RBG-69, RBG-30.3, HF-19: no patch is an empty patch."""
    reference = {"name": "base", **({"patch": patch} if patch is not None else {})}
    assert images(base_of({"standalonePattern": {"templateRef": reference}}, SHARED)) == [
        ("main", "base:1"),
        ("side", "side"),
    ]


def test_a_role_template_is_patched_by_container_name() -> None:
    """RBG-69, RBG-71, HF-19: resources merge key by key, new containers come first."""
    patch = {
        "spec": {
            "containers": [
                {"name": "extra", "image": "x"},
                {"name": "main", "resources": {"limits": {"cpu": "1000m"}}},
            ]
        }
    }
    base = {"name": "base", "template": template("base:1")}
    base["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "1024Mi"}}
    made = base_of({"standalonePattern": {"templateRef": {"name": "base", "patch": patch}}}, base)
    assert images(made) == [("extra", "x"), ("main", "base:1")]
    assert made["spec"]["containers"][1]["resources"] == {"limits": {"cpu": "1", "memory": "1Gi"}}


def test_leader_and_workers_are_patched_from_the_same_base() -> None:
    """RBG-70: each on its own."""
    pattern = {
        "template": template(),
        "leaderTemplatePatch": {"metadata": {"labels": {"seat": "front"}}},
        "workerTemplatePatch": {"spec": {"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}]}},
    }
    made = group({"leaderWorkerPattern": pattern})
    base = base_template(made, made.roles[0])
    leader, worker = leader_template(made.roles[0], base), worker_template(made.roles[0], base)
    assert leader["metadata"] == {"labels": {"seat": "front"}}
    assert worker["metadata"] == {}
    assert [v["name"] for v in worker["spec"]["containers"][0]["env"]] == ["B", "A"]  # RBG-73
    assert [v["name"] for v in leader["spec"]["containers"][0]["env"]] == ["A"]


def test_without_patches_all_are_the_base() -> None:
    """RBG-70."""
    made = group({"leaderWorkerPattern": {"templateRef": {"name": "base"}}}, SHARED)
    base = base_template(made, made.roles[0])
    assert leader_template(made.roles[0], base) == worker_template(made.roles[0], base) == base


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ({}, "role web has no template or templateRef set"),
        ({"standalonePattern": {}}, "role web has no template or templateRef set"),
        ({"standalonePattern": {"templateRef": {"name": "other"}}}, "template 'other' not found in spec.roleTemplates"),
        (
            {
                "standalonePattern": {
                    "templateRef": {"name": "base", "patch": {"spec": {"containers": [{"image": "x"}]}}}
                }
            },
            "role web: failed to apply templatePatch: spec.containers[0] has no name",
        ),
    ],
)
def test_what_cannot_be_resolved_is_said(role: RawObject, text: str) -> None:
    """RBG-69, RBG-72, RBG-74, HF-19."""
    with pytest.raises(TemplateError) as refused:
        base_of(role, SHARED)
    assert text in str(refused.value)


def test_a_patch_that_makes_values_of_the_wrong_type_is_refused_with_its_path() -> None:
    """RBG-74: the result has to be a pod template."""
    patch = {"spec": {"containers": [{"name": "main", "image": 5}]}}
    with pytest.raises(TypedEncodingError, match=r"failed to apply templatePatch.*containers\[0\]\.image"):
        base_of({"standalonePattern": {"templateRef": {"name": "base", "patch": patch}}}, SHARED)


def test_patches_of_leader_and_workers_are_those_of_the_leader_worker_pattern_only() -> None:
    """HF-18: each gets its own; a role without that pattern has neither, and a base comes out as it went in."""
    patched = {
        "leaderWorkerPattern": {
            "template": template(),
            "leaderTemplatePatch": {"metadata": {"labels": {"who": "leader"}}},
            "workerTemplatePatch": {"metadata": {"labels": {"who": "worker"}}},
            "size": 5,
        }
    }
    made = group(patched)
    role, base = made.roles[0], base_template(made, made.roles[0])
    assert role.leader_worker_pattern is not None
    assert leader_worker_size(role.leader_worker_pattern) == 5
    assert leader_template(role, base)["metadata"]["labels"] == {"who": "leader"}
    assert worker_template(role, base)["metadata"]["labels"] == {"who": "worker"}
    alone = group({"standalonePattern": {"template": template()}}).roles[0]
    assert leader_template(alone, base) == worker_template(alone, base) == base
