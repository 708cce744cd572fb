"""DNS labels."""

import pytest

from rbgctl.machinery.dns_label import dns_label_problem


@pytest.mark.parametrize("good", ["a", "0", "a-b", "a" * 63])
def test_labels(good: str) -> None:  # VAL-1
    assert dns_label_problem(good) == ""


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("a" * 64, "no more than 63"),
        ("a.b", "dots"),
        ("A", "RFC 1123"),
        ("", "RFC 1123"),
        ("a-", "RFC 1123"),
        ("a\n", "RFC"),
    ],
)
def test_the_first_reason_is_told(bad: str, text: str) -> None:  # VAL-1
    assert text in dns_label_problem(bad)
