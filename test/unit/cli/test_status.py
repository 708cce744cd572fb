"""`kubectl rbg status`."""

from datetime import UTC, datetime

import pytest

from rbgctl.cli.status import human_age, status_text

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (50, "50s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"),
        (10799, "179m"), (10800, "3h"), (28800, "8h"), (86400, "24h"), (172800, "2d"), (180000, "2d2h"),
    ],
)  # fmt: skip
def test_ages_read_as_kubectl_prints_them(seconds: int, text: str) -> None:
    """06 §20.2 (CLI-ST-4)."""
    assert human_age(seconds) == text


def group(status: object) -> dict[str, object]:
    return {"metadata": {"name": "g", "creationTimestamp": "2026-01-02T03:00:05Z"}, "status": status}


def test_the_text_is_what_scripts_grep() -> None:
    """CLI-ST-5, CLI-ST-6, 06 §20.4."""
    roles = [{"name": "web", "readyReplicas": 2, "replicas": 3}, {"name": "api", "replicas": 0}, "junk"]
    assert status_text(group({"roleStatuses": roles}), "ns", NOW) == "\n".join(
        [
            "📊 Resource Overview",
            "  Namespace: ns",
            "  Name:      g",
            "",
            "  Age:       4m",
            "",
            "📦 Role Statuses",
            f"web          2/3\t\t(total: 3)\t[{'█' * 10}{' ' * 6}] 66%",
            f"api          0/0\t\t(total: 0)\t[{' ' * 16}] 0%",
            "",
            "∑ Summary: 2 roles | 2/3 Ready",
        ]
    )


def test_a_group_without_status_is_pending() -> None:
    assert status_text(group(None), "ns", NOW).endswith("Pending")


def test_a_status_of_another_type_is_one_clear_error() -> None:
    """CLI-REC-3."""
    with pytest.raises(ValueError, match="roleStatuses not found"):
        status_text(group({"roleStatuses": "x"}), "ns", NOW)
