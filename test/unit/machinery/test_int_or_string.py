"""Int-or-percent: the strict reading and the one of stateful sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbgctl.machinery.int_or_string import scaled, scaled_legacy


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [(3, 10, 3, 3), (-2, 10, -2, -2), ("10%", 5, 1, 0), ("+50%", 3, 2, 1), ("-10%", 5, 0, -1), ("100%", 7, 7, 7)],
)
def test_scaled(value: int | str, total: int, up: int, down: int) -> None:  # API-03 RBG-7
    assert scaled(value, total, round_up=True) == up
    assert scaled(value, total, round_up=False) == down


@pytest.mark.parametrize("bad", ["5", "", "%", "1.5%", " 5%", "5 %", "1_0%", "٥%", "5%%", None, "9999999999999999999%"])
def test_what_is_no_integer_percentage_is_refused(bad: str | None) -> None:  # API-03 RBG-7
    with pytest.raises(ValueError, match="IntOrString"):
        scaled(bad, 10, round_up=True)


def test_legacy_reading_takes_every_string_as_percentage() -> None:  # API-04
    assert scaled_legacy("5", 100) == 5
    assert scaled_legacy("5%%", 100) == 5
    assert scaled_legacy("%50", 3) == 1
    assert scaled_legacy(7, 3) == 7
    for bad in ("", "%", "x", None):
        with pytest.raises(ValueError, match="IntOrString"):
            scaled_legacy(bad, 10)


@given(st.integers(0, 200), st.integers(0, 10_000))
def test_rounding_brackets_the_exact_share(percent: int, total: int) -> None:  # API-03
    down, up = (scaled(f"{percent}%", total, round_up=r) for r in (False, True))
    assert down * 100 <= percent * total <= up * 100
    assert up - down in (0, 1)
