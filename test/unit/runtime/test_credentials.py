"""Tokens in files that rotate."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from unit.runtime.conftest import ManualClock

from rbgctl.runtime.credentials import ConfigError, TokenFile


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(" one\n")
    return path


def test_the_file_is_read_again_after_fifty_seconds(file: Path, manual_clock: ManualClock) -> None:
    """RT-CF-03: its content without white space."""
    token = TokenFile(file, manual_clock)
    file.write_text("two")
    manual_clock.time = 49.0
    assert token.headers() == bearer("one")
    manual_clock.time = 50.0
    assert token.headers() == bearer("two")


@pytest.mark.parametrize("content", ["", " \n", None])
def test_a_file_without_a_token_keeps_the_old_one(file: Path, manual_clock: ManualClock, content: str | None) -> None:
    """RT-CF-03."""
    token = TokenFile(file, manual_clock)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    manual_clock.time = 51.0
    with capture_logs() as logs:
        assert token.headers() == bearer("one")
    assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.parametrize("content", ["", None])
def test_without_any_token_there_is_nothing_to_start_with(file: Path, content: str | None) -> None:
    """RT-CF-03."""
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(ConfigError, match="token"):
        TokenFile(file)


async def test_a_refused_token_is_read_again_at_once(file: Path, manual_clock: ManualClock) -> None:
    """RT-CF-03: also for the second of two requests that were refused together."""
    token = TokenFile(file, manual_clock)
    sent = token.headers()
    assert not await token.on_unauthorized(sent)
    file.write_text("two")
    assert await token.on_unauthorized(sent)
    assert await token.on_unauthorized(sent)
    assert token.headers() == bearer("two")
    assert not await token.on_unauthorized(token.headers())
