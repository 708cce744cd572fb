"""Owner references of raw objects."""

from typing import Any

import pytest

from rbgctl.machinery.owner_references import (
    AlreadyOwned,
    NotOwned,
    controlled_by,
    controller_of,
    controller_reference,
    has_owner_reference,
    remove_owner_reference,
    set_controller_reference,
    set_owner_reference,
)


def owner(name: str = "o", uid: str = "u1", namespace: str = "ns", version: str = "v1alpha2") -> dict[str, Any]:
    meta = {"name": name, "uid": uid, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": f"workloads.x-k8s.io/{version}", "kind": "RoleInstanceSet", "metadata": meta}


def owned(*references: dict[str, Any], namespace: str = "ns") -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "p", "namespace": namespace}
    if references:
        meta["ownerReferences"] = list(references)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}


REFERENCE = {
    "apiVersion": "workloads.x-k8s.io/v1alpha2",
    "kind": "RoleInstanceSet",
    "name": "o",
    "uid": "u1",
    "controller": True,
    "blockOwnerDeletion": True,
}


def test_the_reference_names_its_owner_and_blocks_its_deletion() -> None:
    """RT-CU-01."""
    pod = owned()
    set_controller_reference(owner(), pod)
    assert pod["metadata"]["ownerReferences"] == [REFERENCE]
    assert controller_of(pod) == REFERENCE
    assert controlled_by(pod, "u1")
    assert not controlled_by(pod, "u2")


def test_other_owners_are_kept_and_the_same_owner_is_replaced_in_its_place() -> None:
    """RT-CU-01: by group, kind and name; uid and version follow."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "x"}
    old = controller_reference(owner(uid="u0", version="v1alpha1"))
    pod = owned(old, other)
    set_controller_reference(owner(), pod)
    assert pod["metadata"]["ownerReferences"] == [REFERENCE, other]


@pytest.mark.parametrize(
    "other", [owner("other"), {**owner(), "kind": "RoleInstance"}, {**owner(), "apiVersion": "apps/v1"}]
)
def test_another_controller_is_not_replaced(other: dict[str, Any]) -> None:
    """RT-CU-01."""
    pod = owned(controller_reference(other))
    with pytest.raises(AlreadyOwned) as caught:
        set_controller_reference(owner(), pod)
    name, kind = other["metadata"]["name"], other["kind"]
    assert str(caught.value) == f"Object ns/p is already owned by another {kind} controller {name}"
    assert pod["metadata"]["ownerReferences"] == [controller_reference(other)]


@pytest.mark.parametrize("namespace", ["", "other"])
def test_a_namespaced_owner_owns_only_in_its_namespace(namespace: str) -> None:
    """RT-CU-01."""
    with pytest.raises(ValueError, match="outside its namespace"):
        set_controller_reference(owner(), owned(namespace=namespace))


def test_a_cluster_wide_owner_owns_anywhere() -> None:
    """RT-CU-01."""
    pod = owned()
    set_controller_reference(owner(namespace=""), pod)
    assert controlled_by(pod, "u1")


def test_an_object_without_a_controller_has_none() -> None:
    plain = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "x"}
    assert controller_of(owned(plain)) is None
    assert controller_of({}) is None
    assert not controlled_by({}, "")


PLAIN = {key: REFERENCE[key] for key in ("apiVersion", "kind", "name", "uid")}


@pytest.mark.parametrize(("block", "more"), [(None, {}), (True, {"blockOwnerDeletion": True})])
def test_an_owner_is_added_beside_a_controller(block: bool | None, more: dict[str, Any]) -> None:
    """RT-CU-02: no controller, and what blocks its deletion only when asked for."""
    controller = controller_reference(owner("other"))
    pod = owned(controller)
    set_owner_reference(owner(), pod, block_owner_deletion=block)
    assert pod["metadata"]["ownerReferences"] == [controller, {**PLAIN, **more}]


def test_the_same_owner_is_replaced_in_its_place() -> None:
    """RT-CU-02: by group, kind and name; uid and version follow."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "x"}
    old = {**PLAIN, "apiVersion": "workloads.x-k8s.io/v1alpha1", "uid": "u0"}
    pod = owned(old, other)
    set_owner_reference(owner(), pod)
    assert pod["metadata"]["ownerReferences"] == [PLAIN, other]


@pytest.mark.parametrize("namespace", ["", "other"])
def test_an_owner_that_is_no_controller_keeps_to_its_namespace_too(namespace: str) -> None:
    """RT-CU-02."""
    pod = owned(namespace=namespace)
    with pytest.raises(ValueError, match="outside its namespace"):
        set_owner_reference(owner(), pod)
    assert "ownerReferences" not in pod["metadata"]


def test_an_owner_is_known_by_group_kind_and_name() -> None:
    """RT-CU-02."""
    pod = owned({**PLAIN, "uid": "another", "apiVersion": "workloads.x-k8s.io/v1alpha1"})
    assert has_owner_reference(owner(), pod)
    for other in (owner("other"), {**owner(), "kind": "RoleInstance"}, {**owner(), "apiVersion": "apps/v1"}):
        assert not has_owner_reference(other, pod)
    assert not has_owner_reference(owner(), {})


def test_an_owner_is_taken_off_and_a_missing_one_is_an_error() -> None:
    """RT-CU-02."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "x"}
    pod = owned(REFERENCE, other)
    remove_owner_reference(owner(), pod)
    assert pod["metadata"]["ownerReferences"] == [other]
    with pytest.raises(NotOwned, match="Pod p has no owner reference to RoleInstanceSet o"):
        remove_owner_reference(owner(), pod)
    assert pod["metadata"]["ownerReferences"] == [other]
    last = owned(REFERENCE)
    remove_owner_reference(owner(), last)
    assert "ownerReferences" not in last["metadata"]
