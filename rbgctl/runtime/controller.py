"""A controller: sources, a work queue, and workers that call a reconciler (RT-CT-01..26)."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.client import CachedClient, LiveClient
from rbgctl.runtime.clock import Clock
from rbgctl.runtime.errors import AlreadyExists, Conflict, LeadershipUncertain, TerminalError
from rbgctl.runtime.events import EventSink, Recorder
from rbgctl.runtime.metrics import ControllerMetrics, QueueSeries, Registry
from rbgctl.runtime.ratelimit import RateLimiter
from rbgctl.runtime.source import Source
from rbgctl.runtime.tracing import tracing
from rbgctl.runtime.workqueue import QueueShutDown, WorkQueue

_log = structlog.get_logger("rbgctl.runtime.controller")


class SourceTimeout(Exception):
    """A source did not sync in time; the text names it and the last error."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile that did not fail asks for.

    requeue_after: seconds until the key is due again, 0 for never. requeue: again with back-off.
    priority: of that next run; None keeps this one's.
    """

    requeue_after: float = 0.0
    requeue: bool = False
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """What a manager gives its controllers."""

    cache: Cache
    client_for: Callable[[str], LiveClient]
    events: EventSink
    registry: Registry
    clock: Clock


@dataclass(slots=True)
class Context:
    """What a reconciler works with, for one pass over one key."""

    key: NN
    reconcile_id: str
    client: CachedClient
    live: LiveClient
    cache: Cache
    log: Any
    _clock: Clock
    _controller: "Controller"

    def now(self) -> datetime:
        """Aware, UTC."""
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def recorder_for(self, component: str = "") -> Recorder:
        """The controller's recorder, or that of another event component of the same controller."""
        return self._controller.recorder_for(component)

    def avoided_writes(self, count: int) -> None:
        """Count writes that were skipped because nothing would change."""
        self._controller.metrics.avoided_writes.inc(count)


Reconciler = Callable[[Context], Awaitable[Result | None]]


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """max_concurrent: workers. cache_sync_timeout: seconds for all sources to list. reconcile_timeout: deadline of
    one pass in seconds, None for none; it is cancelled then and retried. warmup: start sources before leadership.
    fence: wait before each pass until the cache shows the key's own last writes.
    """

    max_concurrent: int = 1
    cache_sync_timeout: float = 120.0
    reconcile_timeout: float | None = 120.0
    needs_leader: bool = True
    warmup: bool = True
    fence: bool = True
    limiter: Callable[[], RateLimiter[NN]] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Names of a controller on the wire: metrics and logs, the kind it is for, User-Agent, event component."""

    name: str
    for_kind: GVK | None
    user_agent: str
    component: str


class Controller:
    """Made by `Builder.complete`. `run()` works until cancelled, then lets running passes finish."""

    def __init__(
        self,
        identity: Identity,
        reconciler: Reconciler,
        services: Services,
        options: ControllerOptions,
        limiter: RateLimiter[NN],
    ) -> None:
        self.identity = identity
        self.options = options
        self.metrics = ControllerMetrics(services.registry, identity.name, options.max_concurrent)
        self.series = QueueSeries(services.registry, identity.name)
        self.queue: WorkQueue[NN] = WorkQueue(services.clock, limiter, self.series)
        self._reconciler = reconciler
        self._services = services
        self._live = services.client_for(identity.user_agent)
        self._recorders: dict[str, Recorder] = {}
        self._sources: list[Source] = []
        self._started = False
        self._warm: asyncio.Task[None] | None = None
        self._log = _log.bind(
            controller=identity.name,
            controllerGroup=identity.for_kind.group if identity.for_kind else "",
            controllerKind=identity.for_kind.kind if identity.for_kind else "",
        )

    def recorder_for(self, component: str = "") -> Recorder:
        name = component or self.identity.component
        recorder = self._recorders.get(name)
        if recorder is None:
            recorder = self._recorders[name] = self._services.events.recorder(name)
        return recorder

    async def watch(self, source: Source) -> None:
        """Add a source; once the controller is warm it is started at once and its sync is not awaited."""
        if self._warm is None:
            self._sources.append(source)
        else:
            await source.start(self.queue)

    async def warmup(self) -> None:
        """Start the sources, once, and wait until they have fed the queue what there was. Raises SourceTimeout."""
        if self._warm is None:
            self._warm = asyncio.create_task(self._start_sources(), name=f"warm-up {self.identity.name}")
        await asyncio.shield(self._warm)

    async def _start_sources(self) -> None:
        for source in self._sources:
            await source.start(self.queue)
        seconds = self.options.cache_sync_timeout
        for source in self._sources:
            try:
                async with asyncio.timeout(seconds):
                    await source.wait_for_sync()
            except TimeoutError:
                reason = getattr(source, "last_error", None) or "no answer yet"
                raise SourceTimeout(
                    f"failed to wait for {self.identity.name} caches to sync {source}: timed out waiting for cache to "
                    f"be synced after {seconds:g} s ({reason})"
                ) from None

    async def run(self) -> None:
        """Reconcile until cancelled. Running passes are finished; a second cancellation ends them (RT-CT-14)."""
        if self._started:
            raise RuntimeError(f"controller {self.identity.name} was started more than once")
        self._started = True
        await self.warmup()
        self._log.info("starting workers", workers=self.options.max_concurrent)
        workers = [
            asyncio.create_task(self._work(), name=f"worker {self.identity.name}/{n}")
            for n in range(self.options.max_concurrent)
        ]
        try:
            await asyncio.wait(workers)
        except asyncio.CancelledError:
            self.queue.shut_down()
            try:
                await asyncio.wait(workers)
            except asyncio.CancelledError:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            raise
        finally:
            self.queue.shut_down()
            for source in self._sources:
                source.stop()
        for worker in workers:
            worker.result()

    async def _work(self) -> None:
        while True:
            try:
                key, priority = await self.queue.get()
            except QueueShutDown:
                return
            self.metrics.active.inc()
            try:
                await self._process(key, priority)
            finally:
                self.queue.done(key)
                self.metrics.active.dec()

    async def _process(self, key: NN, priority: int) -> None:
        reconcile_id = str(uuid.uuid4())
        began = self._services.clock.monotonic()
        kind = self.identity.for_kind.kind if self.identity.for_kind else "object"
        log = self._log.bind(namespace=key.namespace, name=key.name, reconcileID=reconcile_id)
        attributes: dict[str, str | int | float | bool] = {}
        if tracing.enabled:
            attributes = {
                "k8s.controller.name": self.identity.name,
                "k8s.object.kind": kind,
                "k8s.object.namespace": key.namespace,
                "k8s.object.name": key.name,
                "reconcile.id": reconcile_id,
                "workqueue.priority": priority,
                "workqueue.retries": self.queue.num_requeues(key),
            }
        with tracing.span(f"reconcile {self.identity.name}", attributes) as span:
            error: Exception | None = None
            result: Result | None = None
            try:
                result = await self._reconcile(key, reconcile_id, log)
            except Exception as caught:  # noqa: BLE001 - whatever a reconciler raises is its result (RT-CT-22)
                error = caught
            outcome = self._settle(key, priority, result or Result(), error, log)
            if error is not None:
                span.failed(error)
            span.set("reconcile.result", outcome)
        self.metrics.results[outcome].inc()
        self.metrics.seconds.observe(self._services.clock.monotonic() - began)

    async def _reconcile(self, key: NN, reconcile_id: str, log: Any) -> Result | None:
        services = self._services
        owner = (self.identity.name, key)
        context = Context(
            key=key,
            reconcile_id=reconcile_id,
            client=CachedClient(services.cache, self._live, owner),
            live=self._live,
            cache=services.cache,
            log=log,
            _clock=services.clock,
            _controller=self,
        )
        try:
            async with asyncio.timeout(self.options.reconcile_timeout):
                if self.options.fence:
                    await services.cache.caught_up(owner)
                return await self._reconciler(context)
        except TimeoutError:
            self.metrics.timeouts.inc()
            raise

    def _settle(self, key: NN, priority: int, result: Result, error: Exception | None, log: Any) -> str:
        """Put the key back as the result table says (RT-CT-21); returns the metric's label."""
        again = priority if result.priority is None else result.priority
        if error is not None:
            self.metrics.errors.inc()
            if isinstance(error, TerminalError):
                self.metrics.terminal_errors.inc()
                log.error("reconcile failed, not retried until the object changes", error=str(error))
                return "error"
            self.queue.add(key, rate_limited=True, priority=priority)
            self._report(error, log)
            return "error"
        if result.requeue_after > 0:
            self.queue.forget(key)
            self.queue.add(key, after=result.requeue_after, priority=again)
            return "requeue_after"
        if result.requeue:
            self.queue.add(key, rate_limited=True, priority=again)
            return "requeue"
        self.queue.forget(key)
        return "success"

    def _report(self, error: Exception, log: Any) -> None:
        errors = getattr(error, "errors", (error,))
        if all(isinstance(e, Conflict | AlreadyExists) for e in errors):
            self.metrics.conflicts.inc()
            log.info("conflicting write, retrying", error=str(error))
        elif isinstance(error, LeadershipUncertain):
            log.warning("not writing while leadership is uncertain", error=str(error))
        else:
            expected = type(error).__module__.startswith("rbgctl.")
            if not expected:
                self.metrics.panics.inc()
            log.error("reconcile failed", error=str(error), exc_info=None if expected else error)


@dataclass(slots=True)
class Checkpoint:
    """Gives way to the loop when `budget` seconds have passed since the last time (RT-CT-25)."""

    clock: Clock
    budget: float = 0.005
    _since: float = field(default=0.0)

    async def __call__(self) -> None:
        now = self.clock.monotonic()
        if now - self._since >= self.budget:
            await asyncio.sleep(0)
            self._since = self.clock.monotonic()
