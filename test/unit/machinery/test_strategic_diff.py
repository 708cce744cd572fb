"""Strategic merge patches between two objects."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbgctl.machinery.merge_keys import EVENT, POD_TEMPLATE
from rbgctl.machinery.strategic_diff import strategic_diff
from rbgctl.machinery.strategic_merge import strategic_merge

SCALARS = st.one_of(st.booleans(), st.integers(0, 2), st.sampled_from(["", "x", "y"]))
PLAIN = st.dictionaries(st.sampled_from("pq"), SCALARS, max_size=2)


def keyed(key: str, names: list[Any], more: dict[str, Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Lists of objects by `key`, now and then with the same key twice."""
    element = st.fixed_dictionaries({key: st.sampled_from(names)}, optional=more)
    return st.lists(element, max_size=4)


CONTAINERS = keyed(
    "name",
    ["a", "b", "c"],
    {
        "image": SCALARS,
        "args": st.lists(SCALARS, max_size=2),
        "env": keyed("name", ["X", "Y"], {"value": SCALARS}),
        "ports": keyed("containerPort", [80, 81], {"protocol": st.sampled_from(["TCP", "UDP"])}),
        "resources": PLAIN,
    },
)
TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {}, optional={"labels": PLAIN, "finalizers": st.lists(st.sampled_from("fgh"), max_size=4)}
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": CONTAINERS,
                "volumes": keyed("name", ["v", "w"], {"emptyDir": PLAIN, "hostPath": PLAIN}),
                "tolerations": st.lists(PLAIN, max_size=2),
                "nodeName": SCALARS,
                "nodeSelector": st.one_of(PLAIN, SCALARS),
            },
        ),
    },
)


@settings(max_examples=500)
@given(TEMPLATES, TEMPLATES)
def test_the_patch_between_two_templates_makes_one_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """RT-CL-07: whatever comes, goes, changes or moves, and neither is changed by the comparison."""
    kept = copy.deepcopy((before, after))
    patch = strategic_diff(before, after, POD_TEMPLATE)
    assert strategic_merge(before, patch, POD_TEMPLATE) == after
    assert (before, after) == kept


@given(TEMPLATES)
def test_equal_templates_need_no_patch(template: dict[str, Any]) -> None:
    """RT-CL-07."""
    assert strategic_diff(template, copy.deepcopy(template), POD_TEMPLATE) == {}


def spec(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


BOTH = [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        pytest.param(
            spec(containers=[{"name": "a", "image": "1", "tty": True}, {"name": "b"}]),
            spec(containers=[{"name": "a", "image": "2"}, {"name": "b"}]),
            spec(containers=[{"name": "a", "image": "2", "tty": None}]),
            id="only the element that changed, and only what changed in it",
        ),
        pytest.param(
            spec(volumes=[{"name": "v"}, {"name": "w"}]),
            spec(volumes=[{"name": "w"}]),
            spec(volumes=[{"name": "v", "$patch": "delete"}]),
            id="an element that is gone",
        ),
        pytest.param(
            spec(volumes=[{"name": "v"}]),
            spec(volumes=[{"name": "v"}, {"name": "w"}]),
            spec(**{"volumes": [{"name": "w"}], "$setElementOrder/volumes": [{"name": "v"}, {"name": "w"}]}),
            id="a new element has its place",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"finalizers": ["b", "c"]}},
            {
                "metadata": {
                    "finalizers": ["c"],
                    "$deleteFromPrimitiveList/finalizers": ["a"],
                    "$setElementOrder/finalizers": ["b", "c"],
                }
            },
            id="a set",
        ),
        pytest.param(
            spec(containers=[{"name": "a", "ports": [{"containerPort": 80}]}]),
            spec(
                containers=[{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]}]
            ),
            spec(
                containers=[
                    {
                        "name": "a",
                        "ports": [
                            {"$patch": "replace"},
                            {"containerPort": 80},
                            {"containerPort": 80, "protocol": "UDP"},
                        ],
                    }
                ]
            ),
            id="two elements with one key cannot be merged",
        ),
        pytest.param(
            spec(volumes=[{"name": "v"}], nodeName="n"),
            spec(volumes=[{"colour": "blue"}]),
            spec(**{"$patch": "replace", "volumes": [{"colour": "blue"}]}),
            id="an element without its key",
        ),
        pytest.param(spec(tolerations=[{}]), spec(tolerations=[{}, {}]), spec(tolerations=[{}, {}]), id="a plain list"),
    ],
)
def test_a_patch_says_no_more_than_it_has_to(
    before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]
) -> None:
    """RT-CL-07."""
    assert strategic_diff(before, after, POD_TEMPLATE) == patch
    assert strategic_merge(before, patch, POD_TEMPLATE) == after


def test_what_counts_in_an_event_is_patched() -> None:
    """RT-CL-07: the use the recorder makes of it."""
    before = {"metadata": {"name": "e", "resourceVersion": "1"}, "count": 1, "lastTimestamp": "t1", "message": "m"}
    after = {**before, "count": 2, "lastTimestamp": "t2"}
    assert strategic_diff(before, after, EVENT) == {"count": 2, "lastTimestamp": "t2"}
