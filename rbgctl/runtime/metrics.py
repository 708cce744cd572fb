"""Every metric of the runtime, under controller-runtime's names: existing dashboards work (RT-MT-01 to RT-MT-91).

One `Registry` per process holds them. `ControllerMetrics` and `QueueMetrics` resolve their labelled children once:
a resolved child costs a third of a look-up by labels. What every event counts is kept in plain numbers, see `series`.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.api_path import request_info
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.series import DistributionFamily, Number, NumberFamily

RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    *(1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
)
QUEUE_BUCKETS = tuple(float(f"1e{exponent}") for exponent in range(-8, 4))
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUEST_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

WAIT_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)

MAX_PRIORITIES = 25
TOO_MANY_PRIORITIES = "exceeded_cardinality_limit"


class Registry:
    """All metrics of a process. Pass one around; nothing is registered globally."""

    def __init__(self) -> None:
        # Doubles the number of series and exists in no other exposition of these names.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.collectors = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def often(name: str, text: str, *labels: str) -> NumberFamily:
            return NumberFamily(name, text, labels, registry)

        def often_measured(name: str, text: str, *labels: str, bounds: tuple[float, ...]) -> DistributionFamily:
            return DistributionFamily(name, text, labels, registry, bounds=bounds)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        self.reconciles = often(
            "controller_runtime_reconcile_total",
            "Total number of reconciliations per controller",
            "controller",
            "result",
        )
        self.reconcile_errors = counter(
            "controller_runtime_reconcile_errors_total",
            "Total number of reconciliation errors per controller",
            "controller",
        )
        self.terminal_errors = counter(
            "controller_runtime_terminal_reconcile_errors_total",
            "Total number of terminal reconciliation errors per controller",
            "controller",
        )
        self.panics = counter(
            "controller_runtime_reconcile_panics_total",
            "Total number of reconciliation panics per controller",
            "controller",
        )
        self.timeouts = counter(
            "controller_runtime_reconcile_timeouts_total",
            "Total number of reconciliations that ran out of time per controller",
            "controller",
        )
        self.reconcile_seconds = often_measured(
            "controller_runtime_reconcile_time_seconds",
            "Length of time per reconciliation per controller",
            "controller",
            bounds=RECONCILE_BUCKETS,
        )
        self.max_concurrent = gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Maximum number of concurrent reconciles per controller",
            "controller",
        )
        self.active_workers = often(
            "controller_runtime_active_workers", "Number of currently used workers per controller", "controller"
        )

        self.queue_depth = often("workqueue_depth", "Current depth of workqueue", "name", "controller", "priority")
        self.queue_adds = often(
            "workqueue_adds_total", "Total number of adds handled by workqueue", "name", "controller"
        )
        self.queue_wait = often_measured(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            "name",
            "controller",
            bounds=QUEUE_BUCKETS,
        )
        self.queue_work = often_measured(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes",
            "name",
            "controller",
            bounds=QUEUE_BUCKETS,
        )
        self.queue_unfinished = gauge(
            "workqueue_unfinished_work_seconds",
            "How many seconds of work is in progress and has not been observed by work_duration",
            "name",
            "controller",
        )
        self.queue_longest = gauge(
            "workqueue_longest_running_processor_seconds",
            "How many seconds the longest running processor of workqueue has been running",
            "name",
            "controller",
        )
        self.queue_retries = often(
            "workqueue_retries_total", "Total number of retries handled by workqueue", "name", "controller"
        )

        self.requests = counter(
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host",
            "code",
            "method",
            "host",
        )
        self.rate_limited = histogram(
            "rest_client_rate_limiter_duration_seconds",
            "Seconds that requests waited for the client-side rate limit, by HTTP verb and host",
            "verb",
            "host",
            buckets=WAIT_BUCKETS,
        )
        self.leader = gauge(
            "leader_election_master_status", "Whether this process holds the lease: 1 yes, 0 no", "name"
        )
        self.leader_slowpath = counter(
            "leader_election_slowpath_total", "Renewals that had to read the lease first", "name"
        )
        self.webhook_seconds = histogram(
            "controller_runtime_webhook_latency_seconds",
            "Latency of processing admission requests",
            "webhook",
            buckets=Histogram.DEFAULT_BUCKETS,
        )
        self.webhook_requests = counter(
            "controller_runtime_webhook_requests_total", "Admission requests by HTTP status code", "webhook", "code"
        )
        self.webhook_in_flight = gauge(
            "controller_runtime_webhook_requests_in_flight", "Admission requests currently served", "webhook"
        )
        self.webhook_panics = counter("controller_runtime_webhook_panics_total", "Total number of webhook panics")
        self.conversion_panics = counter(
            "controller_runtime_conversion_webhook_panics_total", "Total number of conversion webhook panics"
        )
        self.certificate_reads = counter("certwatcher_read_certificate_total", "Total number of certificate reads")
        self.certificate_errors = counter(
            "certwatcher_read_certificate_errors_total", "Total number of certificate read errors"
        )

        self.loop_lag = histogram(
            "rbg_runtime_loop_lag_seconds",
            "How late the event loop runs timers: what everything else in the process waits in addition",
            buckets=LAG_BUCKETS,
        )
        self.relists = counter(
            "rbg_runtime_informer_relists_total", "Full lists of a kind after its first one", "gvk", "reason"
        )
        self.request_seconds = histogram(
            "rbg_runtime_rest_client_request_seconds",
            "Seconds per API request attempt",
            "verb",
            "resource",
            buckets=REQUEST_BUCKETS,
        )
        self.rate_limiter_seconds = histogram(
            "rbg_runtime_rest_client_rate_limiter_seconds",
            "Seconds that requests waited for --kube-api-qps before they were sent",
            buckets=WAIT_BUCKETS,
        )
        self.gate_refusals = counter(
            "rbg_runtime_write_gate_refusals_total", "Writes not sent because leadership was uncertain"
        )
        self.conflicts = counter(
            "rbg_runtime_conflicts_total", "Reconciles ended by a write conflict", "controller", "kind"
        )
        self.stale_reads = counter(
            "rbg_runtime_stale_reads_total", "Objects read live because the cache did not show our own write in time"
        )
        self.avoided_writes = often(
            "rbg_runtime_avoided_writes_total",
            "Writes not sent because the object already was as wanted",
            "controller",
        )
        self.dropped_events = counter(
            "rbg_runtime_dropped_events_total", "Events not recorded: queue full or delivery failed", "reason"
        )
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def text(self) -> bytes:
        """Prometheus text format 0.0.4."""
        return generate_latest(self.collectors)

    def watch_cache(self, cache: Cache, monotonic: Callable[[], float]) -> None:
        """Expose sizes and ages of the cache's informers, taken when scraped; `monotonic` is the cache's clock."""
        self.collectors.register(_InformerCollector(cache, monotonic))

    def relisted(self, gvk: GVK, reason: str) -> None:
        """For `Cache(on_relist=...)`."""
        self.relists.labels(str(gvk), reason).inc()

    def observe_request(self, method: str, code: str, host: str, path: str, seconds: float) -> None:
        """For `Transport(observer=...)`."""
        self.requests.labels(code, method, host).inc()
        verb, resource = request_info(method, path)
        if verb != "watch":
            self.request_seconds.labels(verb, resource).observe(seconds)

    def observe_wait(self, method: str, host: str, seconds: float) -> None:
        """For `Transport(on_wait=...)`: a request passed its client's rate limit."""
        self.rate_limited.labels(method, host).observe(seconds)
        self.rate_limiter_seconds.observe(seconds)


class ControllerMetrics:
    """The series of one controller, present from the start (RT-CT-17)."""

    def __init__(self, registry: Registry, name: str, max_concurrent: int) -> None:
        self._registry = registry
        self._name = name
        self._results = {
            result: registry.reconciles.labels(name, result)
            for result in ("error", "requeue_after", "requeue", "success")
        }
        self.errors = registry.reconcile_errors.labels(name)
        self.terminal_errors = registry.terminal_errors.labels(name)
        self.panics = registry.panics.labels(name)
        self.timeouts = registry.timeouts.labels(name)
        self.seconds = registry.reconcile_seconds.labels(name)
        self.active_workers = registry.active_workers.labels(name)
        self.active_workers.set(0)
        self.avoided_writes = registry.avoided_writes.labels(name)
        registry.max_concurrent.labels(name).set(max_concurrent)

    def ended(self, result: str) -> None:
        """`result`: error, requeue_after, requeue or success."""
        self._results[result].inc()

    def conflict(self, kind: str) -> None:
        self._registry.conflicts.labels(self._name, kind).inc()


class PrometheusQueueMetrics:
    """The `workqueue_*` series of one queue; see `workqueue.QueueMetrics` for the calls."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._depth = registry.queue_depth
        self._registry = registry
        self._name = name
        self._priorities: dict[int, Number] = {}
        self._adds = registry.queue_adds.labels(name, name)
        self._wait = registry.queue_wait.labels(name, name)
        self._work = registry.queue_work.labels(name, name)
        self._retries = registry.queue_retries.labels(name, name)

    def measure(self, unfinished: Callable[[], float], longest: Callable[[], float]) -> None:
        """Compute the ages of running work when scraped."""
        self._registry.queue_unfinished.labels(self._name, self._name).set_function(unfinished)
        self._registry.queue_longest.labels(self._name, self._name).set_function(longest)

    def ready(self, priority: int) -> None:
        self._adds.inc()
        self._depth_of(priority).inc()

    def raised(self, before: int, after: int) -> None:
        self._depth_of(before).dec()
        self._depth_of(after).inc()

    def handed_out(self, priority: int, waited: float) -> None:
        self._depth_of(priority).dec()
        self._wait.observe(waited)

    def dropped(self, priority: int) -> None:
        self._depth_of(priority).dec()

    def done(self, worked: float) -> None:
        self._work.observe(worked)

    def retried(self) -> None:
        self._retries.inc()

    def _depth_of(self, priority: int) -> Number:
        known = self._priorities.get(priority)
        if known is not None:
            return known
        # RT-PQ-10: reconcilers may set any priority; the series may not grow with it.
        full = len(self._priorities) >= MAX_PRIORITIES
        label = TOO_MANY_PRIORITIES if full else str(priority)
        depth = self._depth.labels(self._name, self._name, label)
        if not full:
            self._priorities[priority] = depth
        return depth


class _InformerCollector(Collector):
    def __init__(self, cache: Cache, monotonic: Callable[[], float]) -> None:
        self._cache = cache
        self._monotonic = monotonic

    def collect(self) -> Iterable[Metric]:
        objects = GaugeMetricFamily("rbg_runtime_informer_objects", "Cached objects per kind", labels=["gvk"])
        size = GaugeMetricFamily("rbg_runtime_informer_bytes", "Bytes of cached bodies per kind", labels=["gvk"])
        age = GaugeMetricFamily(
            "rbg_runtime_informer_last_event_age_seconds", "Seconds since a kind was last heard of", labels=["gvk"]
        )
        pending = GaugeMetricFamily(
            "rbg_runtime_handler_pending", "Events of a kind not yet told to handlers", labels=["gvk"]
        )
        for informer in self._cache.informers.values():
            gvk = str(informer.gvk)
            if informer is not self._cache.informer(informer.gvk):
                gvk += " (metadata)"  # cached whole as well
            entries = list(informer.store.entries())
            objects.add_metric([gvk], len(entries))
            size.add_metric([gvk], sum(len(entry.raw) for entry in entries))
            pending.add_metric([gvk], informer.pending)
            if informer.last_event_at is not None and informer.has_synced:
                age.add_metric([gvk], self._monotonic() - informer.last_event_at)
        return (objects, size, age, pending)
