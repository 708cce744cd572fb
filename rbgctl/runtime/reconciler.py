"""What a reconciler is given and what it answers."""

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.events import Recorder
from rbgctl.runtime.metrics import ControllerMetrics
from rbgctl.runtime.tracing import Span, Tracing


@dataclass(frozen=True, slots=True)
class Result:
    """What should happen to the key next; nothing by default.

    requeue_after: seconds until it must be looked at again, forgets its failures. requeue: again with back-off, which
    keeps growing. priority: of that next time; the current one when None. An error beats them all.
    """

    requeue_after: float = 0.0
    requeue: bool = False
    priority: int | None = None


@dataclass(slots=True)
class Context:
    """All a reconcile may use. Made for one run of one key; do not keep it."""

    key: NN
    controller: str
    reconcile_id: str
    cache: Cache
    client: CachedClient
    live: LiveClient
    recorder: Recorder
    log: Any
    clock: Clock
    rng: random.Random
    span: Span
    priority: int
    _recorders: Callable[[str], Recorder]
    _tracing: Tracing
    _metrics: ControllerMetrics

    def now(self) -> datetime:
        """Aware, UTC."""
        return self.clock.now()

    def recorder_for(self, component: str) -> Recorder:
        """The recorder of another event component; the controller's own for ""."""
        return self._recorders(component) if component else self.recorder

    def served(self, gvk: GVK) -> bool:
        """Whether an optional kind can be relied on now, see `Cache.served`."""
        return self.cache.served(gvk)

    def avoided_writes(self, count: int = 1) -> None:
        """Count writes that were not sent because nothing would have changed."""
        self._metrics.avoided_writes.inc(count)

    def step(self, name: str) -> AbstractContextManager[Span]:
        """A trace span around a phase: `with ctx.step("observe"): ...`."""
        return self._tracing.step(name)


Reconciler = Callable[[Context], Awaitable[Result | None]]
"""Brings one object closer to what it asks for. Called again after any error, so it must be idempotent at every
await. Raise TerminalError when only a change of the object can help."""
