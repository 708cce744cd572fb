"""Where the data of a control plane lives, and what to say when there is no room for it."""

import errno
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from rbgctl.runtime.testing.processes import ControlPlaneCrashed

ROOM = 192 << 20
"""Bytes of disk without which starting is not even tried: etcd alone reserves 128 MiB."""

ROOM_IN_MEMORY = 1 << 30
"""Bytes that must be free in /dev/shm before a directory is made there."""


class DiskFull(ControlPlaneCrashed):
    """There is no room for the data of a control plane."""


def choose_directory(given: Path | None) -> Path:
    """`given`, else a temporary one, in memory when there is room. The guardian makes it, and removes it in the end.

    Raises ValueError for a directory that holds something.
    """
    if given is not None:
        if given.exists() and any(given.iterdir()):
            raise ValueError(f"{given} is not empty: a control plane needs a directory of its own")
        return given
    memory = Path("/dev/shm")  # noqa: S108 - a private directory is made inside
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_IN_MEMORY
    return (memory if roomy else Path(tempfile.gettempdir())) / f"envtest-{secrets.token_hex(8)}"


def _free(directory: Path) -> int:
    """Bytes where the directory is or will be."""
    existing = next(d for d in (directory, *directory.absolute().parents) if d.exists())
    return shutil.disk_usage(existing).free


def check_room(directory: Path, wanted: int = ROOM) -> None:
    """Raises DiskFull when less than `wanted` bytes are free."""
    free = _free(directory)
    if free < wanted:
        raise DiskFull(
            f"the disk is full: {directory} has {free >> 20} MiB left, a control plane needs {wanted >> 20} MiB; "
            "free some space or set TMPDIR to a directory on another disk"
        )


def disk_full(error: BaseException, directory: Path) -> DiskFull | None:
    """What to say when `error` came from a full disk, whether it says so or could not even write its log."""
    if isinstance(error, DiskFull):
        return None
    told = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "no space left" in str(error).lower()
    free = _free(directory)
    if not told and free >= 1 << 20:
        return None
    return DiskFull(
        f"the disk is full: {directory} has {free >> 20} MiB left; free some space or set TMPDIR to a directory on "
        "another disk"
    )
