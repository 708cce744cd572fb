"""Plain numbers show as the library's own metrics would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from rbgctl.runtime.series import DistributionFamily, NumberFamily

BOUNDS = (0.001, 0.5, 1.0, 25)
NAMES = st.sampled_from(["a", 'quoted "b"', "c\\d\n"])


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.tuples(NAMES, st.sampled_from([0.0, 0.0005, 0.001, 0.3, 0.5, 0.51, 1.0, 25.0, 25.5, 1e9]))))
def test_the_exposition_is_that_of_the_library(observed: list[tuple[str, float]]) -> None:
    """A value on a bound belongs to that bucket."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("h_seconds", "A text.", ["name"], buckets=BOUNDS, registry=theirs)
    counter = Counter("c_total", "More text.", ["name", "kind"], registry=theirs)
    gauge = Gauge("g", "Yet more.", ["name"], registry=theirs)
    distribution = DistributionFamily("h_seconds", "A text.", ["name"], ours, bounds=BOUNDS)
    count = NumberFamily("c_total", "More text.", ["name", "kind"], ours)
    level = NumberFamily("g", "Yet more.", ["name"], ours)
    for name, value in observed:
        for measured in (histogram, distribution):
            measured.labels(name).observe(value)
        for counted in (counter, count):
            counted.labels(name, "k").inc()
        for shown in (gauge, level):
            shown.labels(name).set(value)
            shown.labels(name).inc(2)
            shown.labels(name).dec()
    assert lines(ours) == lines(theirs)


def test_a_name_can_be_taken_once_and_has_all_its_labels() -> None:
    registry = CollectorRegistry()
    family = NumberFamily("c_total", "", ["a", "b"], registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("c", "", registry=registry)
    with pytest.raises(ValueError, match="c_total has the labels a, b"):
        family.labels("only one")
    assert family.labels("x", "y") is family.labels("x", "y")
