"""One Lease as an API server keeps it, reached in virtual time or over HTTP, and electors around it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from unit.runtime.scripted import failure

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import ApiError, TransportError
from rbgctl.runtime.leaderelection import ElectionConfig, ElectionObserver, Elector, ReleaseHints

PATH = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"


def config(identity: str = "me", **changes: Any) -> ElectionConfig:
    return ElectionConfig(**{"namespace": "ns", "name": "lock", "identity": identity, **changes})


@dataclass
class LeaseStore:
    """Optimistic locking on one object; `writes` is every version that was stored."""

    lease: RawObject | None = None
    version: int = 0
    writes: list[RawObject] = field(default_factory=list)

    def get(self) -> RawObject:
        if self.lease is None:
            raise error(404, "NotFound")
        return copy(self.lease)

    def create(self, lease: RawObject) -> RawObject:
        if self.lease is not None:
            raise error(409, "AlreadyExists")
        return self._store(lease)

    def update(self, lease: RawObject) -> RawObject:
        if self.lease is None:
            raise error(404, "NotFound")
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise error(409, "Conflict")
        return self._store(lease)

    def _store(self, lease: RawObject) -> RawObject:
        self.version += 1
        stored = copy(lease)
        stored["metadata"] = {**stored["metadata"], "uid": "lease-uid", "resourceVersion": str(self.version)}
        self.lease = stored
        self.writes.append(stored)
        return copy(stored)

    @property
    def spec(self) -> RawObject:
        assert self.lease is not None
        spec: RawObject = self.lease["spec"]
        return spec

    def held_by(self, holder: str, **spec: Any) -> None:
        """Somebody writes the Lease."""
        times = {"acquireTime": "2001-01-01T00:00:00.000001Z", "renewTime": "2001-01-01T00:00:00.000001Z"}
        old = dict(self.lease or {"metadata": {"namespace": "ns", "name": "lock"}})
        record = {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3, **times, **spec}
        self._store({**old, "spec": {**(old.get("spec") or {}), **record}})

    def renewed(self) -> None:
        """The holder renews."""
        self.held_by(self.spec["holderIdentity"], renewTime=f"version {self.version}")


def copy(obj: RawObject) -> RawObject:
    copied: RawObject = orjson.loads(orjson.dumps(obj))
    return copied


def error(code: int, reason: str) -> ApiError:
    return ApiError.from_status(failure(code, reason, message=reason))


@dataclass(frozen=True)
class Call:
    """One request: when it was sent, what, and the record that it carried."""

    at: float
    verb: str
    spec: RawObject


@dataclass
class Fault:
    """What happens to one request. Seconds before the server sees it, and before the answer arrives."""

    request: float = 0.0
    response: float = 0.0
    lost: bool = False
    refused: ApiError | None = None


class Link:
    """A LeaseClient in the loop's (virtual) time. `fault(verb)` decides what happens to each request."""

    def __init__(self, store: LeaseStore) -> None:
        self.store = store
        self.calls: list[Call] = []
        self.fault: Callable[[str], Fault] = lambda _: Fault()

    async def get(self, timeout: float) -> RawObject:
        return await self._call("get", {}, lambda _: self.store.get())

    async def create(self, lease: RawObject, timeout: float) -> RawObject:
        return await self._call("create", lease, self.store.create)

    async def update(self, lease: RawObject, timeout: float) -> RawObject:
        return await self._call("update", lease, self.store.update)

    async def _call(self, verb: str, lease: RawObject, act: Callable[[RawObject], RawObject]) -> RawObject:
        loop = asyncio.get_running_loop()
        self.calls.append(Call(loop.time(), verb, copy(lease.get("spec") or {})))
        fault = self.fault(verb)
        await asyncio.sleep(fault.request)
        if fault.lost:
            raise TransportError("reset", "the request was lost")
        if fault.refused is not None:
            raise fault.refused
        answer = act(lease)
        await asyncio.sleep(fault.response)
        return answer

    def times(self, *verbs: str) -> list[float]:
        return [c.at for c in self.calls if c.verb in verbs]


class Notes(ElectionObserver):
    """What an elector tells, with the time."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.events: list[tuple[RawObject, str]] = []
        self.slow_paths = 0

    def leads(self, leading: bool) -> None:
        self.journal.append(f"gauge {int(leading)}")

    def slow_path(self) -> None:
        self.slow_paths += 1

    def event(self, lease: RawObject, message: str) -> None:
        self.journal.append(message)
        self.events.append((lease, message))


class Member:
    """An elector, its link, and what it reported."""

    def __init__(
        self,
        store: LeaseStore,
        clock: Clock,
        identity: str = "me",
        *,
        seed: int = 0,
        hints: ReleaseHints | None = None,
        **changes: Any,
    ) -> None:
        self.link = Link(store)
        self.notes = Notes()
        self.elector = Elector(
            config(identity, **changes),
            self.link,
            clock=clock,
            rng=random.Random(seed),
            observer=self.notes,
            hints=hints,
        )
        self.leads = asyncio.Event()
        self.led_at = -1.0
        self.stopped: list[float] = []
        self.leaders: list[str] = []
        self.task: asyncio.Task[None] | None = None

    async def _started(self) -> None:
        self.led_at = asyncio.get_running_loop().time()
        self.leads.set()

    def _stopped(self) -> None:
        self.notes.journal.append("stopped")
        self.stopped.append(asyncio.get_running_loop().time())

    def start(self) -> "asyncio.Task[None]":
        self.task = asyncio.create_task(self.elector.run(self._started, self._stopped, self.leaders.append))
        return self.task

    async def stop(self) -> None:
        """Give leadership up."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


@contextlib.asynccontextmanager
async def leading(store: LeaseStore, clock: Clock, **changes: Any) -> AsyncIterator[Member]:
    """A member that has just become the leader; it is stopped at the end if it still runs."""
    member = Member(store, clock, **changes)
    task = member.start()
    await member.leads.wait()
    try:
        yield member
    finally:
        task.cancel()
        await asyncio.wait([task])


class LeaseServer:
    """The store over HTTP; whatever is not the Lease is taken as an event and answered as it came.

    answering: cleared, every request hangs. asked: method, path, peer and user agent of each request. delays: what is
    awaited before the answer to a path that ends so. on_release: told when the holder is emptied. busiest: how many
    requests about Leases were answered at once, `pace` seconds each. refusal: what watches are refused with. watching:
    open watches; `cut` ends them.
    """

    def __init__(self, store: LeaseStore) -> None:
        self.store = store
        self.url = ""
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked: list[tuple[str, str, Any, str]] = []
        self.queries: list[tuple[str, str, dict[str, str]]] = []
        self.pace = 0.0
        self.busy = self.busiest = 0
        self.delays: dict[str, Callable[[str], Awaitable[None]]] = {}
        self.on_release: Callable[[], None] = lambda: None
        self.refusal: ApiError | None = None
        self.watching = 0
        self._watchers: list[asyncio.Queue[RawObject | None]] = []
        self.events: list[RawObject] = []
        self.progress = asyncio.Condition()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.asked.append((request.method, request.path, peer, request.headers["User-Agent"]))
        body = await request.json() if request.can_read_body else {}
        self.queries.append((request.method, request.path, dict(request.query)))
        last = request.path.rsplit("/", 1)[1]
        await self.answering.wait()
        if last in self.delays:
            await self.delays[last](last)
        try:
            if "watch" in request.query:
                return await self._watch(request)
            if request.path.startswith(PATH):
                self.busy += 1
                self.busiest = max(self.busiest, self.busy)
                try:
                    await asyncio.sleep(self.pace)
                finally:
                    self.busy -= 1
                act = {"GET": lambda _: self.store.get(), "POST": self.store.create, "PUT": self.store.update}
                answer = act[request.method](body)
                if request.method != "GET":
                    self.tell("MODIFIED", answer)
                if request.method == "PUT" and not body["spec"]["holderIdentity"]:
                    self.on_release()
            else:
                self.events.append(body)
                answer = body
        except ApiError as refused:
            return web.json_response(refused.status, status=refused.code)
        finally:
            async with self.progress:
                self.progress.notify_all()
        return web.json_response(answer)

    def tell(self, kind: str, obj: RawObject) -> None:
        """An event for all who watch."""
        for watcher in self._watchers:
            watcher.put_nowait({"type": kind, "object": obj})

    def cut(self) -> None:
        """End all watches."""
        for watcher in self._watchers:
            watcher.put_nowait(None)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if self.refusal is not None:
            raise self.refusal
        events: asyncio.Queue[RawObject | None] = asyncio.Queue()
        if self.store.lease is not None:
            events.put_nowait({"type": "ADDED", "object": self.store.get()})
        self._watchers.append(events)
        answer = web.StreamResponse()
        await answer.prepare(request)
        self.watching += 1
        try:
            async with self.progress:
                self.progress.notify_all()
            while (event := await events.get()) is not None:
                await answer.write(orjson.dumps(event) + b"\n")
            return answer
        finally:
            self.watching -= 1
            self._watchers.remove(events)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self.progress:
            await self.progress.wait_for(condition)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["LeaseServer"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()
