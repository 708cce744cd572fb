"""Names, types, labels and buckets as dashboards know them."""

import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rbgctl.machinery.gvk import GVK
from rbgctl.runtime.metrics import (
    MAX_PRIORITIES,
    QUEUE_BUCKETS,
    RECONCILE_BUCKETS,
    TOO_MANY_PRIORITIES,
    ControllerMetrics,
    PrometheusQueueMetrics,
    Registry,
    request_info,
)
from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.workqueue import WorkQueue

QUEUE_LABELS = {"name", "controller"}
FAMILIES: dict[str, tuple[str, set[str]]] = {  # RT-MT-01 to RT-MT-20
    "controller_runtime_reconcile_total": ("counter", {"controller", "result"}),
    "controller_runtime_reconcile_errors_total": ("counter", {"controller"}),
    "controller_runtime_terminal_reconcile_errors_total": ("counter", {"controller"}),
    "controller_runtime_reconcile_panics_total": ("counter", {"controller"}),
    "controller_runtime_reconcile_timeouts_total": ("counter", {"controller"}),
    "controller_runtime_reconcile_time_seconds": ("histogram", {"controller"}),
    "controller_runtime_max_concurrent_reconciles": ("gauge", {"controller"}),
    "controller_runtime_active_workers": ("gauge", {"controller"}),
    "workqueue_depth": ("gauge", QUEUE_LABELS | {"priority"}),
    "workqueue_adds_total": ("counter", QUEUE_LABELS),
    "workqueue_queue_duration_seconds": ("histogram", QUEUE_LABELS),
    "workqueue_work_duration_seconds": ("histogram", QUEUE_LABELS),
    "workqueue_unfinished_work_seconds": ("gauge", QUEUE_LABELS),
    "workqueue_longest_running_processor_seconds": ("gauge", QUEUE_LABELS),
    "workqueue_retries_total": ("counter", QUEUE_LABELS),
    "rest_client_requests_total": ("counter", {"code", "method", "host"}),
}


@pytest.fixture
async def used(manual_clock: Any) -> Registry:
    """After one controller, one queue and one request."""
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
    return registry


def exposed(registry: Registry) -> dict[str, tuple[str, set[str]]]:
    found = {}
    for family in text_string_to_metric_families(registry.text().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    return found


def test_every_family_has_its_name_type_and_labels(used: Registry) -> None:
    found = exposed(used)
    assert {name: found.get(name) for name in FAMILIES} == FAMILIES


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


def test_buckets(used: Registry) -> None:  # RT-MT-90, RT-MT-91
    assert buckets(used, "controller_runtime_reconcile_time_seconds") == list(RECONCILE_BUCKETS)
    upstream = (
        "0.005 0.01 0.025 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.6 0.7 0.8 0.9 1.0 1.25 1.5 1.75 2.0 2.5 3.0 "
        "3.5 4.0 4.5 5 6 7 8 9 10 15 20 25 30 40 50 60"
    )
    assert list(RECONCILE_BUCKETS) == [float(b) for b in upstream.split()]
    for name in ("workqueue_queue_duration_seconds", "workqueue_work_duration_seconds"):
        assert buckets(used, name) == list(QUEUE_BUCKETS)
    assert [round(b * 1e8) for b in QUEUE_BUCKETS] == [10**k for k in range(12)]


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
        assert name in text


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
