"""`rbgctl playground`, what `make run` calls, from start to Ctrl-C."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cluster.groups import POD, names
from rbgctl.api.crd import manifests
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.served_kinds import CRD
from rbgctl.runtime.testing.processes import process_ended
from rbgctl.runtime.transport import Transport

READY_WITHIN = 15.0
"""Seconds from start to Ready on two idle cores with a warm cache; 10 to 13 when this was written."""
CORES = 2
BUSY_MACHINE = 4
"""How much longer it may take where others compute too; the CPU time that it takes changes little then."""


def cpu_seconds(pids: set[int]) -> float:
    """CPU time of these processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        ticks += sum(int(n) for n in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


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


@asynccontextmanager
async def playground() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A playground that has shown its instructions, and what it printed until then. Killed at the end."""
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
    try:
        async with asyncio.timeout(90):
            async for raw in process.stdout:
                lines.append(raw.decode().rstrip())
                if lines[-1].startswith("Ctrl-C"):
                    break
        yield process, "\n".join(lines)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def directory_in(text: str) -> Path:
    found = re.search(r"export KUBECONFIG=(\S+)", text)
    assert found is not None, text
    return Path(found[1]).parent


async def all_gone(pids: set[int], directory: Path) -> None:
    """Until every process has ended and the directory is removed; asyncio.TimeoutError after 20 s."""
    async with asyncio.timeout(20):
        for pid in pids:
            await process_ended(pid)
    assert not directory.exists()


async def test_the_group_is_ready_in_time_and_ctrl_c_stops_everything_cleanly() -> None:
    async with playground() as (process, text):
        seconds = re.search(r"^Ready ([\d.]+) s after the start", text, re.MULTILINE)
        assert seconds is not None, text
        assert float(seconds[1]) < READY_WITHIN * BUSY_MACHINE
        assert cpu_seconds({process.pid, *children(process.pid)}) < READY_WITHIN * CORES
        for expected in (
            "role backend: 0/3 ready",
            "role backend: 3/3 ready",
            "pod demo-frontend-0: Running, ready",
            "group demo: Ready",
            "kubectl -n default get rbg,ris,rins,pods",
        ):
            assert expected in text
        started = text.index("pod demo-frontend-0: Running, ready")
        assert started < text.index("pod demo-backend-0"), "backend started before frontend was Ready"
        directory = directory_in(text)
        async with Transport(ClusterConfig.load(str(directory / "admin.kubeconfig"))) as transport:
            client = LiveClient(transport, RestMapper(transport))
            assert len(await names(client, POD, "default")) == 4
            installed = await names(client, CRD, "")
            assert set(installed) >= {c["metadata"]["name"] for c in manifests(legacy=False)}
        below = children(process.pid)
        assert len(below) >= 6
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 40) == 0
        await all_gone(below, directory)


async def test_kill_9_of_the_playground_leaves_no_process_and_no_directory() -> None:
    async with playground() as (process, text):
        below = children(process.pid)
        process.kill()
        await process.wait()
        await all_gone(below, directory_in(text))


async def test_a_component_that_dies_ends_the_playground_with_its_name_and_log() -> None:
    async with playground() as (process, text):
        below = children(process.pid)
        server = next(p for p in below if b"kube-apiserver" in Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")[0])
        os.kill(server, signal.SIGKILL)
        assert process.stdout is not None
        rest = (await asyncio.wait_for(process.stdout.read(), 40)).decode()
        assert await process.wait() == 1
        assert "error: kube-apiserver was killed by signal 9; the end of its log:" in rest
        await all_gone(below, directory_in(text))
