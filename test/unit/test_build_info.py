"""Which build this is, and how the API server is told (MGR-5, MGR-8)."""

from pathlib import Path

import pytest

from rbgctl import __version__
from rbgctl import manager as composition
from rbgctl.api import identity
from rbgctl.build_info import BuildInfo, main

COMMIT = "ba7b952e0123456789abcdef0123456789abcdef"
DATE = "2026-01-31T12:00:00Z"


def test_a_build_is_named_by_version_and_short_commit(tmp_path: Path) -> None:
    """MGR-8."""
    file = tmp_path / "build_info.json"
    assert main([COMMIT, DATE], file) == 0
    assert BuildInfo.of_this_program(file) == BuildInfo(f"v{__version__}-ba7b952e", COMMIT, DATE)


def test_a_checkout_has_a_version_only(tmp_path: Path) -> None:
    assert BuildInfo.of_this_program(tmp_path / "none") == BuildInfo(f"v{__version__}", "", "")


@pytest.mark.parametrize("commit", ["", "ba7b952e", "HEAD", COMMIT.upper()])
def test_a_short_or_symbolic_commit_is_refused(tmp_path: Path, commit: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "build_info.json"
    assert main([commit, DATE], file) == 1
    assert "give the full id" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(
    ("build", "tail"),
    [
        (BuildInfo.of(COMMIT, DATE), f"/v{__version__} (linux/amd64) rbg-controller/ba7b952"),
        (BuildInfo(f"v{__version__}"), f"/v{__version__} (linux/amd64) rbg-controller/unknown"),
        (BuildInfo(""), "/unknown (linux/amd64) rbg-controller/unknown"),
    ],
)
def test_user_agents_name_version_platform_and_commit(
    monkeypatch: pytest.MonkeyPatch, build: BuildInfo, tail: str
) -> None:
    """MGR-5, RES-4: version up to the first dash, the first 7 of the commit; `unknown` for what is empty."""
    monkeypatch.setattr(composition, "BUILD", build)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    products = [
        identity.MANAGER_GROUP,
        identity.MANAGER_SCALING_ADAPTER,
        identity.MANAGER_GROUP_SET,
        identity.MANAGER_INSTANCE,
        identity.MANAGER_INSTANCE_SET_STATELESS,
        identity.MANAGER_WEBHOOK_CERT,
    ]
    names = "rolebasedgroup rolebasedgroupscalingadapter rolebasedgroupset roleinstance roleinstanceset webhook-cert"
    assert [composition.user_agent(product) for product in products] == [name + tail for name in names.split()]
