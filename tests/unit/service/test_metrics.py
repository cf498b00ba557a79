"""Metrics and the status server: counts, labels and serving."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from consumers.router.routing import Routed
from consumers.service.instruments import Histogram, Spec
from consumers.service.metrics import SPECS, DeliveryMetrics, RoleMetrics, RouterMetrics
from consumers.service.status_server import StatusServer
from schemas.catalog.errors import InvalidInput, Unavailable
from schemas.catalog.reasons import CANCELLED, DEAD_JOBS, DEAD_RECORDS, DEFERRED
from schemas.catalog.statuses import STATUSES, status_name
from schemas.records.delivery import UNKNOWN_OFFSET, Job, Outcome, State

KNOWN = {"zenoo": ["case.created", "case.closed"]}
EVENTS_TOTAL = "signpost_router_events_total"


def outcome(
    state: State = "delivered",
    sender: str = "zenoo",
    event_type: str = "case.created",
    attempt: int = 1,
    response: int | str = 200,
    *,
    first_offset: int = UNKNOWN_OFFSET,
) -> Outcome:
    """Return an outcome of an attempt that began 250 ms after its event was appended and took 20 ms."""
    source = ("topic", 0, 0, 1_000)
    place = (0, 0, 0, 0, attempt, 0, first_offset)
    job = Job("job-1", "sub_1", *place, sender, event_type, "evt_1", "acme", *source, b"")
    reason = "" if state == "delivered" else "exhausted"
    status, error = (response, None) if isinstance(response, int) else (None, response)
    return Outcome(job, state, reason, status, error, "example.org", 1_250, 20_000, None, b"", False, 0, 0)


def samples(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the values of a scrape by name and labels."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(metrics: RoleMetrics, name: str, **labels: str) -> float:
    """Return one value of a scrape."""
    return samples(metrics.registry)[name, frozenset(labels.items())]


def test_attempt_is_counted_once_with_duration_and_latency() -> None:
    """An attempt adds to attempts, to durations and, if it is the first, to the latency since its event."""
    metrics = DeliveryMetrics(KNOWN)
    metrics.on_outcome(outcome())
    metrics.on_outcome(outcome("retry", attempt=2))
    labels = {"sender": "zenoo", "event_type": "case.created"}
    assert value(metrics, "signpost_delivery_attempts_total", **labels, result="delivered") == 1
    assert value(metrics, "signpost_delivery_attempts_total", **labels, result="retry") == 1
    assert value(metrics, "signpost_delivery_attempt_duration_seconds_sum", sender="zenoo") == pytest.approx(0.04)
    first = {"sender": "zenoo", "limited": "no"}
    assert value(metrics, "signpost_delivery_first_attempt_latency_seconds_count", **first) == 1
    assert value(metrics, "signpost_delivery_first_attempt_latency_seconds_sum", **first) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("limited", "first_offset", "label"),
    [(False, UNKNOWN_OFFSET, "no"), (True, UNKNOWN_OFFSET, "yes"), (False, 17, "yes"), (True, 17, "yes")],
)
def test_first_attempt_of_a_limited_job_is_counted_apart(limited: bool, first_offset: int, label: str) -> None:
    """A job that waited for its endpoint, or was deferred and so has an earlier record, is no delay of the pipeline."""
    metrics = DeliveryMetrics(KNOWN)
    metrics.on_outcome(outcome(first_offset=first_offset), limited)
    name = "signpost_delivery_first_attempt_latency_seconds_count"
    found = {labels: count for (found, labels), count in samples(metrics.registry).items() if found == name}
    assert found == {frozenset({("sender", "zenoo"), ("limited", label)}): 1}


def test_dead_jobs_count_as_attempts_and_cancelled_ones_do_not() -> None:
    """The last attempt of a job counts as an attempt and a dead job; a cancelled job counts as no attempt."""
    metrics = DeliveryMetrics(KNOWN)
    metrics.on_outcome(outcome("dead", attempt=6))
    metrics.on_outcome(outcome("cancelled"))
    found = samples(metrics.registry)
    assert sum(v for (name, _), v in found.items() if name == "signpost_delivery_attempts_total") == 1
    assert value(metrics, "signpost_dead_jobs_total", reason="exhausted") == 1
    assert sum(v for (name, _), v in found.items() if name == "signpost_delivery_cancelled_total") == 1


@pytest.mark.parametrize(
    ("response", "metric", "label"),
    [
        (429, "rejected", "429"),
        (410, "rejected", "410"),
        (302, "rejected", "3xx"),
        (418, "rejected", "4xx"),
        (599, "rejected", "5xx"),
        (999, "rejected", "other"),
        ("tls_expired", "transport_errors", "tls_expired"),
    ],
)
def test_failed_attempt_is_counted_by_status_or_error(response: int | str, metric: str, label: str) -> None:
    """Each status and each transport error of a failed attempt counts under one name of a closed list."""
    metrics = DeliveryMetrics(KNOWN)
    before = samples(metrics.registry)
    metrics.on_outcome(outcome("retry", response=response))
    names = ("signpost_delivery_rejected_total", "signpost_delivery_transport_errors_total")
    counted = {key: v for key, v in samples(metrics.registry).items() if key[0] in names and v}
    [((name, labels), count)] = counted.items()
    assert (name, {*dict(labels).values()}, count) == (f"signpost_delivery_{metric}_total", {label}, 1)
    assert (name, labels) in before


def test_every_status_has_a_name() -> None:
    """Each failed status below 1000 counts under a name that is described."""
    assert {status_name(status) for status in (*range(200), *range(300, 1_000))} == set(STATUSES)


EVENTS = st.builds(
    Routed,
    st.sampled_from(["zenoo", "unknown"]),
    st.sampled_from(["case.created", "case.closed", "unknown"]),
    st.just(iter(())),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(-1_000, 100_000_000),
)


@given(st.lists(EVENTS, max_size=20))
def test_batch_of_events_counts_as_its_events_one_by_one(events: list[Routed]) -> None:
    """A batch with events of several senders and types counts each one under its own labels."""
    batch, single = RouterMetrics(KNOWN), RouterMetrics(KNOWN)
    batch.on_routed(events)
    for event in events:
        single.on_routed([event])
    counted = {key: number for key, number in samples(batch.registry).items() if key[0].startswith("signpost_")}
    expected = {key: number for key, number in samples(single.registry).items() if key[0].startswith("signpost_")}
    assert counted == pytest.approx(expected)
    assert sum(number for (name, _), number in counted.items() if name == EVENTS_TOTAL) == len(events)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_unknown_event_types_create_no_time_series(types: list[tuple[str, str]]) -> None:
    """Event types of no loaded sender count as `other`."""
    router, delivery = RouterMetrics(KNOWN), DeliveryMetrics(KNOWN)
    for sender, event_type in types:
        router.on_routed([Routed(sender, event_type, iter(()), count=1, withheld=0)])
        delivery.on_outcome(outcome(sender=sender, event_type=event_type))
    allowed = {*KNOWN["zenoo"], "other"}
    for registry in (router.registry, delivery.registry):
        for _, labels in samples(registry):
            assert dict(labels).get("event_type", "other") in allowed
            assert dict(labels).get("sender", "other") in {"zenoo", "other"}


def test_series_start_at_zero() -> None:
    """Each label value has a series from the start, so that its first event is visible as an increase."""
    router, delivery = RouterMetrics(KNOWN), DeliveryMetrics(KNOWN)
    assert value(router, "signpost_router_events_total", sender="zenoo", event_type="case.closed") == 0
    for name, reasons in {
        "signpost_delivery_deferred_total": DEFERRED,
        "signpost_delivery_cancelled_total": CANCELLED,
        "signpost_dead_jobs_total": DEAD_JOBS,
        "signpost_unreadable_records_total": DEAD_RECORDS,
    }.items():
        assert {reason: value(delivery, name, reason=reason) for reason in reasons} == dict.fromkeys(reasons, 0)


def test_no_label_names_a_customer() -> None:
    """No label is a URL, an id or a customer, and every metric has a description."""
    names = [spec.name for spec in SPECS]
    assert len(names) == len(set(names))
    for spec in SPECS:
        allowed = {"sender", "event_type", "result", "reason", "delay", "topic", "table", "role", "version"}
        assert set(spec.labels) <= allowed | {
            "kind",
            "status",
            "python",
            "librdkafka",
            "compiled",
            "flavour",
            "operation",
            "effect",
            "limited",
            "event",
        }
        assert re.fullmatch(r"signpost_[a-z_]+", spec.name)
        assert spec.help.endswith(".")


@given(st.lists(st.floats(0, 20), max_size=50))
def test_histogram_counts_each_value_once(values: list[float]) -> None:
    """A histogram counts each value once, in the first bucket whose bound is not below it."""
    registry = CollectorRegistry()
    histogram = Histogram(Spec("h", "H.", (), (1.0, 5.0)), registry)
    for single in values:
        histogram.observe((), single)
    found = samples(registry)
    for bound in (1.0, 5.0, float("inf")):
        name = "+Inf" if bound == float("inf") else str(bound)
        assert found["h_bucket", frozenset({("le", name)})] == sum(v <= bound for v in values)
    assert found["h_sum", frozenset()] == pytest.approx(sum(values))


@pytest.fixture
def fetch() -> Iterator[Callable[[str, str | None], tuple[int, str]]]:
    """Return a function that requests a path while the role is ready, or not ready for a reason."""
    metrics = RouterMetrics(KNOWN)
    reason: list[str | None] = [None]
    with StatusServer("127.0.0.1:0", metrics.registry, lambda: reason[0]) as server:

        def request(path: str, why_not: str | None) -> tuple[int, str]:
            reason[0] = why_not
            response: HTTPResponse | HTTPError
            try:
                response = urlopen(server.address + path, timeout=10)
            except HTTPError as error:
                response = error
            with response:
                return response.status or 0, response.read().decode()

        yield request


def test_unready_role_reports_the_reason(fetch: Callable[[str, str | None], tuple[int, str]]) -> None:
    """/readyz is 503 with the reason, while /healthz stays 200: the role waits and is not broken."""
    assert fetch("/readyz", None) == (200, "ok\n")
    assert fetch("/readyz", "no broker responds") == (503, "no broker responds\n")
    assert fetch("/healthz", "no broker responds") == (200, "ok\n")


def test_unknown_path_is_not_found(fetch: Callable[[str, str | None], tuple[int, str]]) -> None:
    """/metrics is in the format of Prometheus; an unknown path is a 404."""
    status, text = fetch("/metrics", None)
    assert status == 200
    assert "signpost_build_info{" in text
    assert fetch("/", None)[0] == 404


def test_address_in_use_is_reported() -> None:
    """A second server on the same port gives an error that names the setting to change."""
    registry = RouterMetrics(KNOWN).registry
    with StatusServer("127.0.0.1:0", registry, lambda: None) as first:
        taken = first.address.removeprefix("http://")
        with pytest.raises(Unavailable, match=f"cannot listen on {taken}: .*router_listen"):
            StatusServer(taken, registry, lambda: None)
    with pytest.raises(InvalidInput, match="host:port"):
        StatusServer("9464", registry, lambda: None)
