"""Strategic merge patch: what merges, what replaces, in which order."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.merge_keys import POD_TEMPLATE
from rbgctl.machinery.strategic_merge import Schema, StrategicMergeError, strategic_merge

SCHEMA = Schema(
    fields={
        "items": Schema(key="name", fields={"env": Schema(key="name"), "ports": Schema(key="port")}),
        "tags": Schema(a_set=True),
        "inner": Schema(fields={"items": Schema(key="name")}),
    }
)


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": n} for n in names]


def merged_names(original: list[str], patch: list[str]) -> list[str]:
    result = strategic_merge({"items": named(*original)}, {"items": named(*patch)}, SCHEMA)
    return [i["name"] for i in result["items"]]


@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": 1}, {"b": None, "c": {"d": None, "e": 1}}, {"a": 1, "c": {"e": 1}}),
        ({"args": [1, 2]}, {"args": [3]}, {"args": [3]}),
        ({"a": {"x": 1}}, {"a": "text"}, {"a": "text"}),
        ({"a": "text"}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"items": None}, {"items": [{"name": "a"}]}, {"items": [{"name": "a"}]}),
        ({"tags": ["a", "b"]}, {"tags": ["c", "b"]}, {"tags": ["c", "a", "b"]}),
    ],
)
def test_maps_merge_and_the_rest_is_replaced(original: Any, patch: Any, result: Any) -> None:
    """RBG-71, API-09."""
    assert strategic_merge(original, patch, SCHEMA) == result


CONTAINER_LISTS = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath", "volumeDevices": "devicePath"}
CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
MERGING = {
    "metadata.ownerReferences": "uid",
    "spec.imagePullSecrets": "name",
    "spec.schedulingGates": "name",
    "spec.volumes": "name",
    "spec.resourceClaims": "name",
    "spec.hostAliases": "ip",
    "spec.topologySpreadConstraints": "topologyKey",
    **{f"spec.{name}": "name" for name in CONTAINERS},
    **{f"spec.{name}.0.{inner}": key for name in CONTAINERS for inner, key in CONTAINER_LISTS.items()},
}
REPLACED = (
    "spec.tolerations",
    "spec.readinessGates",
    "spec.containers.0.command",
    "spec.containers.0.args",
    "spec.containers.0.envFrom",
    "spec.containers.0.resources.claims",
    "spec.containers.0.resizePolicy",
)


def nested(path: str, value: Any) -> Any:
    """`value` at a dotted path; 0 is the only element of a list, named c."""
    first, _, rest = path.partition(".")
    if first == "0":
        return [{"name": "c", **nested(rest, value)}]
    return {first: nested(rest, value) if rest else value}


@pytest.mark.parametrize(("path", "key"), MERGING.items())
def test_lists_of_a_pod_template_that_merge_by_a_key(path: str, key: str) -> None:
    """API-09."""
    before = nested(path, [{key: "a", "kept": 1}, {key: "b"}])
    patch = nested(path, [{key: "a", "new": 2}, {key: "c"}])
    assert strategic_merge(before, patch, POD_TEMPLATE) == nested(
        path, [{key: "a", "kept": 1, "new": 2}, {key: "c"}, {key: "b"}]
    )


@pytest.mark.parametrize("path", REPLACED)
def test_other_lists_of_a_pod_template_are_replaced(path: str) -> None:
    """API-09."""
    patch = nested(path, [{"name": "b"}])
    assert strategic_merge(nested(path, [{"name": "a"}]), patch, POD_TEMPLATE) == patch


def test_finalizers_of_a_pod_template_are_added() -> None:
    """API-09."""
    before, patch = nested("metadata.finalizers", ["a", "b"]), nested("metadata.finalizers", ["c"])
    assert strategic_merge(before, patch, POD_TEMPLATE) == nested("metadata.finalizers", ["c", "a", "b"])


def test_elements_merge_by_key_at_every_depth() -> None:
    """RBG-71."""
    original = {"items": [{"name": "a", "env": [{"name": "X", "value": "1"}], "ports": [{"port": 1, "name": "p"}]}]}
    patch = {"items": [{"name": "a", "env": [{"name": "X", "value": "2"}], "ports": [{"port": 1, "host": 5}]}]}
    assert strategic_merge(original, patch, SCHEMA) == {
        "items": [{"name": "a", "env": [{"name": "X", "value": "2"}], "ports": [{"port": 1, "name": "p", "host": 5}]}]
    }


@pytest.mark.parametrize(
    ("original", "patch", "order"),
    [
        (["a", "b"], ["x"], ["x", "a", "b"]),
        (["a", "app", "b"], ["app", "x"], ["a", "app", "x", "b"]),
        (["main", "side"], ["extra"], ["extra", "main", "side"]),
        (["main", "side"], ["side", "extra"], ["main", "side", "extra"]),
        (["a", "b", "c"], ["c", "a"], ["b", "c", "a"]),
        (["a", "b"], [], ["a", "b"]),
        ([], ["b", "a"], ["b", "a"]),
    ],
)
def test_order_of_merged_lists(original: list[str], patch: list[str], order: list[str]) -> None:
    """RBG-73, RBG-139."""
    assert merged_names(original, patch) == order


def test_elements_match_the_first_with_an_equal_key() -> None:
    """RBG-72: two ports of one number are told apart by nothing."""
    original = {"items": [{"name": "a", "ports": [{"port": 1, "p": "TCP"}, {"port": 1, "p": "UDP"}]}]}
    patch = {"items": [{"name": "a", "ports": [{"port": 1, "host": 7}]}]}
    result = strategic_merge(original, patch, SCHEMA)
    assert result["items"][0]["ports"] == [{"port": 1, "p": "TCP", "host": 7}, {"port": 1, "p": "UDP"}]


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ({"inner": {"$patch": "replace", "b": 2}}, {"b": 2}),
        ({"inner": {"$patch": "delete"}}, {}),
        ({"inner": {"$retainKeys": ["b", "items"], "b": 2}}, {"b": 2, "items": named("x", "y", "z")}),
        ({"inner": {"items": [{"$patch": "delete", "name": "y"}]}}, {"a": 1, "items": named("x", "z")}),
        ({"inner": {"items": [{"$patch": "replace"}, {"name": "w"}]}}, {"a": 1, "items": named("w")}),
        (
            {"inner": {"$setElementOrder/items": named("z", "x"), "items": [{"name": "x", "v": 1}]}},
            {"a": 1, "items": [{"name": "y"}, {"name": "z"}, {"name": "x", "v": 1}]},
        ),
        ({"inner": {"$setElementOrder/items": named("z", "y", "x")}}, {"a": 1, "items": named("z", "y", "x")}),
    ],
)
def test_directives(patch: Any, result: Any) -> None:
    """RBG-72, API-09."""
    original = {"inner": {"a": 1, "items": named("x", "y", "z")}}
    assert strategic_merge(original, patch, SCHEMA) == {"inner": result}


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ({"new": {"$patch": "replace", "a": 1}}, {}),
        ({"new": {"a": {"$patch": "nonsense"}, "b": None, "c": 1}}, {"new": {"c": 1}}),
        ({"items": [{"$patch": "delete", "name": "x"}, {"name": "y", "v": None}]}, {"items": [{"name": "y"}]}),
    ],
)
def test_directives_that_meet_nothing_take_their_part_out(patch: Any, result: Any) -> None:
    """RBG-72: as the API server has it."""
    assert strategic_merge({}, patch, SCHEMA) == result


def test_scalars_are_removed_from_a_list_by_directive() -> None:
    """RBG-72, API-09: of any list, merging or not."""
    patch = {"$deleteFromPrimitiveList/tags": ["b"], "$deleteFromPrimitiveList/args": [1]}
    assert strategic_merge({"tags": ["a", "b"], "args": [1, 2]}, patch, SCHEMA) == {"tags": ["a"], "args": [2]}


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        ({"items": [{"value": 1}]}, "items[0] has no name"),
        ({"items": [{"$patch": "delete"}]}, "items[0] has no name"),
        ({"items": [{"$patch": "merge", "name": "a"}]}, "items[0].$patch is 'merge'"),
        ({"items": ["a"]}, "items[0] is 'a'"),
        ({"inner": {"$patch": "merge"}}, "inner.$patch is 'merge'"),
        ({"inner": {"$retainKeys": ["a"], "b": 1}}, "inner.b is not listed"),
        ({"inner": {"$retainKeys": "a"}}, "inner.$retainKeys is 'a'"),
        ({"$setElementOrder/items": named("a"), "items": [{"$patch": "replace"}]}, "exclude each other"),
        ({"$setElementOrder/items": named("b", "a"), "items": named("a", "b")}, "items: name 'b'"),
    ],
)
def test_nonsense_is_refused_with_its_place(patch: Any, text: str) -> None:
    """RBG-72, RBG-74."""
    original = {"items": named("a", "b"), "inner": {"a": 1}}
    with pytest.raises(StrategicMergeError) as refused:
        strategic_merge(original, patch, SCHEMA)
    assert text in str(refused.value)


NAMES = st.lists(st.sampled_from("abcdefg"), unique=True)


@given(NAMES, NAMES)
def test_merging_keeps_both_orders_and_loses_nothing(original: list[str], patch: list[str]) -> None:
    """RBG-73: the patch's elements stand in its order, the others in theirs."""
    result = merged_names(original, patch)
    assert sorted(result) == sorted({*original, *patch})
    assert [n for n in result if n in patch] == patch
    assert [n for n in result if n not in patch] == [n for n in original if n not in patch]


@given(NAMES, NAMES)
def test_a_patch_changes_nothing_the_second_time(original: list[str], patch: list[str]) -> None:
    """And never its arguments."""
    document = {"items": named(*original), "tags": list(original)}
    change = {"items": [{"name": n, "v": 1} for n in patch], "tags": list(patch)}
    before = copy.deepcopy((document, change))
    once = strategic_merge(document, change, SCHEMA)
    assert (document, change) == before
    assert strategic_merge(once, change, SCHEMA) == once
