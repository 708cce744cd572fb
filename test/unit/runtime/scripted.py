"""An HTTP server that gives the answers a test scripted, one per request, and remembers what it was asked."""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: Any

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


class ScriptedServer:
    """Answers in the order given; when none is left a request waits for ever, as an idle watch does."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._answers: deque[Answer] = deque()
        self._progress = asyncio.Condition()

    def answers(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    async def asked_at_least(self, count: int) -> Sequence[Asked]:
        """The first `count` requests, once they have arrived. An answer has been read when the next one is asked."""
        async with asyncio.timeout(10), self._progress:
            await self._progress.wait_for(lambda: len(self.asked) >= count)
        return self.asked[:count]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.asked.append(Asked(request.method, request.path, dict(request.query), request.headers.copy(), body, peer))
        answer = self.next_answer(request)
        async with self._progress:
            self._progress.notify_all()
        return await answer(request)

    def next_answer(self, _request: web.Request) -> Answer:
        """Subclasses may answer by what is asked."""
        return self._answers.popleft() if self._answers else watch(then="hang")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedServer"]:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    async def give(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return give


def failure(code: int, reason: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, **more}


def refused(code: int, reason: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
    """A Failure Status."""
    return answer(code, orjson.dumps(failure(code, reason, message=reason, **more)), headers)


def broken() -> Answer:
    """The connection is closed without an answer."""

    async def give(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    return give


def reset() -> Answer:
    """The connection is reset without an answer."""

    async def give(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
        return web.Response()

    return give


def obj(name: str, rv: int | str, uid: str = "", kind: str = "Pod", **meta: Any) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(rv), **meta}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def listing(rv: int | str, *items: dict[str, Any], then: str = "") -> Answer:
    """A list; `then` is the continue token of the next page."""
    metadata = {"resourceVersion": str(rv), **({"continue": then} if then else {})}
    bare = [{"metadata": item["metadata"]} for item in items]
    return answer(200, orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": bare}))


def event(kind: str, what: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": what}) + b"\n"


def bookmark(rv: int | str, *, end: bool = False) -> bytes:
    meta: dict[str, Any] = {"resourceVersion": str(rv)}
    if end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return event("BOOKMARK", {"apiVersion": "v1", "kind": "Pod", "metadata": meta})


def watch(*chunks: bytes, then: str = "end", before: Callable[[], None] | None = None) -> Answer:
    """A watch stream of these chunks; `then` it ends, hangs or is cut. `before` runs before the stream ends."""

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if before is not None:
            before()
        if then == "hang":
            await asyncio.Event().wait()
        if then == "cut":
            assert request.transport is not None
            request.transport.close()
        return response

    return give
