"""Finalizers of raw objects."""

from typing import Any

from rbgctl.machinery.finalizers import add_finalizer, has_finalizer, remove_finalizer


def held(*names: str) -> dict[str, Any]:
    return {"metadata": {"name": "a", **({"finalizers": list(names)} if names else {})}}


def test_a_finalizer_is_added_once_at_the_end() -> None:
    """RT-CU-05: and whether anything changed is told."""
    obj = held("x")
    assert add_finalizer(obj, "y") is True
    assert obj == held("x", "y")
    assert add_finalizer(obj, "x") is False
    assert obj == held("x", "y")
    assert add_finalizer(empty := {}, "x") is True
    assert empty == {"metadata": {"finalizers": ["x"]}}


def test_every_equal_entry_is_taken_off() -> None:
    """RT-CU-05."""
    obj = held("x", "y", "x", "z")
    assert remove_finalizer(obj, "x") is True
    assert obj == held("y", "z")
    assert remove_finalizer(obj, "x") is False
    assert obj == held("y", "z")
    last = held("x")
    assert remove_finalizer(last, "x") is True
    assert last == held()
    assert remove_finalizer({}, "x") is False


def test_what_holds_an_object_is_asked_by_name() -> None:
    assert has_finalizer(held("x"), "x")
    assert not has_finalizer(held("xy"), "x")
