"""Counters, gauges and histograms for a hot loop: the role's thread writes them, the thread of /metrics reads them.

prometheus_client's own instruments take a lock for each value, which costs too much per delivery. These are dicts and
lists. A reader copies them in one C call, which no other thread interrupts. The sum of a histogram may lack the values
of the microsecond of the copy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spec:
    """Name, description and labels of a metric; the name ends with the unit, as Prometheus recommends."""

    name: str
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = field(default=(), repr=False)


class Counter(Collector):
    """Counts by labels. The `known` values of a single label start with 0: a rate needs a series that begins with 0."""

    def __init__(self, spec: Spec, registry: CollectorRegistry, known: Iterable[str] = ()) -> None:
        self._spec = spec
        self._counts: dict[Labels, float] = {(label,): 0 for label in known} if spec.labels else {(): 0}
        registry.register(self)

    def add(self, labels: Labels, count: float = 1) -> None:
        """Add to the count of these label values, given in the order of the spec."""
        counts = self._counts
        counts[labels] = counts.get(labels, 0) + count

    def collect(self) -> Iterator[Metric]:
        """Yield the counts."""
        family = CounterMetricFamily(self._spec.name, self._spec.help, labels=self._spec.labels)
        for labels, count in self._counts.copy().items():
            family.add_metric(labels, count)
        yield family


class Gauge(Collector):
    """The last value by labels."""

    def __init__(self, spec: Spec, registry: CollectorRegistry) -> None:
        self._spec = spec
        self._values: dict[Labels, float] = {} if spec.labels else {(): 0}
        registry.register(self)

    def set(self, labels: Labels, value: float) -> None:
        """Set the value of these labels."""
        self._values[labels] = value

    def replace(self, values: Mapping[str, float]) -> None:
        """Set all values by their single label. Labels without a value are no longer shown."""
        self._values = {(label,): value for label, value in values.items()}

    def collect(self) -> Iterator[Metric]:
        """Yield the last values."""
        family = GaugeMetricFamily(self._spec.name, self._spec.help, labels=self._spec.labels)
        for labels, value in self._values.copy().items():
            family.add_metric(labels, value)
        yield family


class Histogram(Collector):
    """Distributions by labels; the upper bounds of the buckets are those of the spec, and infinity."""

    def __init__(self, spec: Spec, registry: CollectorRegistry) -> None:
        self._spec = spec
        self._bounds: Final = spec.buckets
        self._bound_names = [*(str(float(bound)) for bound in spec.buckets), "+Inf"]
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}
        if not spec.labels:
            self._new_series(())
        registry.register(self)

    def observe(self, labels: Labels, value: float) -> None:
        """Add a value."""
        counts, total = self._series.get(labels) or self._new_series(labels)
        counts[bisect_left(self._bounds, value)] += 1
        total[0] += value

    def observe_all(self, labels: Labels, values: Sequence[float]) -> None:
        """Add values. Cheaper than one by one."""
        counts, total = self._series.get(labels) or self._new_series(labels)
        bounds = self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        total[0] += sum(values)

    def _new_series(self, labels: Labels) -> tuple[list[int], list[float]]:
        return self._series.setdefault(labels, ([0] * (len(self._bounds) + 1), [0.0]))

    def collect(self) -> Iterator[Metric]:
        """Yield the buckets as cumulative counts, as Prometheus requires."""
        family = HistogramMetricFamily(self._spec.name, self._spec.help, labels=self._spec.labels)
        for labels, (counts, total) in self._series.copy().items():
            below = 0
            buckets: list[tuple[str, float]] = []
            for name, count in zip(self._bound_names, counts.copy(), strict=True):
                below += count
                buckets.append((name, float(below)))
            family.add_metric(labels, buckets, total[0])
        yield family
