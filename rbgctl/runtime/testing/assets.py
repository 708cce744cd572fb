"""Where the control plane's binaries are: KUBEBUILDER_ASSETS, else this checkout's build (cached outside it)."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


class AssetsMissing(Exception):
    """No binaries and no way to build them here; the text says what to do."""


async def find_assets(checkout: Path = CHECKOUT) -> Path:
    """The directory with etcd, kube-apiserver and the rest; builds them on first use, with progress on stderr.

    Raises AssetsMissing. Cancelling it ends the build.
    """
    build = checkout / "hack" / "controlplane" / "build.py"
    if not build.exists():
        given = os.environ.get("KUBEBUILDER_ASSETS")
        if given:
            return Path(given)
        raise AssetsMissing(
            "no control plane binaries: set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver (and "
            "kube-controller-manager, kube-scheduler and kwok for simulated nodes), or run from a source checkout"
        )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(build), stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    if process.returncode:
        raise AssetsMissing("the control plane could not be built, see above")
    return Path(out.decode().strip())
