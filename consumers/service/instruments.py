"""Counters, gauges and histograms for a hot loop: the role's thread writes them, the thread of /metrics reads them.

prometheus_client's own instruments take a lock for each value, which costs too much per delivery. These are dicts and
lists. A reader copies them in one C call, which no other thread interrupts. The sum of a histogram may lack the values
of the microsecond of the copy.

A histogram keeps the last trace id of each bucket as its exemplar, if its values come with trace ids. Only OpenMetrics
shows exemplars (exposition.py).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

Labels: TypeAlias = tuple[str, ...]
# Trace ids have 32 hexadecimal digits (W3C Trace Context). OpenMetrics allows an exemplar 128 characters of labels: a
# longer one would make every scrape fail.
_TRACE_ID_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Spec:
    """Name, description and labels of a metric; the name ends with the unit, as Prometheus recommends."""

    name: str
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = field(default=(), repr=False)

    @property
    def unit(self) -> str:
        """The unit that OpenMetrics names, or an empty string."""
        return "seconds" if self.name.endswith("_seconds") else ""


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

    def set_total(self, labels: Labels, count: float) -> None:
        """Set a count that is kept elsewhere and never decreases."""
        self._counts[labels] = count

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
        spec = self._spec
        family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels, unit=spec.unit)
        for labels, value in self._values.copy().items():
            family.add_metric(labels, value)
        yield family


class Histogram(Collector):
    """Distributions by labels; the upper bounds of the buckets are those of the spec, and infinity.

    `now_s` is Unix time, for exemplars.
    """

    def __init__(self, spec: Spec, registry: CollectorRegistry, now_s: Callable[[], float] = time.time) -> None:
        self._spec = spec
        self._now_s = now_s
        self._bounds: Final = spec.buckets
        self._bound_names = [*(str(float(bound)) for bound in spec.buckets), "+Inf"]
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}
        self._exemplars: dict[Labels, dict[int, Exemplar]] = {}  # by number of the bucket
        if not spec.labels:
            self._new_series(())
        registry.register(self)

    def observe(self, labels: Labels, value: float, trace_id: str | None = None) -> None:
        """Add a value. `trace_id` is that of the trace to which the value belongs."""
        counts, total = self._series.get(labels) or self._new_series(labels)
        bucket = bisect_left(self._bounds, value)
        counts[bucket] += 1
        total[0] += value
        if trace_id is not None and _is_trace_id(trace_id):
            exemplar = Exemplar({"trace_id": trace_id}, value, self._now_s())
            self._exemplars.setdefault(labels, {})[bucket] = exemplar

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
        spec = self._spec
        family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels, unit=spec.unit)
        for labels, (counts, total) in self._series.copy().items():
            exemplars = self._exemplars.get(labels, _NO_EXEMPLARS).copy()
            below = 0
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for number, (name, count) in enumerate(zip(self._bound_names, counts.copy(), strict=True)):
                below += count
                if (exemplar := exemplars.get(number)) is None:
                    buckets.append((name, float(below)))
                else:
                    buckets.append((name, float(below), exemplar))
            family.add_metric(labels, buckets, total[0])
        yield family


_NO_EXEMPLARS: Final[dict[int, Exemplar]] = {}


def _is_trace_id(text: str) -> bool:
    """Whether a text from outside may be shown as a trace id."""
    return len(text) == _TRACE_ID_LENGTH and text.isascii() and text.isalnum()
