"""Owns what controllers share, and starts and stops everything in order (RT-MG-01 to RT-MG-30).

start   http servers, webhooks, caches (until synced), others, warm-up, and once elected the leader group
stop    readiness off, then as `shutdown` says

Nothing connects before `run`: managers and controllers can be made, and their rights listed, without a cluster.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import structlog

from rbgctl.machinery.gvk import GVK, Resource
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.client import LiveClient
from rbgctl.runtime.client_limits import ClientLimits
from rbgctl.runtime.clock import Clock, SystemClock
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.controller import Controller, ControllerOptions, ControllerSupport, Reconciler
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.events import Broadcaster, Recorder
from rbgctl.runtime.garbage import collector_paused, unfreeze
from rbgctl.runtime.groups import FunctionRunnable, Runnable, RunnableGroup, StopEngaged, ready_within
from rbgctl.runtime.health import Check, Endpoint, LoopMonitor, health_app, ping
from rbgctl.runtime.http_server import HttpServer, parse_address
from rbgctl.runtime.kind_options import Form, KindOptions
from rbgctl.runtime.leadership import Leadership, elector_of
from rbgctl.runtime.manager_options import LeaderElector, ManagerOptions
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.metrics_server import DEFAULT_ADDRESS, METRICS, Handler, metrics_server
from rbgctl.runtime.profiling import profiling_server
from rbgctl.runtime.sharding.led_shards import Shards
from rbgctl.runtime.shutdown import Shutdown, ShutdownTimeout
from rbgctl.runtime.tracing import Tracing
from rbgctl.runtime.transport import Transport
from rbgctl.runtime.webhook import WebhookOptions, WebhookServer
from rbgctl.runtime.webhook_call import CONVERT_PATH

_log = structlog.get_logger("rbgctl.runtime.manager")

Group = Literal["http", "webhook", "cache", "other", "leader"]

_GROUPS = ("http", "webhook", "cache", "other", "warmup", "leader")
WEBHOOK_READY_SECONDS = 10.0


class LeaderElectionLost(Exception):
    """Another process may lead now: end at once."""

    def __init__(self) -> None:
        super().__init__("leader election lost")


class Manager:
    """See the module. `resources` are the kinds known without discovery, own custom resources for instance."""

    def __init__(
        self,
        config: ClusterConfig,
        options: ManagerOptions | None = None,
        *,
        resources: Sequence[Resource] = (),
        clock: Clock | None = None,
        rng: random.Random | None = None,
        tracing: Tracing | None = None,
        registry: Registry | None = None,
    ) -> None:
        self.options = options or ManagerOptions()
        self.clock = clock or SystemClock()
        self.rng = rng or random.Random(os.urandom(16))
        self.metrics = registry or Registry()
        self.tracing = tracing or Tracing()
        self.elected = asyncio.Event()
        self.shards = Shards(self.options.shards) if self.options.shards > 1 else None
        self.transport = Transport(
            config,
            clock=self.clock,
            observer=self.metrics.observe_request,
            on_wait=self.metrics.observe_wait,
            compress=self.options.compress,
            tracing=self.tracing,
        )
        self.mapper = RestMapper(self.transport, *resources, clock=self.clock)
        self.live = self._client("")
        self.ungated = self._client("", gated=False)
        self.cache = Cache(
            self.transport,
            self.mapper,
            defaults=self.options.cache,
            user_agent=self.options.user_agent(self.options.name),
            clock=self.clock,
            rng=self.rng,
            watch_timeout=self.options.watch_timeout,
            first_list_jitter=self.options.first_list_jitter,
            on_relist=self.metrics.relisted,
            on_stale_read=self.metrics.stale_reads.inc,
        )
        self.metrics.watch_cache(self.cache, self.clock.monotonic)
        self.events = Broadcaster(
            self.live,
            clock=self.clock,
            rng=self.rng,
            on_drop=lambda reason: self.metrics.dropped_events.labels(reason).inc(),
        )
        self.loop_monitor = LoopMonitor(self.clock, self.metrics)
        self.health_server: HttpServer | None = None
        self.metrics_server: HttpServer | None = None
        self.profiling_server: HttpServer | None = None
        self._metrics_handlers: dict[str, Handler] = {}
        self._recorders: dict[str, Recorder] = {}
        self._controllers: dict[str, Controller] = {}
        self._checks: dict[str, dict[str, Check]] = {
            "healthz": {"ping": ping, "loop": self.loop_monitor.check},
            "readyz": {"ping": ping, "shutdown": self._check_shutdown, "informers": self._check_informers},
        }
        self._needed: list[tuple[GVK, Form]] = []
        self._webhooks: list[WebhookServer] = []
        self._groups = {name: RunnableGroup(name, self._failed) for name in _GROUPS}
        self._failure: asyncio.Future[None] | None = None
        self._started = False
        self._stopping = False
        self._leadership: Leadership | None = None
        elector = elector_of(self, config)
        if elector is not None:
            self._leadership = Leadership(elector, self.transport, self.metrics)
            tolerance = self.options.leader_tolerance
            if tolerance is not None:
                self._checks["healthz"]["leaderElection"] = partial(self._leadership.check, tolerance)
        self._groups["cache"].add(FunctionRunnable("caches", self.cache.run), self._caches_synced)
        self._groups["http"].add(self.loop_monitor)

    # -- putting together -------------------------------------------------------------------------------------

    def add(
        self, runnable: Runnable, *, group: Group | None = None, ready: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Run `runnable` with its group: by default the leader's, "other" when its `needs_leader` is False.

        `ready` holds up the groups behind it. Raises StopEngaged while stopping, ValueError for a leader's runnable
        that is no controller when the work is divided into shards.
        """
        if group is None:
            group = "leader" if getattr(runnable, "needs_leader", True) else "other"
        if group == "leader" and self.shards is not None and not isinstance(runnable, Controller):
            # It would run in every process that leads some shard.
            raise ValueError(f"{runnable} cannot be divided into shards: only controllers can")
        if group == "webhook" and ready is not None:
            ready = ready_within(WEBHOOK_READY_SECONDS, str(runnable), ready)
        self._groups[group].add(runnable, ready)

    def add_check(self, endpoint: Endpoint, name: str, check: Check) -> None:
        """Raises RuntimeError after the start."""
        if self._started:
            raise RuntimeError(f"unable to add new checker because {endpoint} endpoint has already been created")
        self._checks[endpoint][name] = check

    def add_metrics_handler(self, path: str, handler: Handler) -> None:
        """Serve another path of the metrics server, for the same clients. Raises ValueError for a path in use,
        RuntimeError after the start.
        """
        if self._started:
            raise RuntimeError("unable to add new metrics handler because metrics endpoint has already been created")
        if path == METRICS or path in self._metrics_handlers:
            raise ValueError(f"metrics server: {path} is served already")
        self._metrics_handlers[path] = handler

    def serve_webhooks(self, options: WebhookOptions | None = None) -> WebhookServer:
        """A server for webhooks: it runs on every replica, before caches fill; ready once its port answers (RT-MG-07).

        Where it converts at the start, caches may need that, so readiness does not wait for them (RT-HZ-09).
        Raises RuntimeError after the start.
        """
        server = WebhookServer(options, registry=self.metrics, clock=self.clock, tracing=self.tracing)
        self.add_check("readyz", "webhook", server.check)
        self.add(server, group="webhook", ready=server.started)
        self._webhooks.append(server)
        return server

    def recorder(self, component: str) -> Recorder:
        """The event recorder of a component, one per component."""
        return self._recorders.setdefault(component, self.events.recorder(component))

    def client(self, product: str = "") -> LiveClient:
        """A live client whose User-Agent names `product` (one with a slash is sent as it is, RT-ID-04)."""
        return self._client(product)

    def need(self, gvk: GVK, options: KindOptions | None = None, *, form: Form = "full") -> None:
        """Cache a kind; without options in that form, as others want it. Raises ValueError when wishes contradict."""
        if options is not None:
            self.cache.declare(gvk, options)
        elif self._started:
            self.cache.declare(gvk, form=form)
        else:
            self._needed.append((gvk, form))

    def concurrency(self, kind: GVK | None) -> int:
        """Reconciles at once of a controller for `kind` (RT-BL-07)."""
        default = self.options.max_concurrent
        return self.options.concurrency.get(kind.group_kind, default) if kind is not None else default

    def new_controller(
        self,
        name: str,
        reconciler: Reconciler,
        options: ControllerOptions,
        *,
        kind: GVK | None = None,
        event_component: str = "",
        user_agent: str = "",
    ) -> Controller:
        """A controller on what this manager shares; `add_controller` runs it. Raises ValueError for a taken name."""
        if name in self._controllers:
            raise ValueError(
                f"controller with name {name} already exists. Controller names must be unique to avoid multiple "
                "controllers reporting the same metric"
            )
        if options.cache_sync_timeout is None:
            options = replace(options, cache_sync_timeout=self.options.cache_sync_timeout)
        support = ControllerSupport(
            cache=self.cache,
            live=self._client(user_agent),
            recorders=self.recorder,
            registry=self.metrics,
            uncached=self.options.uncached,
            tracing=self.tracing,
            clock=self.clock,
            rng=self.rng,
            shards=self.shards,
        )
        controller = Controller(name, reconciler, support, options, kind=kind, event_component=event_component)
        self._controllers[name] = controller
        return controller

    def add_controller(self, controller: Controller) -> None:
        """Run a controller, warmed up before the election when it wants that."""
        self.add(controller)
        if controller.options.warmup and controller.needs_leader and self._leadership is not None:
            self._groups["warmup"].add(FunctionRunnable(f"warmup of {controller}", controller.warmup))

    @property
    def controllers(self) -> Mapping[str, Controller]:
        """By name."""
        return self._controllers

    def _client(self, product: str, *, gated: bool = True) -> LiveClient:
        agent = product if "/" in product else self.options.user_agent(product or self.options.name)
        limits = ClientLimits(self.clock.monotonic, rate=self.options.rate)
        return LiveClient(self.transport, self.mapper, user_agent=agent, gated=gated, limits=limits)

    # -- checks -----------------------------------------------------------------------------------------------

    async def _check_shutdown(self) -> None:
        if self._stopping:
            raise RuntimeError("stopping")

    async def _check_informers(self) -> None:
        late = [i.gvk.group_kind for i in self.cache.informers.values() if not i.settled]
        if late:
            raise RuntimeError(f"not synced: {', '.join(sorted(late))}")

    async def _caches_synced(self) -> None:
        if self.cache.informers:
            with collector_paused():
                await self.cache.wait_for_sync(timeout=self.options.cache_sync_timeout)

    # -- running ----------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until `stop` is set, a runnable fails, or leadership is lost; then stop everything.

        Raises RuntimeError when called twice, the first error of a runnable, LeaderElectionLost, or ShutdownTimeout
        naming the runnables that did not end.
        """
        if self._started:
            raise RuntimeError("manager already started")
        if self.shards is not None and self._leadership is None:
            raise RuntimeError("sharing the work needs leader election")
        self._started = True
        for gvk, form in self._needed:
            self.cache.declare(gvk, form=form)
        self._failure = asyncio.get_running_loop().create_future()
        if any(CONVERT_PATH in server.paths for server in self._webhooks):
            # The pod must become ready for the API server to reach it, and caches may wait for that (MGR-12).
            del self._checks["readyz"]["informers"]
        self._add_servers()
        events = asyncio.create_task(self.events.run(), name="event delivery")
        starting = asyncio.create_task(self._start(), name="start-up")
        starting.add_done_callback(self._start_ended)
        events.add_done_callback(self._delivery_ended)
        stopped = asyncio.create_task((stop or asyncio.Event()).wait(), name="stop signal")
        error: BaseException | None = None
        waiting: set[asyncio.Future[Any]] = {stopped, self._failure}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            error = self._failure.exception() if self._failure.done() else None
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if error is not None and not isinstance(error, asyncio.CancelledError):
            _log.error("stopping because of an error", error=str(error), error_type=type(error).__name__)
        stopped.cancel()
        late = await self._stop(starting, events, budget=self._budget(error))
        unfreeze()
        if error is not None:
            if late is not None:
                error.add_note(str(late))
            raise error
        if late is not None:
            raise late

    def _add_servers(self) -> None:
        if parse_address(self.options.health_address) is not None:
            self.health_server = HttpServer("health", self.options.health_address, health_app(self._checks))
            self._groups["http"].add(self.health_server, self.health_server.ready)
        if parse_address(self.options.pprof_address) is not None:
            self.profiling_server = profiling_server(self.options.pprof_address)
            self._groups["http"].add(self.profiling_server, self.profiling_server.ready)
        if parse_address(self.options.metrics_address or DEFAULT_ADDRESS) is not None:
            self.metrics_server = metrics_server(
                self.options.metrics_address,
                self.metrics,
                secure=self.options.metrics_secure,
                certificate=self.options.metrics_certificate,
                client=self.ungated,
                mapper=self.mapper,
                clock=self.clock,
                rng=self.rng,
                extra=self._metrics_handlers,
            )
            self._groups["http"].add(self.metrics_server, self.metrics_server.ready)

    async def _start(self) -> None:
        for name in ("http", "webhook", "cache", "other", "warmup"):
            await self._groups[name].start()
        if self._leadership is None:
            await self._lead()
        else:
            self._leadership.begin(self._lead_elected, self._election_ended)

    async def _lead_elected(self) -> None:
        try:
            await self._lead()
        except Exception as error:  # noqa: BLE001 - it stops the manager, which still leads while it does
            self._failed("leader group", error)

    async def _lead(self) -> None:
        # A late election starts nothing: the group is closed once the manager stops (RT-MG-23).
        await self._groups["leader"].start()
        if not self._stopping:
            self.elected.set()

    def _start_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed("start-up", error)

    def _delivery_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed("event delivery", error)

    def _election_ended(self, error: BaseException | None) -> None:
        if self._stopping:
            return
        lost = LeaderElectionLost()
        lost.__cause__ = error
        self._failed("leader election", lost)

    def _failed(self, name: str, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done() and not self._stopping:
            self._failure.set_exception(error)
        else:
            _log.error("runnable failed", runnable=name, error=str(error))

    # -- stopping ---------------------------------------------------------------------------------------------

    def _budget(self, error: BaseException | None) -> float | None:
        if isinstance(error, LeaderElectionLost):
            return 0.0
        return self.options.graceful_shutdown if self.options.graceful_shutdown >= 0 else None

    async def _stop(
        self, starting: asyncio.Task[None], events: asyncio.Task[None], *, budget: float | None
    ) -> ShutdownTimeout | None:
        self._stopping = True
        shutdown = Shutdown(
            groups=self._groups,
            controllers=self._controllers,
            events=self.events,
            leadership=self._leadership,
            tracing=self.tracing,
            transport=self.transport,
            budget=budget,
        )
        return await shutdown.run(starting, events)


__all__ = [
    "Group",
    "LeaderElectionLost",
    "LeaderElector",
    "Manager",
    "ManagerOptions",
    "Runnable",
    "ShutdownTimeout",
    "StopEngaged",
]
