"""Which pods go and which come (RIN-6 to RIN-12)."""

from typing import Any

import pytest
from unit.controllers.instance.world import NAME, component, instance, pod

from rbgctl.api import labels
from rbgctl.api.v1alpha2.roleinstance import RoleInstance
from rbgctl.controllers.instance.pods import Pod, slots
from rbgctl.controllers.instance.scale import ScaleError, scale

LWS, CUSTOM, STANDALONE = labels.ROLE_TYPE_LEADER_WORKER_SET, labels.ROLE_TYPE_COMPONENTS, labels.ROLE_TYPE_POD_TEMPLATE


def view(*components: Any, role_type: str | None = CUSTOM) -> RoleInstance:
    return RoleInstance.decode(instance(*components, role_type=role_type))


def of(name: str, **more: Any) -> Pod:
    component_name, id_ = more.pop("at", ("web", 0))
    return Pod(pod(f"{NAME}-{name}", component_name, id_, **more))


@pytest.mark.parametrize(
    ("role_type", "components", "expected"),
    [
        (STANDALONE, [component("web")], [NAME]),
        ("SomethingNew", [component("web")], [NAME]),
        (LWS, [component("leader"), component("worker", 2)], [f"{NAME}-0", f"{NAME}-1", f"{NAME}-2"]),
        (CUSTOM, [component("a", 2), component("b")], [f"{NAME}-a-0", f"{NAME}-a-1", f"{NAME}-b-0"]),
        (None, [component("a")], [f"{NAME}-a-0"]),
    ],
)
def test_pods_are_named_after_the_role_type(role_type: str | None, components: Any, expected: list[str]) -> None:
    # RIN-14, RIN-12: components in the order of the spec, ids ascending
    assert [slot.name for slot in slots(view(*components, role_type=role_type))] == expected


def test_size_is_one_when_it_is_not_given() -> None:
    # RIN-8 improvement
    assert [s.name for s in scale(view(component(size=None)), [], ()).create] == [f"{NAME}-web-0"]


def test_only_missing_ids_are_created() -> None:
    # RIN-7
    decided = scale(view(component(size=3)), [of("web-1", at=("web", 1))], {f"{NAME}-web-1"})
    assert [(s.id, s.name) for s in decided.create] == [(0, f"{NAME}-web-0"), (2, f"{NAME}-web-2")]
    assert not decided.delete


@pytest.mark.parametrize(
    ("found", "gone"),
    [
        (of("web-2", at=("web", 2)), True),
        (of("web-9", at=("web", 9)), True),
        (of("web-1", at=("web", 1)), False),
        (of("web-2", at=("web", 2), deleted=True), False),
        (of("web-2", at=("web", 2), phase="Succeeded"), False),
        (of("web-0", phase="Failed"), True),
        (of("web-0", phase="Failed", deleted=True), False),
        (of("web-x", at=("web", "x")), True),
        (of("gone-0", at=("gone", 0)), False),
    ],
)
def test_pods_beyond_the_size_failed_ones_and_those_without_id_go(found: Pod, gone: bool) -> None:
    # HF-62, RIN-6.5, RIN-7, RIN-9, RIN-10
    decided = scale(view(component(size=2)), [found], {found.name})
    assert list(decided.delete) == ([found] if gone else [])
    assert not (decided.delete and decided.create)


def test_of_two_pods_with_one_id_the_older_stays() -> None:
    # RIN-10 improvement
    older, newer = of("web-0", created="2026-01-01T00:00:00Z"), of("x", created="2026-01-02T00:00:00Z")
    assert list(scale(view(component()), [newer, older], ()).delete) == [newer]


@pytest.mark.parametrize(
    ("label", "name", "expected"),
    [("7", "x-1", 7), (None, "x-web-3", 3), (None, "x-web", -1), ("-1", "x-1", -1), ("²", "x-1", -1)],
)
def test_id_comes_from_the_label_else_from_the_name(label: str | None, name: str, expected: int) -> None:
    # HF-62, RIN-7
    raw = pod(name)
    raw["metadata"]["labels"] = {} if label is None else {labels.COMPONENT_ID: label}
    assert Pod(raw).id == expected


def test_component_comes_from_the_label_else_from_the_name() -> None:
    # HF-62, RIN-10
    raw = pod("shop-web-0-router-1")
    assert Pod(raw).component == "web"
    raw["metadata"]["labels"] = {}
    assert Pod(raw).component == "router"


def test_names_that_collide_are_created_once() -> None:
    decided = scale(view(component(size=3), role_type=STANDALONE), [], ())
    assert [s.name for s in decided.create] == [NAME]


def test_two_components_of_one_name_are_an_error() -> None:
    # RIN-8
    with pytest.raises(ScaleError, match="two components are named 'web'"):
        scale(view(component(), component()), [of("web-0", phase="Failed")], ())
