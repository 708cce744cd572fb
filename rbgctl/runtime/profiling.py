"""Profiles of the running process over HTTP, under the paths that pprof has in Go (RT-HZ-07).

Off by default. Whoever reaches the endpoint can read function names and slow the process down, so it listens on
localhost unless an address says otherwise.
"""

import asyncio
import gc
import linecache
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from types import CodeType, FrameType
from typing import Any

from aiohttp import web

from rbgctl.runtime.http_connection import HttpLimits
from rbgctl.runtime.http_server import HttpServer, parse_address

PREFIX = "/debug/pprof"
LIMITS = HttpLimits(head_seconds=5.0, shutdown_seconds=60.0)
HERTZ = 100
DEFAULT_SECONDS = 30.0
MAX_SECONDS = 300.0
MAX_DEPTH = 256
TOP = 100
TASKS_PER_TURN = 200
NAMES_SHOWN = 5

INDEX = f"""profiles of this process

{PREFIX}/profile?seconds=N  stacks of all threads, {HERTZ} times a second for N seconds (default 30, at most 300), as
                             collapsed stacks: feed it to flamegraph.pl, inferno or speedscope.app
{PREFIX}/heap               where live memory was allocated; needs a start with PYTHONTRACEMALLOC=10
{PREFIX}/tasks              asyncio tasks by what they wait for
{PREFIX}/gc                 garbage collector: thresholds, collections, frozen objects
{PREFIX}/cmdline            command line, separated by NUL
"""

NO_TRACEMALLOC = """Allocations are not traced in this process, because tracing costs time and memory from the start.
Set PYTHONTRACEMALLOC=10 in the environment of the manager, restart it and ask again.
"""


def profiling_server(address: str) -> HttpServer:
    """Serves `debug_app`. An address without a host, as in `:6060`, means localhost only."""
    where = parse_address(address)
    if where is not None and where[0] is None:
        address = f"127.0.0.1:{where[1]}"
    return HttpServer("profiling", address, debug_app(), limits=LIMITS)


def debug_app() -> web.Application:
    """The routes under /debug/pprof/."""
    app = web.Application()
    profiler = _Profiler()
    app.on_shutdown.append(profiler.stop)
    app.router.add_get(f"{PREFIX}/", _index)
    app.router.add_get(PREFIX, _index)
    app.router.add_get(f"{PREFIX}/profile", profiler.handle)
    app.router.add_get(f"{PREFIX}/heap", _heap)
    app.router.add_get(f"{PREFIX}/tasks", _tasks)
    app.router.add_get(f"{PREFIX}/gc", _gc)
    app.router.add_get(f"{PREFIX}/cmdline", _cmdline)
    return app


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, headers={"X-Content-Type-Options": "nosniff"})


async def _index(_request: web.Request) -> web.Response:
    return _text(INDEX)


async def _cmdline(_request: web.Request) -> web.Response:
    return _text("\0".join(sys.orig_argv))


# -- CPU ---------------------------------------------------------------------------------------------------------


class _Profiler:
    """One profile at a time."""

    def __init__(self) -> None:
        self._stop: threading.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        text = request.query.get("seconds", "")
        try:
            seconds = float(text or DEFAULT_SECONDS)
        except ValueError:
            seconds = 0.0
        if not 0.0 < seconds <= MAX_SECONDS:
            return _text(f"seconds={text}: a number of seconds up to {MAX_SECONDS:g} is wanted\n", 400)
        if self._stop is not None:
            return _text("a profile is being taken already: try again when it is finished\n", 409)
        self._stop = stop = threading.Event()
        try:
            stacks = await asyncio.to_thread(sample, seconds, stop)
        finally:
            stop.set()
            self._stop = None
        return _text("".join(f"{stack} {count}\n" for stack, count in stacks.most_common()))

    async def stop(self, _app: web.Application) -> None:
        """A running profile ends early, with what it has."""
        if self._stop is not None:
            self._stop.set()


def sample(seconds: float, stop: threading.Event, hertz: int = HERTZ) -> Counter[str]:
    """Collapsed stacks (`thread;outer;inner`) of all other threads by how often they were seen. Blocks."""
    me = threading.get_ident()
    counts: Counter[tuple[str, tuple[CodeType, ...]]] = Counter()
    began = time.monotonic()
    taken = 0
    while True:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident != me:
                counts[names.get(ident, str(ident)), _codes(frame)] += 1
        taken += 1
        # By the clock, not by adding up: a late sample does not delay the ones behind it.
        pause = began + taken / hertz - time.monotonic()
        if taken >= seconds * hertz or stop.wait(max(pause, 0.0)) or time.monotonic() - began >= seconds:
            break
    found: Counter[str] = Counter()
    for (name, codes), count in counts.items():
        found[";".join([name.replace(";", ":"), *map(_label, reversed(codes))])] += count
    return found


def _codes(frame: FrameType | None) -> tuple[CodeType, ...]:
    found: list[CodeType] = []
    while frame is not None and len(found) < MAX_DEPTH:
        found.append(frame.f_code)
        frame = frame.f_back
    return tuple(found)


def _label(code: CodeType) -> str:
    return f"{code.co_qualname} ({_short(code.co_filename)}:{code.co_firstlineno})".replace(";", ":")


def _short(path: str) -> str:
    """The last three parts of a path: enough to know the module."""
    return "/".join(path.rsplit("/", 3)[-3:])


# -- tasks -------------------------------------------------------------------------------------------------------


async def _tasks(_request: web.Request) -> web.Response:
    groups: dict[str, list[str]] = {}
    tasks = [task for task in asyncio.all_tasks() if not task.done()]
    for number, task in enumerate(tasks):
        if number and number % TASKS_PER_TURN == 0:
            await asyncio.sleep(0)
        groups.setdefault("".join(_waits(task.get_coro())), []).append(task.get_name())
    lines = [f"{len(tasks)} tasks\n"]
    for stack, names in sorted(groups.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(sorted(names)[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
        lines.append(f"\n{len(names)} × {shown}\n{stack}")
    return _text("".join(lines))


def _waits(awaited: Any) -> Iterator[str]:
    """Where a suspended coroutine stands, and what it awaits, outermost first."""
    for _ in range(MAX_DEPTH):
        frame: FrameType | None = None
        then: Any = None
        for kind in ("cr", "gi", "ag"):
            if hasattr(awaited, f"{kind}_frame"):
                frame = getattr(awaited, f"{kind}_frame")
                then = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
        if frame is None:
            return  # a future: whoever completes it is not known
        code = frame.f_code
        source = linecache.getline(code.co_filename, frame.f_lineno).strip()
        yield f"    {code.co_qualname} ({_short(code.co_filename)}:{frame.f_lineno})  {source}\n"
        awaited = then


# -- memory ------------------------------------------------------------------------------------------------------


async def _heap(_request: web.Request) -> web.Response:
    if not tracemalloc.is_tracing():
        return _text(NO_TRACEMALLOC, 501)
    return _text(await asyncio.to_thread(_allocations))


def _allocations() -> str:
    now, peak = tracemalloc.get_traced_memory()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])
    lines = [f"{now >> 10} KiB traced now, {peak >> 10} KiB at most; KiB, blocks, where\n"]
    for statistic in snapshot.statistics("lineno")[:TOP]:
        frame = statistic.traceback[0]
        lines.append(f"{statistic.size >> 10:>10} {statistic.count:>8}  {_short(frame.filename)}:{frame.lineno}\n")
    return "".join(lines)


async def _gc(_request: web.Request) -> web.Response:
    lines = [
        f"enabled {str(gc.isenabled()).lower()}",
        f"thresholds {_numbers(gc.get_threshold())}",
        f"counts {_numbers(gc.get_count())}",
        f"frozen {gc.get_freeze_count()}",
        *(
            f"generation {number}: {' '.join(f'{k}={v}' for k, v in sorted(stats.items()))}"
            for number, stats in enumerate(gc.get_stats())
        ),
    ]
    return _text("".join(f"{line}\n" for line in lines))


def _numbers(values: Sequence[int]) -> str:
    return " ".join(map(str, values))
