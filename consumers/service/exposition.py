"""The text of /metrics: OpenMetrics with exemplars for a scraper that asks for it, else the text format of Prometheus.

The writers of prometheus_client check and escape every name and label of every sample at each scrape. That takes
several times as long as the rest of a scrape, and blocks the thread of the role. This module escapes the names and
labels of a series once and keeps the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS_TYPE: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = frozenset({"", "1.0.0"})
_TEXT_VERSIONS: Final = frozenset({"", "0.0.4"})
# Prometheus sends less than 500 characters. Megabytes of media ranges would take the interpreter from the role for
# seconds.
_MAX_ACCEPT: Final = 4_096
_number: Callable[[float], str] = floatToGoString


class Exposition:
    """Renders the counters, gauges and histograms of a registry, for any number of threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._rendering = Lock()
        self._series: dict[tuple[str, ...], str] = {}  # by name of the sample and values of its labels

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return content type and body for the value of the header Accept; empty if there is no header.

        One text is rendered at a time, so concurrent scrapes take no more of the interpreter than one.
        """
        content_type = negotiate(accept)
        is_openmetrics = content_type == OPENMETRICS
        with self._rendering:
            lines = [line for metric in self._registry.collect() for line in self._lines(metric, is_openmetrics)]
        if is_openmetrics:
            lines.append("# EOF\n")
        return content_type, "".join(lines).encode()

    def _lines(self, metric: Metric, is_openmetrics: bool) -> Iterator[str]:
        name, text = metric.name, _escaped(metric.documentation)
        if is_openmetrics:
            text = text.replace('"', r"\"")
        elif metric.type == "counter":
            name += "_total"
        yield f"# HELP {name} {text}\n# TYPE {name} {metric.type}\n"
        if is_openmetrics and metric.unit:
            yield f"# UNIT {name} {metric.unit}\n"
        known = self._series
        for sample in metric.samples:
            key = (sample.name, *sample.labels.values())
            series = known.get(key)
            if series is None:
                series = known[key] = _series(sample)
            exemplar = _exemplar(sample.exemplar) if is_openmetrics and sample.exemplar is not None else ""
            yield f"{series} {_number(sample.value)}{exemplar}\n"


def _series(sample: Sample) -> str:
    """Return name and labels of a sample."""
    labels = ",".join(f'{name}="{_quoted(value)}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else sample.name


def _exemplar(exemplar: Exemplar) -> str:
    labels = ",".join(f'{name}="{_quoted(value)}"' for name, value in sorted(exemplar.labels.items()))
    return f" # {{{labels}}} {_number(exemplar.value)} {exemplar.timestamp}"


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', r"\"")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


class _MediaRange(NamedTuple):
    type: str
    version: str
    quality: float


def negotiate(accept: str) -> str:
    """Return the content type for the value of a header Accept (RFC 9110, section 12.5.1).

    Only a client that names OpenMetrics gets it: a browser accepts everything, and gets text. A scraper that accepts
    neither format gets text as well. A value of over 4,096 characters is not read, and gets text.
    """
    if len(accept) > _MAX_ACCEPT:
        return TEXT
    ranges = [_media_range(item) for item in accept.split(",")]
    asked = [one.quality for one in ranges if one.type == _OPENMETRICS_TYPE and one.version in _OPENMETRICS_VERSIONS]
    best = max(asked, default=0.0)
    return OPENMETRICS if best > 0 and best >= _quality_of_text(ranges) else TEXT


def _quality_of_text(ranges: list[_MediaRange]) -> float:
    """Return the quality of text/plain. The most specific range decides."""
    for type_ in ("text/plain", "text/*", "*/*"):
        found = [one.quality for one in ranges if one.type == type_ and one.version in _TEXT_VERSIONS]
        if found:
            return max(found)
    return 0.0


def _media_range(item: str) -> _MediaRange:
    """Return a media range. A quality that is not a number from 0 to 1 counts as 0: the range is not used."""
    type_, *parameters = (part.strip() for part in item.split(";"))
    version, quality = "", 1.0
    for parameter in parameters:
        name, _, value = (part.strip() for part in parameter.partition("="))
        if name.lower() == "version":
            version = value.strip('"')
        elif name.lower() == "q":
            quality = _quality(value)
    return _MediaRange(type_.lower(), version, quality)


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
