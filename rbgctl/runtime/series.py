"""Metrics that are counted several times per event: plain numbers, made into families when somebody scrapes.

They replace the classes of prometheus_client, whose every increment takes a lock and checks what cannot be wrong here,
where that is a good part of what an event costs (RT-AC-03). Use them from one thread, the one of the event loop.
`labels(...)` gives the series with these label values, always the same object.
"""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Number:
    """A series of a counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        self.value -= amount

    def set(self, value: float) -> None:
        self.value = value


class Distribution:
    """A series of a histogram. `bounds`: inclusive upper bounds of its buckets, ascending, without the infinite one."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """Buckets as the exposition wants them, and the sum of what was observed."""
        buckets: list[tuple[str, float]] = []
        count = 0
        for bound, more in zip((*self._bounds, float("inf")), self._counts, strict=True):
            count += more
            buckets.append((floatToGoString(bound), float(count)))  # type: ignore[no-untyped-call]
        return buckets, self._sum


S = TypeVar("S", Number, Distribution)


class _Family(Collector, Generic[S]):
    """All series of one name."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], make: Callable[[], S], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._make: Callable[[], S] = make
        self._series: dict[tuple[str, ...], S] = {}
        registry.register(self)

    def labels(self, *values: str) -> S:
        """Raises ValueError for another number of values than the family has labels."""
        found = self._series.get(values)
        if found is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}, not {len(values)}")
            found = self._series[values] = self._make()
        return found

    def describe(self) -> Iterable[Metric]:
        """The registry refuses a name that it has already."""
        return [self._empty()]

    def collect(self) -> Iterable[Metric]:
        family = self._empty()
        for values, series in list(self._series.items()):
            self._add(family, values, series)
        return [family]

    @abstractmethod
    def _empty(self) -> Metric:
        """The family without series."""

    @abstractmethod
    def _add(self, family: Metric, values: tuple[str, ...], series: S) -> None:
        """Adds the samples of one series to `family`."""


class NumberFamily(_Family[Number]):
    """A gauge, or a counter if its name ends in `_total`."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        super().__init__(name, text, labels, Number, registry)

    def _empty(self) -> CounterMetricFamily | GaugeMetricFamily:
        kind = CounterMetricFamily if self._name.endswith("_total") else GaugeMetricFamily
        return kind(self._name, self._text, labels=self._labels)

    def _add(self, family: Metric, values: tuple[str, ...], series: Number) -> None:
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)  # noqa: S101 - made by _empty
        family.add_metric(values, series.value)


class DistributionFamily(_Family[Distribution]):
    """A histogram."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry, *, bounds: Sequence[float]
    ) -> None:
        super().__init__(name, text, labels, lambda: Distribution(bounds), registry)

    def _empty(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._text, labels=self._labels)

    def _add(self, family: Metric, values: tuple[str, ...], series: Distribution) -> None:
        assert isinstance(family, HistogramMetricFamily)  # noqa: S101 - made by _empty
        buckets, total = series.cumulated()
        family.add_metric(values, buckets, total)
