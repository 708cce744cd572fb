"""Recording core/v1 Events without ever blocking a reconcile (RT-EV-01..09).

A `Recorder` hands events to the `EventSink`, whose single consumer aggregates and de-duplicates them
(`Correlator`, pure) and writes. A full queue drops events and counts them.
"""

import asyncio
import contextlib
import random
import re
import uuid
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import structlog

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import LiveClient, Patch
from rbgctl.runtime.clock import Clock, SystemClock, rfc3339
from rbgctl.runtime.errors import ApiError, NotFound, TransportError
from rbgctl.runtime.metrics import Registry

EVENT = GVK("", "v1", "Event")
QUEUE_SIZE = 1000
MEMORY = 4096
REFILL_SECONDS = 300.0
BURST_PER_REASON, BURST_TOTAL = 10, 50
AGGREGATE_FROM, AGGREGATE_WINDOW = 10, 600.0
TRIES, RETRY_SECONDS = 12, 10.0
FLUSH_SECONDS = 2.0
MESSAGE_LIMIT = 1024
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_log = structlog.get_logger("rbgctl.runtime.events")

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Record:
    """One call of `Recorder.event`."""

    component: str
    regarding: Mapping[str, Any]
    type: str
    reason: str
    message: str
    at: float
    stamp: str
    name_suffix: str

    @property
    def object_key(self) -> tuple[str, ...]:
        r = self.regarding
        return (r["kind"], r.get("namespace", ""), r["name"], r.get("uid", ""), r["apiVersion"])


@dataclass(slots=True)
class Sent:
    """What the server knows of one event."""

    name: str
    namespace: str
    count: int
    first: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write: a new Event, or a patch of one written before; None of both when it is filtered."""

    create: RawObject | None = None
    patch: tuple[NN, dict[str, Any], RawObject] | None = None


class _Lru(OrderedDict[Hashable, V]):
    def remember(self, key: Hashable, value: V) -> V:
        self[key] = value
        self.move_to_end(key)
        while len(self) > MEMORY:
            self.popitem(last=False)
        return value


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float

    def take(self, now: float, burst: int) -> bool:
        self.tokens = min(self.tokens + (now - self.at) / REFILL_SECONDS, float(burst))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _Messages:
    seen: set[str] = field(default_factory=set)
    at: float = 0.0


class Correlator:
    """Aggregates similar events, counts equal ones, filters floods. Pure: time comes with each record.

    The filter has a bucket per (component, object, type, reason) of 10 and one per (component, object, type) of 50,
    each refilled by one in 300 s, so that a chatty reason cannot hide an important one.
    """

    def __init__(self) -> None:
        self._messages: _Lru[_Messages] = _Lru()
        self._sent: _Lru[Sent] = _Lru()
        self._buckets: _Lru[_Bucket] = _Lru()

    def decide(self, record: Record) -> Decision:
        """Counts the event, then says what to write for it."""
        message, aggregated = self._aggregate(record)
        key = (record.component, *record.object_key, record.type, record.reason, "" if aggregated else message)
        sent = self._sent.get(key)
        if sent is None:
            body = self._event(record, message)
            meta = body["metadata"]
            self._sent.remember(key, Sent(meta["name"], meta["namespace"], 1, record.stamp))
            decision = Decision(create=body)
        else:
            self._sent.move_to_end(key)
            sent.count += 1
            changes = {"count": sent.count, "lastTimestamp": record.stamp, "message": message}
            again = self._event(record, message)
            again["metadata"]["name"] = sent.name
            again.update(count=sent.count, firstTimestamp=sent.first)
            decision = Decision(patch=(NN(sent.namespace, sent.name), changes, again))
        return decision if self._allowed(record) else Decision()

    def _aggregate(self, record: Record) -> tuple[str, bool]:
        key = (record.component, *record.object_key, record.type, record.reason)
        known = self._messages.get(key)
        if known is None or record.at - known.at > AGGREGATE_WINDOW:
            known = _Messages()
        self._messages.remember(key, known)
        known.at = record.at
        known.seen.add(record.message)
        if len(known.seen) < AGGREGATE_FROM:
            return record.message, False
        known.seen.discard(next(m for m in known.seen if m != record.message))
        return f"(combined from similar events): {record.message}"[:MESSAGE_LIMIT], True

    def _allowed(self, record: Record) -> bool:
        total = (record.component, *record.object_key, record.type)
        allowed = True
        for key, burst in ((total, BURST_TOTAL), ((*total, record.reason), BURST_PER_REASON)):
            bucket = self._buckets.get(key) or _Bucket(burst, record.at)
            self._buckets.remember(key, bucket)
            allowed = bucket.take(record.at, burst) and allowed
        return allowed

    def _event(self, record: Record, message: str) -> RawObject:
        regarding = record.regarding
        name = f"{regarding['name']}.{record.name_suffix}"
        if len(name) > 253 or not _NAME.fullmatch(name):
            name = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.object_key}{record.name_suffix}"))
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": regarding.get("namespace") or "default"},
            "involvedObject": dict(regarding),
            "type": record.type,
            "reason": record.reason,
            "message": message,
            "source": {"component": record.component},
            "reportingComponent": record.component,
            "reportingInstance": "",
            "firstTimestamp": record.stamp,
            "lastTimestamp": record.stamp,
            "count": 1,
        }


class EventSink:
    """Queue and consumer. Run `run()` as a task; `flush()` at the end."""

    def __init__(
        self,
        client: LiveClient,
        *,
        registry: Registry | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._registry = registry
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._queue: asyncio.Queue[Record] = asyncio.Queue(QUEUE_SIZE)
        self._correlator = Correlator()
        self._closed = False
        self._warned_at = float("-inf")

    def recorder(self, component: str) -> "Recorder":
        return Recorder(self, component, self._clock)

    def put(self, record: Record) -> None:
        if self._closed:
            return
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self._dropped()

    def _dropped(self) -> None:
        if self._registry is not None:
            self._registry.events_dropped.inc()
        now = self._clock.monotonic()
        if now - self._warned_at >= 60:
            self._warned_at = now
            _log.warning("events are being dropped: the API server does not take them fast enough")

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            record = await self._queue.get()
            try:
                await self._write(self._correlator.decide(record))
            finally:
                self._queue.task_done()

    async def flush(self, timeout: float = FLUSH_SECONDS) -> None:
        """Wait until everything queued has been written, at most `timeout` s; later events are ignored."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._queue.join()

    async def _write(self, decision: Decision) -> None:
        for attempt in range(TRIES):
            try:
                if decision.create is not None:
                    await self._client.create(decision.create)
                elif decision.patch is not None:
                    key, changes, again = decision.patch
                    try:
                        await self._client.patch(EVENT, key, Patch.strategic(changes))
                    except NotFound:
                        await self._client.create(again)
                return
            except ApiError as error:
                _log.debug("event refused", error=str(error))
                return
            except TransportError as error:
                if attempt == TRIES - 1:
                    self._dropped()
                    _log.warning("event lost", error=str(error))
                    return
            await self._clock.sleep(RETRY_SECONDS * (self._rng.random() if attempt == 0 else 1.0))


class Recorder:
    """Records events of one component."""

    def __init__(self, sink: EventSink, component: str, clock: Clock) -> None:
        self._sink = sink
        self._component = component
        self._clock = clock

    def event(self, obj: RawObject, type_: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Never blocks, never raises for a full queue. An object without kind or name is logged, not recorded."""
        meta = obj.get("metadata") or {}
        if not (obj.get("apiVersion") and obj.get("kind") and meta.get("name")):
            _log.error("event for an object without identity", reason=reason)
            return
        regarding = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": meta["name"],
            **{k: meta[k] for k in ("namespace", "uid", "resourceVersion") if meta.get(k)},
        }
        now = self._clock.now()
        _log.debug("event", component=self._component, object=meta["name"], reason=reason, note=message)
        self._sink.put(
            Record(
                component=self._component,
                regarding=regarding,
                type=type_,
                reason=reason,
                message=message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…",
                at=self._clock.monotonic(),
                stamp=rfc3339(now),
                name_suffix=f"{int(now.timestamp() * 1e6) * 1000:x}",
            )
        )
