"""The collector and the caches."""

import gc
from collections.abc import Iterator

import pytest

from rbgctl.runtime.garbage import collector_paused, unfreeze


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As it was before."""
    yield
    gc.unfreeze()
    gc.enable()


class Collections:
    """Counts what the collector does."""

    def __init__(self) -> None:
        self.generations: list[int] = []

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self.generations.append(info["generation"])


@pytest.fixture
def collections() -> Iterator[Collections]:
    counter = Collections()
    gc.callbacks.append(counter)
    yield counter
    gc.callbacks.remove(counter)


def test_nothing_is_collected_while_caches_fill_and_everything_once_afterwards(collections: Collections) -> None:
    """RT-MM-06."""
    with collector_paused():
        kept = [[i] for i in range(20_000)]
        assert collections.generations == []
    assert collections.generations == [2]
    assert gc.get_freeze_count() >= len(kept)
    assert gc.isenabled()


def test_collections_visit_it_again_after_the_end() -> None:
    with collector_paused():
        pass
    unfreeze()
    assert gc.get_freeze_count() == 0


def test_a_failed_sync_switches_it_on_again() -> None:
    with pytest.raises(TimeoutError), collector_paused():
        raise TimeoutError
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_collector_that_is_off_is_somebody_elses() -> None:
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == 0
