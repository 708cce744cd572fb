"""Order of starting and stopping, in virtual time and without a server."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.groups import StopEngaged
from rbgctl.runtime.manager import LeaderElectionLost, Manager, ManagerOptions, ShutdownTimeout
from rbgctl.runtime.manager_options import shutdown_budget

virtual = pytest.mark.looptime

Journal = list[str]


@dataclass
class Probe:
    """Notes when it starts and ends. `stop_seconds`: what it needs to end; `deaf`: ignores the first cancellation."""

    name: str
    journal: Journal
    stop_seconds: float = 0.0
    error: Exception | None = None
    after: float = 0.0
    deaf: bool = False
    needs_leader: bool = True
    ready_event: asyncio.Event = field(default_factory=asyncio.Event)

    def __str__(self) -> str:
        return self.name

    async def run(self) -> None:
        self.journal.append(f"start {self.name}")
        try:
            await asyncio.sleep(self.after)
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.deaf:
                await asyncio.Event().wait()
            await asyncio.sleep(self.stop_seconds)
            self.journal.append(f"stop {self.name}")
            raise

    async def ready(self) -> None:
        await self.ready_event.wait()


@pytest.fixture
def make(loop_clock: Any) -> Callable[..., Manager]:
    def build(**options: Any) -> Manager:
        return Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(**options), clock=loop_clock)

    return build


class Run:
    """A running manager; leaving the block stops it and keeps the error."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.stop = asyncio.Event()
        self.error: BaseException | None = None
        self.seconds = 0.0

    async def __aenter__(self) -> "Run":
        self.task = asyncio.create_task(self.manager.run(self.stop))
        await asyncio.sleep(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.stop.set()
        await asyncio.wait([self.task])
        self.seconds = loop.time() - began
        self.error = self.task.exception()


def everywhere(manager: Manager, journal: Journal) -> None:
    for group in ("leader", "other", "cache", "webhook", "http"):
        manager.add(Probe(group, journal), group=group)  # type: ignore[arg-type]


@virtual
async def test_groups_start_in_order_and_stop_in_theirs(make: Callable[..., Manager]) -> None:
    # RT-MG-01 to RT-MG-06, RT-MG-22
    journal: Journal = []
    manager = make()
    everywhere(manager, journal)
    async with Run(manager) as run:
        assert [e for e in journal if e.startswith("start")] == [
            "start http",
            "start webhook",
            "start cache",
            "start other",
            "start leader",
        ]
        assert manager.elected.is_set()  # RT-MG-11
    assert run.error is None
    assert [e for e in journal if e.startswith("stop")] == [
        "stop other",
        "stop leader",
        "stop cache",
        "stop webhook",
        "stop http",
    ]


@virtual
async def test_a_group_waits_for_the_one_before_to_be_ready(make: Callable[..., Manager]) -> None:  # RT-MG-08
    journal: Journal = []
    manager = make()
    webhook = Probe("webhook", journal)
    manager.add(webhook, group="webhook", ready=webhook.ready)
    manager.add(Probe("leader", journal))
    async with Run(manager):
        await asyncio.sleep(5)
        assert journal == ["start webhook"]
        webhook.ready_event.set()
        await asyncio.sleep(1)
        assert journal == ["start webhook", "start leader"]


@virtual
async def test_a_webhook_server_that_does_not_answer_fails_the_start(make: Callable[..., Manager]) -> None:  # RT-MG-07
    manager = make()
    webhook = Probe("webhook server", [])
    manager.add(webhook, group="webhook", ready=webhook.ready)
    with pytest.raises(TimeoutError, match="webhook server was not ready after 10 s"):
        await asyncio.wait_for(manager.run(), 12)


@virtual
async def test_members_without_wish_lead_and_others_may_decline(make: Callable[..., Manager]) -> None:
    # RT-MG-04, RT-MG-06
    journal: Journal = []
    manager = make(elector=lambda _: Election())
    manager.add(Probe("default", journal))
    manager.add(Probe("everywhere", journal, needs_leader=False))
    async with Run(manager):
        assert journal == ["start everywhere"]


@virtual
async def test_members_may_join_late_but_not_while_stopping(make: Callable[..., Manager]) -> None:  # RT-MG-09
    journal: Journal = []
    manager = make()
    manager.add(Probe("slow to end", journal, stop_seconds=5))
    async with Run(manager) as run:
        manager.add(Probe("late", journal))
        await asyncio.sleep(1)
        assert "start late" in journal
        run.stop.set()
        await asyncio.sleep(1)
        with pytest.raises(StopEngaged, match="can't accept new runnable as stop procedure is already engaged"):
            manager.add(Probe("too late", journal))


@virtual
async def test_starting_twice_and_late_checks_are_errors(make: Callable[..., Manager]) -> None:  # RT-MG-10
    manager = make()
    async with Run(manager) as run:
        with pytest.raises(RuntimeError, match="manager already started"):
            await manager.run()
        with pytest.raises(RuntimeError, match="unable to add new checker"):
            manager.add_check("healthz", "x", asyncio.sleep)  # type: ignore[arg-type]
    assert run.error is None


@virtual
@pytest.mark.parametrize("group", ["http", "webhook", "cache", "other", "leader"])
async def test_the_first_error_stops_everything_and_is_raised(make: Callable[..., Manager], group: Any) -> None:
    # RT-MG-20
    journal: Journal = []
    manager = make()
    everywhere(manager, journal)
    manager.add(Probe("bad", journal, error=OSError("boom"), after=3.0), group=group)
    with pytest.raises(OSError, match="boom"):
        await asyncio.wait_for(manager.run(), 10)
    assert {e for e in journal if e.startswith("stop")} == {
        "stop leader",
        "stop other",
        "stop cache",
        "stop webhook",
        "stop http",
    }


@virtual
async def test_a_member_that_just_returns_is_finished(make: Callable[..., Manager]) -> None:  # RT-MG-08
    class Short:
        runs = 0

        async def run(self) -> None:
            self.runs += 1

    short = Short()
    manager = make()
    manager.add(short)
    async with Run(manager) as run:
        await asyncio.sleep(5)
        assert not run.task.done()
    assert (run.error, short.runs) == (None, 1)


@virtual
@pytest.mark.parametrize("by", ["stop", "error"])
async def test_startup_is_aborted(make: Callable[..., Manager], by: str) -> None:  # RT-MG-12
    journal: Journal = []
    manager = make()
    never = Probe("never ready", journal)
    manager.add(never, group="cache", ready=never.ready)
    manager.add(Probe("leader", journal))
    if by == "error":
        manager.add(Probe("bad", journal, error=OSError("boom"), after=2.0), group="http")
    async with Run(manager) as run:
        await asyncio.sleep(3)
    assert run.seconds == 0
    assert (run.error is None) == (by == "stop")
    assert "start leader" not in journal
    assert not manager.elected.is_set()


@virtual
async def test_the_budget_is_shared_and_the_stuck_are_named(make: Callable[..., Manager]) -> None:
    # RT-MG-21, RT-MG-26
    journal: Journal = []
    manager = make(graceful_shutdown=10.0)
    manager.add(Probe("slow", journal, stop_seconds=6), group="other")
    manager.add(Probe("deaf leader", journal, deaf=True))
    manager.add(Probe("cache", journal), group="cache")
    async with Run(manager) as run:
        pass
    assert 9.999 <= run.seconds < 10.6
    assert isinstance(run.error, ShutdownTimeout)
    text = "failed waiting for all runnables to end within grace period of 10s: deaf leader"
    assert str(run.error).startswith(text)
    assert "stop slow" in journal
    assert "stop cache" in journal


@virtual
async def test_an_error_comes_first_and_the_stuck_are_a_note(make: Callable[..., Manager]) -> None:  # RT-MG-26
    manager = make(graceful_shutdown=2.0)
    manager.add(Probe("deaf", [], deaf=True))
    manager.add(Probe("bad", [], error=OSError("boom"), after=1.0))
    with pytest.raises(OSError, match="boom") as raised:
        await manager.run()
    assert any("grace period of 2s: deaf" in note for note in raised.value.__notes__)


@virtual
async def test_a_zero_budget_does_not_wait(make: Callable[..., Manager]) -> None:  # RT-MG-21
    manager = make(graceful_shutdown=0.0)
    manager.add(Probe("slow", [], stop_seconds=100))
    async with Run(manager) as run:
        pass
    assert run.seconds < 1
    assert run.error is None


@virtual
async def test_a_negative_budget_waits_for_ever(make: Callable[..., Manager]) -> None:  # RT-MG-21
    journal: Journal = []
    manager = make(graceful_shutdown=-1.0)
    manager.add(Probe("slow", journal, stop_seconds=200))
    async with Run(manager) as run:
        pass
    assert run.seconds == pytest.approx(200, abs=1)
    assert "stop slow" in journal


@virtual
async def test_errors_while_stopping_are_only_logged(make: Callable[..., Manager]) -> None:  # RT-MG-24
    class Grumpy:
        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise OSError("while stopping")

    manager = make()
    manager.add(Grumpy())
    async with Run(manager) as run:
        pass
    assert run.error is None


@virtual
async def test_readiness_ends_with_the_stop(make: Callable[..., Manager]) -> None:  # RT-MG-22
    manager = make()
    manager.add(Probe("slow", [], stop_seconds=5))
    check = manager._checks["readyz"]["shutdown"]
    async with Run(manager) as run:
        await check()
        run.stop.set()
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="stopping"):
            await check()


# ---- election ----


class Election:
    """An elector that a test drives."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.win = asyncio.Event()
        self.lose = asyncio.Event()
        self.journal = journal if journal is not None else []
        self.safe = 0.0
        self.stop_seconds = 0.0

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await self.win.wait()
        self.safe = 100.0
        await on_started()
        await self.lose.wait()

    def remaining(self) -> float:
        return self.safe

    def healthy(self, tolerance: float) -> bool:
        return True

    async def stop(self, *, release: bool) -> None:
        self.journal.append("release" if release else "keep")
        self.safe = 0.0
        self.lose.set()
        await asyncio.sleep(self.stop_seconds)

    async def close(self, seconds: float) -> None:
        self.journal.append("close")


@virtual
async def test_leaders_wait_for_election_and_the_lease_is_released_after_them(make: Callable[..., Manager]) -> None:
    # RT-MG-06, RT-MG-25
    journal: Journal = []
    election = Election(journal)
    manager = make(elector=lambda _: election)
    manager.add(Probe("leader", journal, stop_seconds=3))
    async with Run(manager) as run:
        assert journal == []
        assert not manager.elected.is_set()
        assert manager.transport.gate is not None
        assert manager.transport.gate() == 0.0
        assert manager.metrics.collectors.get_sample_value("rbg_runtime_write_gate_refusals_total") == 1
        election.win.set()
        await asyncio.sleep(1)
        assert journal == ["start leader"]
        assert manager.elected.is_set()
        assert manager.transport.gate() == 100.0
    assert run.error is None
    assert journal == ["start leader", "stop leader", "release", "close"]


@virtual
async def test_a_late_election_during_shutdown_starts_nothing(make: Callable[..., Manager]) -> None:  # RT-MG-23
    journal: Journal = []
    election = Election()
    manager = make(elector=lambda _: election)
    manager.add(Probe("leader", journal))
    manager.add(Probe("other", journal, stop_seconds=5), group="other")
    async with Run(manager) as run:
        run.stop.set()
        await asyncio.sleep(1)
        election.win.set()
        await asyncio.sleep(1)
    assert "start leader" not in journal
    assert not manager.elected.is_set()


@virtual
async def test_a_lost_lease_is_raised_without_waiting(make: Callable[..., Manager]) -> None:  # RT-MG-27
    before = asyncio.all_tasks()
    election = Election()
    election.win.set()
    manager = make(elector=lambda _: election)
    manager.add(Probe("slow", [], stop_seconds=100))
    async with Run(manager) as run:
        election.lose.set()
    assert isinstance(run.error, LeaderElectionLost)
    assert str(run.error) == "leader election lost"
    assert run.seconds < 1
    assert not [t for t in asyncio.all_tasks() - before if not t.done()]


@virtual
async def test_a_standby_serves_and_warms_up_but_leads_nothing(make: Callable[..., Manager]) -> None:  # RT-LE-35
    journal: Journal = []
    manager = make(elector=lambda _: Election())
    everywhere(manager, journal)
    manager._groups["warmup"].add(Probe("warmup", journal))
    async with Run(manager):
        assert journal == [f"start {name}" for name in ("http", "webhook", "cache", "other", "warmup")]
        for check in manager._checks["readyz"].values():
            await check()


@virtual
async def test_leadership_that_ends_by_our_own_stop_is_no_error(make: Callable[..., Manager]) -> None:  # RT-MG-24
    election = Election()
    election.win.set()
    election.stop_seconds = 0.1
    manager = make(elector=lambda _: election)
    manager.add(Probe("leader", []))
    with capture_logs() as logs:
        async with Run(manager) as run:
            pass
    assert run.error is None
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@virtual
async def test_what_did_not_end_in_time_keeps_the_lease(make: Callable[..., Manager]) -> None:  # RT-LE-39
    """A reconcile that ignores its cancellation may still write: others wait until the lease is over."""
    election = Election()
    election.win.set()
    manager = make(elector=lambda _: election, graceful_shutdown=3.0)
    manager.add(Probe("deaf", [], deaf=True))
    async with Run(manager) as run:
        pass
    assert isinstance(run.error, ShutdownTimeout)
    assert election.journal == ["keep", "close"]


@virtual
async def test_a_lost_lease_is_never_released(make: Callable[..., Manager]) -> None:  # RT-LE-39, RT-MG-27
    election = Election()
    election.win.set()
    manager = make(elector=lambda _: election)
    async with Run(manager) as run:
        election.lose.set()
    assert isinstance(run.error, LeaderElectionLost)
    assert "release" not in election.journal


@virtual
async def test_the_lease_goes_before_caches_and_servers(make: Callable[..., Manager]) -> None:  # RT-MG-25, RT-MG-29
    """Others must not wait for what does not write."""
    journal: Journal = []
    election = Election(journal)
    election.win.set()
    manager = make(elector=lambda _: election)
    everywhere(manager, journal)
    async with Run(manager):
        journal.clear()
    order = ["stop other", "stop leader", "release", "stop cache", "stop webhook", "stop http", "close"]
    assert journal == order


@virtual
async def test_a_release_that_hangs_uses_up_no_more_than_the_budget(make: Callable[..., Manager]) -> None:
    # RT-MG-21, RT-MG-26
    election = Election()
    election.win.set()
    election.stop_seconds = 100.0
    manager = make(elector=lambda _: election, graceful_shutdown=4.0)
    async with Run(manager) as run:
        pass
    assert run.seconds < 6
    assert str(run.error).endswith("leader election")


@virtual
async def test_a_leader_that_cannot_start_is_that_error_and_gives_the_lease_back(make: Callable[..., Manager]) -> None:
    journal: Journal = []
    election = Election()
    manager = make(elector=lambda _: election)

    async def not_ready() -> None:
        raise OSError("no disk")

    manager.add(Probe("leader", journal), ready=not_ready)
    async with Run(manager) as run:
        election.win.set()
        await asyncio.sleep(1)
    assert isinstance(run.error, OSError)
    assert election.journal == ["release", "close"]


@pytest.mark.parametrize(("grace", "budget"), [(30, 25), (60, 30), (35, 30), (10, 5), (3, 0)])
def test_the_budget_ends_before_the_kubelet_kills(grace: float, budget: float) -> None:  # RT-MG-29
    assert shutdown_budget(grace) == budget


@virtual
async def test_the_health_of_a_leader_is_a_check_of_liveness(make: Callable[..., Manager]) -> None:  # RT-HZ-08
    class Sick(Election):
        def healthy(self, tolerance: float) -> bool:
            return tolerance > 20.0

    assert "leaderElection" not in make(elector=lambda _: Sick())._checks["healthz"]
    sound = make(elector=lambda _: Sick(), leader_tolerance=21.0)
    await sound._checks["healthz"]["leaderElection"]()
    sick = make(elector=lambda _: Sick(), leader_tolerance=20.0)
    with pytest.raises(RuntimeError, match="failed election to renew leadership"):
        await sick._checks["healthz"]["leaderElection"]()
    assert "leaderElection" not in sick._checks["readyz"]


@virtual
async def test_without_election_there_is_no_gate(make: Callable[..., Manager]) -> None:  # RT-LE-38
    manager = make()
    async with Run(manager):
        assert manager.transport.gate is None


# ---- signals, in a process of their own ----

PROGRAM = """
import asyncio
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.manager import Manager, ManagerOptions
from rbgctl.runtime.signals import stop_on_signals

class Slow:
    async def run(self):
        print("up", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("stopping", flush=True)
            await asyncio.sleep({seconds})

async def main():
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), ManagerOptions(graceful_shutdown=60))
    manager.add(Slow())
    stop = stop_on_signals()
    try:
        stop_on_signals()
    except RuntimeError:
        pass
    else:
        raise SystemExit("installed twice")
    await manager.run(stop)

asyncio.run(main())
"""


def start(seconds: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(seconds=seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline() != "up\n":
        assert process.poll() is None
    return process


def line_of(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line != text:
        pass
    assert line == text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_gracefully(number: signal.Signals) -> None:  # MGR-4, RT-MG-28
    process = start(0.1)
    process.send_signal(number)
    line_of(process, "stopping\n")
    assert process.wait(10) == 0


def test_the_second_signal_exits_at_once_with_status_one() -> None:  # MGR-4, RT-MG-28
    process = start(60)
    process.send_signal(signal.SIGTERM)
    line_of(process, "stopping\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 1
