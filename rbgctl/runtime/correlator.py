"""Which events are written, and whether as a new object or as a higher count (RT-EV-03 to RT-EV-06). No I/O.

Three decisions, in this order:

aggregate    from the 10th different message of one (source, object, type, reason) on, all go into one event whose
             message starts with "(combined from similar events): "; 600 s without an event of that key start over
deduplicate  an event seen before raises the count of the earlier one by PATCH
spam filter  per (source, object, type) at most 50 at once and one more per 300 s, and of one reason at most 10 at
             once and one more per 300 s; what exceeds it is counted but not sent
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rbgctl.machinery.gvk import RawObject
from rbgctl.runtime.clock import Clock

REMEMBERED = 4096
AGGREGATE_FROM = 10
AGGREGATE_WINDOW = 600.0
AGGREGATE_PREFIX = "(combined from similar events): "
BURST_TOTAL = 50
BURST_PER_REASON = 10
REFILL_SECONDS = 300.0

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Sending:
    """What to write: `patch` on the Event of this name, or the whole `event` when there is no patch."""

    event: RawObject
    patch: dict[str, Any] | None = None


class _Recent(Generic[V]):
    """The `size` most recently used values by key."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)


@dataclass(slots=True)
class _Similar:
    messages: set[str]
    last_at: float


@dataclass(frozen=True, slots=True)
class _Seen:
    namespace: str
    name: str
    count: int
    first: str


@dataclass(slots=True)
class _Tokens:
    burst: int
    tokens: float
    at: float

    def available(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) / REFILL_SECONDS)
        self.at = now
        return self.tokens >= 1.0


@dataclass(slots=True)
class _Budget:
    total: _Tokens
    by_reason: dict[str, _Tokens] = field(default_factory=dict)


class Correlator:
    """Remembers what was sent; bounded memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._similar: _Recent[_Similar] = _Recent()
        self._seen: _Recent[_Seen] = _Recent()
        self._budgets: _Recent[_Budget] = _Recent()

    def correlate(self, event: RawObject, times: int = 1) -> Sending | None:
        """What to write for an event that happened `times` times; None when nothing is to be sent.

        `event` is not changed.
        """
        now = self._clock.monotonic()
        event, key = self._aggregate(event, now)
        sending = self._deduplicate(event, key, times)
        return sending if self._admit(event, now) else None

    @staticmethod
    def event_key(event: RawObject) -> Hashable:
        """Events with equal keys are the same event happening again (RT-EV-05)."""
        return (*_source(event), *_involved(event), event["type"], event["reason"], event["message"])

    def _aggregate(self, event: RawObject, now: float) -> tuple[RawObject, Hashable]:
        key = (
            *_source(event),
            *_involved(event),
            event["type"],
            event["reason"],
            event["reportingComponent"],
            event["reportingInstance"],
        )
        similar = self._similar.get(key)
        if similar is None or now - similar.last_at > AGGREGATE_WINDOW:
            similar = _Similar(set(), now)
            self._similar.put(key, similar)
        similar.last_at = now
        message = event["message"]
        if message in similar.messages or len(similar.messages) < AGGREGATE_FROM - 1:
            similar.messages.add(message)
            return event, self.event_key(event)
        combined = {
            **event,
            "metadata": {k: v for k, v in event["metadata"].items() if k != "annotations"},
            "message": AGGREGATE_PREFIX + message,
        }
        return combined, ("combined", key)

    def _deduplicate(self, event: RawObject, key: Hashable, times: int) -> Sending:
        seen = self._seen.get(key)
        if seen is None:
            event = {**event, "count": times}
            meta = event["metadata"]
            self._seen.put(key, _Seen(meta["namespace"], meta["name"], times, event["firstTimestamp"]))
            return Sending(event)
        count = seen.count + times
        self._seen.put(key, _Seen(seen.namespace, seen.name, count, seen.first))
        event = {
            **event,
            "metadata": {**event["metadata"], "name": seen.name, "namespace": seen.namespace},
            "count": count,
            "firstTimestamp": seen.first,
        }
        return Sending(event, {k: event[k] for k in ("count", "lastTimestamp", "message")})

    def _admit(self, event: RawObject, now: float) -> bool:
        involved = _involved(event)[:-1]  # without the fieldPath
        key = (*_source(event), *involved, event["type"])
        budget = self._budgets.get(key)
        if budget is None:
            budget = _Budget(_Tokens(BURST_TOTAL, BURST_TOTAL, now))
            self._budgets.put(key, budget)
        of_reason = budget.by_reason.setdefault(event["reason"], _Tokens(BURST_PER_REASON, BURST_PER_REASON, now))
        if not (budget.total.available(now) and of_reason.available(now)):
            return False
        budget.total.tokens -= 1.0
        of_reason.tokens -= 1.0
        return True


def _source(event: RawObject) -> tuple[str, str]:
    source = event["source"]
    return source.get("component", ""), source.get("host", "")


def _involved(event: RawObject) -> tuple[str, ...]:
    ref = event["involvedObject"]
    return tuple(ref.get(k, "") for k in ("apiVersion", "kind", "namespace", "name", "uid", "fieldPath"))
