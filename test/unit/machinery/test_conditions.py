"""Conditions keep the time of their last transition."""

from typing import Any

import pytest

from rbgctl.machinery.conditions import keep_time, with_condition

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def ready(status: str, time: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "Ready", "status": status, **({"lastTransitionTime": time} if time else {}), **more}


@pytest.mark.parametrize(
    ("old", "time"),
    [
        (None, NOW),
        (ready("False", THEN), NOW),
        (ready("True", THEN, reason="Other"), THEN),
        (ready("True", None), NOW),
        ({"type": "Ready"}, NOW),
    ],
)
def test_the_time_moves_only_with_the_status(old: dict[str, Any] | None, time: str) -> None:
    assert keep_time(ready("True", NOW, reason="R"), old) == ready("True", time, reason="R")


def test_a_condition_takes_the_place_of_its_type_and_leaves_the_others() -> None:
    other = {"type": "Other", "status": "True"}
    existing = [ready("False", THEN), other]
    assert with_condition(existing, ready("True", NOW)) == [ready("True", NOW), other]
    assert with_condition([other], ready("True", NOW)) == [other, ready("True", NOW)]
    assert existing == [ready("False", THEN), other]
