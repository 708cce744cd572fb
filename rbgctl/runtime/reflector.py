"""Keeps a queue up to date with one collection of the API server: list once, then watch (RT-RF-01..18).

A plain end of a healthy watch re-opens it at the newest resourceVersion; only errors that make that impossible lead
to a new list.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec
import structlog

from rbgctl.machinery.gvk import Resource
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.errors import (
    ApiError,
    InternalError,
    RequestTimeout,
    TooManyRequests,
    TransportError,
    needs_relist,
)
from rbgctl.runtime.fifo import DeltaType, OrderedFifo
from rbgctl.runtime.store import Entry, EntryDecoder
from rbgctl.runtime.transport import Transport

_log = structlog.get_logger("rbgctl.runtime.reflector")

PAGE_SIZE = 500
BACKOFF_START, BACKOFF_CAP, BACKOFF_RESET = 0.8, 30.0, 120.0
SHORT_WATCH = 1.0
BOOKMARK_SILENCE = 90.0
YIELD_EVERY = 200
METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1,application/json"


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


_LIST = msgspec.json.Decoder(_List)
_EVENT = msgspec.json.Decoder(_WatchEvent)
_STATUS = msgspec.json.Decoder(dict)


@dataclass(frozen=True, slots=True)
class WatchTarget:
    """What to reflect: a resource, optionally one namespace and a selector, whole or metadata only."""

    resource: Resource
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    form: Literal["full", "metadata"] = "full"

    def params(self) -> dict[str, str]:
        params = {}
        if self.labels:
            params["labelSelector"] = self.labels
        if self.fields:
            params["fieldSelector"] = self.fields
        return params


class _ShortWatch(Exception):
    """A watch that ended at once without a single event."""


class Backoff:
    """0.8 s doubling to 30 s, each with 0-100 % jitter; starts over after two quiet minutes (RT-RF-01)."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._next = BACKOFF_START
        self._last = float("-inf")

    def step(self) -> float:
        """Seconds to wait now."""
        now = self._clock.monotonic()
        if now - self._last >= BACKOFF_RESET:
            self._next = BACKOFF_START
        self._last = now
        delay, self._next = self._next, min(self._next * 2, BACKOFF_CAP)
        return delay * (1 + self._rng.random())


class Reflector:
    """Run `run()` as a task; it returns only when cancelled.

    list_gate bounds concurrent lists of a process. watch_timeout: range in seconds from which each watch request
    draws its server-side timeout. on_error hears of failed lists and watch opens; on_relist of every list.
    """

    def __init__(
        self,
        target: WatchTarget,
        transport: Transport,
        sink: OrderedFifo,
        decoder: EntryDecoder,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        list_gate: asyncio.Semaphore | None = None,
        user_agent: str = "rbgctl",
        watch_timeout: tuple[float, float] = (300.0, 600.0),
        first_list_jitter: float = 1.0,
        on_error: Callable[[Exception], None] | None = None,
        on_relist: Callable[[str], None] | None = None,
    ) -> None:
        self.target = target
        self.last_rv = ""
        self.relists = 0
        self.last_event_at = 0.0
        self._transport = transport
        self._sink = sink
        self._decoder = decoder
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._gate = list_gate or asyncio.Semaphore(4)
        self._user_agent = user_agent
        self._watch_timeout = watch_timeout
        self._jitter = first_list_jitter
        self._on_error = on_error or (lambda _: None)
        self._on_relist = on_relist or (lambda _: None)
        self._backoff = Backoff(self._clock, self._rng)
        self._rv_unavailable = False
        self._server_pages = False
        self._bookmarks_seen = False
        self._log = _log.bind(resource=target.resource.plural, namespace=target.namespace or None)

    async def run(self) -> None:
        if self._jitter:
            await self._clock.sleep(self._rng.uniform(0, self._jitter))
        reason = "start"
        while True:
            try:
                await self._list(reason)
                reason = await self._watch()
            except (ApiError, TransportError, msgspec.DecodeError, _ShortWatch) as error:
                self._on_error(error)
                reason = type(error).__name__
                if needs_relist(error):
                    self._log.info("watch expired, listing again")
                else:
                    self._log.warning("list or watch failed", error=str(error), error_type=reason)
            await self._clock.sleep(self._backoff.step())

    # -- list ---------------------------------------------------------------------------------------------------

    def _list_rv(self) -> str:
        if self._rv_unavailable:
            return ""
        return self.last_rv or "0"

    async def _list(self, reason: str) -> None:
        try:
            entries, rv = await self._list_at(self._list_rv())
        except ApiError as error:
            too_large = isinstance(error, RequestTimeout) and error.too_large_resource_version
            if not (needs_relist(error) or too_large):
                raise
            self._rv_unavailable = True
            entries, rv = await self._list_at("")
        self._rv_unavailable = False
        self._sink.replace(entries, rv)
        self.last_rv = rv
        self.relists += 1
        self.last_event_at = self._clock.monotonic()
        self._on_relist(reason)

    async def _list_at(self, rv: str) -> tuple[list[Entry], str]:
        params = self.target.params()
        if rv:
            params["resourceVersion"] = rv
        if rv in {"", "0"} or self._server_pages:
            params["limit"] = str(PAGE_SIZE)
            if rv not in {"", "0"}:
                params["resourceVersionMatch"] = "NotOlderThan"
        entries: list[Entry] = []
        first_rv = ""
        async with self._gate:
            while True:
                try:
                    page = await self._page(params)
                except ApiError as error:
                    if "continue" not in params or not needs_relist(error):
                        raise
                    entries, first_rv = [], ""
                    params = self.target.params()
                    continue
                first_rv = page.metadata.resource_version
                for count, raw in enumerate(page.items or (), 1):
                    entries.append(self._decoder.entry(raw))
                    if count % YIELD_EVERY == 0:
                        await asyncio.sleep(0)
                if not page.metadata.continue_:
                    return entries, first_rv
                self._server_pages = self._server_pages or rv == "0"
                params = {**self.target.params(), "limit": str(PAGE_SIZE), "continue": page.metadata.continue_}

    async def _page(self, params: dict[str, str]) -> _List:
        path = self.target.resource.path(self.target.namespace)
        answer = await self._transport.request(
            "GET", path, params=params, accept=self._accept(is_list=True), user_agent=self._user_agent
        )
        if answer.status != 200:
            raise ApiError.from_response(
                "GET", answer.status, answer.headers, answer.body, resource=self.target.resource.plural
            )
        return _LIST.decode(answer.body)

    def _accept(self, *, is_list: bool) -> str:
        if self.target.form == "full":
            return "application/json"
        return METADATA.format(list="List" if is_list else "")

    # -- watch --------------------------------------------------------------------------------------------------

    async def _watch(self) -> str:
        """Watch until a list is needed; returns the reason."""
        while True:
            began, events = self._clock.monotonic(), 0
            seconds = self._rng.uniform(*self._watch_timeout)
            try:
                events = await self._one_watch(seconds)
            except TooManyRequests as error:
                self._on_error(error)
                await self._clock.sleep(self._backoff.step())
                continue
            except InternalError as error:
                self._on_error(error)
                self._log.warning("watch failed", error=str(error))
                return "InternalError"
            except TransportError as error:
                # Refused: the server restarts. Everything else is how proxies and time-outs end a watch.
                self._on_error(error)
                self._log.info("watch interrupted, resuming", error=str(error))
                await self._clock.sleep(self._backoff.step() if error.kind in {"refused", "tls", "dns"} else 0)
                if error.kind in {"refused", "tls", "dns"}:
                    continue
            if events == 0 and self._clock.monotonic() - began < SHORT_WATCH:
                raise _ShortWatch(f"a watch of {self.target.resource.plural} ended at once without an event")

    async def _one_watch(self, seconds: float) -> int:
        params = {
            **self.target.params(),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.last_rv,
            "timeoutSeconds": str(max(int(seconds), 1)),
        }
        total = seconds + 5
        events = 0
        async with self._transport.stream(
            self.target.resource.path(self.target.namespace),
            params,
            idle_timeout=min(BOOKMARK_SILENCE, total) if self._bookmarks_seen else total,
            total_timeout=total,
            accept=self._accept(is_list=False),
            user_agent=self._user_agent,
        ) as stream:
            if stream.status != 200:
                raise ApiError.from_response(
                    "GET",
                    stream.status,
                    stream.headers,
                    await stream.body(),
                    resource=self.target.resource.plural,
                )
            try:
                async for lines in stream.batches():
                    for count, line in enumerate(lines, 1):
                        self._accept_line(line)
                        events += 1
                        if count % YIELD_EVERY == 0:
                            await asyncio.sleep(0)
            except TransportError:
                # Cut in mid-stream: what arrived is applied, the rest is asked for again (RT-RF-10).
                if events == 0:
                    raise
        return events

    def _accept_line(self, line: bytes) -> None:
        try:
            event = _EVENT.decode(line)
            if event.type == "ERROR":
                raise ApiError.from_status(_STATUS.decode(event.object))
            entry = self._decoder.entry(event.object)
        except msgspec.DecodeError as error:
            raise InternalError({"reason": "InternalError", "code": 500, "message": f"watch line: {error}"}) from error
        self.last_event_at = self._clock.monotonic()
        match event.type:
            case "ADDED":
                self._sink.add(DeltaType.ADDED, entry)
            case "MODIFIED":
                self._sink.add(DeltaType.UPDATED, entry)
            case "DELETED":
                self._sink.add(DeltaType.DELETED, entry)
            case "BOOKMARK":
                self._bookmarks_seen = True
                self._sink.progress(entry.header.rv)
            case other:
                raise InternalError(
                    {"reason": "InternalError", "code": 500, "message": f"unknown watch event type {other!r}"}
                )
        self.last_rv = entry.header.rv
