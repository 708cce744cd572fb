"""Durations that are safe together, and identities."""

import uuid
from typing import Any

import pytest
from unit.runtime.lease_store import config

from rbgctl.runtime.leaderelection import new_identity


def test_defaults_are_those_of_the_go_operator() -> None:  # RT-LE-02, RT-LE-03
    defaults = config()
    assert (defaults.lease, defaults.renew, defaults.retry, defaults.margin) == (15.0, 10.0, 2.0, 2.0)
    assert defaults.release_on_stop
    assert defaults.request_timeout == 5.0
    assert config(renew=1.5, retry=0.5, lease=4, margin=1).request_timeout == 1.0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"namespace": ""}, "namespace"),
        ({"name": ""}, "name"),
        ({"identity": ""}, "identity"),
        ({"lease": 0}, "lease duration must be positive"),
        ({"renew": 0}, "renew deadline must be positive"),
        ({"retry": 0}, "retry period must be positive"),
        ({"margin": 0}, "margin must be positive"),
        ({"lease": 10}, "longer than the renew deadline"),
        ({"retry": 9, "lease": 60}, "1.2 times the retry period"),
        ({"lease": 13}, "must end 2 s before the lease duration"),  # RT-LE-30
        ({"lease": 15.5}, "whole seconds"),
    ],
)
def test_unsafe_values_are_refused(changes: dict[str, Any], text: str) -> None:  # RT-LE-02, RT-LE-30
    with pytest.raises(ValueError, match=text):
        config(**changes)


def test_renew_deadline_and_lease_at_their_limits_are_accepted() -> None:  # RT-LE-02
    config(lease=14)
    config(retry=2, renew=2.5, lease=7)


def test_an_identity_is_the_host_and_a_new_uuid(monkeypatch: pytest.MonkeyPatch) -> None:  # RT-ID-02, RT-LE-16
    monkeypatch.setattr("socket.gethostname", lambda: "pod-1")
    first, second = new_identity(), new_identity()
    assert first != second
    for identity in (first, second):
        host, _, tail = identity.partition("_")
        assert (host, uuid.UUID(tail).version) == ("pod-1", 4)
