"""Processes that take part in an election: our manager, our bare elector and client-go's; and who wrote when."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from cluster.audit import WRITES

CHECKOUT = Path(__file__).parents[2]
ELECTOR = Path(__file__).with_name("lease_elector.py")


class Replica:
    """A process whose output lines can be waited for; it runs in a session of its own and is always cleaned up."""

    def __init__(self, name: str, argv: Sequence[str | Path]) -> None:
        self.name = name
        self.lines: list[str] = []
        self._argv = [str(a) for a in argv]
        self._more = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> "Replica":
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=CHECKOUT
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._more:
                self.lines.append(line.decode().rstrip())
                self._more.notify_all()
        await self._process.wait()
        async with self._more:
            self._more.notify_all()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    async def says(self, text: str, timeout: float = 60.0) -> None:
        """Until a line contains `text`. AssertionError when it ends or stays silent."""
        try:
            async with asyncio.timeout(timeout), self._more:
                await self._more.wait_for(lambda: self.said(text) or not self.alive)
        except TimeoutError:
            raise AssertionError(f"{self.name} did not say {text!r} in {timeout} s:\n{self.tail()}") from None
        assert self.said(text), f"{self.name} ended without saying {text!r}:\n{self.tail()}"

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; when that was, on the wall clock."""
        assert self._process is not None
        now = time.time()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return now

    async def ended(self, timeout: float = 60.0) -> int:
        """Its exit code."""
        assert self._process is not None
        assert self._reader is not None
        await asyncio.wait_for(asyncio.shield(self._reader), timeout)
        return await self._process.wait()

    async def kill(self) -> float:
        """kill -9, also of a stopped process; when that was."""
        at = self.signal(signal.SIGKILL)
        await self.ended()
        return at

    def tail(self) -> str:
        return "\n".join(self.lines[-40:])


def manager(name: str, kubeconfig: Path, namespace: str, *arguments: str) -> Replica:
    """Our manager with leader election."""
    return Replica(
        name,
        [
            *(sys.executable, "-m", "rbgctl.cli.main", "manager", f"--kubeconfig={kubeconfig}"),
            *("--leader-elect", f"--leader-election-namespace={namespace}", "--health-probe-bind-address=127.0.0.1:0"),
            "--enable-webhooks=none",
            *arguments,
        ],
    )


async def go_binary() -> Path:
    """The program with client-go's elector; built by this checkout even where other components come from elsewhere."""
    environment = {k: v for k, v in os.environ.items() if k != "KUBEBUILDER_ASSETS"}
    build = CHECKOUT / "hack" / "controlplane" / "build.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(build), stdout=asyncio.subprocess.PIPE, env=environment
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return Path(out.decode().strip()) / "controlplane"


def elector_arguments(kubeconfig: Path, namespace: str, name: str, identity: str, speed: "Speed") -> list[str]:
    """What both bare electors understand."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--namespace={namespace}",
        f"--name={name}",
        f"--identity={identity}",
        f"--lease-duration={speed.lease:g}s",
        f"--renew-deadline={speed.renew:g}s",
        f"--retry-period={speed.retry:g}s",
        "--release",
    ]


@dataclass(frozen=True)
class Speed:
    """Durations of an election, in seconds."""

    lease: float
    renew: float
    retry: float


def go_elector(binary: Path, identity: str, arguments: Sequence[str]) -> Replica:
    return Replica(identity, [binary, "lease-elector", *arguments])


def python_elector(identity: str, arguments: Sequence[str]) -> Replica:
    return Replica(identity, [sys.executable, ELECTOR, *arguments])


# -- the audit log -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Write:
    """One write that the API server carried out: by whom, from when until when (wall clock), what."""

    user: str
    begun: float
    done: float
    what: str


def leader_writes(audit_log: Path, offset: int, election_namespace: str) -> list[Write]:
    """Everything that only a leader may write: not Leases, not events of elections, not reviews (RT-LE-38)."""
    return [w for w in _writes(audit_log, offset, election_namespace) if w.user.startswith("replica-")]


def _writes(audit_log: Path, offset: int, election_namespace: str) -> Iterator[Write]:
    with audit_log.open("rb") as log:
        log.seek(offset)
        for line in log:
            if not line.endswith(b"\n"):
                return
            entry: dict[str, Any] = json.loads(line)
            ref = entry.get("objectRef") or {}
            if entry["verb"] not in WRITES or ref.get("resource") in {"leases", "subjectaccessreviews", "tokenreviews"}:
                continue
            if ref.get("resource") == "events" and ref.get("namespace") == election_namespace:
                continue
            if not 200 <= (entry.get("responseStatus") or {}).get("code", 0) < 300:
                continue
            what = f"{entry['verb']} {ref.get('resource')} {ref.get('namespace')}/{ref.get('name')}"
            yield Write(
                entry["user"]["username"],
                _seconds(entry["requestReceivedTimestamp"]),
                _seconds(entry["stageTimestamp"]),
                what,
            )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def never_two(writes: Sequence[Write]) -> list[str]:
    """The users in the order in which they wrote. AssertionError when one wrote after the next one had begun."""
    order: list[str] = []
    for write in sorted(writes, key=lambda w: w.begun):
        if write.user not in order:
            order.append(write.user)
    for before, after in pairwise(order):
        last = max((w for w in writes if w.user == before), key=lambda w: w.done)
        first = min((w for w in writes if w.user == after), key=lambda w: w.begun)
        assert last.done <= first.begun, f"{last} while {first}"
    return order
