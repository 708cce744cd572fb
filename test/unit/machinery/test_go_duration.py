"""Durations as flags carry them."""

import pytest

from rbgctl.machinery.go_duration import parse_go_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("2m0s", 120), ("1h30m", 5400), ("300ms", 0.3), (".5s", 0.5), ("0", 0), ("-5s", -5)]
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5d", "1H", "s", "1h x"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_go_duration(text)
