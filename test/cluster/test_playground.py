"""`rbgctl playground`, what `make run` calls, from start to Ctrl-C."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.transport import Transport

READY_WITHIN = 15.0
"""Seconds from start to Ready with a warm cache; generous machines do it in seven."""


def children(pid: int) -> set[int]:
    """All descendants of a process."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found |= {int(entry.name)} | children(int(entry.name))
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_the_group_is_ready_in_time_and_ctrl_c_stops_everything_cleanly() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rbgctl.cli.main",
        "playground",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert process.stdout is not None
    lines: list[str] = []
    seconds = 0.0
    async with asyncio.timeout(90):
        async for raw in process.stdout:
            lines.append(raw.decode().rstrip())
            if found := re.match(r"Ready ([\d.]+) s after the start", lines[-1]):
                seconds = float(found[1])
            if lines[-1].startswith("Ctrl-C"):
                break
    text = "\n".join(lines)
    assert 0 < seconds < READY_WITHIN, text
    for expected in (
        "role backend: 0/3 ready",
        "role backend: 3/3 ready",
        "pod demo-frontend-0: Running, ready",
        "group demo: Ready",
        "kubectl -n default get rbg,ris,rins,pods",
    ):
        assert expected in text
    started = text.index("role frontend: 1/1 ready")
    assert started < text.index("pod demo-backend-0"), "backend started before frontend was Ready"

    kubeconfig = re.search(r"export KUBECONFIG=(\S+)", text)
    assert kubeconfig is not None
    async with Transport(ClusterConfig.load(kubeconfig[1])) as transport:
        from cluster.groups import POD, names

        assert len(await names(LiveClient(transport, RestMapper(transport)), POD, "default")) == 4

    below = children(process.pid)
    assert len(below) >= 6
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 40) == 0
    assert [p for p in below if alive(p)] == []
    assert not Path(kubeconfig[1]).parent.exists()
