"""Patches between two objects."""

from typing import Any

import jsonpatch
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.merge_patch import json_equal
from rbgctl.runtime.patch import Patch

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.text(max_size=2)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b/c", "~d"]), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)


@given(OBJECTS, OBJECTS)
def test_a_json_patch_turns_one_object_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """RT-CL-05: nulls, types and slashes in names included."""
    patch = Patch.json_between(before, after)
    assert patch.content_type == "application/json-patch+json"
    assert json_equal(jsonpatch.JsonPatch(patch.body).apply(before), after)


@given(OBJECTS)
def test_equal_objects_need_no_operations(obj: dict[str, Any]) -> None:
    assert Patch.json_between(obj, dict(obj)).body == []
