"""Why a key was queued: the versions whose events did it, looked up among our own writes when it runs (RT-TR-05).

Used only while tracing is on; a queue of keys alone forgets what brought them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.handler import EventHandler
from rbgctl.runtime.predicate import Event
from rbgctl.runtime.ratelimit import RateLimiter
from rbgctl.runtime.workqueue import PRIORITY_DEFAULT, QueueMetrics, WorkQueue
from rbgctl.runtime.write_links import GONE, Version

CAUSES_PER_KEY = 8


class CausedQueue(WorkQueue[NN]):
    """A queue that remembers with each key the versions whose events queued it, the latest few."""

    def __init__(self, clock: Clock, limiter: RateLimiter[NN], metrics: QueueMetrics | None = None) -> None:
        super().__init__(clock, limiter, metrics)
        self._event: Version | None = None
        self._causes: dict[NN, dict[Version, None]] = {}
        self._running: dict[NN, dict[Version, None]] = {}

    @contextmanager
    def caused_by(self, event: Event) -> Iterator[None]:
        """Keys added inside are queued because of `event`. Events that repeat known state are no cause."""
        self._event = _version(event)
        try:
            yield
        finally:
            self._event = None

    def add(self, key: NN, *, after: float = 0.0, rate_limited: bool = False, priority: int = PRIORITY_DEFAULT) -> None:
        super().add(key, after=after, rate_limited=rate_limited, priority=priority)
        if self._event is None or self._shutting_down:
            return
        causes = self._causes.setdefault(key, {})
        causes.pop(self._event, None)
        causes[self._event] = None
        if len(causes) > CAUSES_PER_KEY:
            del causes[next(iter(causes))]

    async def get(self) -> tuple[NN, int]:
        key, priority = await super().get()
        self._running[key] = self._causes.pop(key, {})
        return key, priority

    def done(self, key: NN) -> None:
        self._running.pop(key, None)
        super().done(key)

    def shut_down(self) -> None:
        super().shut_down()
        self._causes.clear()

    def causes(self, key: NN) -> list[Version]:
        """Why `key`, which is handed out now, was queued."""
        return list(self._running.get(key, ()))


def _version(event: Event) -> Version | None:
    if event.obj is None or event.in_initial_list:
        return None
    header = event.obj.header
    if event.verb == "delete":
        return header.uid, GONE
    if event.old is not None and event.old.header.rv == header.rv:
        return None
    return header.uid, header.rv


def noting_causes(handler: EventHandler) -> EventHandler:
    """`handler`, with the event noted as the cause of the keys that it adds to a CausedQueue."""

    def handle(event: Event, queue: WorkQueue[NN]) -> None:
        if isinstance(queue, CausedQueue):
            with queue.caused_by(event):
                handler(event, queue)
        else:
            handler(event, queue)

    return handle
