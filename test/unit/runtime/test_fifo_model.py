"""Queue and store together against the server they follow: any order of events, lists, resyncs and pops."""

from dataclasses import dataclass, field
from itertools import takewhile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.fifo import Delta, DeltaType, OrderedFifo
from rbgctl.runtime.store import Entry, Header, Indexer, Tombstone

NAMES = st.sampled_from("abcde")
LABELS = st.frozensets(st.sampled_from(["x", "y", "z"]), max_size=2)
LATE = "added late"


def entry(name: str, rv: int, uid: str, labels: frozenset[str] = frozenset()) -> Entry:
    header = Header("ns", name, uid, str(rv), labels=tuple((v, v) for v in sorted(labels)))
    return Entry(header, str(rv).encode())


def by_label(header: Header) -> list[str]:
    return [value for _, value in header.labels]


def by_uid(header: Header) -> list[str]:
    return [header.uid]


@dataclass
class Told:
    """What handlers heard of one key, and what they ought to have heard once everything is popped."""

    present: bool = False
    appeared: int = 0
    deletions: int = 0
    due_deletions: int = 0
    versions: list[int] = field(default_factory=list)


class QueueAndStore(RuleBasedStateMachine):
    """RT-QF-02 to RT-QF-05, RT-QF-07, RT-QF-08, RT-ST-02, RT-ST-04 in any combination (§13.5)."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Indexer({"label": by_label, "uid": by_uid})
        self.fifo = OrderedFifo(self.store)
        self.server: dict[str, Entry] = {}
        self.rv = 0
        self.told: dict[str, Told] = {}
        self.expected: list[tuple[str, DeltaType]] = []  # in the queue, oldest first, marks left out
        self.marks = 0
        self.populated = False
        self.initial_left = 0
        self.indexes = {"label": by_label, "uid": by_uid}

    # -- what happens at the server ---------------------------------------------------------------------------

    def stamp(self) -> int:
        self.rv += 1
        return self.rv

    def event(self, kind: DeltaType, what: Entry) -> None:
        self.fifo.add(kind, what)
        self.populated = True
        self.expected.append((what.header.name, kind))

    def of(self, name: str) -> Told:
        return self.told.setdefault(name, Told())

    @initialize(starts_with_a_list=st.booleans(), names=st.sets(NAMES))
    def start(self, starts_with_a_list: bool, names: set[str]) -> None:
        if starts_with_a_list:
            self.relist(set(), names, set(), frozenset())

    @rule(name=NAMES, labels=LABELS)
    def change(self, name: str, labels: frozenset[str]) -> None:
        old = self.server.get(name)
        rv = self.stamp()
        new = self.server[name] = entry(name, rv, old.header.uid if old else f"{name}-{rv}", labels)
        self.event(DeltaType.UPDATED if old else DeltaType.ADDED, new)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if (old := self.server.pop(name, None)) is not None:
            self.event(DeltaType.DELETED, entry(name, self.stamp(), old.header.uid))
            self.of(name).due_deletions += 1

    @rule(name=NAMES)
    def delete_what_was_never_heard_of(self, name: str) -> None:
        if name not in self.server:
            self.event(DeltaType.DELETED, entry(name, self.stamp(), "stranger"))
            self.of(name).due_deletions += 1

    @rule(gone=st.sets(NAMES), new=st.sets(NAMES), replaced=st.sets(NAMES), labels=LABELS)
    def relist(self, gone: set[str], new: set[str], replaced: set[str], labels: frozenset[str]) -> None:
        """A list, after changes that no event told of: objects went, came, changed, or are others of that name."""
        before = dict(self.server)
        for name in gone:
            self.server.pop(name, None)
        for name in new | (replaced & self.server.keys()):
            rv = self.stamp()
            known = self.server.get(name)
            uid = known.header.uid if known and name not in replaced else f"{name}-{rv}"
            self.server[name] = entry(name, rv, uid, labels)
        items = list(self.server.values())
        vanished = before.keys() - self.server.keys()
        for name in vanished:
            self.of(name).due_deletions += 1
        self.fifo.replace(items, str(self.rv))
        # Which of the deletions comes first is left open; that all come before the items is not.
        self.expected += [(name, DeltaType.DELETED) for name in sorted(vanished)]
        self.expected += [(item.header.name, DeltaType.REPLACED) for item in items]
        self.marks += 1
        if not self.populated:
            self.populated, self.initial_left = True, len(items)

    @rule()
    def resync(self) -> None:
        pending = {name for name, _ in self.expected}
        self.fifo.resync()
        self.expected += [(e.header.name, DeltaType.SYNC) for e in self.store.entries() if e.header.name not in pending]

    @precondition(lambda self: self.populated)  # a watch follows a list
    @rule()
    def bookmark(self) -> None:
        self.fifo.progress(str(self.stamp()))
        self.marks += 1

    @precondition(lambda self: LATE not in self.indexes)
    @rule()
    def index_later(self) -> None:
        self.store.add_index(LATE, by_label)
        self.indexes[LATE] = by_label

    # -- what the informer does -------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def pop(self, count: int) -> None:
        for _ in range(min(count, len(self.fifo))):
            before = self.fifo.has_synced
            popped: list[Delta] = []
            self.fifo.pop(popped.append)
            self.apply(popped[0], synced=before)

    @rule()
    def drain(self) -> None:
        self.pop(1 << 20)
        assert {e.header.key.name: e for e in self.store.entries()} == self.server
        for name, told in self.told.items():
            assert told.deletions == told.due_deletions, f"{name} was told deleted {told.deletions} times"
            assert told.present == (name in self.server)

    def apply(self, delta: Delta, *, synced: bool) -> None:
        if delta.item is None:
            self.marks -= 1
            return
        self.initial_left -= self.initial_left > 0
        key = delta.item.header.key if isinstance(delta.item, Entry) else delta.item.key
        self.came_in_order(key.name, delta.type)
        told = self.of(key.name)
        if delta.type is DeltaType.DELETED:
            stored = self.store.remove(key)
            if isinstance(delta.item, Tombstone):
                assert told.present, "a deletion was made up for a key that handlers do not know"
                assert delta.item.last == stored, "the tombstone is not the last state"
            told.present = False
            told.deletions += 1
            return
        assert isinstance(delta.item, Entry)
        assert delta.initial is not synced
        version = int(delta.item.header.rv)
        assert not told.versions or told.versions[-1] <= version, "events of one key were re-ordered"
        told.versions.append(version)
        told.appeared += not told.present
        told.present = True
        self.store.upsert(delta.item)

    def came_in_order(self, name: str, kind: DeltaType) -> None:
        front = self.expected[:1]
        if kind is DeltaType.DELETED:
            front = list(takewhile(lambda e: e[1] is kind, self.expected))
        assert (name, kind) in front
        self.expected.remove((name, kind))

    # -- always -----------------------------------------------------------------------------------------------

    @invariant()
    def the_queue_is_as_long_as_it_should_be(self) -> None:
        assert len(self.fifo) == len(self.expected) + self.marks

    @invariant()
    def synced_means_that_the_first_list_was_taken_out(self) -> None:
        assert self.fifo.has_synced is (self.populated and self.initial_left == 0)

    @invariant()
    def indexes_are_what_a_recomputation_gives(self) -> None:
        """And no empty sets stay behind."""
        for name, function in self.indexes.items():
            wanted: dict[str, dict[NN, None]] = {}
            for stored in self.store.entries():
                for value in function(stored.header):
                    wanted.setdefault(value, {})[stored.header.key] = None
            assert self.store._indexes[name] == wanted
            for value, keys in wanted.items():
                assert {e.header.key for e in self.store.by_index(name, value)} == set(keys)


TestQueueAndStore = QueueAndStore.TestCase
TestQueueAndStore.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
