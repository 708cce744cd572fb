"""Keys in, reconciles out: the loop that every controller shares (RT-CT-01 to RT-CT-26).

    sources --events--> queue --key--> worker: wait for the key's write fence, reconcile, decide what comes next

No worker takes a key before all sources are synced. A key is in one reconcile at a time. Stopping lets the running
reconciles finish and drops what is queued; the second cancellation of `run` ends them at once.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import Cache, ResourceNotCached
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.errors import AlreadyExists, ApiError, Conflict, LeadershipUncertain, TerminalError
from rbgctl.runtime.events import Recorder
from rbgctl.runtime.groups import all_of
from rbgctl.runtime.metrics import ControllerMetrics, PrometheusQueueMetrics, Registry
from rbgctl.runtime.ratelimit import RateLimiter, controller_limiter
from rbgctl.runtime.shard_filter import ShardFilter
from rbgctl.runtime.sharding import ShardKey, own_key
from rbgctl.runtime.shards import Shards
from rbgctl.runtime.source import Source
from rbgctl.runtime.store import Entry
from rbgctl.runtime.tracing import Span, Tracing
from rbgctl.runtime.workqueue import QueueShutDown, WorkQueue

_log = structlog.get_logger("rbgctl.runtime.controller")

RECONCILE_TIMEOUT = 120.0
CACHE_SYNC_TIMEOUT = 120.0
DROPS_PER_TURN = 200
TRACEPARENT = "tracing.k8s.io/traceparent"

BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError, RecursionError, TypeError)
"""Exceptions that mean a defect of the program rather than a state of the world: counted as panics (RT-CT-22)."""


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
        return self._tracing.span(f"step {name}")


Reconciler = Callable[[Context], Awaitable[Result | None]]
"""Brings one object closer to what it asks for. Called again after any error, so it must be idempotent at every
await. Raise TerminalError when only a change of the object can help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """How a controller runs.

    max_concurrent: reconciles at once; None takes the manager's setting for the kind (RT-BL-07).
    cache_sync_timeout: seconds until sources that do not sync fail the controller.
    recover: treat defects (see BUGS) as errors of the key; False lets them stop the manager.
    reconcile_timeout: seconds after which a reconcile is cancelled and retried; None waits for ever.
    needs_leader: run only while elected. warmup: fill the queue before that already (RT-CT-16).
    limiter: delays of retries, 5 ms doubling to 1000 s by default.
    shard_key: which keys belong together when several managers share the work; each key for itself by default.
    forgets: told of the keys of a shard that another manager takes over, to drop what is remembered of them.
    """

    max_concurrent: int | None = None
    cache_sync_timeout: float = CACHE_SYNC_TIMEOUT
    recover: bool = True
    reconcile_timeout: float | None = RECONCILE_TIMEOUT
    needs_leader: bool = True
    warmup: bool = True
    limiter: RateLimiter[NN] | None = None
    shard_key: ShardKey = own_key
    forgets: Callable[[NN], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSupport:
    """What a manager lends to its controllers. `live` already names the controller's User-Agent.

    shards: those that the process leads, when the work is shared.
    uncached: kinds that their clients read live although they are cached (RT-CL-30).
    """

    cache: Cache
    live: LiveClient
    recorders: Callable[[str], Recorder]
    registry: Registry
    uncached: frozenset[GVK] = frozenset()
    tracing: Tracing = field(default_factory=Tracing)
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    shards: Shards | None = None


class Controller:
    """One reconciler, its queue and its sources. Built by `Builder.complete`; a runnable of the manager."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        support: ControllerSupport,
        options: ControllerOptions | None = None,
        *,
        kind: GVK | None = None,
        event_component: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.options = options or ControllerOptions()
        self.max_concurrent = self.options.max_concurrent or 1
        self._reconcile = reconciler
        self._support = support
        self._recorder = support.recorders(event_component or name)
        self._metrics = ControllerMetrics(support.registry, name, self.max_concurrent)
        queue_metrics = PrometheusQueueMetrics(support.registry, name)
        limiter: RateLimiter[NN] = self.options.limiter or controller_limiter(support.rng)
        self.queue: WorkQueue[NN] = WorkQueue(support.clock, limiter, queue_metrics)
        queue_metrics.measure(self.queue.unfinished_seconds, self.queue.longest_running_seconds)
        self._sources: list[Source] = []
        self._filter: ShardFilter | None = None
        if support.shards is not None and self.options.needs_leader:
            self._filter = ShardFilter(
                support.shards,
                self.options.shard_key,
                kind,
                support.cache,
                self.queue,
                self._sources,
                self._forget,
            )
        self._starting: asyncio.Task[None] | None = None
        self._started = False

    def __str__(self) -> str:
        return f"controller {self.name}"

    @property
    def needs_leader(self) -> bool:
        """Whether it may only run while elected."""
        return self.options.needs_leader

    @property
    def running(self) -> bool:
        """Whether `run` was called."""
        return self._started

    # -- sources ----------------------------------------------------------------------------------------------

    def watch(self, source: Source) -> None:
        """Feed the queue from `source` once the controller starts. Raises RuntimeError after that."""
        if self._starting is not None:
            raise RuntimeError(f"{self} runs already: use start_source")
        self._sources.append(source)

    async def start_source(self, source: Source) -> None:
        """Feed the queue of a running controller from one more source, without waiting for its sync (RT-CT-15)."""
        self._sources.append(source)
        await source.start(self.queue)

    async def warmup(self) -> None:
        """Start the sources and wait for their sync, once, however often and by whomever it is called (RT-CT-16).

        Raises what a source raises, or TimeoutError naming the source that did not sync in time.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_sources(), name=f"{self} sources")
        await asyncio.shield(self._starting)

    async def _start_sources(self) -> None:
        if self._filter is not None:
            await self._filter.start()
        await all_of(self._start_one(source) for source in self._sources)

    async def _start_one(self, source: Source) -> None:
        seconds = self.options.cache_sync_timeout
        try:
            async with asyncio.timeout(seconds):
                await source.start(self.queue)
        except TimeoutError:
            raise TimeoutError(
                f"timed out waiting for source {source} to Start. Please ensure that its Start() method is non-blocking"
            ) from None
        try:
            async with asyncio.timeout(seconds):
                await source.wait_for_sync()
        except TimeoutError:
            reason = getattr(source, "last_error", None)
            raise TimeoutError(
                f"failed to wait for {self.name} caches to sync {source}: timed out waiting for cache to be synced"
                + (f": {reason}" if reason else "")
            ) from None

    # -- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reconcile until cancelled: the first cancellation finishes what runs, the second ends it.

        Raises RuntimeError when called twice, what `warmup` raises, and defects when `recover` is off.
        """
        if self._started:
            raise RuntimeError(
                f"{self} was started more than once. This is likely to be caused by being added to a manager multiple "
                "times"
            )
        self._started = True
        log = _log.bind(controller=self.name)
        try:
            await self.warmup()
            log.info("starting workers", count=self.max_concurrent)
            await self._work()
        finally:
            await self.close()
            log.info("controller stopped")

    async def close(self) -> None:
        """Stop sources and queue, also of a controller that was warmed up but never ran."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        for source in self._sources:
            source.stop()
        if self._filter is not None:
            self._filter.stop()
        self.queue.shut_down()

    async def _work(self) -> None:
        workers = [asyncio.create_task(self._worker(), name=f"{self} worker {i}") for i in range(self.max_concurrent)]
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in done:
                worker.result()
        finally:
            self.queue.shut_down()
            await self._end(workers)

    async def _end(self, workers: list[asyncio.Task[None]]) -> None:
        running = [w for w in workers if not w.done()]
        if not running:
            return
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError:
            for worker in running:
                worker.cancel()
            await asyncio.wait(running)
            raise

    async def _worker(self) -> None:
        dropped = 0
        while True:
            try:
                key, priority = await self.queue.get()
            except QueueShutDown:
                return
            if self._filter is not None and not self._filter.admits(key):
                self.queue.done(key)
                dropped += 1
                if dropped % DROPS_PER_TURN == 0:
                    await asyncio.sleep(0)
                continue
            self._metrics.active_workers.inc()
            try:
                await self._process(key, priority)
            finally:
                self.queue.done(key)
                self._metrics.active_workers.dec()

    # -- one key ----------------------------------------------------------------------------------------------

    async def _process(self, key: NN, priority: int) -> None:
        reconcile_id = str(uuid.UUID(int=self._support.rng.getrandbits(128), version=4))
        log = self._logger(key, reconcile_id)
        clock = self._support.clock
        with self._support.tracing.span(
            f"reconcile {self.name}",
            kind="consumer",
            attributes=lambda: self._attributes(key, reconcile_id, priority),
            link=self._traceparent(key),
        ) as span:
            began = clock.monotonic()
            try:
                result, error = await self._call(self._context(key, reconcile_id, priority, log, span))
            finally:
                self._metrics.seconds.observe(clock.monotonic() - began)
            outcome = self._decide(key, priority, result, error, log)
            self._metrics.ended(outcome)
            span.set(
                lambda: {"reconcile.result": outcome, "reconcile.requeue_after_ms": int(result.requeue_after * 1000)}
            )
            if error is not None and not _is_routine(error):
                span.fail(str(error))

    async def _call(self, ctx: Context) -> tuple[Result, Exception | None]:
        seconds = self.options.reconcile_timeout
        deadline = asyncio.timeout(seconds)
        shard = nullcontext() if self._filter is None else self._filter.working(ctx.key, deadline)
        try:
            async with deadline:
                with shard:
                    await self._support.cache.caught_up((self.name, ctx.key))
                    if self.kind is not None and self._cached(ctx.key) is None:
                        self._support.cache.forget_writes((self.name, ctx.key))
                    return await self._reconcile(ctx) or Result(), None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return Result(), RuntimeError("the reconciler was cancelled from within")
        except TimeoutError as error:
            if not deadline.expired():
                return Result(), error
            if self._filter is not None and not self._filter.serves(ctx.key):
                return Result(), LeadershipUncertain("cancelled: another manager takes over the shard of this key")
            self._metrics.timeouts.inc()
            return Result(), TimeoutError(f"reconcile took longer than {seconds:g} s and was cancelled")
        except BUGS as error:
            self._metrics.panics.inc()
            if not self.options.recover:
                raise
            ctx.log.exception("defect in reconciler")
            panic = RuntimeError(f"panic: {error!r} [recovered]")
            panic.__cause__ = error
            return Result(), panic
        except Exception as error:  # noqa: BLE001 - any error of a reconcile is a result
            return Result(), error

    def _decide(self, key: NN, priority: int, result: Result, error: Exception | None, log: Any) -> str:
        """What becomes of the key, first match wins (RT-CT-21). Returns the `result` label."""
        queue = self.queue
        again = priority if result.priority is None else result.priority
        if error is not None:
            self._metrics.errors.inc()
            if isinstance(error, TerminalError):
                self._metrics.terminal_errors.inc()
                log.error("reconcile failed and will not be retried", error=_text(error))
                return "error"
            self._log_error(error, log)
            queue.add(key, rate_limited=True, priority=priority)
            return "error"
        if result.requeue_after > 0:
            queue.forget(key)
            queue.add(key, after=result.requeue_after, priority=again)
            return "requeue_after"
        if result.requeue:
            queue.add(key, rate_limited=True, priority=again)
            return "requeue"
        queue.forget(key)
        return "success"

    def _log_error(self, error: Exception, log: Any) -> None:
        if not _is_routine(error):
            log.error("reconcile failed", error=_text(error), error_type=type(error).__name__)
            return
        if isinstance(error, Conflict):
            self._metrics.conflict(str(error.details.get("kind") or ""))
        log.info("reconcile will be retried", reason=_text(error))

    def _context(self, key: NN, reconcile_id: str, priority: int, log: Any, span: Span) -> Context:
        support = self._support
        return Context(
            key=key,
            controller=self.name,
            reconcile_id=reconcile_id,
            cache=support.cache,
            client=CachedClient(support.cache, support.live, (self.name, key), uncached=support.uncached),
            live=support.live,
            recorder=self._recorder,
            log=log,
            clock=support.clock,
            rng=support.rng,
            span=span,
            priority=priority,
            _recorders=support.recorders,
            _tracing=support.tracing,
            _metrics=self._metrics,
        )

    def _logger(self, key: NN, reconcile_id: str) -> Any:
        log = _log.bind(controller=self.name, namespace=key.namespace, name=key.name, reconcileID=reconcile_id)
        if self.kind is None:
            return log
        described = {"name": key.name, "namespace": key.namespace}
        return log.bind(controllerGroup=self.kind.group, controllerKind=self.kind.kind, **{self.kind.kind: described})

    def _attributes(self, key: NN, reconcile_id: str, priority: int) -> dict[str, str | int | float | bool]:
        found: dict[str, str | int | float | bool] = {
            "k8s.controller.name": self.name,
            "k8s.object.namespace": key.namespace,
            "k8s.object.name": key.name,
            "reconcile.id": reconcile_id,
            "workqueue.priority": priority,
            "workqueue.retries": self.queue.num_requeues(key),
            "workqueue.wait_ms": round(self.queue.waited(key) * 1000),
        }
        if self.kind is not None:
            found["k8s.object.group"] = self.kind.group
            found["k8s.object.kind"] = self.kind.kind
            entry = self._cached(key)
            if entry is not None:
                found["k8s.object.uid"] = entry.header.uid
                found["k8s.object.generation"] = entry.header.generation
        return found

    def _forget(self, key: NN) -> None:
        """Another process works on it from now on: it starts without our memory and fences, as we did (RT-CA-22)."""
        self._support.cache.forget_writes((self.name, key))
        if self.options.forgets is not None:
            self.options.forgets(key)

    def _cached(self, key: NN) -> Entry | None:
        """The object of a key; None also for a key in a namespace that is not cached."""
        try:
            return self._support.cache.entry(self.kind, key) if self.kind is not None else None
        except ResourceNotCached:
            return None

    def _traceparent(self, key: NN) -> str:
        """What the object says about the trace that changed it (RT-TR-05), if its informer keeps that annotation."""
        if not self._support.tracing.enabled or self.kind is None:
            return ""
        entry = self._cached(key)
        return dict(entry.header.annotations).get(TRACEPARENT, "") if entry is not None else ""


def _is_routine(error: BaseException) -> bool:
    """Somebody else was faster, or leadership is in doubt: part of normal operation, retried (RT-CT-23)."""
    several = getattr(error, "errors", None)
    if isinstance(several, tuple) and several:
        return all(isinstance(e, BaseException) and _is_routine(e) for e in several)
    return isinstance(error, Conflict | AlreadyExists | LeadershipUncertain)


def _text(error: BaseException) -> str:
    return error.message if isinstance(error, ApiError) and error.message else str(error) or type(error).__name__
