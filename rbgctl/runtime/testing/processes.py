"""Starting and watching processes through the guardian."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rbgctl.runtime.testing import guardian

GUARDIAN_ENDED = "the guardian of the control plane was killed, and all its components with it"


class ControlPlaneCrashed(Exception):
    """A component ended or never started; the text has its name, exit code and the tail of its log."""


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, indented; of a Go program that panicked, the last ones before the stack trace."""
    try:
        found = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "  (no log)"
    trace = next((n for n, line in enumerate(found) if n and re.match(r"goroutine \d+", line)), len(found))
    return "\n".join(f"  {line[:400]}" for line in found[:trace][-lines:] if line) or "  (empty log)"


async def _follow(name: str, log: Path) -> None:
    """Copy what is added to `log` to stderr until cancelled. A file cannot be watched, and this only serves people."""
    at, text = 0, b""
    while True:
        with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
            file.seek(at)
            *lines, text = (text + file.read()).split(b"\n")
            at = file.tell()
            for line in lines:
                print(f"{name}: {line.decode(errors='replace')}", file=sys.stderr, flush=True)
        await asyncio.sleep(0.1)


async def process_ended(pid: int) -> None:
    """Until the process is gone or a zombie; it need not be a child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


class Processes:
    """The guardian's client. `failed` completes with ControlPlaneCrashed when a process ends unasked.

    keep: leave the directory at the end. attach: copy the logs to stderr while they grow.
    """

    def __init__(self, directory: Path, *, keep: bool = False, attach: bool = False) -> None:
        self._directory = directory
        self._keep = keep
        self._attach = attach
        self._followers: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._started: dict[str, asyncio.Future[int]] = {}
        self._exited: dict[str, asyncio.Future[int]] = {}
        self._stopping: set[str] = set()
        self._closing = False
        self._orphans: list[int] = []
        self.logs: dict[str, Path] = {}
        self.pids: dict[str, int] = {}
        self._made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed.add_done_callback(lambda f: f.cancelled() or f.exception())

    async def open(self) -> None:
        """Start the guardian and let it make the directory. Raises ControlPlaneCrashed when that fails."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-S",
            "-E",
            "-I",
            guardian.__file__,
            str(self._directory),
            "keep" if self._keep else "remove",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read(), name="guardian reports")
        await self._made

    @property
    def guardian_pid(self) -> int:
        assert self._process is not None  # noqa: S101 - opened before use
        return self._process.pid

    async def start(self, name: str, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> int:
        """Start a process, its output going to `<name>.log`; returns the pid. Raises ControlPlaneCrashed."""
        log = self._directory / f"{name}.log"
        self.logs[name] = log
        loop = asyncio.get_running_loop()
        self._stopping.discard(name)
        self._started[name] = loop.create_future()
        self._exited[name] = loop.create_future()
        try:
            await self._send({"start": name, "argv": [str(a) for a in argv], "env": dict(env or {}), "log": str(log)})
        except ConnectionError:
            raise ControlPlaneCrashed(f"cannot start {name}: {GUARDIAN_ENDED}") from None
        if self._attach:
            self._followers.append(asyncio.create_task(_follow(name, log), name=f"follow {name}"))
        return await self._started[name]

    async def stop(self, name: str, grace: float = 0.0) -> None:
        """Stop one process on purpose; 0 kills at once."""
        self._stopping.add(name)
        await self._send({"stop": name, "grace": grace})
        await self._exited[name]

    async def close(self, grace: float) -> None:
        """Stop everything; `grace` seconds are shared by all. The directory is removed unless kept."""
        self._stopping.update(self.logs)
        self._closing = True
        if self._process is not None:
            with contextlib.suppress(ConnectionError):
                await self._send({"quit": grace})
            await self._process.wait()
        if self._reader is not None:
            await self._reader
        for follower in self._followers:
            follower.cancel()
        # Only a guardian that was killed leaves work: its children die by themselves, then the directory can go.
        for pid in self._orphans:
            await process_ended(pid)
        if not self._keep:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        if not self.failed.done():
            self.failed.cancel()

    async def _send(self, command: Mapping[str, object]) -> None:
        assert self._process is not None  # noqa: S101 - opened before use
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def _read(self) -> None:
        assert self._process is not None  # noqa: S101 - opened before use
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        async for line in self._process.stdout:
            report = json.loads(line)
            if "made" in report:
                if not self._made.done():
                    self._made.set_result(None)
            elif "unmade" in report:
                if not self._made.done():
                    self._made.set_exception(ControlPlaneCrashed(report["unmade"]))
            elif "started" in report:
                self.pids[report["started"]] = report["pid"]
                if not self._started[report["started"]].done():  # done: whoever waited for it was cancelled
                    self._started[report["started"]].set_result(report["pid"])
            elif "failed" in report:
                name = report["failed"]
                if not self._started[name].done():
                    self._started[name].set_exception(ControlPlaneCrashed(f"cannot start {name}: {report['error']}"))
            elif "exited" in report:
                self._ended(report["exited"], report["code"])
        self._guardian_ended()

    def _guardian_ended(self) -> None:
        self._orphans = list(self.pids.values())
        self.pids.clear()
        if not self._made.done():
            self._made.set_exception(ControlPlaneCrashed(GUARDIAN_ENDED))
        for name, started in self._started.items():
            if not started.done():
                started.set_exception(ControlPlaneCrashed(f"cannot start {name}: {GUARDIAN_ENDED}"))
        for exited in self._exited.values():
            if not exited.done():
                exited.set_result(-9)
        if not self._closing and not self.failed.done():
            self.failed.set_exception(ControlPlaneCrashed(GUARDIAN_ENDED))

    def _ended(self, name: str, code: int) -> None:
        self.pids.pop(name, None)
        if not self._exited[name].done():
            self._exited[name].set_result(code)
        if name in self._stopping or self.failed.done():
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self.failed.set_exception(ControlPlaneCrashed(f"{name} {how}; the end of its log:\n{tail(self.logs[name])}"))
