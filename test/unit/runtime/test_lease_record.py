"""The Lease on the wire."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.runtime.lease_record import LeaseRecord, micro_time

GO_WROTE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "rbg-controller", "namespace": "rbgs-system", "resourceVersion": "7"},
    "spec": {
        "acquireTime": "2026-11-24T13:10:07.282092Z",
        "holderIdentity": "vm_704e9640",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 4,
        "renewTime": "2026-11-24T13:10:09.305643Z",
    },
}


def test_times_have_exactly_six_digits_and_are_utc() -> None:  # RT-LE-01
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)) == "2026-01-02T03:04:05.123456Z"
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 0, UTC)) == "2026-01-02T03:04:05.000000Z"
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 120, timezone(timedelta(hours=2)))).endswith("T01:04:05.000120Z")


def test_a_lease_written_by_go_is_read_and_its_record_round_trips() -> None:  # RT-LE-01
    record = LeaseRecord.of(GO_WROTE)
    assert record == LeaseRecord(
        holder="vm_704e9640",
        seconds=15,
        acquire_time="2026-11-24T13:10:07.282092Z",
        renew_time="2026-11-24T13:10:09.305643Z",
        transitions=4,
    )
    assert record.written_to(GO_WROTE, {}) == GO_WROTE


TEXTS = st.text(max_size=20)
RECORDS = st.builds(
    LeaseRecord,
    holder=TEXTS,
    seconds=st.integers(1, 10**6),
    acquire_time=st.datetimes(timezones=st.just(UTC)).map(micro_time),
    renew_time=st.datetimes(timezones=st.just(UTC)).map(micro_time),
    transitions=st.integers(0, 10**6),
)
FOREIGN = st.fixed_dictionaries({}, optional={"strategy": TEXTS, "preferredHolder": TEXTS, "future": st.integers()})


@given(record=RECORDS, spec=FOREIGN, labels=st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_any_record_is_read_as_it_was_written_and_foreign_fields_stay(
    record: LeaseRecord, spec: dict[str, Any], labels: dict[str, str]
) -> None:  # RT-LE-01
    lease = {"metadata": {"name": "a", "labels": labels}, "spec": spec}
    written = record.written_to(lease, {})
    assert LeaseRecord.of(written) == record
    assert {k: written["spec"][k] for k in spec} == spec
    assert written["metadata"] == lease["metadata"]
    assert set(written["spec"]) - set(spec) == {
        "holderIdentity",
        "leaseDurationSeconds",
        "acquireTime",
        "renewTime",
        "leaseTransitions",
    }


@pytest.mark.parametrize("lease", [{}, {"spec": None}, {"spec": {}}, {"spec": {"holderIdentity": None}}])
def test_a_lease_without_record_is_free(lease: dict[str, Any]) -> None:
    assert LeaseRecord.of(lease) == LeaseRecord()


@pytest.mark.parametrize("labels", [None, {}, {"kept": "yes"}])
def test_labels_are_added_also_to_a_lease_that_has_none(labels: dict[str, str] | None) -> None:  # RT-LE-05
    lease = {"metadata": {"name": "a", **({"labels": labels} if labels is not None else {})}}
    written = LeaseRecord().written_to(lease, {"shard": "1"})
    assert written["metadata"]["labels"] == {**(labels or {}), "shard": "1"}
    assert lease["metadata"].get("labels") == labels


def test_a_release_names_nobody_and_keeps_the_transitions() -> None:  # RT-LE-15
    now = "2026-01-01T00:00:00.000000Z"
    written = LeaseRecord.of(GO_WROTE).released(now).written_to(GO_WROTE, {})
    assert written["spec"] == {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": 4,
    }
