"""Recording core/v1 Events without ever holding up a reconcile (RT-EV-01 to RT-EV-09).

    Recorder.event -> pending (1 s, equal ones merge) -> Correlator -> at most 5 writes in flight

The Correlator decides what is written: it folds many different messages of one kind into one event, counts equal
events in one object, and stops floods. `Broadcaster` owns the queue and the delivery.
"""

import asyncio
import contextlib
import random
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import Patch
from rbgctl.runtime.clock import Clock, rfc3339
from rbgctl.runtime.correlator import Correlator, Sending
from rbgctl.runtime.errors import AlreadyExists, ApiError, Forbidden, LeadershipUncertain, NotFound, TransportError

_log = structlog.get_logger("rbgctl.runtime.events")

EVENT = GVK("", "v1", "Event")

QUEUE_SIZE = 1000
MERGE_WINDOW = 1.0
LANES = 5
TRIES = 12
RETRY_SECONDS = 10.0
FLUSH_SECONDS = 2.0
DROP_LOG_SECONDS = 60.0

_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

EventType = Literal["Normal", "Warning"]


class EventSink(Protocol):
    """Where events go; `LiveClient` is one."""

    async def create(self, obj: RawObject, *, field_manager: str = "") -> RawObject: ...

    async def patch(
        self, gvk: GVK, key: NN, patch: Patch, *, subresource: str = "", field_manager: str = ""
    ) -> RawObject: ...


@dataclass(slots=True)
class _Pending:
    event: RawObject
    due: float
    count: int = 1


class Recorder:
    """Records events as one component. Made by `Broadcaster.recorder`."""

    def __init__(self, broadcaster: "Broadcaster", component: str) -> None:
        self._broadcaster = broadcaster
        self.component = component

    def event(
        self,
        obj: Mapping[str, Any],
        type_: EventType,
        reason: str,
        message: str,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Record an event about `obj` (apiVersion, kind and metadata suffice). Returns at once, never raises.

        An object without a usable kind, or another type, is logged as an error and recorded nowhere.
        """
        self._broadcaster.record(self.component, obj, type_, reason, message, annotations or {})


class Broadcaster:
    """One per process. `run` delivers; after `stop` further events are ignored.

    host: source host, empty here. on_drop: told the reason of every event that is lost.
    """

    def __init__(
        self,
        sink: EventSink,
        *,
        clock: Clock,
        rng: random.Random,
        host: str = "",
        on_drop: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._rng = rng
        self._host = host
        self._on_drop = on_drop
        self._correlator = Correlator(clock)
        self._pending: OrderedDict[Hashable, _Pending] = OrderedDict()
        self._lanes = [asyncio.Queue[Sending]() for _ in range(LANES)]
        self._queued = 0
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._flushing = asyncio.Event()
        self._stopped = False
        self._last_stamp = 0
        self._dropped = 0
        self._drop_logged_at = float("-inf")

    def recorder(self, component: str) -> Recorder:
        """A recorder whose events name `component` as their source."""
        return Recorder(self, component)

    # -- recording --------------------------------------------------------------------------------------------

    def record(
        self,
        component: str,
        obj: Mapping[str, Any],
        type_: str,
        reason: str,
        message: str,
        annotations: Mapping[str, str],
    ) -> None:
        """See `Recorder.event`."""
        if self._stopped:
            return
        try:
            gvk = GVK.of(obj)
        except ValueError as error:
            _log.error("event about an object without a kind", reason=reason, message=message, error=str(error))
            return
        if type_ not in {"Normal", "Warning"}:
            _log.error("event of an unknown type", type=type_, reason=reason, message=message)
            return
        event = self._build(component, obj, gvk, type_, reason, message, annotations)
        _log.debug("event", type=type_, reason=reason, message=message, kind=gvk.kind, object=str(NN.of(obj)))
        key = Correlator.event_key(event)
        waiting = self._pending.get(key)
        if waiting is not None:
            waiting.count += 1
            waiting.event["lastTimestamp"] = event["lastTimestamp"]
            return
        if self._queued >= QUEUE_SIZE:
            self._drop("queue full")
            return
        self._pending[key] = _Pending(event, self._clock.monotonic() + MERGE_WINDOW)
        self._queued += 1
        self._empty.clear()
        self._arrived.set()

    def _build(
        self,
        component: str,
        obj: Mapping[str, Any],
        gvk: GVK,
        type_: str,
        reason: str,
        message: str,
        annotations: Mapping[str, str],
    ) -> RawObject:
        meta = obj.get("metadata") or {}
        stamp = rfc3339(self._clock.now())
        name = meta.get("name") or ""
        involved = {
            "apiVersion": gvk.api_version,
            "kind": gvk.kind,
            "namespace": meta.get("namespace"),
            "name": name,
            "uid": meta.get("uid"),
            "resourceVersion": meta.get("resourceVersion"),
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": self._name(name),
                "namespace": meta.get("namespace") or "default",
                **({"annotations": dict(annotations)} if annotations else {}),
            },
            "involvedObject": {k: v for k, v in involved.items() if v},
            "reason": reason,
            "message": message,
            "source": {"component": component, **({"host": self._host} if self._host else {})},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": type_,
            "reportingComponent": component,
            "reportingInstance": self._host,
        }

    def _name(self, object_name: str) -> str:
        # Two events of one object in the same tick of the clock must not share a name.
        self._last_stamp = max(int(self._clock.now().timestamp() * 1e9), self._last_stamp + 1)
        name = f"{object_name}.{self._last_stamp:x}"
        if len(name) <= 253 and _DNS_SUBDOMAIN.fullmatch(name):
            return name
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _drop(self, reason: str) -> None:
        self._on_drop(reason)
        self._dropped += 1
        now = self._clock.monotonic()
        if now - self._drop_logged_at >= DROP_LOG_SECONDS:
            self._drop_logged_at = now
            _log.warning("events are lost", reason=reason, lost=self._dropped)
            self._dropped = 0

    # -- delivering -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._lane(lane))
            await self._spread()

    async def stop(self, seconds: float = FLUSH_SECONDS) -> None:
        """Accept nothing more and give what is queued at most `seconds` (never above 2) to go out (RT-EV-09).

        Cancel `run` afterwards; what is left then is lost.
        """
        self._stopped = True
        self._flushing.set()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, FLUSH_SECONDS)):
                    await self._empty.wait()
        for _ in range(self._queued):
            self._drop("stopped")

    async def _spread(self) -> None:
        while True:
            await self._arrived.wait()
            while self._pending:
                await self._until(next(iter(self._pending.values())).due)
                _, pending = self._pending.popitem(last=False)
                sending = self._correlator.correlate(pending.event, pending.count)
                if sending is None:
                    self._settled()
                else:
                    # One name always takes one lane: its PATCH must not overtake its POST.
                    lane = hash((sending.event["metadata"]["namespace"], sending.event["metadata"]["name"])) % LANES
                    self._lanes[lane].put_nowait(sending)
            self._arrived.clear()

    async def _until(self, due: float) -> None:
        while not self._flushing.is_set() and (left := due - self._clock.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._flushing.wait()

    async def _lane(self, lane: asyncio.Queue[Sending]) -> None:
        while True:
            sending = await lane.get()
            await self._deliver(sending)
            self._settled()

    def _settled(self) -> None:
        self._queued -= 1
        if not self._queued:
            self._empty.set()

    async def _deliver(self, sending: Sending) -> None:
        for attempt in range(TRIES):
            try:
                await self._send(sending)
            except TransportError as error:
                if attempt == TRIES - 1:
                    self._drop("API server unreachable")
                    _log.error("event given up", error=str(error), event=sending.event["reason"])
                    return
                # The first wait is random, so that many managers do not return in step.
                seconds = self._rng.uniform(0, RETRY_SECONDS) if attempt == 0 else RETRY_SECONDS
                await self._clock.sleep(seconds)
            except LeadershipUncertain:
                self._drop("leadership uncertain")
                return
            except ApiError as error:
                # Any answer is final (RT-EV-07).
                quiet = isinstance(error, AlreadyExists) or (
                    isinstance(error, Forbidden) and error.namespace_terminating
                )
                (_log.debug if quiet else _log.error)("event refused", error=error.message, reason=error.reason)
                self._on_drop("refused")
                return
            except Exception:  # noqa: BLE001 - a broken event must not stop the lane
                _log.exception("event could not be sent")
                self._on_drop("broken")
                return
            else:
                return

    async def _send(self, sending: Sending) -> None:
        if sending.patch is not None:
            try:
                await self._sink.patch(EVENT, NN.of(sending.event), Patch.strategic(sending.patch))
            except NotFound:
                pass  # expired, or its creation was filtered: create it with the count reached
            else:
                return
        await self._sink.create(sending.event)
