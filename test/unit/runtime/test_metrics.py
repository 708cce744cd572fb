"""Names, types, labels and buckets as dashboards know them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from unit.runtime.scripted import ScriptedServer, bookmark, watch

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.api_path import request_info
from rbgctl.runtime.cache import Cache
from rbgctl.runtime.config import ClusterConfig
from rbgctl.runtime.discovery import RestMapper
from rbgctl.runtime.metrics import (
    MAX_PRIORITIES,
    TOO_MANY_PRIORITIES,
    ControllerMetrics,
    PrometheusQueueMetrics,
    Registry,
)
from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.transport import Transport
from rbgctl.runtime.workqueue import WorkQueue

CONTROLLER = {"controller"}
QUEUE = {"name", "controller"}
GVK_ = {"gvk"}
UP_TO_ONE = (*(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5), *(0.6, 0.7, 0.8, 0.9, 1.0))
ABOVE = (*(1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5), *(5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60))
RECONCILE = [*UP_TO_ONE, *ABOVE]  # RT-MT-90
QUEUED = [float(f"1e{k}") for k in range(-8, 4)]  # RT-MT-91


@dataclass(frozen=True)
class Family:
    """What the exposition shows of a metric. `buckets`: upper bounds, of histograms that have documented ones."""

    rule: str
    name: str
    type: str
    labels: set[str] = field(default_factory=set)
    buckets: list[float] | None = None


TABLE = [
    Family("RT-MT-01", "controller_runtime_reconcile_total", "counter", {"controller", "result"}),
    Family("RT-MT-02", "controller_runtime_reconcile_errors_total", "counter", CONTROLLER),
    Family("RT-MT-03", "controller_runtime_terminal_reconcile_errors_total", "counter", CONTROLLER),
    Family("RT-MT-04", "controller_runtime_reconcile_panics_total", "counter", CONTROLLER),
    Family("RT-MT-05", "controller_runtime_reconcile_time_seconds", "histogram", CONTROLLER, RECONCILE),
    Family("RT-MT-06", "controller_runtime_max_concurrent_reconciles", "gauge", CONTROLLER),
    Family("RT-MT-07", "controller_runtime_active_workers", "gauge", CONTROLLER),
    Family("RT-MT-08", "controller_runtime_reconcile_timeouts_total", "counter", CONTROLLER),
    Family("RT-MT-10", "workqueue_depth", "gauge", QUEUE | {"priority"}),
    Family("RT-MT-11", "workqueue_adds_total", "counter", QUEUE),
    Family("RT-MT-12", "workqueue_queue_duration_seconds", "histogram", QUEUE, QUEUED),
    Family("RT-MT-13", "workqueue_work_duration_seconds", "histogram", QUEUE, QUEUED),
    Family("RT-MT-14", "workqueue_unfinished_work_seconds", "gauge", QUEUE),
    Family("RT-MT-15", "workqueue_longest_running_processor_seconds", "gauge", QUEUE),
    Family("RT-MT-16", "workqueue_retries_total", "counter", QUEUE),
    Family("RT-MT-20", "rest_client_requests_total", "counter", {"code", "method", "host"}),
    Family("RT-MT-70", "rbg_runtime_loop_lag_seconds", "histogram"),
    Family("RT-MT-70", "rbg_runtime_informer_objects", "gauge", GVK_),
    Family("RT-MT-70", "rbg_runtime_informer_bytes", "gauge", GVK_),
    Family("RT-MT-70", "rbg_runtime_informer_relists_total", "counter", {"gvk", "reason"}),
    Family("RT-MT-70", "rbg_runtime_informer_last_event_age_seconds", "gauge", GVK_),
    Family("RT-MT-70", "rbg_runtime_handler_pending", "gauge", GVK_),
    Family("RT-MT-70", "rbg_runtime_rest_client_rate_limiter_seconds", "histogram"),
    Family("RT-MT-70", "rbg_runtime_rest_client_request_seconds", "histogram", {"verb", "resource"}),
    Family("RT-MT-70", "rbg_runtime_write_gate_refusals_total", "counter"),
    Family("RT-MT-70", "rbg_runtime_conflicts_total", "counter", {"controller", "kind"}),
    Family("RT-MT-70", "rbg_runtime_stale_reads_total", "counter"),
]


@pytest.fixture
async def used(manual_clock: Any) -> AsyncIterator[Registry]:
    """After one controller, one queue, one request and one list."""
    registry = Registry()
    ControllerMetrics(registry, "c", 3).seconds.observe(0.2)
    metrics = PrometheusQueueMetrics(registry, "c")
    queue: WorkQueue[str] = WorkQueue(manual_clock, ItemExponential(), metrics)
    metrics.measure(queue.unfinished_seconds, queue.longest_running_seconds)
    for key, priority in (("a", 0), ("b", -100), ("c", 0)):
        queue.add(key, priority=priority)
    queue.add("later", after=1.0)
    await queue.get()
    queue.done("a")
    await queue.get()
    manual_clock.time += 2.0
    registry.observe_request("GET", "200", "10.0.0.1:6443", "/api/v1/namespaces/ns/pods/p", 0.1)
    registry.relisted(GVK("", "v1", "Pod"), "expired")
    ControllerMetrics(registry, "c", 3).conflict("Pod")
    pod = GVK("", "v1", "Pod")
    async with ScriptedServer().running() as server, Transport(ClusterConfig(server.url)) as transport:
        server.answers(watch(bookmark(5, end=True), then="hang"))
        cache = Cache(transport, RestMapper(), first_list_jitter=0.0)
        cache.declare(pod)
        registry.watch_cache(cache, time.monotonic)
        task = asyncio.create_task(cache.run())
        await cache.wait_for_sync(pod)
        yield registry
        task.cancel()
        await asyncio.wait([task])


def exposed(registry: Registry) -> dict[str, tuple[str, set[str]]]:
    found = {}
    for family in text_string_to_metric_families(registry.text().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    return found


@pytest.mark.parametrize("family", TABLE, ids=lambda family: f"{family.rule} {family.name}")
def test_every_family_has_its_name_type_labels_and_buckets(used: Registry, family: Family) -> None:
    # RT-MT-01 to RT-MT-08, RT-MT-10 to RT-MT-16, RT-MT-20, RT-MT-70, RT-MT-90, RT-MT-91
    assert exposed(used).get(family.name) == (family.type, family.labels)
    if family.buckets is not None:
        assert buckets(used, family.name) == pytest.approx(family.buckets)


async def test_both_labels_of_a_queue_hold_the_controllers_name(used: Registry) -> None:  # RT-MT-15
    text = used.text().decode()
    found = re.findall(r"^workqueue_\w+{([^}]*)}", text, re.MULTILINE)
    assert found
    assert all('controller="c"' in labels and 'name="c"' in labels for labels in found)


def test_each_attempt_counts_by_code_verb_and_configured_host(used: Registry) -> None:  # RT-MT-20
    used.observe_request("GET", "<error>", "10.0.0.1:6443", "/api/v1/pods", 0.1)
    assert re.findall(r"^rest_client_requests_total({.*} \S+)", used.text().decode(), re.MULTILINE) == [
        '{code="200",host="10.0.0.1:6443",method="GET"} 1.0',
        '{code="<error>",host="10.0.0.1:6443",method="GET"} 1.0',
    ]


@pytest.mark.parametrize("name", ["errors", "panics", "timeouts"])
def test_counters_of_a_controller_exist_at_zero(name: str) -> None:  # RT-MT-02, RT-MT-04, RT-MT-08
    registry = Registry()
    ControllerMetrics(registry, "c", 1)
    full = f"controller_runtime_reconcile_{name}_total"
    assert registry.collectors.get_sample_value(full, {"controller": "c"}) == 0.0


def test_no_created_series_and_total_once(used: Registry) -> None:
    text = used.text().decode()
    assert "_created" not in text
    assert "_total_total" not in text


def test_four_result_series_exist_at_zero(used: Registry) -> None:  # RT-MT-01
    values = {
        result: used.collectors.get_sample_value(
            "controller_runtime_reconcile_total", {"controller": "c", "result": result}
        )
        for result in ("error", "requeue_after", "requeue", "success")
    }
    assert values == dict.fromkeys(values, 0.0)


def buckets(registry: Registry, name: str) -> list[float]:
    found = re.findall(rf'^{name}_bucket{{[^}}]*le="([^"]+)"', registry.text().decode(), re.MULTILINE)
    return [float(b) for b in found if b != "+Inf"]


def test_queue_series_follow_the_queue(used: Registry) -> None:  # RT-MT-10, RT-MT-14, RT-MT-15
    def value(name: str, **labels: str) -> float | None:
        return used.collectors.get_sample_value(name, {"name": "c", "controller": "c", **labels})

    assert value("workqueue_depth", priority="0") == 0
    assert value("workqueue_depth", priority="-100") == 1
    assert value("workqueue_adds_total") == 3
    assert value("workqueue_retries_total") == 1
    assert value("workqueue_unfinished_work_seconds") == value("workqueue_longest_running_processor_seconds") == 2.0
    assert value("workqueue_work_duration_seconds_count") == 1
    assert value("workqueue_queue_duration_seconds_count") == 2


async def test_many_priorities_share_one_label(manual_clock: Any) -> None:  # RT-PQ-10
    registry = Registry()
    queue: WorkQueue[int] = WorkQueue(manual_clock, ItemExponential(), PrometheusQueueMetrics(registry, "c"))
    for n in range(40):
        queue.add(n, priority=n)

    def depths() -> dict[str, float]:
        text = registry.text().decode()
        return {p: float(v) for p, v in re.findall(r'^workqueue_depth{.*priority="([^"]*)"} (\S+)', text, re.MULTILINE)}

    assert len(depths()) == MAX_PRIORITIES + 1
    assert depths()[TOO_MANY_PRIORITIES] == 15
    for _ in range(40):
        await queue.get()
    assert set(depths().values()) == {0.0}


def test_series_without_labels_exist_from_the_start() -> None:  # RT-MT-43, RT-MT-44, RT-MT-50
    registry = Registry()
    for name in (
        "controller_runtime_webhook_panics_total",
        "controller_runtime_conversion_webhook_panics_total",
        "certwatcher_read_certificate_total",
        "certwatcher_read_certificate_errors_total",
        "rbg_runtime_write_gate_refusals_total",
        "rbg_runtime_stale_reads_total",
    ):
        assert registry.collectors.get_sample_value(name) == 0.0


def test_platform_series_are_exported() -> None:  # RT-MT-60
    text = Registry().text().decode()
    for name in ("process_cpu_seconds_total", "python_info", "python_gc_objects_collected_total"):
        assert re.search(rf"^{name}\b", text, re.MULTILINE)
    assert not re.search(r"^go_", text, re.MULTILINE)


def test_two_registries_do_not_share_anything() -> None:
    first, second = Registry(), Registry()
    first.relisted(GVK("", "v1", "Pod"), "expired")
    assert "expired" in first.text().decode()
    assert "expired" not in second.text().decode()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/namespaces/ns/pods/p", ("get", "pods")),
        ("GET", "/api/v1/namespaces/ns/pods", ("list", "pods")),
        ("GET", "/api/v1/pods?watch=1", ("watch", "pods")),
        ("GET", "/api/v1/namespaces/ns", ("get", "namespaces")),
        ("GET", "/api/v1/namespaces", ("list", "namespaces")),
        ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/d/status", ("patch", "deployments/status")),
        ("PUT", "/apis/apps/v1/namespaces/ns/deployments/d/scale", ("update", "deployments/scale")),
        ("PATCH", "/api/v1/namespaces/ns/status", ("patch", "namespaces/status")),
        ("POST", "/api/v1/namespaces/ns/pods", ("create", "pods")),
        ("DELETE", "/api/v1/namespaces/ns/pods", ("deletecollection", "pods")),
        ("DELETE", "/api/v1/nodes/n", ("delete", "nodes")),
        ("GET", "/apis/apps/v1", ("get", "")),
        ("GET", "/version", ("get", "")),
    ],
)
def test_paths_are_read_as_verb_and_resource(method: str, path: str, expected: tuple[str, str]) -> None:
    assert request_info(method, path) == expected


def test_watches_do_not_distort_request_times() -> None:
    registry = Registry()
    registry.observe_request("GET", "200", "h", "/api/v1/pods?watch=1", 400.0)
    name = "rbg_runtime_rest_client_request_seconds_count"
    assert registry.collectors.get_sample_value(name, {"verb": "watch", "resource": "pods"}) is None
    labels = {"code": "200", "method": "GET", "host": "h"}
    assert registry.collectors.get_sample_value("rest_client_requests_total", labels) == 1
