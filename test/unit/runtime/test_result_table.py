"""Whatever reconcilers answer, the queue is told what the table says (RT-CT-21): a model beside the controller."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from unit.runtime.conftest import ManualClock

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.controller import Context, Controller, ControllerOptions, ControllerSupport, Result
from rbgctl.runtime.errors import Conflict, TerminalError
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.ratelimit import ItemExponential

Answer = Exception | Result | None

delays = st.sampled_from([0.0, 0.5, 30.0])
priorities = st.sampled_from([None, -100, 0, 7])
answers: st.SearchStrategy[Answer] = st.one_of(
    st.none(),
    st.builds(Result, requeue_after=delays, requeue=st.booleans(), priority=priorities),
    st.sampled_from([RuntimeError("bad"), TerminalError("bad"), KeyError("bad"), TimeoutError("bad"), Conflict({})]),
)
runs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([-100, 0, 3]), answers), max_size=25)


@dataclass
class Told:
    """What the queue was told, in order."""

    calls: list[tuple[str, NN, dict[str, Any]]] = field(default_factory=list)

    def listen(self, controller: Controller) -> None:
        controller.queue.add = lambda key, **how: self.calls.append(("add", key, how))  # type: ignore[method-assign]
        controller.queue.forget = lambda key: self.calls.append(("forget", key, {}))  # type: ignore[method-assign]


def table(key: NN, priority: int, answer: Answer) -> tuple[str, list[tuple[str, NN, dict[str, Any]]]]:
    """The rule, as a reader would apply it by hand."""
    if isinstance(answer, TerminalError):
        return "error", []
    if isinstance(answer, Exception):
        return "error", [("add", key, {"rate_limited": True, "priority": priority})]
    result = answer or Result()
    again = priority if result.priority is None else result.priority
    if result.requeue_after > 0:
        return "requeue_after", [
            ("forget", key, {}),
            ("add", key, {"after": result.requeue_after, "priority": again}),
        ]
    if result.requeue:
        return "requeue", [("add", key, {"rate_limited": True, "priority": again})]
    return "success", [("forget", key, {})]


class Cache:
    async def caught_up(self, owner: Any, *, age: float) -> frozenset[Any]:
        return frozenset()


@given(runs)
def test_the_queue_is_told_what_the_table_says(script: list[tuple[str, int, Answer]]) -> None:  # RT-CT-21
    pending = [answer for _, _, answer in script]

    async def reconcile(ctx: Context) -> Result | None:
        answer = pending.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def all_runs() -> tuple[Told, Registry]:
        registry, told = Registry(), Told()
        support = ControllerSupport(
            cache=Cache(),  # type: ignore[arg-type]
            live=None,  # type: ignore[arg-type]
            recorders=lambda component: component,  # type: ignore[arg-type,return-value]
            registry=registry,
            clock=ManualClock(),
            rng=random.Random(1),
        )
        controller = Controller("c", reconcile, support, ControllerOptions(limiter=ItemExponential()))
        told.listen(controller)
        for name, priority, _ in script:
            await controller._process(NN("ns", name), priority)
        return told, registry

    loop = asyncio.new_event_loop()
    try:
        with capture_logs():
            told, registry = loop.run_until_complete(all_runs())
    finally:
        loop.close()
    expected = [table(NN("ns", name), priority, answer) for name, priority, answer in script]
    assert told.calls == [call for _, calls in expected for call in calls]
    labels = [label for label, _ in expected]
    for label in ("error", "requeue_after", "requeue", "success"):
        found = registry.collectors.get_sample_value(
            "controller_runtime_reconcile_total", {"controller": "c", "result": label}
        )
        assert found == labels.count(label)
