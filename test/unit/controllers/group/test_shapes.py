"""What instances of each pattern consist of."""

from typing import Any

import pytest
from unit.controllers.group.world import World, group, role

MAIN = {"template": {"spec": {"containers": [{"name": "main", "image": "a:1"}]}}}


PATTERNS = {
    "leader-worker": {"leaderWorkerPattern": {"size": 3, **MAIN}},
    "custom": {"customComponentsPattern": {"components": [{"name": "x", **MAIN}, {"name": "y", "size": 2, **MAIN}]}},
    "role template": {"standalonePattern": {"templateRef": {"name": "shared"}}},
}


def patterned(fields: dict[str, Any]) -> dict[str, Any]:
    made = {k: v for k, v in role("web").items() if k != "standalonePattern"}
    return {**made, **fields}


@pytest.mark.parametrize("fields", PATTERNS.values(), ids=PATTERNS)
def test_every_pattern_comes_to_rest_ready(fields: dict[str, Any]) -> None:
    """RBG-86, RBG-69."""
    raw = group(patterned(fields))
    raw["spec"]["roleTemplates"] = [{"name": "shared", **MAIN}]
    world = World(raw)
    world.settle()
    assert world.ready["status"] == "True"
    assert set(world.workloads) == {"shop-web"}


def components(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.workloads["shop-web"]["spec"]["roleInstanceTemplate"]["components"]
    return found


@pytest.mark.parametrize(
    ("pattern", "sizes", "services", "selector"),
    [
        ({}, [1, 0], ["s-shop-web", None], "leader"),
        ({"size": 4}, [1, 3], ["s-shop-web", None], "leader"),
        ({"size": 2, "sharedServiceSelection": "LeaderOnly"}, [1, 1], ["s-shop-web", None], "leader"),
        ({"size": 2, "sharedServiceSelection": "All"}, [1, 1], ["s-shop-web", "s-shop-web"], None),
    ],
)
def test_shape_of_leader_worker_roles(
    pattern: dict[str, Any], sizes: list[int], services: list[str | None], selector: str | None
) -> None:
    """RBG-86, RBG-108, RBG-109: a size that is not given is 1; no workers are listed as none."""
    world = World(group(patterned({"leaderWorkerPattern": {**MAIN, **pattern}})))
    world.step()
    found = components(world)
    assert [c["name"] for c in found] == ["leader", "worker"]
    assert [c["size"] for c in found] == sizes
    assert [c.get("serviceName") for c in found] == services
    total = str(pattern.get("size", 1))
    assert {c["template"]["metadata"]["labels"]["rbg.workloads.x-k8s.io/component-size"] for c in found} == {total}
    wanted = world.services["s-shop-web"]["spec"]["selector"].get("rbg.workloads.x-k8s.io/component-name")
    assert wanted == selector
    policy = world.workloads["shop-web"]["spec"]["roleInstanceTemplate"]["restartPolicyConfig"]["type"]
    assert policy == "RecreateRoleInstanceOnPodRestart"  # RBG-129


def test_shape_of_custom_components() -> None:
    """RBG-86: own Service names, labels and annotations of components; a size that is not given is 1."""
    template = {"metadata": {"labels": {"a": "template", "b": "template"}}, **MAIN["template"]}
    given = [
        {"name": "x", "template": template, "labels": {"a": "component"}, "annotations": {"n": "1"}},
        {"name": "y", "size": 2, "serviceName": "mine", "template": template},
    ]
    world = World(group(patterned({"customComponentsPattern": {"components": given}})))
    world.step()
    x, y = components(world)
    assert (x["size"], x["serviceName"], x["labels"], x["annotations"]) == (
        1,
        "s-shop-web",
        {"a": "component"},
        {"n": "1"},
    )
    assert x["template"]["metadata"]["labels"].items() >= {"a": "component", "b": "template"}.items()
    assert x["template"]["metadata"]["annotations"] == {"n": "1"}
    assert (y["size"], y["serviceName"]) == (2, "mine")
    assert not {"labels", "annotations"} & y.keys()
    assert world.workloads["shop-web"]["metadata"]["labels"]["rbg.workloads.x-k8s.io/role-type"] == "Components"


def test_a_component_that_names_its_own_service_does_not_tell_the_roles() -> None:
    """RBG-5: the name in use is that of a component that takes the role's."""
    given = [{"name": "x", "serviceName": "shop-web", **MAIN}, {"name": "y", **MAIN}]
    world = World(group(patterned({"customComponentsPattern": {"components": given}})))
    world.settle()
    assert [c["serviceName"] for c in components(world)] == ["shop-web", "s-shop-web"]
    assert set(world.services) == {"s-shop-web"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "no valid pattern found for role web"),
        ({"standalonePattern": {}}, "role web has no template or templateRef set"),
        ({"customComponentsPattern": {"components": [{"name": "x", "template": {"spec": []}}]}}, ".spec must be"),
        (
            {"leaderWorkerPattern": {**MAIN, "leaderTemplatePatch": {"spec": {"containers": [{"image": "b"}]}}}},
            "leaderTemplatePatch: failed to merge patch: spec.containers[0] has no name",
        ),
    ],
)
def test_a_role_without_a_usable_template_is_refused_and_named(fields: dict[str, Any], text: str) -> None:
    """RBG-69, RBG-74, RBG-86."""
    world = World(group(patterned(fields)))
    decided, _ = world.step()
    assert world.workloads == {}
    assert text in world.ready["message"]
    assert text in decided.events[0].message
