"""The formats of /metrics: which one a scraper gets, how it is written, and exemplars."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Final

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import exposition as prometheus_text
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from prometheus_client.registry import Collector

from consumers.service.exposition import OPENMETRICS, TEXT, Exposition, negotiate
from consumers.service.instruments import Counter, Gauge, Histogram, Spec
from consumers.service.metrics import DeliveryMetrics, RoleMetrics
from consumers.service.status_server import StatusServer
from tests.support.promtool import problems
from tests.unit.service.test_metric_values import api, delivery, ledger, outcome, router

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
ROLES: Final[list[Callable[[], RoleMetrics]]] = [router, delivery, ledger, api]
PROMETHEUS_2: Final = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3: Final = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
# Characters that UTF-8 can encode.
LABEL: Final = st.characters(codec="utf-8")
PROTOBUF: Final = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


def without_process(text: bytes) -> list[str]:
    """Return the lines of a text without those of the process, whose values change."""
    return [line for line in text.decode().splitlines() if not line.startswith("process_")]


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2,
        PROMETHEUS_3,
        f"{PROTOBUF};q=0.6,{PROMETHEUS_3}",
        "application/openmetrics-text",
        "Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8",
        'application/openmetrics-text; version="1.0.0"',
        "text/plain, application/openmetrics-text",
        "*/*, application/openmetrics-text",
        "text/plain; q=0.9, application/openmetrics-text; q=1",
        "text/*;q=0.3,application/openmetrics-text;q=0.3",
        "text/plain;q=0, application/openmetrics-text;q=0.001",
    ],
)
def test_scraper_that_asks_for_openmetrics_gets_it(accept: str) -> None:
    """OpenMetrics is served to Prometheus and to any client that names it and does not prefer text."""
    assert negotiate(accept) == OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/plain",
        "text/plain;version=0.0.4",
        "application/*",
        PROTOBUF,
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0.5, text/plain;q=0.6",
        "application/openmetrics-text;q=0.5, text/*;q=0.6",
        "application/openmetrics-text;q=0.5, */*",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-text;q=high",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=1e9",
        "application/openmetrics-textual",
        ",;,q=1;;,=",
        "application/openmetrics-text," + "," * 4_096,
    ],
)
def test_others_get_the_text_format(accept: str) -> None:
    """Browsers, older scrapers, versions that are not served, and headers without sense get text."""
    assert negotiate(accept) == TEXT


@given(st.text(max_size=200))
def test_any_header_has_an_answer(accept: str) -> None:
    """No value of the header Accept is an error."""
    assert negotiate(accept) in {OPENMETRICS, TEXT}


@pytest.mark.parametrize("role", ROLES)
def test_both_formats_have_the_same_samples(role: Callable[[], RoleMetrics]) -> None:
    """Strict parsers read both formats, and find the same series and values."""
    exposition = Exposition(role().registry)
    (text_type, text), (open_type, openmetrics) = exposition.render(""), exposition.render(PROMETHEUS_2)
    assert (text_type, open_type) == (TEXT, OPENMETRICS)
    assert openmetrics.endswith(b"# EOF\n")
    found = [
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if not sample.name.startswith("process_")
        }
        for families in (text_families(text.decode()), openmetrics_families(openmetrics.decode()))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("role", ROLES)
def test_metrics_of_a_role_pass_promtool(role: Callable[[], RoleMetrics]) -> None:
    """Every metric, with a value, follows the conventions of Prometheus: base units, suffixes, descriptions."""
    text = Exposition(role().registry).render("")[1]
    assert problems(text) == ""


def test_promtool_finds_a_metric_against_the_conventions() -> None:
    """The check can fail: a duration in days is a problem."""
    registry = CollectorRegistry()
    Gauge(Spec("signpost_days", "Days."), registry)
    assert "base unit" in problems(Exposition(registry).render("")[1])


def test_exemplar_is_the_last_trace_of_its_bucket() -> None:
    """Each bucket shows its last trace id with value and time, in OpenMetrics only; others show none."""
    registry = CollectorRegistry()
    histogram = Histogram(Spec("h_seconds", "H.", ("sender",), (1.0, 5.0)), registry, now_s=lambda: 1_800_000_000.25)
    histogram.observe(("zenoo",), 0.5, "f" * 32)
    histogram.observe(("zenoo",), 0.75, TRACE)
    histogram.observe(("zenoo",), 0.25)
    histogram.observe(("zenoo",), 2.0)
    histogram.observe(("other",), 0.5)
    exposition = Exposition(registry)
    families = openmetrics_families(exposition.render("application/openmetrics-text")[1].decode())
    found = {
        (sample.labels["sender"], sample.labels.get("le")): sample.exemplar
        for family in families
        for sample in family.samples
        if sample.exemplar is not None
    }
    ((place, exemplar),) = found.items()
    assert place == ("zenoo", "1.0")
    assert (exemplar.labels, exemplar.value) == ({"trace_id": TRACE}, 0.75)
    assert float(exemplar.timestamp or 0) == 1_800_000_000.25
    assert TRACE not in exposition.render("")[1].decode()


@pytest.mark.parametrize("trace_id", ["", "f" * 31, "f" * 33, "f" * 200, 'f"}' + "f" * 29, "\ud800" * 32, "é" * 32])
def test_text_that_is_no_trace_id_does_not_break_the_scrape(trace_id: str) -> None:
    """Trace ids come from events: one that OpenMetrics cannot show is left out, and the value counts."""
    registry = CollectorRegistry()
    Histogram(Spec("h_seconds", "H.", (), (1.0,)), registry).observe((), 0.5, trace_id)
    text = Exposition(registry).render("application/openmetrics-text")[1].decode()
    samples = [sample for family in openmetrics_families(text) for sample in family.samples]
    assert [sample.exemplar for sample in samples] == [None] * len(samples)
    assert {sample.value for sample in samples if sample.name == "h_seconds_count"} == {1}


def test_attempt_of_a_trace_is_an_exemplar_of_both_durations() -> None:
    """The trace of an attempt is found from its duration, and from the time to the first attempt."""
    metrics = DeliveryMetrics({"zenoo": ["case.created"]})
    metrics.on_outcome(outcome("delivered", status=200), False, TRACE)
    text = Exposition(metrics.registry).render(PROMETHEUS_2)[1].decode()
    lines = [line for line in text.splitlines() if TRACE in line]
    assert [line.partition("{")[0] for line in lines] == [
        "signpost_delivery_attempt_duration_seconds_bucket",
        "signpost_delivery_first_attempt_latency_seconds_bucket",
    ]
    assert all(re.search(rf' # {{trace_id="{TRACE}"}} [0-9.]+ [0-9.]+$', line) for line in lines)


@pytest.mark.parametrize("role", ROLES)
def test_text_is_that_of_the_library(role: Callable[[], RoleMetrics]) -> None:
    """Both formats are, byte by byte, what the writers of prometheus_client write."""
    registry = role().registry
    exposition = Exposition(registry)
    for _ in range(2):  # the second text uses what the first one has kept
        assert without_process(exposition.render("")[1]) == without_process(prometheus_text.generate_latest(registry))
        found = exposition.render("application/openmetrics-text")[1]
        assert without_process(found) == without_process(openmetrics_text.generate_latest(registry))


@given(st.dictionaries(st.text(LABEL), st.floats(), max_size=5), st.floats(), st.text(LABEL))
def test_any_label_and_value_is_written_as_by_the_library(
    values: dict[str, float], observed: float, help_text: str
) -> None:
    """Quotes, backslashes, line feeds and any float have the form of both formats."""
    registry = CollectorRegistry()
    gauge = Gauge(Spec("g", help_text, ("topic",)), registry)
    gauge.replace(values)
    Counter(Spec("c_total", help_text, ("reason",)), registry, values).add(("other",), 3)
    histogram = Histogram(Spec("h_seconds", help_text, ("sender",), (0.005, 1.0)), registry)
    for label in values:
        histogram.observe((label,), observed, TRACE)
    exposition = Exposition(registry)
    assert exposition.render("")[1] == prometheus_text.generate_latest(registry)
    assert exposition.render("application/openmetrics-text")[1] == openmetrics_text.generate_latest(registry)


class Handshake(Collector):
    """A collector that waits for a second scrape to begin, and reports whether it is collected meanwhile."""

    def __init__(self) -> None:
        self.other_begins = Event()
        self.other_collects = Event()
        self.scrapes = 0

    def collect(self) -> Iterator[Metric]:
        self.scrapes += 1
        if self.scrapes > 1:
            self.other_collects.set()
        else:
            assert self.other_begins.wait(30)
            assert not self.other_collects.wait(0.2)  # it would collect now if nothing kept it from that
        yield GaugeMetricFamily("g", "G.", 1)


def test_scrapes_at_the_same_time_render_one_after_the_other() -> None:
    """Any number of scrapers together take no more of the interpreter than one."""
    registry, handshake = CollectorRegistry(), Handshake()
    registry.register(handshake)
    exposition = Exposition(registry)

    def other() -> bytes:
        handshake.other_begins.set()
        return exposition.render("")[1]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(exposition.render, "")
        second = pool.submit(other)
        assert first.result(60)[1] == second.result(60)
    assert handshake.scrapes == 2


def test_status_server_negotiates_the_format() -> None:
    """/metrics has the content type of its body, for GET and HEAD, and for several Accept headers."""
    with StatusServer("127.0.0.1:0", router().registry, lambda: None) as status, httpx.Client(timeout=30) as client:
        url = f"{status.address}/metrics"
        text = client.get(url, headers={"Accept": "*/*"})
        asked = client.get(url, headers={"Accept": PROMETHEUS_2})
        several = client.get(url, headers=[("Accept", "text/plain;q=0.1"), ("Accept", "application/openmetrics-text")])
        head = client.head(url, headers={"Accept": PROMETHEUS_3})
    assert (text.headers["Content-Type"], text.text.endswith("# EOF\n")) == (TEXT, False)
    assert [one.headers["Content-Type"] for one in (asked, several, head)] == [OPENMETRICS] * 3
    assert asked.text.endswith("# EOF\n")
    assert head.content == b""
