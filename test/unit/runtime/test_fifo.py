"""The ordered queue between reflector and store, against a model."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.fifo import Delta, DeltaType, OrderedFifo
from rbgctl.runtime.store import Entry, Header, Indexer, Tombstone

NAMES = st.sampled_from("abcd")


def entry(name: str, rv: int) -> Entry:
    header = Header("ns", name, f"uid-{name}", str(rv), labels=(("l", name),))
    return Entry(header, b"{}")


@dataclass
class Told:
    """What handlers would have heard of one key."""

    present: bool = False
    deletions: int = 0
    versions: list[int] = field(default_factory=list)


class FifoMachine(RuleBasedStateMachine):
    """RT-QF-02, RT-QF-03, RT-QF-07: draining always ends at the last server state."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Indexer({"label": lambda h: [h.label("l")]})
        self.fifo = OrderedFifo(self.store)
        self.server: dict[str, int] = {}
        self.rv = 0
        self.told: dict[str, Told] = {}

    @rule(name=NAMES)
    def change(self, name: str) -> None:
        self.rv += 1
        kind = DeltaType.UPDATED if name in self.server else DeltaType.ADDED
        self.server[name] = self.rv
        self.fifo.add(kind, entry(name, self.rv))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if self.server.pop(name, None) is not None:
            self.rv += 1
            self.fifo.add(DeltaType.DELETED, entry(name, self.rv))

    @rule(gone=st.sets(NAMES), new=st.sets(NAMES))
    def relist_after_missed_events(self, gone: set[str], new: set[str]) -> None:
        self.rv += 1
        for name in gone:
            self.server.pop(name, None)
        for name in new:
            self.server[name] = self.rv
        self.fifo.replace([entry(n, v) for n, v in self.server.items()], str(self.rv))

    @rule(count=st.integers(1, 5))
    def pop(self, count: int) -> None:
        for _ in range(min(count, len(self.fifo))):
            self.fifo.pop(self.apply)

    @rule()
    def drain(self) -> None:
        while len(self.fifo):
            self.fifo.pop(self.apply)
        found = {k.name: int(self.store.get(k).header.rv) for k in self.store.keys()}  # type: ignore[union-attr]  # noqa: SIM118
        assert found == self.server

    def apply(self, delta: Delta) -> None:
        if delta.item is None:
            return
        key = delta.item.header.key if isinstance(delta.item, Entry) else delta.item.key
        told = self.told.setdefault(key.name, Told())
        if delta.type is DeltaType.DELETED:
            self.store.remove(key)
            assert told.present or isinstance(delta.item, Entry), "a deletion synthesised for a key never told of"
            told.present = False
        else:
            assert isinstance(delta.item, Entry)
            version = int(delta.item.header.rv)
            assert not told.versions or told.versions[-1] <= version, "events of one key were re-ordered"
            told.versions.append(version)
            told.present = True
            self.store.upsert(delta.item)

    @invariant()
    def index_is_what_a_recomputation_gives(self) -> None:
        """RT-ST-02: and no empty sets stay behind."""
        wanted: dict[str, Any] = {}
        for stored in self.store.entries():
            wanted.setdefault(stored.header.label("l"), {})[stored.header.key] = None
        assert self.store._indexes["label"] == wanted


TestFifo = FifoMachine.TestCase
TestFifo.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def drained(fifo: OrderedFifo) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def note(delta: Delta) -> None:
        if delta.item is not None:
            key = delta.item.key if isinstance(delta.item, Tombstone) else delta.item.header.key
            found.append((delta.type.value, key.name))

    while len(fifo):
        fifo.pop(note)
    return found


def test_replace_puts_deletions_of_queued_and_stored_keys_before_the_items() -> None:
    """RT-QF-03."""
    store = Indexer()
    store.upsert(entry("stored", 1))
    fifo = OrderedFifo(store)
    fifo.add(DeltaType.ADDED, entry("queued", 2))
    fifo.replace([entry("new", 3)], "3")
    assert drained(fifo) == [("Added", "queued"), ("Deleted", "queued"), ("Deleted", "stored"), ("Replaced", "new")]


def test_a_queued_deletion_is_not_doubled() -> None:
    """RT-QF-03."""
    store = Indexer()
    store.upsert(entry("a", 1))
    fifo = OrderedFifo(store)
    fifo.add(DeltaType.DELETED, entry("a", 2))
    fifo.replace([], "3")
    assert drained(fifo) == [("Deleted", "a")]


def test_synced_means_that_the_first_list_was_taken_out() -> None:
    """RT-QF-04, RT-QF-05."""
    fifo = OrderedFifo(Indexer())
    assert not fifo.has_synced
    fifo.replace([entry("a", 1), entry("b", 1)], "1")
    initial: list[bool] = []
    for _ in range(2):
        assert not fifo.has_synced
        fifo.pop(lambda d: initial.append(d.initial))
    assert fifo.has_synced
    assert initial == [True, True]
    empty = OrderedFifo(Indexer())
    empty.replace([], "1")
    assert empty.has_synced


def test_resync_skips_keys_with_something_pending() -> None:
    """RT-QF-08."""
    store = Indexer()
    store.upsert(entry("a", 1))
    store.upsert(entry("b", 1))
    fifo = OrderedFifo(store)
    fifo.add(DeltaType.UPDATED, entry("a", 2))
    fifo.resync()
    assert drained(fifo) == [("Updated", "a"), ("Sync", "b")]
    assert store.get(NN("ns", "a")) is not None


def test_a_deletion_during_the_first_list_does_not_keep_it_from_being_synced() -> None:
    """RT-QF-04: the entries of the list count, nothing that came later; with an event before it, none do."""
    fifo = OrderedFifo(Indexer())
    fifo.replace([entry("a", 1), entry("b", 1)], "1")
    fifo.add(DeltaType.DELETED, entry("a", 2))
    fifo.pop(lambda _: None)
    assert not fifo.has_synced
    fifo.pop(lambda _: None)
    assert fifo.has_synced
    before = OrderedFifo(Indexer())
    before.add(DeltaType.ADDED, entry("a", 1))
    assert before.has_synced
    before.replace([entry("a", 1)], "1")
    initial: list[bool] = []
    while len(before):
        before.pop(lambda d: initial.append(d.initial))
    assert not any(initial)
