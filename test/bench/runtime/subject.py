"""The measured process: a manager with one controller for Pods, on rbgctl.runtime alone.

Each line on stdin is a JSON command {"do": NAME, ...}, each is answered by one JSON line on stdout. Ends with stdin.
"""

import asyncio
import contextlib
import gc
import os
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import uvloop

from rbgctl.runtime import (
    GVK,
    NN,
    Builder,
    ClusterConfig,
    Context,
    ControllerOptions,
    Entry,
    KindOptions,
    Manager,
    ManagerOptions,
    Resource,
    configure_logging,
    owner_uids,
)

POD = GVK("", "v1", "Pod")
GROUP = GVK("workloads.x-k8s.io", "v1alpha2", "RoleBasedGroup")
KINDS = {"Pod": POD, "RoleBasedGroup": GROUP}
SENT = "bench.example.com/sent"
TICK = 0.005


class LagMeter:
    """How late timers fire. `own`: at most the CPU time this thread used meanwhile, so other processes do not count."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.worst = self.own = 0.0

    async def run(self) -> None:
        while True:
            began, cpu = time.monotonic(), time.thread_time()
            await asyncio.sleep(TICK)
            late = time.monotonic() - began - TICK
            self.worst = max(self.worst, late)
            self.own = max(self.own, min(late, time.thread_time() - cpu))


class Arrivals:
    """When each watch line came out of the socket, in the order in which the handler hears of them."""

    def __init__(self, manager: Manager) -> None:
        self.bytes = 0
        self.at: deque[float] = deque()
        self.on = False
        self._stream = manager.transport.stream
        manager.transport.stream = self._open  # type: ignore[method-assign]

    @contextlib.asynccontextmanager
    async def _open(self, path: str, *args: Any, **options: Any) -> AsyncIterator[Any]:
        async with self._stream(path, *args, **options) as stream:
            if path.endswith("/pods"):
                stream.batches = self._noting(stream.batches)
            yield stream

    def _noting(self, batches: Any) -> Any:
        async def noted() -> AsyncIterator[list[bytes]]:
            async for lines in batches():
                now = time.monotonic()
                self.bytes += sum(map(len, lines))
                if self.on:
                    self.at.extend(now for line in lines if not line.startswith(b'{"type":"BOOKMARK"'))
                yield lines

        return noted


class Subject:
    """The manager and what is measured about it."""

    def __init__(self, watch_timeout: tuple[float, float], jitter: float) -> None:
        group = Resource(GROUP, "rolebasedgroups", namespaced=True)
        options = ManagerOptions(name="bench", watch_timeout=watch_timeout, first_list_jitter=jitter)
        self.manager = Manager(ClusterConfig.load(), options, resources=[group])
        self.lag = LagMeter()
        self.arrivals = Arrivals(self.manager)
        self.stop = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.reconciled = self.events = 0
        self.progress = asyncio.Event()
        self.waiting: dict[NN, float] = {}
        self.to_start: list[float] = []
        self.end_to_end: list[float] = []
        self.began = self.cpu = 0.0

    # -- the controller -----------------------------------------------------------------------------------------

    async def reconcile(self, ctx: Context) -> None:
        """Notes when it was called, and decodes the pod as any reconcile would."""
        now = time.monotonic()
        self.reconciled += 1
        self.progress.set()
        arrived = self.waiting.pop(ctx.key, None)
        entry = ctx.cache.entry(POD, ctx.key)
        pod = entry.decode() if entry is not None else {}
        if arrived is not None:
            self.to_start.append(now - arrived)
            sent = (pod.get("metadata") or {}).get("annotations", {}).get(SENT)
            if sent is not None:
                self.end_to_end.append(now - float(sent))

    def on_add(self, entry: Entry, *, initial: bool) -> None:
        self._heard(entry.header.key)

    def on_update(self, old: Entry, new: Entry) -> None:
        self._heard(new.header.key)

    def on_delete(self, last: Any) -> None:
        return None

    def _heard(self, key: NN) -> None:
        if self.arrivals.on and self.arrivals.at:
            self.events += 1
            self.waiting.setdefault(key, self.arrivals.at.popleft())

    # -- commands -----------------------------------------------------------------------------------------------

    async def do_sync(self, kinds: list[str]) -> dict[str, Any]:
        """Start with these kinds cached and wait for all of them."""
        if "Pod" in kinds:
            controller = Builder().for_(POD).caches(POD, KindOptions(indexes={"owner": owner_uids}))
            options = ControllerOptions(max_concurrent=10)
            controller.with_options(options).reconciles_with(self.reconcile).complete(self.manager)
            self.manager.cache.informer(POD).add_handler(self)
        for kind in kinds:
            self.manager.cache.declare(KINDS[kind])
        before = memory()
        self.tasks = [asyncio.create_task(self.lag.run())]
        await asyncio.sleep(10 * TICK)
        self.lag.reset()
        began, cpu = time.monotonic(), time.process_time()
        self.tasks.append(asyncio.create_task(self.manager.run(self.stop)))
        await self._first(self.manager.cache.wait_for_sync(timeout=300))
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        lag, own = self.lag.worst, self.lag.own
        await self._first(self.manager.elected.wait())
        await self._quiet()
        settled, settled_lag, settled_own_lag = time.monotonic() - began, self.lag.worst, self.lag.own
        self.tasks[0].cancel()  # its ticks would count as the runtime's CPU
        found = self._sizes() if "Pod" in kinds else {}
        return {
            "seconds": took,
            "cpu": cpu,
            "lag": lag,
            "own_lag": own,
            "before": before,
            "after": memory(),
            "settled": settled,
            "settled_lag": settled_lag,
            "settled_own_lag": settled_own_lag,
            "reconciled": self.reconciled,
            "frozen": gc.get_freeze_count(),
            "streamed": self.arrivals.bytes,
            **found,
        }

    async def _first(self, awaited: Any) -> None:
        """Wait for it, unless the manager ends first."""
        task = asyncio.ensure_future(awaited)
        done, _ = await asyncio.wait({task, self.tasks[-1]}, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()

    async def _quiet(self) -> None:
        """Until every queued key was reconciled."""
        for controller in self.manager.controllers.values():
            while len(controller.queue):
                await self._next_reconcile()

    async def _next_reconcile(self) -> None:
        self.progress.clear()
        await self.progress.wait()

    def _sizes(self) -> dict[str, Any]:
        store = self.manager.cache.informer(POD).store
        entries = list(store.entries())
        seen: set[int] = set()
        return {
            "pods": len(entries),
            "body_bytes": sum(len(e.raw) for e in entries),
            "entry_bytes": sum(deep_size(e, seen) for e in entries),
        }

    async def do_declare(self, kind: str) -> dict[str, Any]:
        """Cache one more kind: how much the Python heap grew by it, in a process started with -X tracemalloc."""
        gc.collect()
        before, rss = tracemalloc.get_traced_memory()[0], memory()
        self.manager.cache.declare(KINDS[kind])
        await self._first(self.manager.cache.wait_for_sync(KINDS[kind], timeout=300))
        gc.collect()
        return {"heap": tracemalloc.get_traced_memory()[0] - before, "before": rss, "after": memory(), **self._sizes()}

    async def do_idle(self, seconds: float) -> dict[str, Any]:
        """CPU seconds used while nothing happens."""
        cpu = time.process_time()
        await asyncio.sleep(seconds)
        return {"cpu": time.process_time() - cpu}

    async def do_begin(self) -> dict[str, Any]:
        """Note events and reconciles from now on."""
        self.to_start.clear()
        self.end_to_end.clear()
        self.waiting.clear()
        self.arrivals.at.clear()
        self.events, self.arrivals.on = 0, True
        self.began, self.cpu = time.monotonic(), time.process_time()
        return {}

    async def do_end(self, count: int) -> dict[str, Any]:
        """What was noted, once `count` events have come and were reconciled; and the cost of orjson.loads here."""
        async with asyncio.timeout(60):
            while self.events < count or self.waiting:
                await self._next_reconcile()
        took, cpu = time.monotonic() - self.began, time.process_time() - self.cpu
        self.arrivals.on = False
        return {
            "events": self.events,
            "seconds": took,
            "cpu": cpu,
            "to_start": percentiles(self.to_start),
            "end_to_end": percentiles(self.end_to_end),
            "loads": self._loads(),
        }

    def _loads(self) -> float:
        """CPU seconds of one orjson.loads of a pod: the best of several rounds over many pods."""
        bodies = [e.raw for e in list(self.manager.cache.informer(POD).store.entries())[:200]]
        best = float("inf")
        for _ in range(7):
            began = time.thread_time()
            for body in bodies:
                orjson.loads(body)
            best = min(best, (time.thread_time() - began) / len(bodies))
        return best

    async def do_await(self, kind: str, namespace: str, name: str, rv: str) -> dict[str, Any]:
        """Until the cache shows that version of that object."""
        informer = self.manager.cache.informer(KINDS[kind])
        async with asyncio.timeout(120):
            while True:
                change = informer.changed()
                entry = informer.store.get(NN(namespace, name))
                if entry is not None and entry.header.rv == rv:
                    return {"at": time.monotonic()}
                await change.wait()

    async def do_health(self) -> dict[str, Any]:
        """Memory, open files, and how the informers do."""
        gc.collect()
        samples = [s for m in self.manager.metrics.relists.collect() for s in m.samples if s.name.endswith("_total")]
        return {
            **memory(),
            "fds": len(list(Path("/proc/self/fd").iterdir())),
            "tasks": len(asyncio.all_tasks()),
            "relists": {f"{s.labels['gvk']}: {s.labels['reason']}": s.value for s in samples},
            "objects": {i.gvk.kind: len(i.store) for i in self.manager.cache.informers.values()},
        }


def deep_size(value: Any, seen: set[int]) -> int:
    """Bytes of a cached entry with all it refers to; what several share counts once."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    if isinstance(value, tuple):
        size += sum(deep_size(each, seen) for each in value)
    for name in getattr(value, "__struct_fields__", ()):
        size += deep_size(getattr(value, name), seen)
    return size


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the longest."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return {"p50": ordered[last // 2], "p99": ordered[last * 99 // 100], "max": ordered[-1]}


def memory() -> dict[str, int]:
    """Resident bytes, now and at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {"rss": int(found["VmRSS"]) << 10, "peak": int(found["VmHWM"]) << 10}


async def main(low: str = "300", high: str = "600", jitter: str = "1") -> None:
    configure_logging("warning", "console")
    subject = Subject((float(low), float(high)), float(jitter))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = orjson.loads(line)
        answer = await getattr(subject, f"do_{command.pop('do')}")(**command)
        os.write(1, orjson.dumps(answer) + b"\n")
    subject.stop.set()
    await asyncio.wait(subject.tasks[1:])


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
