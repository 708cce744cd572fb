"""Profiles over HTTP, of this very process."""

import asyncio
import contextlib
import re
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from rbgctl.cli.main import main
from rbgctl.manager import ManagerOptions, runtime_options
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.http_server import HttpServer
from rbgctl.runtime.manager import Manager
from rbgctl.runtime.manager import ManagerOptions as RuntimeOptions
from rbgctl.runtime.profiling import profiling_server, sample
from rbgctl.runtime.testing.asserts import eventually


@contextlib.asynccontextmanager
async def running(server: HttpServer) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(server.run())
    await server.ready()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    made = profiling_server("127.0.0.1:0")
    async with running(made):
        yield made


async def get(server: HttpServer, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{server.port}/debug/pprof/{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        return answer.status, await answer.text()


@contextlib.contextmanager
def spinning(name: str) -> Any:
    """A thread that computes."""
    end = threading.Event()

    def spin_for_the_profile() -> None:
        while not end.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin_for_the_profile, name=name)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


async def test_the_index_names_every_profile(server: HttpServer) -> None:  # RT-HZ-07
    status, text = await get(server, "")
    assert status == 200
    for name in ("profile?seconds=N", "heap", "tasks", "gc", "cmdline"):
        assert f"/debug/pprof/{name}" in text


async def test_a_profile_shows_where_threads_are_as_collapsed_stacks(server: HttpServer) -> None:  # RT-HZ-07
    with spinning("busy; one"):
        status, text = await get(server, "profile?seconds=0.5")
    assert status == 200
    lines = text.splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"[^;]+(;[^;]+ \([^;]*:\d+\))* \d+", line), line
    spun = [line for line in lines if line.startswith("busy: one;") and "spin_for_the_profile (" in line]
    assert spun
    assert any(line.startswith("MainThread;") for line in lines)
    assert not any("profiling.sample" in line or ";sample (" in line for line in lines)


def test_a_hundred_samples_a_second(monkeypatch: pytest.MonkeyPatch) -> None:  # RT-HZ-07
    now = 0.0

    class Stop:
        def wait(self, seconds: float) -> bool:
            nonlocal now
            now += seconds
            return False

    monkeypatch.setattr(time, "monotonic", lambda: now)
    with spinning("busy"):
        stacks = sample(3.0, Stop())  # type: ignore[arg-type]
    assert sum(count for stack, count in stacks.items() if stack.startswith("busy")) == 300
    assert now == pytest.approx(3.0, abs=0.02)


async def test_the_loop_runs_while_a_profile_is_taken(server: HttpServer) -> None:  # RT-HZ-07
    profile = asyncio.create_task(get(server, "profile?seconds=1"))
    turns = 0
    while not profile.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns >= 5
    # What the loop is doing shows up as well.
    assert "test_the_loop_runs" in (await profile)[1] or "run_once" in (await profile)[1]


async def test_one_profile_at_a_time(server: HttpServer) -> None:
    answers = await asyncio.gather(*(get(server, "profile?seconds=2") for _ in range(3)))
    assert sorted(status for status, _ in answers) == [200, 409, 409]
    assert (409, "a profile is being taken already: try again when it is finished\n") in answers
    assert (await get(server, "profile?seconds=0.01"))[0] == 200


@pytest.mark.parametrize("seconds", ["0", "-1", "301", "nan", "x", "inf"])
async def test_bad_durations_are_refused(server: HttpServer, seconds: str) -> None:
    status, text = await get(server, f"profile?seconds={seconds}")
    assert (status, text) == (400, f"seconds={seconds}: a number of seconds up to 300 is wanted\n")


async def test_stopping_ends_a_profile_early_with_what_it_has() -> None:
    made = profiling_server("127.0.0.1:0")
    async with running(made) as task:
        profile = asyncio.create_task(get(made, "profile?seconds=300"))
        await eventually(lambda: get(made, "tasks"), lambda answer: "_Profiler.handle" in answer[1])
        task.cancel()
        status, text = await asyncio.wait_for(profile, 10)
        assert (status, "MainThread;" in text) == (200, True)


async def test_tasks_are_shown_with_what_they_wait_for(server: HttpServer) -> None:  # RT-HZ-07
    gate = asyncio.Event()

    async def inner_wait() -> None:
        await gate.wait()

    async def outer_wait() -> None:
        await inner_wait()

    tasks = [asyncio.create_task(outer_wait(), name=f"waiter {number}") for number in range(7)]
    await asyncio.sleep(0)
    status, text = await get(server, "tasks")
    gate.set()
    await asyncio.wait(tasks)
    assert status == 200
    group = next(block for block in text.split("\n\n") if "waiter 0" in block)
    head, *stack = group.splitlines()
    assert head == "7 × waiter 0, waiter 1, waiter 2, waiter 3, waiter 4, ..."
    assert [line.split()[0].rsplit(".", 1)[-1] for line in stack] == ["outer_wait", "inner_wait", "wait"]
    assert "await inner_wait()" in stack[0]


async def test_the_heap_says_how_to_trace_it(server: HttpServer) -> None:  # RT-HZ-07
    status, text = await get(server, "heap")
    assert (status, "PYTHONTRACEMALLOC=10" in text) == (501, True)


async def test_the_heap_shows_where_memory_was_allocated(server: HttpServer) -> None:  # RT-HZ-07
    tracemalloc.start()
    try:
        kept = bytearray(3 << 20)
        status, text = await get(server, "heap")
    finally:
        tracemalloc.stop()
    assert (status, len(kept)) == (200, 3 << 20)
    head, *lines = text.splitlines()
    assert re.fullmatch(r"\d+ KiB traced now, \d+ KiB at most; KiB, blocks, where", head)
    (line,) = [line for line in lines if int(line.split()[0]) >= 3 << 10]
    assert re.fullmatch(r" +\d+ +\d+  unit/runtime/test_profiling\.py:\d+", line)


async def test_gc_and_cmdline(server: HttpServer) -> None:  # RT-HZ-07
    status, text = await get(server, "gc")
    assert status == 200
    assert text.startswith("enabled true\nthresholds ")
    assert re.search(r"^generation 2: collected=\d+ collections=\d+ uncollectable=\d+$", text, re.MULTILINE)
    assert await get(server, "cmdline") == (200, "\0".join(sys.orig_argv))


# -- where it listens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "host"),
    [(":6060", "127.0.0.1"), ("0.0.0.0:6060", "0.0.0.0"), ("[::]:6060", "::"), ("localhost:6060", "localhost")],
)
def test_it_listens_on_localhost_unless_told_otherwise(address: str, host: str) -> None:  # RT-HZ-07
    made = profiling_server(address)
    assert (made.host, made.port) == (host, 6060)


def test_it_is_off_unless_enabled() -> None:  # RT-HZ-07
    assert runtime_options(ManagerOptions()).pprof_address == "0"
    assert runtime_options(ManagerOptions(enable_pprof=True)).pprof_address == ":6060"
    assert runtime_options(ManagerOptions(enable_pprof=True, pprof_bind_address=":1")).pprof_address == ":1"


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        ([], "0"),
        (["--pprof-bind-address=:7"], "0"),
        (["-enable-pprof"], ":6060"),
        (["--enable-pprof=true", "--pprof-bind-address", "0.0.0.0:7"], "0.0.0.0:7"),
        (["--enable-pprof=false"], "0"),
    ],
)
def test_flags_of_the_go_operator_are_understood(  # RT-ID-08
    monkeypatch: pytest.MonkeyPatch, flags: list[str], address: str
) -> None:
    seen: list[ManagerOptions] = []
    monkeypatch.setattr("rbgctl.manager.run", lambda options: seen.append(options) or 0)
    monkeypatch.setattr(sys, "argv", ["rbgctl", "manager", *flags])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert [runtime_options(options).pprof_address for options in seen] == [address]


async def test_the_manager_serves_it_with_the_http_servers() -> None:  # RT-HZ-07, RT-MG-01
    manager = Manager(ClusterConfig("http://127.0.0.1:1"), RuntimeOptions(pprof_address=":0"))
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    await asyncio.wait_for(manager.elected.wait(), 10)
    assert manager.profiling_server is not None
    assert (await get(manager.profiling_server, "gc"))[0] == 200
    stop.set()
    await task
