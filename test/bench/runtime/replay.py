"""What an event costs without a control plane: a scripted API server in a process of its own sends them one by one.

    python -m bench.runtime.replay [--pods 500] [--rate 500] [--seconds 6] [--profile]

Steadier than the whole benchmark, and small enough to profile; the figure to look at is the ratio to `orjson.loads`.
"""

import argparse
import asyncio
import base64
import contextlib
import cProfile
import os
import pstats
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.runtime.load import SENT, pod
from bench.runtime.subject import Subject
from rbgctl.runtime import configure_logging
from rbgctl.runtime.testing.certificates import Authority

NAMESPACE = "bench"
MARKER = (
    b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d",'
    b'"annotations":{"k8s.io/initial-events-end":"true"}}}}\n'
)


def served(number: int, version: int) -> bytes:
    """A pod of load.py as an API server shows it: with a status, and managedFields of those who wrote it."""
    obj = pod(NAMESPACE, number)
    meta = obj["metadata"]
    meta |= {"uid": f"10000000-0000-4000-8000-{number:012d}", "resourceVersion": str(version), "generation": 1}
    meta["annotations"] |= {SENT: "0.0"}
    fields = {f"f:{key}": {f"f:{inner}": {} for inner in ("env", "image", "name", "ports")} for key in obj["spec"]}
    managed = {"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}, "operation": "Update"}
    meta["managedFields"] = [{**managed, "manager": name} for name in ("rbgctl", "kubelet", "bench")]
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    obj["status"] = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": k, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"} for k in kinds],
    }
    return orjson.dumps(obj)


class Replay:
    """Answers one watch of pods: `pods` of them, the marker, and then events as told by `send`."""

    def __init__(self, pods: int) -> None:
        self.pods = pods
        self._version = pods
        self._watch: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
                if target.startswith("/api/v1/pods") and "watch=1" in target:
                    await self._begin(writer)
                else:
                    body = b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}'
                    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    writer.write(head % len(body) + body)

    async def _begin(self, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head)
        for number in range(self.pods):
            self._write(writer, b'{"type":"ADDED","object":%s}\n' % served(number, number + 1))
            if number % 100 == 0:
                await writer.drain()
        self._write(writer, MARKER % self.pods)
        self._watch = writer

    def _write(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    async def send(self, rate: float, count: int) -> None:
        """`count` modifications, evenly spread."""
        assert self._watch is not None
        loop = asyncio.get_running_loop()
        lines = []
        for number in range(count):
            self._version += 1
            lines.append(b'{"type":"MODIFIED","object":%s}\n' % served(number % self.pods, self._version))
        began = loop.time()
        for number, line in enumerate(lines):
            early = began + number / rate - loop.time()
            if early > 0:
                await asyncio.sleep(early)
            self._write(self._watch, line)


async def server(folder: Path, pods: int) -> None:
    """The process of its own: writes a kubeconfig, then obeys lines "rate count" on stdin."""
    authority = Authority("replay")
    chain, key = authority.server(["127.0.0.1"])
    (folder / "tls.crt").write_bytes(chain)
    (folder / "tls.key").write_bytes(key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    replay = Replay(pods)
    listener = await asyncio.start_server(replay.serve, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": base64.b64encode(authority.pem).decode(),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "replay", "cluster": cluster}],
        "users": [{"name": "replay", "user": {"token": "replay"}}],
        "contexts": [{"name": "replay", "context": {"cluster": "replay", "user": "replay"}}],
        "current-context": "replay",
    }
    (folder / "kubeconfig").write_bytes(orjson.dumps(config))
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        rate, count = line.split()
        await replay.send(float(rate), int(count))


@contextlib.asynccontextmanager
async def replaying(pods: int) -> AsyncIterator[tuple[Path, asyncio.subprocess.Process]]:
    """The server, and the kubeconfig that leads to it."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.runtime.replay", "--serve", folder, "--pods", str(pods)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            await process.stdout.readline()
            yield Path(folder) / "kubeconfig", process
        finally:
            process.kill()
            await process.wait()


async def measure(pods: int, rate: float, seconds: float, profile: cProfile.Profile | None = None) -> dict[str, Any]:
    """One run; CPU per event, of orjson.loads, and their ratio."""
    async with replaying(pods) as (kubeconfig, process):
        os.environ["KUBECONFIG"] = str(kubeconfig)
        subject = Subject((300.0, 600.0), 0.0)
        await subject.do_sync(["Pod"])
        assert process.stdin is not None
        # Once without looking: whatever is made on first use is made.
        await _events(subject, process.stdin, rate, int(rate))
        if profile is not None:
            profile.enable()
        found = await _events(subject, process.stdin, rate, int(rate * seconds))
        if profile is not None:
            profile.disable()
        subject.stop.set()
        await asyncio.wait(subject.tasks[1:])
    per_event = found["cpu"] / found["events"]
    return {**found, "per_event": per_event, "ratio": per_event / found["loads"]}


async def _events(subject: Subject, stdin: asyncio.StreamWriter, rate: float, count: int) -> dict[str, Any]:
    await subject.do_begin()
    stdin.write(b"%f %d\n" % (rate, count))
    return await subject.do_end(count)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.runtime.replay", description="What a watch event costs (RT-AC-03).")
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="which functions the time goes to")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        uvloop.run(server(given.serve, given.pods))
        return
    configure_logging("warning", "console")
    profile = cProfile.Profile() if given.profile else None
    for _ in range(given.rounds):
        found = uvloop.run(measure(given.pods, given.rate, given.seconds, profile))
        start = found["to_start"]
        print(
            f"{found['per_event'] * 1e6:.0f} us per event, {found['loads'] * 1e6:.1f} us for orjson.loads: "
            f"{found['ratio']:.1f} x; start p50 {start['p50'] * 1e3:.2f} ms p99 {start['p99'] * 1e3:.2f} ms"
        )
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
