"""Keeps a queue up to date with one collection of the API server: its state once, then a watch (RT-RF-01..18).

The state comes as a stream that a marking bookmark ends and that goes on as the watch; from servers that do not offer
that, as a list. A plain end of a healthy watch re-opens it at the newest resourceVersion, and so does a connection that
breaks; only errors that make that impossible lead to reading the whole state again.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import structlog

from rbgctl.machinery.gvk import NN, Resource
from rbgctl.runtime.backoff import Backoff
from rbgctl.runtime.client import METADATA
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
from rbgctl.runtime.kind_options import WATCH_TIMEOUT
from rbgctl.runtime.list_page import ListPage, list_page
from rbgctl.runtime.list_turn import LISTS_AT_ONCE, ListTurn
from rbgctl.runtime.store import Entry, EntryDecoder, WrongKind
from rbgctl.runtime.tracing import NO_SPAN, Span
from rbgctl.runtime.transport import LineStream, Transport

_log = structlog.get_logger("rbgctl.runtime.reflector")

PAGE_SIZE = 500
SHORT_WATCH = 1.0
SHORT_CUTS = 3
"""So many watches in a row may break off at once without an event; then it is no outage, and lists have to do."""

BOOKMARK_SILENCE = 90.0
STREAM_SILENCE = 60.0
STREAM_RETRY = 600.0
STREAM_WARNING = 10.0
YIELD_EVERY = 200
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class _WatchEvent(msgspec.Struct):
    type: str
    object: dict[str, msgspec.Raw]


class _BookmarkMeta(msgspec.Struct, rename="camel"):
    resource_version: str
    annotations: dict[str, str] | None = None


_EVENT = msgspec.json.Decoder(_WatchEvent)
_BOOKMARK = msgspec.json.Decoder(_BookmarkMeta)


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
    """A watch that ended at once without a single event, or kept breaking off so."""


class _NoMarker(Exception):
    """A stream of the initial state that ended before it was complete."""


@dataclass(slots=True)
class _Initial:
    """The state collected from a stream until its end is marked. opened: the server has begun to answer."""

    reason: str
    entries: dict[NN, Entry] = field(default_factory=dict)
    opened: bool = False
    done: bool = False


class Reflector:
    """Run `run()` as a task; it returns only when cancelled.

    streaming: whether to stream the initial state; None tries it and remembers for ten minutes that it failed.
    list_gate bounds concurrent lists of a process, see `ListTurn`. watch_timeout: range in seconds from which each
    watch request draws its server-side timeout. on_error hears of failed lists and watch opens; on_relist why the whole
    state was read again, not of the first time. on_queued: called when events have come into the sink.
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
        streaming: bool | None = None,
        list_gate: asyncio.Semaphore | None = None,
        user_agent: str = "rbgctl",
        watch_timeout: tuple[float, float] = WATCH_TIMEOUT,
        first_list_jitter: float = 1.0,
        on_error: Callable[[Exception], None] | None = None,
        on_relist: Callable[[str], None] | None = None,
        on_queued: Callable[[], None] = lambda: None,
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
        self._streaming = streaming
        self._stream_again_at = float("-inf")
        self._gate = list_gate or asyncio.Semaphore(LISTS_AT_ONCE)
        self._user_agent = user_agent
        self._watch_timeout = watch_timeout
        self._jitter = first_list_jitter
        self._on_error = on_error or (lambda _: None)
        self._on_relist = on_relist or (lambda _: None)
        self._on_queued = on_queued
        self._backoff = Backoff(self._clock, self._rng)
        self._rv_unavailable = False
        self._watching = False
        self._server_pages = False
        self._bookmarks_seen = False
        self._log = _log.bind(resource=target.resource.plural, namespace=target.namespace or None)

    async def run(self) -> None:
        if self._jitter:
            await self._clock.sleep(self._rng.uniform(0, self._jitter))
        reason = ""
        while True:
            try:
                reason = await self._list_and_watch(reason)
            except Exception as error:  # noqa: BLE001 - an informer that ends would leave its kind stale for ever
                self._on_error(error)
                name = type(error).__name__
                # A list that failed is tried again for the reason that it was made for.
                reason = name if self._watching else reason or name
                if needs_relist(error):
                    self._log.info("watch expired, reading everything again")
                else:
                    self._log.warning("list or watch failed", error=str(error), error_type=name)
            await self._clock.sleep(self._backoff.step())

    async def _list_and_watch(self, reason: str) -> str:
        """Returns why everything must be read again."""
        self._watching = False
        if self._streaming is not False and self._clock.monotonic() >= self._stream_again_at:
            again = await self._stream_and_watch(reason)
            if again is not None:
                return again
        await self._list(reason)
        return await self._watch(None)

    def _replaced(self, entries: list[Entry], rv: str, reason: str) -> None:
        self._rv_unavailable = False
        self._watching = True
        self._sink.replace(entries, rv)
        self.last_rv = rv
        self.relists += 1
        self.last_event_at = self._clock.monotonic()
        if self.relists > 1:
            self._on_relist(reason)
        self._on_queued()

    # -- initial state by list ----------------------------------------------------------------------------------

    def _span(self) -> AbstractContextManager[Span]:
        """Around reading the whole state, by list or by stream; what follows of a watch is in no span (RT-TR-02)."""
        tracing = self._transport.tracing
        if not tracing.enabled:
            return NO_SPAN
        return tracing.span(f"list {self.target.resource.gvk}", attributes={"k8s.list.first": not self.relists})

    def _list_rv(self) -> str:
        if self._rv_unavailable:
            return ""
        return self.last_rv or "0"

    async def _list(self, reason: str) -> None:
        with self._span():
            try:
                entries, rv = await self._list_at(self._list_rv())
            except ApiError as error:
                if not _rv_unusable(error):
                    raise
                self._rv_unavailable = True
                entries, rv = await self._list_at("")
            self._replaced(entries, rv, reason)

    async def _list_at(self, rv: str) -> tuple[list[Entry], str]:
        params = self.target.params()
        if rv:
            params["resourceVersion"] = rv
        if rv in {"", "0"} or self._server_pages:
            params["limit"] = str(PAGE_SIZE)
            if rv not in {"", "0"}:
                params["resourceVersionMatch"] = "NotOlderThan"
        entries: list[Entry] = []
        async with ListTurn(self._gate) as turn:
            while True:
                try:
                    page = await self._page(params)
                    turn.progress()
                except ApiError as error:
                    if "continue" not in params or not needs_relist(error):
                        raise
                    entries = []
                    params = self.target.params()
                    continue
                for count, raw in enumerate(page.items or (), 1):
                    entries.append(self._decoder.entry(raw))
                    if count % YIELD_EVERY == 0:
                        await asyncio.sleep(0)
                if not page.metadata.continue_:
                    return entries, page.metadata.resource_version
                self._server_pages = self._server_pages or rv == "0"
                params = {**self.target.params(), "limit": str(PAGE_SIZE), "continue": page.metadata.continue_}

    async def _page(self, params: dict[str, str]) -> ListPage:
        path = self.target.resource.path(self.target.namespace)
        with self._transport.tracing.request("GET", path, params, None, self._user_agent):
            answer = await self._transport.request(
                "GET", path, params=params, accept=self._accept(is_list=True), user_agent=self._user_agent
            )
        if answer.status != 200:
            raise ApiError.from_response(
                "GET", answer.status, answer.headers, answer.body, resource=self.target.resource.plural
            )
        return list_page(answer.body)

    def _accept(self, *, is_list: bool) -> str:
        if self.target.form == "full":
            return "application/json"
        return METADATA.format(list="List" if is_list else "")

    # -- initial state by stream --------------------------------------------------------------------------------

    async def _stream_and_watch(self, reason: str) -> str | None:
        """Like `_list_and_watch`; None when the server does not stream and must be asked for a list (RT-RF-14)."""
        while True:
            initial = _Initial(reason)
            try:
                return await self._watch(initial)
            except Exception as error:
                if initial.done:
                    raise
                if _is_down(error):
                    self._on_error(error)
                    await self._clock.sleep(self._backoff.step())
                elif isinstance(error, ApiError) and _rv_unusable(error) and not self._rv_unavailable:
                    self._rv_unavailable = True
                elif isinstance(error, TransportError) and not initial.opened and not self._streaming:
                    # Nothing came at all, which does not tell whether the server streams: a list for this once.
                    self._on_error(error)
                    self._log.info("no answer to the request for a stream", error=str(error))
                    return None
                else:
                    self._log.info("the server does not stream lists", error=str(error))
                    self._stream_again_at = self._clock.monotonic() + STREAM_RETRY
                    if self._streaming:
                        raise
                    return None

    def _collect(self, initial: _Initial, kind: str, entry: Entry) -> None:
        if kind == "DELETED":
            initial.entries.pop(entry.header.key, None)
        else:
            initial.entries[entry.header.key] = entry

    # -- watch --------------------------------------------------------------------------------------------------

    async def _watch(self, initial: _Initial | None) -> str:
        """Watch until everything must be read again; returns the reason. `initial` collects the state first."""
        cuts = 0
        while True:
            began, events, cut = self._clock.monotonic(), 0, False
            seconds = self._rng.uniform(*self._watch_timeout)
            try:
                events = await self._one_watch(seconds, initial)
            except (ApiError, TransportError, msgspec.DecodeError) as error:
                if initial is not None and not initial.done:
                    raise
                initial = None
                if isinstance(error, InternalError):
                    self._on_error(error)
                    self._log.warning("watch failed", error=str(error))
                    return "InternalError"
                if _is_down(error):
                    self._on_error(error)
                    self._log.info("watch refused, trying again", error=str(error))
                    await self._clock.sleep(self._backoff.step())
                    continue
                if not isinstance(error, TransportError):
                    raise
                # How proxies and time-outs end a watch (RT-RF-10).
                cut = True
                self._log.info("watch interrupted, resuming", error=str(error))
            if initial is not None and not initial.done:
                raise _NoMarker(f"the stream of {self.target.resource.plural} ended before it was complete")
            initial = None
            if events or self._clock.monotonic() - began >= SHORT_WATCH:
                cuts = 0
                continue
            # A broken connection says nothing about the version: the server may only have gone away (RT-AC-04).
            cuts += cut
            if not cut or cuts > SHORT_CUTS:
                raise _ShortWatch(f"a watch of {self.target.resource.plural} ended at once without an event")
            await self._clock.sleep(self._backoff.step())

    def _watch_params(self, seconds: float, initial: _Initial | None) -> dict[str, str]:
        params = {
            **self.target.params(),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(int(seconds), 1)),
        }
        if initial is None:
            params["resourceVersion"] = self.last_rv
            return params
        params["sendInitialEvents"] = "true"
        params["resourceVersionMatch"] = "NotOlderThan"
        params["resourceVersion"] = "" if self._rv_unavailable else self.last_rv
        return params

    async def _one_watch(self, seconds: float, initial: _Initial | None) -> int:
        """One request, to its end; returns the number of events. `initial` is done once its end was marked."""
        total = seconds + 5
        live_silence = min(BOOKMARK_SILENCE, total) if self._bookmarks_seen else total
        events = 0
        async with contextlib.AsyncExitStack() as listing, contextlib.AsyncExitStack() as watching:
            turn: ListTurn | None = None
            if initial is not None:
                turn = await listing.enter_async_context(ListTurn(self._gate))
                listing.callback(asyncio.create_task(self._warn_while_collecting()).cancel)
                listing.enter_context(self._span())
            stream = await watching.enter_async_context(
                self._transport.stream(
                    self.target.resource.path(self.target.namespace),
                    self._watch_params(seconds, initial),
                    idle_timeout=live_silence if initial is None else min(STREAM_SILENCE, total),
                    total_timeout=total,
                    open_timeout=total if initial is None else min(STREAM_SILENCE, total),
                    accept=self._accept(is_list=False),
                    user_agent=self._user_agent,
                )
            )
            if stream.status != 200:
                raise await self._refusal(stream)
            if initial is not None:
                initial.opened = True
            try:
                async for lines in stream.batches():
                    if turn is not None:
                        turn.progress()
                    for count, line in enumerate(lines, 1):
                        self._accept_line(line, initial)
                        events += 1
                        if count % YIELD_EVERY == 0:
                            self._on_queued()
                            await asyncio.sleep(0)
                    self._on_queued()
                    if initial is not None and initial.done:
                        await listing.aclose()
                        stream.idle_timeout = min(BOOKMARK_SILENCE, total)
            except TransportError:
                # Cut in mid-stream: what arrived is applied, the rest is asked for again (RT-RF-10).
                if events == 0 or (initial is not None and not initial.done):
                    raise
        return events

    async def _warn_while_collecting(self) -> None:
        began = self._clock.monotonic()
        while True:
            await asyncio.sleep(STREAM_WARNING)
            self._log.warning("the initial state is still being streamed", seconds=self._clock.monotonic() - began)

    async def _refusal(self, stream: LineStream) -> ApiError:
        return ApiError.from_response(
            "GET", stream.status, stream.headers, await stream.body(), resource=self.target.resource.plural
        )

    def _accept_line(self, line: bytes, initial: _Initial | None) -> None:
        try:
            event = _EVENT.decode(line)
            match event.type:
                case "ERROR":
                    raise ApiError.from_status({key: msgspec.json.decode(value) for key, value in event.object.items()})
                case "BOOKMARK":
                    self._bookmark(_BOOKMARK.decode(event.object.get("metadata", b"null")), initial)
                case "ADDED" | "MODIFIED" | "DELETED":
                    self._event(event.type, self._decoder.entry_of(event.object), initial)
                case other:
                    raise _internal(f"unknown watch event type {other!r}")
        except WrongKind as error:
            self._log.error("watch event skipped", error=str(error))
            return
        except msgspec.DecodeError as error:
            raise _internal(f"watch line: {error}") from error
        self.last_event_at = self._clock.monotonic()

    def _bookmark(self, meta: _BookmarkMeta, initial: _Initial | None) -> None:
        self._bookmarks_seen = True
        if initial is None or initial.done:
            self._sink.progress(meta.resource_version)
            self.last_rv = meta.resource_version
        elif (meta.annotations or {}).get(INITIAL_EVENTS_END) == "true":
            initial.done = True
            self._replaced(list(initial.entries.values()), meta.resource_version, initial.reason)
            initial.entries.clear()

    def _event(self, kind: str, entry: Entry, initial: _Initial | None) -> None:
        if initial is not None and not initial.done:
            # Versions of the initial events are in no order: none of them is a point to resume from (RT-RF-13).
            self._collect(initial, kind, entry)
            return
        self._sink.add(_DELTAS[kind], entry)
        self.last_rv = entry.header.rv or self.last_rv


_DELTAS = {"ADDED": DeltaType.ADDED, "MODIFIED": DeltaType.UPDATED, "DELETED": DeltaType.DELETED}


def _internal(message: str) -> InternalError:
    return InternalError({"reason": "InternalError", "code": 500, "message": message})


def _is_down(error: Exception) -> bool:
    """The server restarts or is overloaded: what was known stays valid (RT-RF-09)."""
    if isinstance(error, TransportError):
        return error.kind in {"refused", "dns", "tls"}
    return isinstance(error, TooManyRequests)


def _rv_unusable(error: ApiError) -> bool:
    """The resourceVersion asked for is too old, or newer than what the server has (RT-RF-06)."""
    return needs_relist(error) or (isinstance(error, RequestTimeout) and error.too_large_resource_version)
