"""JSON merge patch and resource versions."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.merge_patch import apply_merge_patch, merge_patch
from rbgctl.machinery.resource_version import is_before, newer_or_equal

SCALARS = st.one_of(st.booleans(), st.integers(-3, 3), st.text(max_size=3), st.lists(st.integers(0, 2), max_size=2))
DOCUMENTS = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(SCALARS, lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3), max_leaves=6),
    max_size=3,
)


@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_turns_one_document_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """RT-CL-06."""
    assert apply_merge_patch(before, merge_patch(before, after)) == after


@given(DOCUMENTS)
def test_equal_documents_need_an_empty_patch(document: dict[str, Any]) -> None:
    """RT-CL-06."""
    assert merge_patch(document, document) == {}


def test_removed_keys_are_null_and_lists_are_whole() -> None:
    """RT-CL-06."""
    assert merge_patch({"a": {"b": 1, "c": 2}, "l": [1, 2]}, {"a": {"b": 1}, "l": [1]}) == {"a": {"c": None}, "l": [1]}


@given(st.integers(0, 10**40), st.integers(0, 10**40))
def test_decimal_versions_are_ordered_as_numbers(a: int, b: int) -> None:
    """RT-RV-07."""
    assert newer_or_equal(str(a), str(b)) == (a >= b)
    assert is_before(str(a), str(b)) == (a < b)


def test_other_versions_compare_only_as_equal() -> None:
    """RT-RV-07."""
    assert newer_or_equal("x1", "x1")
    assert not newer_or_equal("x2", "x1")
    assert not is_before("x1", "x2")
    assert not is_before("1", "x2")


def test_values_that_only_python_takes_for_equal_are_patched() -> None:
    """RT-CL-06."""
    assert merge_patch({"a": 1, "l": [{"b": 0}]}, {"a": True, "l": [{"b": False}]}) == {"a": True, "l": [{"b": False}]}


def test_a_value_that_becomes_a_mapping_is_replaced() -> None:
    """RT-CL-06."""
    for before, after in (({"a": 1}, {"a": {}}), ({"a": {"b": 1}}, {"a": []}), ({"a": {"b": 1}}, {"a": {}})):
        assert apply_merge_patch(before, merge_patch(before, after)) == after
