"""When a server-side apply would change nothing."""

from copy import deepcopy
from typing import Any

import pytest

from rbgctl.machinery.field_ownership import apply_is_noop

DESIRED: dict[str, Any] = {
    "apiVersion": "g/v1",
    "kind": "K",
    "metadata": {"name": "n", "namespace": "ns", "labels": {"a": "1"}},
    "spec": {
        "replicas": 3,
        "empty": {},
        "finalizers": ["x", "y"],
        "ports": [{"port": 80, "name": "http"}, {"port": 81, "name": "rpc"}],
        "atomic": [1, 2],
    },
}

FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {"f:a": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:empty": {},
        "f:atomic": {},
        "f:finalizers": {'v:"x"': {}, 'v:"y"': {}},
        "f:ports": {
            'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}},
            'k:{"port":81,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}},
        },
    },
}


def live() -> dict[str, Any]:
    found = deepcopy(DESIRED)
    found["metadata"].update(
        uid="u",
        resourceVersion="5",
        managedFields=[{"manager": "rbg", "operation": "Apply", "apiVersion": "g/v1", "fieldsV1": deepcopy(FIELDS)}],
    )
    for port in found["spec"]["ports"]:
        port["protocol"] = "TCP"
    found["spec"]["defaulted"] = True
    return found


def test_the_same_fields_with_the_same_values_need_no_write() -> None:
    """Defaults of the server and fields of others do not matter."""
    assert apply_is_noop(live(), DESIRED, "rbg")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicas"), 4),
        (("spec", "empty"), {"x": 1}),
        (("spec", "atomic"), [2, 1]),
        (("spec", "finalizers"), ["x"]),
        (("spec", "finalizers"), ["x", "z"]),
        (("metadata", "labels"), {"a": "2"}),
        (("metadata", "labels"), {"a": "1", "b": "1"}),
        (("metadata", "annotations"), {"new": "1"}),
        (("spec", "ports"), [{"port": 80, "name": "http"}]),
        (("spec", "ports"), [{"port": 80, "name": "http"}, {"port": 82, "name": "rpc"}]),
    ],
)
def test_any_other_value_or_set_of_fields_is_a_write(path: tuple[str, str], value: Any) -> None:
    desired = deepcopy(DESIRED)
    desired[path[0]][path[1]] = value
    assert not apply_is_noop(live(), desired, "rbg")


def test_a_field_we_own_and_no_longer_send_is_a_write() -> None:
    """It must be given up: an apply removes what its manager owned and does not send again (RBG-14)."""
    desired = deepcopy(DESIRED)
    del desired["spec"]["replicas"]
    assert not apply_is_noop(live(), desired, "rbg")


def test_a_value_changed_by_somebody_else_is_a_write() -> None:
    """The manager still owns the field until the other one takes it by force."""
    changed = live()
    changed["spec"]["replicas"] = 7
    assert not apply_is_noop(changed, DESIRED, "rbg")


def test_never_applied_or_applied_by_another_is_a_write() -> None:
    assert not apply_is_noop(live(), DESIRED, "other")
    assert not apply_is_noop(live(), DESIRED, "rbg", "status")
    assert not apply_is_noop(None, DESIRED, "rbg")
    updated = live()
    updated["metadata"]["managedFields"][0]["operation"] = "Update"
    assert not apply_is_noop(updated, DESIRED, "rbg")
