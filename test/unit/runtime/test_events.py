"""Events: what is written, and that nothing ever waits for it. Virtual time, a scripted sink."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rbgctl.machinery.gvk import GVK, NN, RawObject
from rbgctl.runtime.client import Patch
from rbgctl.runtime.correlator import AGGREGATE_PREFIX, Correlator, Sending
from rbgctl.runtime.errors import AlreadyExists, ApiError, Forbidden, NotFound, TransportError
from rbgctl.runtime.events import Broadcaster, Recorder

virtual = pytest.mark.looptime

POD: RawObject = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"namespace": "ns", "name": "web-0", "uid": "u1", "resourceVersion": "7"},
}


def pod(name: str) -> RawObject:
    return {**POD, "metadata": {**POD["metadata"], "name": name, "uid": name}}


def refused(cls: type[ApiError], cause: str = "") -> ApiError:
    details = {"causes": [{"reason": cause}]} if cause else {}
    return cls({"status": "Failure", "reason": cls.default_reason, "message": "no", "code": 403, "details": details})


class Sink:
    """Keeps what is written, as a server would; raises what `answers` holds first."""

    def __init__(self) -> None:
        self.stored: dict[NN, RawObject] = {}
        self.calls: list[tuple[str, RawObject]] = []
        self.times: list[float] = []
        self.answers: list[Exception] = []
        self.hang: asyncio.Event | None = None
        self.in_flight = 0
        self.most_in_flight = 0

    async def _arrive(self, verb: str, body: RawObject) -> None:
        self.calls.append((verb, body))
        self.times.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.hang is not None:
                await self.hang.wait()
            if self.answers:
                raise self.answers.pop(0)
        finally:
            self.in_flight -= 1

    async def create(self, obj: RawObject, *, field_manager: str = "") -> RawObject:
        await self._arrive("create", obj)
        self.stored[NN.of(obj)] = dict(obj)
        return obj

    async def patch(
        self, gvk: GVK, key: NN, patch: Patch, *, subresource: str = "", field_manager: str = ""
    ) -> RawObject:
        await self._arrive("patch", patch.body)
        assert patch.content_type == "application/strategic-merge-patch+json"
        if key not in self.stored:
            raise refused(NotFound)
        self.stored[key].update(patch.body)
        return self.stored[key]

    @property
    def events(self) -> list[RawObject]:
        return list(self.stored.values())


class Desk:
    def __init__(self, sink: Sink, clock: Any) -> None:
        self.sink = sink
        self.drops: list[str] = []
        self.broadcaster = Broadcaster(sink, clock=clock, rng=random.Random(1), on_drop=self.drops.append)
        self.recorder: Recorder = self.broadcaster.recorder("tester")

    def say(self, message: str = "hello", reason: str = "Greeted", obj: RawObject = POD, type_: Any = "Normal") -> None:
        self.recorder.event(obj, type_, reason, message)


@pytest_asyncio.fixture(loop_scope="function")
async def desk(loop_clock: Any) -> AsyncIterator[Desk]:
    desk = Desk(Sink(), loop_clock)
    task = asyncio.create_task(desk.broadcaster.run())
    yield desk
    task.cancel()
    await asyncio.wait([task])


@virtual
async def test_an_event_has_the_fields_that_describe_and_dashboards_read(desk: Desk) -> None:  # RT-EV-01
    desk.recorder.event(POD, "Warning", "Failed", "it broke", {"note": "x"})
    await asyncio.sleep(2)
    (event,) = desk.sink.events
    name = event["metadata"].pop("name")
    assert name.startswith("web-0.")
    int(name.removeprefix("web-0."), 16)
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "ns", "annotations": {"note": "x"}},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "ns",
            "name": "web-0",
            "uid": "u1",
            "resourceVersion": "7",
        },
        "reason": "Failed",
        "message": "it broke",
        "source": {"component": "tester"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 1,
        "type": "Warning",
        "reportingComponent": "tester",
        "reportingInstance": "",
    }


@virtual
async def test_cluster_scoped_objects_go_to_default_and_odd_names_get_a_uuid(desk: Desk) -> None:  # RT-EV-01
    desk.say(obj={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    desk.say(obj={"apiVersion": "v1", "kind": "Thing", "metadata": {"namespace": "ns", "name": "system:odd"}})
    await asyncio.sleep(2)
    first, second = desk.sink.events
    assert first["metadata"]["namespace"] == "default"
    assert "namespace" not in first["involvedObject"]
    assert len(second["metadata"]["name"]) == 36


@virtual
@pytest.mark.parametrize(
    ("obj", "type_"), [({"metadata": {"name": "x"}}, "Normal"), ({**POD, "apiVersion": ""}, "Normal"), (POD, "Info")]
)
async def test_unusable_events_are_logged_and_not_recorded(desk: Desk, obj: RawObject, type_: Any) -> None:  # RT-EV-01
    with capture_logs() as lines:
        desk.say(obj=obj, type_=type_)
    await asyncio.sleep(2)
    assert [line["log_level"] for line in lines] == ["error"]
    assert desk.sink.calls == []


@virtual
async def test_two_events_in_one_instant_have_different_names(desk: Desk) -> None:
    desk.say("a")
    desk.say("b")
    await asyncio.sleep(2)
    assert len(desk.sink.events) == 2


@virtual
async def test_equal_events_of_one_second_are_one_write(desk: Desk) -> None:  # RT-EV-05
    for _ in range(5):
        desk.say()
    await asyncio.sleep(2)
    assert [verb for verb, _ in desk.sink.calls] == ["create"]
    assert desk.sink.events[0]["count"] == 5


@virtual
async def test_a_repeated_event_patches_count_time_and_message_only(desk: Desk) -> None:  # RT-EV-05
    desk.say()
    await asyncio.sleep(10)
    desk.say()
    await asyncio.sleep(2)
    assert desk.sink.calls[1] == (
        "patch",
        {"count": 2, "lastTimestamp": "2026-01-01T00:00:10Z", "message": "hello"},
    )
    (event,) = desk.sink.events
    assert (event["count"], event["firstTimestamp"]) == (2, "2026-01-01T00:00:00Z")


@virtual
async def test_repeats_merged_before_a_patch_all_count(desk: Desk) -> None:  # RT-EV-05
    desk.say()
    await asyncio.sleep(10)
    for _ in range(3):
        desk.say()
    await asyncio.sleep(2)
    assert [verb for verb, _ in desk.sink.calls] == ["create", "patch"]
    assert desk.sink.events[0]["count"] == 4


@virtual
async def test_a_patch_that_finds_nothing_creates_with_the_count_reached(desk: Desk) -> None:  # RT-EV-05
    desk.say()
    await asyncio.sleep(2)
    name = desk.sink.events[0]["metadata"]["name"]
    desk.sink.stored.clear()
    desk.say()
    await asyncio.sleep(2)
    assert [verb for verb, _ in desk.sink.calls] == ["create", "patch", "create"]
    (event,) = desk.sink.events
    assert (event["metadata"]["name"], event["count"]) == (name, 2)
    assert "resourceVersion" not in event["metadata"]


@virtual
async def test_an_answer_is_final(desk: Desk) -> None:  # RT-EV-07
    desk.sink.answers = [refused(Forbidden)]
    desk.say()
    await asyncio.sleep(500)
    assert len(desk.sink.calls) == 1


@virtual
@pytest.mark.parametrize(
    ("error", "level"),
    [
        (refused(Forbidden), "error"),
        (refused(AlreadyExists), "debug"),
        (refused(Forbidden, "NamespaceTerminating"), "debug"),
    ],
)
async def test_refusals_of_normal_operation_are_quiet(desk: Desk, error: Exception, level: str) -> None:  # RT-EV-07
    desk.sink.answers = [error]
    with capture_logs() as lines:
        desk.say()
        await asyncio.sleep(2)
    assert [line["log_level"] for line in lines if line["event"] == "event refused"] == [level]


@virtual
async def test_transport_failures_are_tried_twelve_times_ten_seconds_apart(desk: Desk) -> None:  # RT-EV-07
    desk.sink.answers = [TransportError("refused", "down") for _ in range(20)]
    desk.say()
    await asyncio.sleep(300)
    assert len(desk.sink.calls) == 12
    gaps = [b - a for a, b in zip(desk.sink.times, desk.sink.times[1:], strict=False)]
    assert 0 <= gaps[0] < 9  # drawn at random: 1.3 of the fixture's seed
    assert gaps[1:] == pytest.approx([10.0] * 10, abs=0.1)
    assert desk.drops == ["API server unreachable"]


@virtual
async def test_a_dead_server_never_blocks_and_the_overflow_is_counted(desk: Desk) -> None:  # RT-EV-02
    desk.sink.hang = asyncio.Event()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with capture_logs() as lines:
        for n in range(1050):
            desk.say(obj=pod(f"p{n}"))
    assert loop.time() == began
    assert desk.drops == ["queue full"] * 50
    assert [line["lost"] for line in lines if line["event"] == "events are lost"] == [1]
    for seconds, logged in ((55, []), (10, [51])):  # at most once a minute
        await asyncio.sleep(seconds)
        with capture_logs() as lines:
            desk.say(obj=pod("too-many"))
        assert [line["lost"] for line in lines if line["event"] == "events are lost"] == logged
    await asyncio.sleep(35)
    assert desk.sink.most_in_flight == 5
    desk.sink.hang.set()
    await asyncio.sleep(10)
    assert len(desk.sink.events) == 1000
    desk.say(obj=pod("after"))
    await asyncio.sleep(2)
    assert len(desk.sink.events) == 1001


@pytest.mark.parametrize(("others", "remembered"), [(4095, True), (4096, False)])
def test_the_latest_4096_events_are_remembered(manual_clock: Any, others: int, remembered: bool) -> None:
    # RT-EV-03, RT-EV-04
    correlator = Correlator(manual_clock)

    def happens(name: str) -> Sending | None:
        event = Broadcaster(Sink(), clock=manual_clock, rng=random.Random(1))._build(
            "c", pod(name), GVK.of(POD), "Normal", "R", "m", {}
        )
        return correlator.correlate(event)

    happens("first")
    for n in range(others):
        happens(f"p{n}")
    again = happens("first")
    assert again is not None
    assert (again.patch is not None) == remembered


@virtual
async def test_writes_of_one_event_never_overtake_each_other(desk: Desk) -> None:
    desk.sink.hang = asyncio.Event()
    desk.say()
    await asyncio.sleep(5)
    desk.say()
    await asyncio.sleep(5)
    assert [verb for verb, _ in desk.sink.calls] == ["create"]
    desk.sink.hang.set()
    await asyncio.sleep(1)
    assert [verb for verb, _ in desk.sink.calls] == ["create", "patch"]


@virtual
async def test_stop_flushes_and_later_calls_do_nothing(desk: Desk) -> None:  # RT-EV-09
    for n in range(20):
        desk.say(obj=pod(f"p{n}"))
    await asyncio.wait_for(desk.broadcaster.stop(), 0.5)
    assert len(desk.sink.events) == 20
    desk.say(obj=pod("late"))
    await asyncio.sleep(5)
    assert len(desk.sink.events) == 20
    assert desk.drops == []


@virtual
@pytest.mark.parametrize(("budget", "seconds"), [(100.0, 2.0), (0.5, 0.5), (0.0, 0.0)])
async def test_a_flush_takes_two_seconds_or_what_is_left(desk: Desk, budget: float, seconds: float) -> None:
    # RT-EV-09
    desk.sink.hang = asyncio.Event()
    desk.say()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await desk.broadcaster.stop(budget)
    assert loop.time() - began == pytest.approx(seconds, abs=0.01)
    assert desk.drops == ["stopped"]


@virtual
async def test_every_event_is_logged_at_debug(desk: Desk) -> None:  # RT-EV-08
    with capture_logs() as lines:
        desk.say("hi", "Why")
    assert [(line["log_level"], line["reason"], line["message"]) for line in lines] == [("debug", "Why", "hi")]


# ---- correlator ----


class Bench:
    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.correlator = Correlator(clock)
        self.names = 0

    def see(self, message: str, reason: str = "R", name: str = "p", type_: str = "Normal") -> Sending | None:
        self.names += 1
        event = {
            "metadata": {"name": f"{name}.{self.names}", "namespace": "ns", "annotations": {"a": "b"}},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": name, "uid": name},
            "source": {"component": "c"},
            "reportingComponent": "c",
            "reportingInstance": "",
            "type": type_,
            "reason": reason,
            "message": message,
            "firstTimestamp": str(self.clock.time),
            "lastTimestamp": str(self.clock.time),
            "count": 1,
        }
        return self.correlator.correlate(event)


@pytest.fixture
def bench(manual_clock: Any) -> Bench:
    return Bench(manual_clock)


def test_the_tenth_different_message_is_combined_and_the_next_patch_it(bench: Bench) -> None:  # RT-EV-04
    sent = [bench.see(f"m{n}") for n in range(9)]
    assert all(s is not None and s.patch is None for s in sent)
    assert [s.event["message"] for s in sent if s] == [f"m{n}" for n in range(9)]
    tenth = bench.see("m9")
    assert tenth is not None
    assert tenth.patch is None
    assert tenth.event["message"] == f"{AGGREGATE_PREFIX}m9"
    assert "annotations" not in tenth.event["metadata"]
    assert tenth.event["count"] == 1
    assert tenth.event["reportingComponent"] == "c"
    bench.clock.time += 600
    eleventh = bench.see("m10")
    assert eleventh is not None
    assert eleventh.event["metadata"]["name"] == tenth.event["metadata"]["name"]
    assert eleventh.patch == {"count": 2, "lastTimestamp": "600.0", "message": f"{AGGREGATE_PREFIX}m10"}


def test_the_nine_remembered_messages_keep_their_own_events(bench: Bench) -> None:  # RT-EV-04
    for n in range(9):
        bench.see(f"m{n}")
    bench.clock.time += 599
    bench.see("m9")
    again = bench.see("m3")
    assert again is not None
    assert again.patch is not None
    assert again.event["message"] == "m3"


@pytest.mark.parametrize(("quiet", "combined"), [(600.0, True), (601.0, False)])
def test_the_set_is_forgotten_after_ten_quiet_minutes(bench: Bench, quiet: float, combined: bool) -> None:  # RT-EV-04
    for n in range(9):
        bench.see(f"m{n}")
    bench.clock.time += quiet
    sending = bench.see("new")
    assert sending is not None
    assert sending.event["message"].startswith(AGGREGATE_PREFIX) == combined


def test_the_window_slides_with_every_event(bench: Bench) -> None:  # RT-EV-04
    for n in range(9):
        bench.see(f"m{n}")
        bench.clock.time += 500
    sending = bench.see("m9")
    assert sending is not None
    assert sending.event["message"].startswith(AGGREGATE_PREFIX)


def test_a_chatty_reason_does_not_hide_another(bench: Bench) -> None:  # RT-EV-03
    sent = [bench.see(f"{n}", "Chatty") for n in range(40)]
    assert sum(s is not None for s in sent) == 10
    assert bench.see("important", "Rare") is not None


def test_all_reasons_together_have_a_budget_too(bench: Bench) -> None:  # RT-EV-03
    sent = [bench.see("m", f"R{n}") for n in range(80)]
    assert sum(s is not None for s in sent) == 50
    assert bench.see("m", "R", name="another object") is not None
    assert bench.see("m", "R", type_="Warning") is not None


def test_a_token_returns_every_five_minutes(bench: Bench) -> None:  # RT-EV-03
    for n in range(10):
        bench.see(f"{n}", "R")
    assert bench.see("x", "R") is None
    bench.clock.time += 299
    assert bench.see("x", "R") is None
    bench.clock.time += 2
    assert bench.see("x", "R") is not None
    assert bench.see("y", "R") is None


def test_skipped_events_have_been_counted(bench: Bench) -> None:  # RT-EV-06
    assert bench.see("m") is not None
    for _ in range(9):
        bench.see("m")
    assert [bench.see("m") for _ in range(3)] == [None] * 3
    bench.clock.time += 301
    sending = bench.see("m")
    assert sending is not None
    assert sending.patch is not None
    assert sending.patch["count"] == 14


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 200.0, 700.0]), st.integers(0, 30), st.sampled_from("ABCDEFG")),
        max_size=300,
    )
)
def test_writes_stay_within_burst_and_refill(steps: list[tuple[float, int, str]]) -> None:  # RT-EV-03
    class Clock:
        time = 0.0

        def monotonic(self) -> float:
            return self.time

    clock = Clock()
    bench = Bench(clock)
    writes: dict[str, int] = {}
    for wait, message, reason in steps:
        clock.time += wait
        if bench.see(f"m{message}", reason) is not None:
            writes[reason] = writes.get(reason, 0) + 1
        assert sum(writes.values()) <= 50 + clock.time / 300
        assert all(n <= 10 + clock.time / 300 for n in writes.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_equal_events_give_one_object_with_the_right_count(messages: list[int]) -> None:  # RT-EV-05
    class Clock:
        time = 0.0

        def monotonic(self) -> float:
            return self.time

    clock = Clock()
    bench = Bench(clock)
    counts: dict[str, int] = {}
    names: Callable[[Sending], str] = lambda s: s.event["metadata"]["name"]  # noqa: E731
    for message in messages:
        clock.time += 301
        sending = bench.see(f"m{message}")
        assert sending is not None
        counts[names(sending)] = sending.event["count"]
    assert sorted(counts.values()) == sorted(messages.count(m) for m in set(messages))
