"""The ordered queue between reflector and store; against a model in test_fifo_model.py."""

from rbgctl.machinery.gvk import NN
from rbgctl.runtime.fifo import Delta, DeltaType, OrderedFifo
from rbgctl.runtime.store import Entry, Header, Indexer, Tombstone


def entry(name: str, rv: int) -> Entry:
    header = Header("ns", name, f"uid-{name}", str(rv), labels=(("l", name),))
    return Entry(header, b"{}")


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
