"""From events to keys, and the sources that bring the events."""

import asyncio
from typing import Any

import pytest

from rbgctl.machinery.gvk import GVK, NN
from rbgctl.machinery.owner_references import OwnerRef
from rbgctl.runtime.handler import EventHandler, enqueue_mapped, enqueue_object, enqueue_owner, on_events
from rbgctl.runtime.predicate import Event, negate, resource_version_changed
from rbgctl.runtime.ratelimit import ItemExponential
from rbgctl.runtime.source import ChannelSource, InformerSource
from rbgctl.runtime.store import Entry, Header, Tombstone
from rbgctl.runtime.workqueue import PRIORITY_DEFAULT, PRIORITY_LOW, WorkQueue

BROKEN = b"{"


def entry(name: str = "a", *, rv: str = "1", owners: tuple[OwnerRef, ...] = (), namespace: str = "ns") -> Entry:
    return Entry(Header(namespace=namespace, name=name, uid=name, rv=rv, owners=owners), BROKEN)


def owner(name: str, *, api: str = "g/v1", kind: str = "K", controller: bool | None = None) -> OwnerRef:
    return OwnerRef(api_version=api, kind=kind, name=name, uid=name, controller=controller)


async def queued(manual_clock: Any, handler: EventHandler, *events: Event) -> list[tuple[NN, int]]:
    queue: WorkQueue[NN] = WorkQueue(manual_clock, ItemExponential())
    for event in events:
        handler(event, queue)
    return [await queue.get() for _ in range(len(queue))]


async def test_object_handler_takes_the_new_object(manual_clock: Any) -> None:  # RT-EH-01
    handler = enqueue_object()
    assert await queued(manual_clock, handler, Event("create", entry("a"))) == [(NN("ns", "a"), 0)]
    assert await queued(manual_clock, handler, Event("delete", entry("a"))) == [(NN("ns", "a"), 0)]
    assert await queued(manual_clock, handler, Event("update", entry("b", rv="2"), entry("a"))) == [(NN("ns", "b"), 0)]
    assert await queued(manual_clock, handler, Event("update", None, entry("a"))) == [(NN("ns", "a"), 0)]
    assert await queued(manual_clock, handler, Event("generic", None)) == []


@pytest.mark.parametrize(
    ("event", "priority"),
    [
        (Event("create", entry(), in_initial_list=True), PRIORITY_LOW),
        (Event("create", entry()), PRIORITY_DEFAULT),
        (Event("update", entry(rv="1"), entry(rv="1")), PRIORITY_LOW),
        (Event("update", entry(rv="2"), entry(rv="1")), PRIORITY_DEFAULT),
        (Event("delete", entry()), PRIORITY_DEFAULT),
    ],
)
async def test_only_repeated_state_is_low_priority(manual_clock: Any, event: Event, priority: int) -> None:
    # RT-PQ-07, RT-EH-06
    for handler in (enqueue_object(), enqueue_mapped(lambda e: [e.header.key])):
        assert await queued(manual_clock, handler, event) == [(NN("ns", "a"), priority)]


async def test_owner_is_matched_by_group_and_kind_whatever_the_version(manual_clock: Any) -> None:  # RT-EH-02
    handler = enqueue_owner("g", "K", namespaced=True, controller_only=False)
    refs = (
        owner("yes", api="g/v9"),
        owner("other-group", api="h/v1"),
        owner("core", api="v1"),
        owner("other-kind", kind="L"),
    )
    assert await queued(manual_clock, handler, Event("create", entry(owners=refs))) == [(NN("ns", "yes"), 0)]


async def test_only_the_first_controller_reference_counts_by_default(manual_clock: Any) -> None:  # RT-EH-02
    handler = enqueue_owner("g", "K", namespaced=True)
    refs = (owner("plain"), owner("first", controller=True), owner("second", controller=True))
    assert await queued(manual_clock, handler, Event("create", entry(owners=refs))) == [(NN("ns", "first"), 0)]
    foreign = (owner("x", kind="L", controller=True), owner("second", controller=True))
    assert await queued(manual_clock, handler, Event("create", entry(owners=foreign))) == []


async def test_cluster_scoped_owner_has_no_namespace(manual_clock: Any) -> None:  # RT-EH-02
    handler = enqueue_owner("g", "K", namespaced=False)
    event = Event("create", entry(owners=(owner("o", controller=True),)))
    assert await queued(manual_clock, handler, event) == [(NN("", "o"), 0)]


async def test_update_enqueues_old_and_new_owner_once_each(manual_clock: Any) -> None:  # RT-EH-02
    handler = enqueue_owner("g", "K", namespaced=True)
    old, new = entry(owners=(owner("old", controller=True),)), entry(rv="2", owners=(owner("new", controller=True),))
    assert {k.name for k, _ in await queued(manual_clock, handler, Event("update", new, old))} == {"old", "new"}
    assert len(await queued(manual_clock, handler, Event("update", new, new))) == 1


async def test_broken_reference_stops_that_object_and_keeps_earlier_matches(manual_clock: Any) -> None:  # RT-EH-02
    handler = enqueue_owner("g", "K", namespaced=True, controller_only=False)
    broken = entry(owners=(owner("before"), owner("bad", api="a/b/c"), owner("after")))
    whole = entry(rv="2", owners=(owner("other"),))
    names = {k.name for k, _ in await queued(manual_clock, handler, Event("update", whole, broken))}
    assert names == {"before", "other"}


async def test_mapping_is_asked_for_both_objects_and_keys_are_unique(manual_clock: Any) -> None:  # RT-EH-03
    asked: list[str] = []

    def mapping(e: Entry) -> list[NN]:
        asked.append(e.header.rv)
        return [NN("ns", "x"), NN("ns", "x"), NN("ns", f"rv{e.header.rv}")]

    adds: list[NN] = []

    class Spy(WorkQueue[NN]):
        def add(self, key: NN, **options: Any) -> None:
            adds.append(key)

    enqueue_mapped(mapping)(Event("update", entry(rv="2"), entry(rv="1")), Spy(manual_clock, ItemExponential()))
    assert asked == ["1", "2"]
    assert [k.name for k in adds] == ["x", "rv1", "rv2"]


async def test_one_handler_per_verb(manual_clock: Any) -> None:  # RT-EH-04
    handler = on_events(delete=enqueue_object())
    assert await queued(manual_clock, handler, Event("create", entry())) == []
    assert await queued(manual_clock, handler, Event("delete", entry())) == [(NN("ns", "a"), 0)]


# ---- sources ----


def informer_source(events: list[Event], *predicates: Any) -> InformerSource:
    source = InformerSource(None, GVK("", "v1", "Pod"), lambda event, _: events.append(event), predicates)  # type: ignore[arg-type]
    source._queue = object()  # type: ignore[assignment]
    return source


def test_informer_source_translates_what_the_informer_says() -> None:  # RT-EH-05, RT-EH-06
    events: list[Event] = []
    source = informer_source(events)
    source.on_add(entry("a"), initial=True)
    source.on_add(entry("b"), initial=False)
    source.on_update(entry(rv="1"), entry(rv="2"))
    source.on_delete(entry("c"))
    source.on_delete(Tombstone(NN("ns", "d"), entry("d")))
    source.on_delete(Tombstone(NN("ns", "never-seen"), None))
    assert [(e.verb, e.in_initial_list, e.state_unknown) for e in events] == [
        ("create", True, False),
        ("create", False, False),
        ("update", False, False),
        ("delete", False, False),
        ("delete", False, True),
    ]
    update = events[2]
    assert update.old is not None
    assert update.obj is not None
    assert (update.old.header.rv, update.obj.header.rv) == ("1", "2")


def test_a_source_says_what_it_is_a_source_of() -> None:  # RT-EH-08
    plane = GVK("example.com", "v1", "Plane")
    assert str(InformerSource(None, plane)) == "kind source: Plane.example.com"  # type: ignore[arg-type]
    assert str(InformerSource(None, GVK("", "v1", "Pod"))) == "kind source: Pod"  # type: ignore[arg-type]


def test_all_predicates_have_to_agree() -> None:  # RT-BL-04
    events: list[Event] = []
    source = informer_source(events, resource_version_changed, negate(lambda e: e.verb == "create"))
    source.on_add(entry(), initial=False)
    source.on_update(entry(rv="1"), entry(rv="1"))
    source.on_update(entry(rv="1"), entry(rv="2"))
    assert [e.verb for e in events] == ["update"]


async def test_channel_source_feeds_generic_events_until_closed(manual_clock: Any) -> None:  # RT-EH-07
    queue: WorkQueue[NN] = WorkQueue(manual_clock, ItemExponential())
    source = ChannelSource(enqueue_object(), [lambda e: e.obj is not None and e.obj.header.name != "no"], size=2)
    await source.put(entry("a"))
    await source.put(entry("no"))
    blocked = asyncio.create_task(source.put(entry("b")))
    await asyncio.sleep(0)
    assert not blocked.done()  # the buffer is full
    await source.start(queue)
    assert (await queue.get())[0] == NN("ns", "a")
    assert (await queue.get())[0] == NN("ns", "b")
    await source.close()
    with pytest.raises(RuntimeError, match="closed"):
        await source.put(entry("c"))


async def test_a_failing_handler_does_not_end_the_channel(manual_clock: Any) -> None:
    queue: WorkQueue[NN] = WorkQueue(manual_clock, ItemExponential())

    def handler(event: Event, q: WorkQueue[NN]) -> None:
        if event.key == NN("ns", "bad"):
            raise ValueError("bad")
        enqueue_object()(event, q)

    source = ChannelSource(handler)
    await source.start(queue)
    await source.put(entry("bad"))
    await source.put(entry("good"))
    assert (await queue.get())[0] == NN("ns", "good")
    source.stop()
