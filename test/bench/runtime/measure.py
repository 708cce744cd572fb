"""The scenarios of RT-AC-01 to RT-AC-04 on a real etcd and kube-apiserver."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.runtime import load
from bench.runtime.report import Figure
from rbgctl.runtime.testing.envtest import EnvTest

CRDS = Path(__file__).parents[3] / "config" / "crd" / "bases"
SUBJECT = Path(__file__).with_name("subject.py")
ANSWER_SECONDS = 400.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. `down`: seconds for which the API server stays away."""

    pods: int = 10_000
    groups: int = 200
    rate: float = 500.0
    seconds: float = 10.0
    down: float = 10.0


SMALL = Size(pods=500, groups=20, rate=100.0, seconds=2.0, down=1.0)


class Subject:
    """The other side of subject.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Raises RuntimeError when the process ends instead of answering."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(orjson.dumps({"do": do, **arguments}) + b"\n")
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the measured process ended instead of answering {do}: see its traceback above")
        answer: dict[str, Any] = orjson.loads(line)
        return answer


@contextlib.asynccontextmanager
async def subject(
    env: EnvTest, *, traced: bool = False, watch_timeout: tuple[float, float] = (300.0, 600.0), jitter: float = 1.0
) -> AsyncIterator[Subject]:
    """A fresh measured process; `traced` with tracemalloc, for heap sizes only."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(["-X", "tracemalloc=1"] if traced else []),
        str(SUBJECT),
        *map(str, (*watch_timeout, jitter)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(env.kubeconfig)},
    )
    try:
        yield Subject(process)
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(env: EnvTest, size: Size) -> tuple[list[Figure], dict[str, Any]]:
    """All scenarios, in one control plane. Returns the figures and what they were made from."""
    client = env.client(user_agent="bench")
    keys, served = await load.fill(client, size.pods, size.groups)
    raw: dict[str, Any] = {"pods": size.pods, "groups": size.groups, "served_bytes_per_pod": served}
    transport = env.transport()
    async with subject(env) as ask:
        raw["sync"] = sync = await ask("sync", kinds=["Pod", "RoleBasedGroup"])
        raw["idle"] = {"seconds": 2.0, **await ask("idle", seconds=2.0)}
        await ask("begin")
        count, reached = await load.touch_steadily(transport, keys, size.rate, size.seconds)
        raw["events"] = {**await ask("end", count=count), "rate": reached}
        raw["restart"] = await _restart(env, ask, keys, size)
    async with subject(env, traced=True, jitter=0.0) as ask:
        await ask("sync", kinds=["RoleBasedGroup"])
        raw["heap"] = await ask("declare", kind="Pod")
    assert sync["pods"] == size.pods
    return figures(raw), raw


async def _restart(env: EnvTest, ask: Subject, keys: list[Any], size: Size) -> dict[str, Any]:
    """kill -9 of the API server, a while without it, and a start on the same port and data."""
    before = await ask("health")
    await env.kill_api_server()
    await asyncio.sleep(size.down)
    await env.restart_api_server()
    ready = time.monotonic()
    async with env.transport() as transport:
        version = await load.touch(transport, keys[0])
    seen = await ask("await", kind="Pod", namespace=keys[0].namespace, name=keys[0].name, rv=version)
    after = await ask("health")
    relists = {why: n - before["relists"].get(why, 0) for why, n in after["relists"].items()}
    return {"down": size.down, "seconds": seen["at"] - ready, "relists": {why: n for why, n in relists.items() if n}}


def figures(raw: dict[str, Any]) -> list[Figure]:
    """Every figure with its limit, if a rule gives one, and with what bounds it."""
    sync, events, heap, restart = raw["sync"], raw["events"], raw["heap"], raw["restart"]
    pods, loads = raw["pods"], events["loads"]
    streamed = sync["cpu"] / pods
    per_event = events["cpu"] / events["events"]
    grown = (sync["after"]["rss"] - sync["before"]["rss"]) / pods
    full = pods >= Size().pods  # the limits of the rules are for that many
    mib = 1 << 20
    expired = [n for why, n in restart["relists"].items() if why.endswith((": Expired", ": Gone"))]
    idle = raw["idle"]["cpu"] / raw["idle"]["seconds"]
    share = (events["cpu"] - idle * events["seconds"]) / events["events"] * Size().rate + idle
    return [
        Figure("RT-AC-01", "caches synced", sync["seconds"], "s", 5.0 if full else None, _SYNC),
        Figure("RT-AC-01", "CPU of it", sync["cpu"], "s", None, "TLS, splitting lines, headers, one copy of each body"),
        Figure("RT-AC-01", "CPU per pod / orjson.loads", streamed / loads, "x", None, "the same, per pod"),
        Figure("RT-AC-01", "longest loop lag", sync["lag"] * 1e3, "ms", 100.0 if full else None, _LAG),
        Figure("RT-AC-01", "longest loop lag, own CPU", sync["own_lag"] * 1e3, "ms", None, "replacing the store"),
        Figure("RT-AC-01", "all reconciled once", sync["settled"], "s", None, "10 workers, one decode each"),
        Figure("RT-AC-01", "lag until then, own CPU", sync["settled_own_lag"] * 1e3, "ms", None, "the same"),
        Figure("RT-AC-02", "RSS with caches", sync["after"]["rss"] / mib, "MiB", 250e6 / mib if full else None, _RSS),
        Figure("RT-AC-02", "RSS before", sync["before"]["rss"] / mib, "MiB", None, "imports"),
        Figure("RT-AC-02", "peak RSS", sync["after"]["peak"] / mib, "MiB", None, "the initial state and the queue"),
        Figure("RT-AC-02", "RSS per pod", grown, "B", None, "body, header, index and queue entries, allocator"),
        Figure("RT-AC-02", "pod as served", raw["served_bytes_per_pod"], "B", None, "the API server"),
        Figure("RT-AC-02", "heap per pod / served", heap["heap"] / pods / raw["served_bytes_per_pod"], "x", 1.3, _HEAP),
        Figure("RT-AC-03", "watch events", events["rate"], "/s", None, "what kube-apiserver takes on this machine"),
        Figure("RT-AC-03", "CPU share at that rate", events["cpu"] / events["seconds"] * 100, "%", None, _EVENT),
        Figure("RT-AC-03", "CPU share at 500 events/s", share * 100, "%", 15.0 if full else None, _EVENT),
        Figure("RT-AC-03", "CPU share when idle", idle * 100, "%", None, "timers"),
        Figure("RT-AC-03", "CPU per event", per_event * 1e6, "us", None, _EVENT),
        Figure("RT-AC-03", "orjson.loads of a pod", loads * 1e6, "us", None, "the machine"),
        Figure("RT-AC-03", "CPU per event / orjson.loads", per_event / loads, "x", None, _EVENT),
        Figure("RT-AC-03", "event to reconcile p50", events["to_start"]["p50"] * 1e3, "ms", None, "turns of the loop"),
        Figure(
            "RT-AC-03", "event to reconcile p99", events["to_start"]["p99"] * 1e3, "ms", 50.0 if full else None, _P99
        ),
        Figure("RT-AC-03", "write to reconcile p50", events["end_to_end"]["p50"] * 1e3, "ms", None, "API server, etcd"),
        Figure("RT-AC-03", "write to reconcile p99", events["end_to_end"]["p99"] * 1e3, "ms", None, "API server, etcd"),
        Figure("RT-AC-04", "recovery after API server", restart["seconds"], "s", 35.0, "watch back-off, 0.8 to 60 s"),
        Figure("RT-AC-04", "relists after 410", sum(expired), "", None, "a new watch cache knows no history"),
        Figure("RT-AC-04", "other relists", sum(restart["relists"].values()) - sum(expired), "", 0.0, "nothing"),
    ]


_SYNC = "kube-apiserver encoding the stream; 0-1 s jitter before the first request"
_LAG = "the next line, and other processes"
_RSS = "bodies of pods"
_HEAP = "body bytes; managedFields are dropped"
_EVENT = "one wake-up, read and reconcile per event"
_P99 = "turns of the loop, and other processes"
