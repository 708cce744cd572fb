"""Credentials from a program."""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from unit.runtime.conftest import ManualClock

from rbgctl.runtime.clock import rfc3339
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.credentials import ConfigError
from rbgctl.runtime.exec_credential import V1, V1BETA1, ExecPlugin, ExecSpec
from rbgctl.runtime.transport import Transport

SCRIPT = """
import json, os, pathlib, sys
here = pathlib.Path(sys.argv[1])
with (here / "runs").open("a") as runs:
    runs.write(os.environ["KUBERNETES_EXEC_INFO"] + "|" + os.environ.get("EXTRA", "") + "\\n")
print((here / "answer").read_text())
sys.exit(int((here / "code").read_text()))
"""


class Program:
    def __init__(self, here: Path) -> None:
        self.here = here
        (here / "program.py").write_text(SCRIPT)
        self.answers()

    def answers(self, status: Mapping[str, Any] | None = None, *, version: str = V1, code: int = 0) -> None:
        answer: dict[str, Any] = {"apiVersion": version, "kind": "ExecCredential"}
        answer["status"] = {"token": "t1"} if status is None else status
        (self.here / "answer").write_text(json.dumps(answer))
        (self.here / "code").write_text(str(code))

    @property
    def runs(self) -> list[tuple[dict[str, Any], str]]:
        path = self.here / "runs"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(json.loads(line.partition("|")[0]), line.partition("|")[2]) for line in lines]

    def plugin(self, clock: ManualClock, *, terminal: bool = False, timeout: float = 60.0, **spec: Any) -> ExecPlugin:
        command = {"command": sys.executable, "args": (str(self.here / "program.py"), str(self.here))}
        return ExecPlugin(ExecSpec(**{**command, **spec}), clock=clock, timeout=timeout, is_terminal=lambda: terminal)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


async def test_the_program_is_told_what_is_wanted_and_answers_with_a_token(
    program: Program, manual_clock: ManualClock
) -> None:
    """RT-CF-06."""
    plugin = program.plugin(manual_clock, env={"EXTRA": "e"}, cluster={"server": "https://s"})
    await plugin.ready()
    assert plugin.headers() == {"Authorization": "Bearer t1"}
    wanted = {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://s"}},
    }
    assert program.runs == [(wanted, "e")]


async def test_the_program_has_the_environment_of_the_process(
    program: Program, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RT-CF-06: what the entry sets comes on top of it."""
    monkeypatch.setenv("EXTRA", "inherited")
    await program.plugin(manual_clock).ready()
    await program.plugin(manual_clock, env={"EXTRA": "set"}).ready()
    assert [extra for _, extra in program.runs] == ["inherited", "set"]


async def test_the_cluster_is_passed_only_when_asked_for(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-06."""
    await program.plugin(manual_clock).ready()
    assert "cluster" not in program.runs[0][0]["spec"]


async def test_a_client_certificate_may_come_instead_of_a_token(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-06."""
    program.answers({"clientCertificateData": "C", "clientKeyData": "K"})
    plugin = program.plugin(manual_clock)
    await plugin.ready()
    assert plugin.headers() == {}
    assert plugin.client_cert() == (b"C", b"K")


@pytest.mark.parametrize(
    ("status", "version", "code", "text"),
    [
        ({}, V1, 0, "without a status"),
        ({"expirationTimestamp": "2026-01-01T00:00:00Z"}, V1, 0, "neither a token nor"),
        ({"clientCertificateData": "C"}, V1, 0, "only one of"),
        ({"clientKeyData": "K", "token": "t"}, V1, 0, "only one of"),
        ({"token": "t"}, V1BETA1, 0, "v1beta1"),
        ({"token": "t"}, V1, 3, "exit code 3"),
        ({"token": "t", "expirationTimestamp": "soon"}, V1, 0, "expirationTimestamp"),
    ],
)
async def test_an_unusable_answer_is_an_error(
    program: Program, manual_clock: ManualClock, status: dict[str, Any], version: str, code: int, text: str
) -> None:
    """RT-CF-07."""
    program.answers(status, version=version, code=code)
    with pytest.raises(ConfigError, match=text):
        await program.plugin(manual_clock).ready()


async def test_a_missing_program_prints_the_hint_at_most_ten_times_an_hour(manual_clock: ManualClock) -> None:
    """RT-CF-07."""
    plugin = ExecPlugin(ExecSpec("/no/such/program", install_hint="install it"), clock=manual_clock)
    with capture_logs() as logs:
        for _ in range(12):
            with pytest.raises(ConfigError, match="/no/such/program"):
                await plugin.ready()
        assert [entry["hint"] for entry in logs] == ["install it"] * 10
        manual_clock.time = 3601.0
        with pytest.raises(ConfigError):
            await plugin.ready()
    assert len(logs) == 11


async def test_a_program_that_needs_a_terminal_fails_without_one(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-07."""
    with pytest.raises(ConfigError, match="terminal"):
        await program.plugin(manual_clock, interactive_mode="Always").ready()
    assert program.runs == []


async def test_interaction_is_offered_when_there_is_a_terminal(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-07."""
    await program.plugin(manual_clock, terminal=True).ready()
    await program.plugin(manual_clock, terminal=True, interactive_mode="Never").ready()
    assert [run["spec"]["interactive"] for run, _ in program.runs] == [True, False]


async def test_without_an_expiry_it_runs_again_only_after_a_refusal(
    program: Program, manual_clock: ManualClock
) -> None:
    """RT-CF-08."""
    plugin = program.plugin(manual_clock)
    await plugin.ready()
    manual_clock.time = 1e6
    await plugin.ready()
    assert len(program.runs) == 1
    sent = plugin.headers()
    program.answers({"token": "t2"})
    assert await plugin.on_unauthorized(sent)
    assert plugin.headers() == {"Authorization": "Bearer t2"}
    assert len(program.runs) == 2


async def test_it_runs_again_when_the_credential_expires(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-08."""
    program.answers({"token": "t1", "expirationTimestamp": rfc3339(manual_clock.now() + timedelta(seconds=60))})
    plugin = program.plugin(manual_clock)
    await plugin.ready()
    manual_clock.time = 59.0
    await plugin.ready()
    assert len(program.runs) == 1
    manual_clock.time = 60.0
    await plugin.ready()
    assert len(program.runs) == 2


async def test_many_who_need_it_at_once_run_it_once(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-08."""
    plugin = program.plugin(manual_clock)
    await asyncio.gather(*(plugin.ready() for _ in range(20)))
    assert len(program.runs) == 1
    sent = plugin.headers()
    program.answers({"token": "t2"})
    assert all(await asyncio.gather(*(plugin.on_unauthorized(sent) for _ in range(20))))
    assert len(program.runs) == 2


async def test_a_certificate_refused_to_several_requests_is_renewed_once(
    program: Program, manual_clock: ManualClock
) -> None:
    """RT-CF-08: although nothing in their headers tells one generation from the next."""
    program.answers({"clientCertificateData": "C1", "clientKeyData": "K"})
    plugin = program.plugin(manual_clock)
    await plugin.ready()
    sent = plugin.headers()
    program.answers({"clientCertificateData": "C2", "clientKeyData": "K"})
    assert await plugin.on_unauthorized(sent)
    assert await plugin.on_unauthorized(sent)
    assert len(program.runs) == 2
    assert plugin.client_cert() == (b"C2", b"K")


async def test_a_refusal_that_changes_nothing_is_not_worth_a_retry(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-03."""
    plugin = program.plugin(manual_clock)
    await plugin.ready()
    assert not await plugin.on_unauthorized(plugin.headers())


async def test_a_program_that_hangs_is_killed(tmp_path: Path, manual_clock: ManualClock) -> None:
    """RT-CF-08."""
    spec = ExecSpec(sys.executable, ("-c", "import time; time.sleep(60)"))
    plugin = ExecPlugin(spec, clock=manual_clock, timeout=0.2, is_terminal=lambda: False)
    with pytest.raises(ConfigError, match=r"within 0\.2 s"):
        await plugin.ready()


SLOW = SCRIPT.replace(
    "print(",
    """import time
while not (here / "go").exists():
    time.sleep(0.01)
print(""",
)
"""Takes longer than any caller has patience: until it is told to go on."""


async def test_a_program_slower_than_its_callers_still_brings_a_credential(
    program: Program, manual_clock: ManualClock
) -> None:
    """RT-CF-08: one run, off the loop, however many give up waiting for it, and joined by all who come meanwhile."""
    (program.here / "program.py").write_text(SLOW)
    plugin = program.plugin(manual_clock)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await plugin.ready()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.gather(plugin.ready(), plugin.ready())
    (program.here / "go").touch()
    await asyncio.gather(plugin.ready(), plugin.ready())
    assert plugin.headers() == {"Authorization": "Bearer t1"}
    assert len(program.runs) == 1


async def test_a_refusal_joins_a_run_under_way(program: Program, manual_clock: ManualClock) -> None:
    """RT-CF-08: the one whose request was refused first has given up waiting, its run goes on."""
    plugin = program.plugin(manual_clock)
    await plugin.ready()
    sent = plugin.headers()
    (program.here / "program.py").write_text(SLOW)
    program.answers({"token": "t2"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await plugin.on_unauthorized(sent)
    (program.here / "go").touch()
    assert await asyncio.gather(plugin.on_unauthorized(sent), plugin.on_unauthorized(sent)) == [True, True]
    assert plugin.headers() == {"Authorization": "Bearer t2"}
    assert len(program.runs) == 2


async def test_a_late_refusal_of_an_old_credential_waits_for_the_run_under_way(
    program: Program, manual_clock: ManualClock
) -> None:
    """A request is tried again once: with what that run brings, not with what was refused to others meanwhile."""
    plugin = program.plugin(manual_clock)
    await plugin.ready()
    oldest = plugin.headers()
    program.answers({"token": "t2"})
    await plugin.on_unauthorized(oldest)
    (program.here / "program.py").write_text(SLOW)
    program.answers({"token": "t3"})
    first = asyncio.create_task(plugin.on_unauthorized(plugin.headers()))
    await asyncio.sleep(0)  # it runs the program now
    late = asyncio.create_task(plugin.on_unauthorized(oldest))
    await asyncio.sleep(0)  # one that does not wait has ended after its first step
    assert plugin.headers() == {"Authorization": "Bearer t2"}
    assert not late.done()
    (program.here / "go").touch()
    assert await asyncio.gather(first, late) == [True, True]
    assert plugin.headers() == {"Authorization": "Bearer t3"}
    assert len(program.runs) == 3


async def test_the_error_of_a_run_reaches_all_who_wait(program: Program, manual_clock: ManualClock) -> None:
    (program.here / "program.py").write_text(SLOW)
    program.answers(code=3)
    plugin = program.plugin(manual_clock)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await plugin.ready()
    (program.here / "go").touch()
    errors = await asyncio.gather(*(plugin.ready() for _ in range(3)), return_exceptions=True)
    assert [str(error).rpartition(" failed ")[2] for error in errors] == ["with exit code 3"] * 3
    assert len(program.runs) == 1
    program.answers()
    await plugin.ready()  # tried anew
    assert plugin.headers() == {"Authorization": "Bearer t1"}


async def test_an_error_that_nobody_waits_for_any_more_is_no_complaint_of_the_loop(
    program: Program, manual_clock: ManualClock
) -> None:
    (program.here / "program.py").write_text(SLOW)
    program.answers(code=3)
    plugin = program.plugin(manual_clock)
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await plugin.ready()
        running = plugin._running
        assert running is not None
        (program.here / "go").touch()
        await asyncio.wait([running])
        del running
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert complaints == []


async def test_a_transport_that_closes_ends_the_run_and_reaps_the_program(
    tmp_path: Path, manual_clock: ManualClock
) -> None:
    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    pid = tmp_path / "pid"
    spec = ExecSpec(sys.executable, ("-c", script, str(pid)))
    plugin = ExecPlugin(spec, clock=manual_clock, is_terminal=lambda: False)
    transport = Transport(ClusterConfig("http://127.0.0.1:1", credential=plugin))
    asking = asyncio.create_task(transport.request("GET", "/x"))
    async with asyncio.timeout(20):
        while not (pid.exists() and pid.read_text()):  # noqa: ASYNC110 - the program tells nobody that it has begun
            await asyncio.sleep(0.01)
    await transport.close()
    with pytest.raises(ConfigError, match="was ended before it answered"):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"command": "x", "apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1"),
        ({"apiVersion": V1BETA1}, "no command"),
        ({"command": "x", "apiVersion": V1}, "interactiveMode"),
        ({"command": "x", "apiVersion": V1BETA1, "interactiveMode": "Sometimes"}, "Sometimes"),
    ],
)
def test_an_unusable_entry_names_where_it_stands(entry: dict[str, Any], text: str) -> None:
    """RT-CF-07: v1 must say how it interacts."""
    with pytest.raises(ConfigError, match=text) as caught:
        ExecSpec.parse(entry, cluster={}, where="kubeconfig f: user 'u'")
    assert "kubeconfig f: user 'u'" in str(caught.value)


def test_an_entry_becomes_a_command() -> None:
    """RT-CF-06."""
    entry = {
        "command": "aws",
        "args": ["eks", 1],
        "env": [{"name": "A", "value": "b"}],
        "apiVersion": V1BETA1,
        "provideClusterInfo": True,
    }
    spec = ExecSpec.parse(entry, cluster={"server": "s"}, where="")
    assert (spec.command, spec.args, spec.env, spec.cluster) == ("aws", ("eks", "1"), {"A": "b"}, {"server": "s"})
    assert ExecSpec.parse({**entry, "provideClusterInfo": False}, cluster={"server": "s"}, where="").cluster is None
