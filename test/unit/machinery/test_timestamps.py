"""metav1.Time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rbgctl.machinery.timestamps import format_time, parse_time


def test_times_are_written_in_utc_with_whole_seconds() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-03-04T03:06:07Z"


def test_offsets_and_fractions_are_read() -> None:
    assert parse_time("2026-03-04T05:06:07.5+02:00") == datetime(2026, 3, 4, 3, 6, 7, 500_000, tzinfo=UTC)
    assert parse_time("2026-03-04T03:06:07Z") == datetime(2026, 3, 4, 3, 6, 7, tzinfo=UTC)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-03-04T03:06:07")
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 3, 4))  # noqa: DTZ001
