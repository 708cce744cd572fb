"""Where the test kit finds the control plane's binaries."""

import asyncio
from pathlib import Path

import pytest

from rbgctl.runtime.testing.assets import AssetsMissing, find_assets
from rbgctl.runtime.testing.processes import process_ended


def checkout(root: Path, script: str) -> Path:
    """A clone whose build driver is `script`."""
    folder = root / "hack" / "controlplane"
    folder.mkdir(parents=True)
    (folder / "build.py").write_text(script)
    return root


async def test_they_are_where_the_build_says(tmp_path: Path) -> None:
    assert await find_assets(checkout(tmp_path, "print('/some/where')")) == Path("/some/where")


async def test_a_failed_build_is_told_from_other_errors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = "import sys; print('error: the disk is full', file=sys.stderr); sys.exit(1)"
    with pytest.raises(AssetsMissing, match="could not be built, see above"):
        await find_assets(checkout(tmp_path, script))
    assert capfd.readouterr().err == "error: the disk is full\n"


async def test_without_a_checkout_they_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-ET-01."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(AssetsMissing, match="set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver"):
        await find_assets(tmp_path)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", "/opt/assets")
    assert await find_assets(tmp_path) == Path("/opt/assets")


async def test_cancelling_ends_the_build(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)"
    finding = asyncio.create_task(find_assets(checkout(tmp_path, script)))
    said = ""
    while not said.endswith("\n"):
        await asyncio.sleep(0.02)  # its stderr is ours, which nothing announces
        said += capfd.readouterr().err
    finding.cancel()
    await asyncio.wait({finding})
    assert finding.cancelled()
    await asyncio.wait_for(process_ended(int(said)), 5)
