"""The root span of a reconcile, and what a reconcile costs without one."""

import dis
import gc
import io
import json
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import rbgctl.runtime
from rbgctl.machinery.gvk import GVK, NN
from rbgctl.machinery.plan import Plan
from rbgctl.runtime.causes import noting_causes
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, ControllerSupport, Result
from rbgctl.runtime.errors import Conflict, LeadershipUncertain, NotFound, TerminalError, TooManyRequests
from rbgctl.runtime.executor import observe_plan_execute
from rbgctl.runtime.handler import enqueue_object
from rbgctl.runtime.log import configure_logging
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.predicate import Event
from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.tracing import Tracing

KIND = GVK("g", "v1", "Kind")
A = NN("ns", "a")
PARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"

Reconcile = Callable[[Context], Awaitable[Result | None]]


class Cache:
    """As much of a cache as a controller touches by itself."""

    def __init__(self) -> None:
        self.header: Header | None = None

    async def caught_up(self, owner: Any, *, age: float) -> frozenset[Any]:
        return frozenset()

    def forget_writes(self, owner: Any) -> None:
        pass

    def entry(self, gvk: GVK, key: NN) -> Entry | None:
        return Entry(self.header, b"{}") if self.header is not None else None


class Bench:
    def __init__(self, clock: Any, tracing: Tracing) -> None:
        self.cache = Cache()
        self.tracing = tracing
        self._support = ControllerSupport(
            cache=self.cache,  # type: ignore[arg-type]
            live=None,  # type: ignore[arg-type]
            recorders=lambda component: component,  # type: ignore[arg-type,return-value]
            registry=Registry(),
            tracing=tracing,
            clock=clock,
            rng=random.Random(1),
        )

    def controller(self, reconcile: Reconcile) -> Controller:
        options = ControllerOptions(limiter=ItemExponential(1.0, 100.0))
        return Controller("c", reconcile, self._support, options, kind=KIND)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def bench(manual_clock: Any, exporter: InMemorySpanExporter) -> Bench:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Bench(manual_clock, Tracing(provider))


def header(rv: str = "5", **more: Any) -> Header:
    return Header(namespace="ns", name="a", uid="u", rv=rv, generation=3, **more)


def updated(rv: str, old: str = "0") -> Event:
    return Event("update", Entry(header(rv), b"{}"), Entry(header(old), b"{}"))


async def run_once(controller: Controller, *events: Event, priority: int = 0) -> None:
    """One reconcile, as a worker does it."""
    for event in events:
        noting_causes(enqueue_object())(event, controller.queue)
    controller.queue.add(A, priority=priority)
    key, got = await controller.queue.get()
    await controller._process(key, got)
    controller.queue.done(key)


def root(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = (s for s in exporter.get_finished_spans() if s.name == "reconcile c")
    return span


async def test_the_root_says_what_was_reconciled_and_why_now(
    bench: Bench, exporter: InMemorySpanExporter, manual_clock: Any
) -> None:  # RT-TR-02, RT-TR-03
    ids: list[str] = []

    async def reconcile(ctx: Context) -> Result | None:
        ids.append(ctx.reconcile_id)
        return Result(requeue_after=1.5)

    bench.cache.header = header()
    controller = bench.controller(reconcile)
    controller.queue._limiter.when(A)
    controller.queue.add(A, priority=7)
    manual_clock.time += 0.25
    await run_once(controller, priority=7)
    span = root(exporter)
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is None
    assert dict(span.attributes or {}) == {
        "k8s.controller.name": "c",
        "k8s.object.group": "g",
        "k8s.object.kind": "Kind",
        "k8s.object.namespace": "ns",
        "k8s.object.name": "a",
        "k8s.object.uid": "u",
        "k8s.object.generation": 3,
        "reconcile.id": ids[0],
        "reconcile.result": "requeue_after",
        "reconcile.requeue_after_ms": 1500,
        "workqueue.wait_ms": 250,
        "workqueue.retries": 1,
        "workqueue.priority": 7,
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, StatusCode.UNSET),
        (Conflict({"message": "changed", "code": 409}), StatusCode.UNSET),
        (LeadershipUncertain("maybe"), StatusCode.UNSET),
        (NotFound({"message": "gone", "code": 404}), StatusCode.UNSET),
        (RuntimeError("bad"), StatusCode.ERROR),
        (TerminalError("useless"), StatusCode.ERROR),
        (TooManyRequests({"message": "later", "code": 429}), StatusCode.ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_failures_fail_the_root_and_routine_does_not(
    bench: Bench, exporter: InMemorySpanExporter, error: Exception | None, status: StatusCode
) -> None:  # RT-TR-04
    async def reconcile(ctx: Context) -> Result | None:
        if error is not None:
            raise error
        return None

    await run_once(bench.controller(reconcile))
    assert root(exporter).status.status_code is status


def write(bench: Bench, version: str, uid: str = "u") -> None:
    """A write of another controller."""
    with bench.tracing.request("POST", "/apis/g/v1/namespaces/ns/kinds", None, "application/json", "ua"):
        pass
    bench.tracing.wrote(uid, version)


async def test_a_reconcile_is_linked_to_the_writes_that_queued_it(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:  # RT-TR-05
    async def reconcile(ctx: Context) -> Result | None:
        return None

    write(bench, "5")
    write(bench, "6")
    writes = [s.context for s in exporter.get_finished_spans()]
    # Version 4 is somebody else's; 6 also arrives as an event of a second object.
    await run_once(bench.controller(reconcile), updated("4"), updated("5"), updated("6"))
    span = root(exporter)
    assert [link.context for link in span.links] == writes
    assert span.parent is None


async def test_a_watch_that_is_faster_than_the_answer_is_linked_too(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:  # RT-TR-05
    async def reconcile(ctx: Context) -> Result | None:
        write(bench, "5")  # its answer arrives while we run already
        return None

    await run_once(bench.controller(reconcile), updated("5"))
    (other,) = (s for s in exporter.get_finished_spans() if s.name == "k8s.create kinds")
    assert [link.context for link in root(exporter).links] == [other.context]


async def test_an_annotation_of_others_becomes_a_link(bench: Bench, exporter: InMemorySpanExporter) -> None:
    # RT-TR-05
    async def reconcile(ctx: Context) -> Result | None:
        return None

    bench.cache.header = header(annotations=(("tracing.k8s.io/traceparent", PARENT),))
    await run_once(bench.controller(reconcile))
    assert [format(link.context.trace_id, "032x") for link in root(exporter).links] == [PARENT[3:35]]


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    out = io.StringIO()
    configure_logging("debug", "json", stream=out, tracing=True)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()


async def test_every_line_of_a_reconcile_says_what_it_is_about(
    bench: Bench, exporter: InMemorySpanExporter, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:  # RT-CT-20, RT-TR-10
    library = structlog.get_logger("some.library")

    async def reconcile(ctx: Context) -> Result | None:
        ctx.log.info("ours")
        with ctx.step("observe"):
            library.warning("of a library", name="its own")
        raise RuntimeError("bad")

    controller = bench.controller(reconcile)
    await run_once(controller)
    library.info("between")
    ours, theirs, failed, between = log_lines()
    span = root(exporter)
    assert span.context is not None
    for line in (ours, theirs, failed):
        assert line["trace_id"] == format(span.context.trace_id, "032x")
        assert line["reconcileID"] == (span.attributes or {})["reconcile.id"]
        assert line["controller"] == "c"
        assert (line["controllerGroup"], line["controllerKind"]) == ("g", "Kind")
        assert line["Kind"] == {"namespace": "ns", "name": "a"}
        assert line["namespace"] == "ns"
    assert (ours["name"], theirs["name"]) == ("a", "its own")
    assert ours["span_id"] == format(span.context.span_id, "016x") != theirs["span_id"]
    assert failed["message"] == "reconcile failed"
    assert not {"trace_id", "reconcileID", "controller"} & set(between)


# ---- with tracing off ----

RUNTIME = Path(rbgctl.runtime.__file__).parent
PATH_OF_A_RECONCILE = {"controller.py", "reconciler.py", "executor.py"}
TRACE_ONLY = {"reconcile_trace.py", "write_links.py", "causes.py", "otlp.py"}
BUILDS = {"MAKE_FUNCTION", "MAKE_CELL", "FORMAT_VALUE", "BUILD_STRING", "BUILD_TUPLE", "BUILD_LIST", "BUILD_MAP"}


class Opcodes:
    """Which instructions of the runtime's own code run: (file, function, instruction)."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str, str]] = set()

    def __enter__(self) -> "Opcodes":
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        if Path(frame.f_code.co_filename).parent != RUNTIME:
            return None
        frame.f_trace_opcodes = True
        return self._instruction

    def _instruction(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            self.seen.add((Path(frame.f_code.co_filename).name, frame.f_code.co_name, name))
        return self._instruction


async def whole_pass(ctx: Context) -> Result:
    async def observing() -> int:
        return 1

    return await observe_plan_execute(ctx, observing(), lambda observed: Plan(attributes={"n": observed}))


async def test_with_tracing_off_a_reconcile_builds_nothing_for_it(
    manual_clock: Any, exporter: InMemorySpanExporter
) -> None:  # RT-TR-01, RT-TR-08
    controller = Bench(manual_clock, Tracing()).controller(whole_pass)
    await run_once(controller)
    with Opcodes() as opcodes:
        await run_once(controller)
    files = {file for file, _, _ in opcodes.seen}
    assert files >= PATH_OF_A_RECONCILE | {"tracing.py"}
    assert not files & TRACE_ONLY
    # Neither a closure for attributes, nor its cells, nor the name of a span.
    built = {(file, function, op) for file, function, op in opcodes.seen if op in BUILDS}
    assert not [b for b in built if b[0] == "tracing.py"]
    assert not [b for b in built if b[0] in PATH_OF_A_RECONCILE and b[2] in {"MAKE_FUNCTION", "MAKE_CELL"}]
    assert not [b for b in built if b[1] in {"step", "observe_plan_execute", "_run_once"}]


async def test_with_tracing_on_the_same_pass_is_seen(bench: Bench, exporter: InMemorySpanExporter) -> None:
    """The counterpart: what the test above looks for is there when it is wanted."""
    controller = bench.controller(whole_pass)
    with Opcodes() as opcodes:
        await run_once(controller)
    assert ("reconcile_trace.py", "reconcile", "MAKE_FUNCTION") in opcodes.seen
    assert (root(exporter).attributes or {})["n"] == 1
    names = [s.name for s in exporter.get_finished_spans()]
    assert names == ["step observe", "step plan", "step execute", "reconcile c"]


async def test_with_tracing_off_thousands_of_reconciles_leave_nothing_behind(manual_clock: Any) -> None:  # RT-TR-01
    bench = Bench(manual_clock, Tracing())
    controller = bench.controller(whole_pass)

    async def blocks(count: int) -> int:
        """The balance; garbage collection and free lists let it vary by some hundreds."""
        gc.collect()
        before = sys.getallocatedblocks()
        for n in range(count):
            await run_once(controller, updated(str(n + 1), str(n)))
        gc.collect()
        return sys.getallocatedblocks() - before

    await blocks(200)  # caches of the interpreter fill
    assert await blocks(3000) < 1500
