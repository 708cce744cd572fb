"""What is remembered of our writes, and of why keys were queued."""

from typing import Any

import pytest
from opentelemetry.trace import SpanContext, TraceFlags

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.causes import CAUSES_PER_KEY, CausedQueue, noting_causes
from rbgctl.runtime.handler import enqueue_object
from rbgctl.runtime.predicate import Event
from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.store import Entry, Header
from rbgctl.runtime.workqueue import WorkQueue
from rbgctl.runtime.write_links import GONE, WriteLinks

A = NN("ns", "a")


def span(number: int) -> SpanContext:
    return SpanContext(1, number, is_remote=False, trace_flags=TraceFlags(1))


def entry(rv: str, uid: str = "u", name: str = "a") -> Entry:
    return Entry(Header(namespace="ns", name=name, uid=uid, rv=rv), b"{")


def test_the_first_write_answered_with_a_version_made_it() -> None:  # RT-TR-05
    links = WriteLinks()
    links.wrote("u", "1", span(1))
    links.wrote("u", "1", span(2))  # changed nothing: the server answers with the version that was there
    assert links.author(("u", "1")) == span(1)
    assert links.author(("u", "2")) is None
    assert links.author(("v", "1")) is None


def test_writes_without_a_span_or_a_version_are_not_kept() -> None:
    links = WriteLinks()
    links.wrote("u", "1", None)
    links.wrote("", "1", span(1))
    links.wrote("u", "", span(1))
    assert len(links) == 0


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    links = WriteLinks(3)
    for n in range(1, 6):
        links.wrote("u", str(n), span(n))
    assert [links.author(("u", str(n))) is not None for n in range(1, 6)] == [False, False, True, True, True]


@pytest.fixture
def queue(manual_clock: Any) -> CausedQueue:
    return CausedQueue(manual_clock, ItemExponential())


HANDLE = noting_causes(enqueue_object())


async def test_a_key_knows_the_versions_that_queued_it_while_it_is_handed_out(queue: CausedQueue) -> None:  # RT-TR-05
    HANDLE(Event("create", entry("1")), queue)
    HANDLE(Event("update", entry("2"), entry("1")), queue)
    assert queue.causes(A) == []
    assert await queue.get() == (A, 0)
    HANDLE(Event("update", entry("3"), entry("2")), queue)  # for the next time
    assert queue.causes(A) == [("u", "1"), ("u", "2")]
    queue.done(A)
    assert queue.causes(A) == []
    await queue.get()
    assert queue.causes(A) == [("u", "3")]
    queue.done(A)
    queue.add(A)
    await queue.get()
    assert queue.causes(A) == []  # nobody's event


async def test_a_deletion_is_a_version_of_its_own(queue: CausedQueue) -> None:  # RT-TR-05
    HANDLE(Event("delete", entry("7")), queue)
    await queue.get()
    assert queue.causes(A) == [("u", GONE)]


@pytest.mark.parametrize(
    "event",
    [
        Event("create", entry("1"), in_initial_list=True),
        Event("update", entry("1"), entry("1")),
        Event("update", None, entry("1")),
    ],
    ids=["first list", "resync", "half an update"],
)
async def test_repeated_state_is_no_cause(queue: CausedQueue, event: Event) -> None:
    HANDLE(event, queue)
    await queue.get()
    assert queue.causes(A) == []


async def test_only_the_latest_few_causes_are_kept(queue: CausedQueue) -> None:
    for n in range(20):
        HANDLE(Event("update", entry(str(n + 1)), entry(str(n))), queue)
    await queue.get()
    assert queue.causes(A) == [("u", str(n)) for n in range(21 - CAUSES_PER_KEY, 21)]


async def test_what_is_dropped_with_the_queue_is_forgotten(queue: CausedQueue) -> None:
    HANDLE(Event("create", entry("1")), queue)
    queue.shut_down()
    HANDLE(Event("create", entry("2", name="b")), queue)
    assert not queue._causes


async def test_an_ordinary_queue_takes_the_keys_too(manual_clock: Any) -> None:
    queue: WorkQueue[NN] = WorkQueue(manual_clock, ItemExponential())
    HANDLE(Event("create", entry("1")), queue)
    assert await queue.get() == (A, 0)
