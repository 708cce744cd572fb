"""Keys in, reconciles out: the loop that every controller shares (RT-CT-01 to RT-CT-26).

    sources --events--> queue --key--> worker: wait for the key's write fence, reconcile, decide what comes next

No worker takes a key before all sources are synced. A key is in one reconcile at a time. Stopping lets the running
reconciles finish and drops what is queued; the second cancellation of `run` ends them at once.
"""

import asyncio
import random
from contextlib import nullcontext
from typing import Any

import structlog

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.runtime.cache import ResourceNotCached
from rbgctl.runtime.cached_client import CachedClient
from rbgctl.runtime.causes import CausedQueue
from rbgctl.runtime.controller_options import ControllerOptions, ControllerSupport
from rbgctl.runtime.deadline import Deadline
from rbgctl.runtime.errors import LeadershipUncertain, NotFound
from rbgctl.runtime.groups import all_of
from rbgctl.runtime.log import ReconcileKeys, SeldomLog
from rbgctl.runtime.metrics import ControllerMetrics, PrometheusQueueMetrics
from rbgctl.runtime.outcome import Outcomes, failure_text, is_routine
from rbgctl.runtime.ratelimit import RateLimiter, controller_limiter
from rbgctl.runtime.reconcile_trace import ReconcileTrace, describe_outcome
from rbgctl.runtime.reconciler import Context, Reconciler, Result
from rbgctl.runtime.sharding.key_filter import ShardFilter
from rbgctl.runtime.source import Source
from rbgctl.runtime.store import Entry
from rbgctl.runtime.traced_reads import TracedReads
from rbgctl.runtime.tracing import NO_SPAN, Span
from rbgctl.runtime.workqueue import QueueShutDown, WorkQueue

__all__ = ["Context", "Controller", "ControllerOptions", "ControllerSupport", "Reconciler", "Result"]

_log_name = "rbgctl.runtime.controller"
_log = structlog.get_logger(_log_name)

CACHE_SYNC_TIMEOUT = 120.0
DROPS_PER_TURN = 200

BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError, RecursionError, TypeError)
"""Exceptions that mean a defect of the program rather than a state of the world: counted as panics (RT-CT-22)."""


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
        self._trace: ReconcileTrace | None = None
        self._cache = support.cache
        self.queue: WorkQueue[NN]
        if support.tracing.enabled:
            self.queue = caused = CausedQueue(support.clock, limiter, queue_metrics)
            self._trace = ReconcileTrace(name, kind, support.tracing, self._cached, caused)
            self._cache = TracedReads.of(support.cache, support.tracing, support.clock.monotonic)
        else:
            self.queue = WorkQueue(support.clock, limiter, queue_metrics)
        self._outcomes = Outcomes(self.queue, self._metrics)
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
        self._deadlines: list[Deadline] = []  # those not in use: as many as reconciles have run at once
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
        given = self.options.cache_sync_timeout
        seconds = CACHE_SYNC_TIMEOUT if given is None else given
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
            for deadline in self._deadlines:
                deadline.stop()

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
            if len(self.queue):
                # A pass that found nothing to do never waited for anything: thousands of them, as after a restart,
                # would hold up the loop until the queue is empty. With an empty queue the next get waits anyway.
                await asyncio.sleep(0)

    # -- one key ----------------------------------------------------------------------------------------------

    async def _process(self, key: NN, priority: int) -> None:
        # A closure here would cost every reconcile its cells, traced or not.
        reconcile_id = _uuid4(self._support.rng)
        described = self._described(key, reconcile_id)
        with ReconcileKeys(described):
            log = SeldomLog(_log_name, described)
            if self._trace is None:
                await self._run_once(key, reconcile_id, priority, log, NO_SPAN)
            else:
                with self._trace.reconcile(key, reconcile_id, priority) as span:
                    await self._run_once(key, reconcile_id, priority, log, span)

    async def _run_once(self, key: NN, reconcile_id: str, priority: int, log: Any, span: Span) -> None:
        clock = self._support.clock
        began = clock.monotonic()
        try:
            result, error = await self._call(self._context(key, reconcile_id, priority, log, span))
        finally:
            self._metrics.seconds.observe(clock.monotonic() - began)
        outcome = self._outcomes.settle(key, priority, result, error, log)
        if span.recording:
            # Objects that are gone, and what is routine, are no failures of ours (RT-TR-04).
            failed = error is not None and not is_routine(error) and not isinstance(error, NotFound)
            describe_outcome(span, outcome, result, failure_text(error) if error is not None and failed else "")

    async def _call(self, ctx: Context) -> tuple[Result, Exception | None]:
        seconds = self.options.reconcile_timeout
        deadline = self._deadlines.pop() if self._deadlines else Deadline(seconds)
        shard = nullcontext() if self._filter is None else self._filter.working(ctx.key, deadline)
        try:
            with deadline, shard:
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
        finally:
            self._deadlines.append(deadline)

    def _context(self, key: NN, reconcile_id: str, priority: int, log: Any, span: Span) -> Context:
        support = self._support
        return Context(
            key=key,
            controller=self.name,
            reconcile_id=reconcile_id,
            cache=self._cache,
            client=CachedClient(
                self._cache,
                support.live,
                (self.name, key),
                uncached=support.uncached,
                tracing=support.tracing,
            ),
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

    def _described(self, key: NN, reconcile_id: str) -> dict[str, Any]:
        """What every log line of the reconcile says (RT-CT-20)."""
        found: dict[str, Any] = {"controller": self.name}
        if self.kind is not None:
            found["controllerGroup"] = self.kind.group
            found["controllerKind"] = self.kind.kind
            found[self.kind.kind] = {"name": key.name, "namespace": key.namespace}
        found["namespace"] = key.namespace
        found["name"] = key.name
        found["reconcileID"] = reconcile_id
        return found


def _uuid4(rng: random.Random) -> str:
    """The text of a random UUID; the class for them takes several times as long as the rest of it."""
    digits = f"{rng.getrandbits(128) & _UUID4_FREE | _UUID4_SET:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_UUID4_SET = 4 << 76 | 2 << 62
_UUID4_FREE = ~(15 << 76 | 3 << 62)
