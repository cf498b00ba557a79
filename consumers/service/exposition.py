"""The text of /metrics: OpenMetrics with exemplars for a scraper that asks for it, else the text format of Prometheus.

Rendering takes milliseconds of Python, in which the role's thread cannot run. So only one text is rendered at a time,
and the renderer pauses after each metric: the role's thread waits for one metric at most, not for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client import exposition as prometheus_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
# `time.sleep(0)` would not do: this thread could take the interpreter's lock again before another one wakes.
_PAUSE_S: Final = 0.0005
_OPENMETRICS_TYPE: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = frozenset({"", "1.0.0"})
_TEXT_VERSIONS: Final = frozenset({"", "0.0.4"})


def _pause() -> None:
    time.sleep(_PAUSE_S)


class Exposition:
    """Renders the metrics of a registry, for any number of threads."""

    def __init__(self, registry: CollectorRegistry, pause: Callable[[], None] = _pause) -> None:
        self._metrics = _Paced(registry, pause)
        self._rendering = Lock()

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return content type and body for the value of the header Accept; empty: there is none."""
        content_type = negotiate(accept)
        generate = openmetrics.generate_latest if content_type == OPENMETRICS else prometheus_text.generate_latest
        with self._rendering:
            return content_type, generate(self._metrics)


class _Paced(Collector):
    """The metrics of a registry, with a pause after each."""

    def __init__(self, registry: CollectorRegistry, pause: Callable[[], None]) -> None:
        self._registry = registry
        self._pause = pause

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self._registry.collect():
            yield metric
            self._pause()


class _MediaRange(NamedTuple):
    type: str
    version: str
    quality: float


def negotiate(accept: str) -> str:
    """Return the content type for the value of a header Accept (RFC 9110, section 12.5.1).

    OpenMetrics has to be named: a browser accepts everything, and gets text. A scraper that accepts neither format gets
    text as well, because no answer would be worse.
    """
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
    """Return a media range. A quality that is no number from 0 to 1 counts as 0: the range is not used."""
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
