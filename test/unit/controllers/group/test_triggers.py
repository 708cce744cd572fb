"""What wakes the group controller, judged on headers."""

from typing import Any

import msgspec
import pytest

from rbgctl.api import annotations
from rbgctl.controllers.group.controller import (
    annotations_changed,
    changed_or_deleted,
    group_of,
    role_counts,
    workload_changed,
)
from rbgctl.machinery.gvk import NN
from rbgctl.machinery.owner_references import OwnerRef
from rbgctl.runtime.predicate import Event
from rbgctl.runtime.store import Entry, Header

BASE: dict[str, Any] = {"namespace": "ns", "name": "n", "uid": "u", "rv": "1", "generation": 1}


def entry(**changes: Any) -> Entry:
    return Entry(Header(**{**BASE, **changes}), b"{}")


def update(before: dict[str, Any], after: dict[str, Any]) -> Event:
    return Event("update", entry(**after), entry(**before))


@pytest.mark.parametrize(
    ("change", "wakes"),
    [
        ({"rv": "2"}, False),
        ({"rv": "2", "generation": 2}, True),
        ({"rv": "2", "hot": ("1", "3", "3", "3")}, True),
        ({"rv": "2", "labels": (("a", "b"),)}, True),
        ({"rv": "2", "annotations": ((annotations.ROLE_SIZE, "9"),)}, True),
        ({"rv": "2", "owners": (OwnerRef(uid="x"),)}, True),
    ],
)
def test_workload_updates_that_matter(change: dict[str, Any], wakes: bool) -> None:
    """RBG-22: a bare write that changes nothing we read or own does not wake the group."""
    assert workload_changed(update({}, change)) is wakes


def test_creation_of_a_workload_is_our_own_doing_and_its_deletion_is_not() -> None:
    """RBG-22."""
    assert not workload_changed(Event("create", entry()))
    assert workload_changed(Event("delete", entry()))


def test_toggled_annotations_wake_the_group_but_the_mode_we_write_does_not() -> None:
    """RBG-23."""
    mode = ((annotations.DISCOVERY_CONFIG_MODE, "refine"),)
    gang = ((annotations.GROUP_GANG_SCHEDULING, "true"),)
    assert not annotations_changed(update({}, {"annotations": mode}))
    assert annotations_changed(update({}, {"annotations": gang}))


def test_edited_or_deleted_services_and_config_maps_wake_the_group_of_their_label() -> None:
    """RBG-23."""
    assert changed_or_deleted(update({}, {"rv": "2"}))
    assert not changed_or_deleted(update({}, {}))
    assert changed_or_deleted(Event("delete", entry()))
    assert not changed_or_deleted(Event("create", entry()))
    assert list(group_of(entry(labels=(("rbg.workloads.x-k8s.io/group-name", "g"),)))) == [NN("ns", "g")]
    assert list(group_of(entry())) == []


def test_counts_come_from_the_raw_status() -> None:
    raw = msgspec.json.decode(
        b'{"status":{"replicas":3,"readyReplicas":2,"observedGeneration":4}}', type=dict[str, msgspec.Raw]
    )
    assert role_counts(raw) == ("4", "3", "2", "")
    assert role_counts({}) == ("", "", "", "")
