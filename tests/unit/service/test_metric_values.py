"""Every metric of the catalog shows what it was given, by value."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final, TypeAlias

import pytest
from confluent_kafka import libversion

from consumers.router.routing import Routed
from consumers.service.compiled import is_compiled
from consumers.service.instruments import Spec
from consumers.service.metrics import SPECS, ApiMetrics, DeliveryMetrics, LedgerMetrics, RoleMetrics, RouterMetrics
from schemas.records.delivery import UNKNOWN_OFFSET, Job, Outcome, State
from tests.unit.service.test_metrics import samples

Sample: TypeAlias = tuple[str, dict[str, str]]

KNOWN: Final = {"zenoo": ["case.created"]}
SOURCE: Final = ("t", 0, 0, 1_000)
TYPE: Final = {"sender": "zenoo", "event_type": "case.created"}
ZENOO: Final = {"sender": "zenoo"}
LIST: Final = {"flavour": "diligent", "operation": "list"}
BUILD: Final = {
    "version": version("kafka-signpost"),
    "python": platform.python_version(),
    "librdkafka": libversion()[0],
    "compiled": "yes" if is_compiled() else "no",
}


def outcome(
    state: State, reason: str = "", *, attempt: int = 1, status: int | None = None, error: str | None = None
) -> Outcome:
    """Return an outcome of an attempt that began 250 ms after its event arrived and took 20 ms."""
    job = Job(
        "job-1", "sub_1", 0, 0, 0, 0, attempt, 0, UNKNOWN_OFFSET, "zenoo", "case.created", "evt_1", "acme", *SOURCE, b""
    )
    return Outcome(job, state, reason, status, error, "example.org", 1_250, 20_000, None, b"", False, 0, 0)


def common(metrics: RoleMetrics) -> None:
    """Set the metrics that all roles have."""
    metrics.set_role_start(1_800_000_000.5)
    metrics.set_waiting_for_broker(True)
    metrics.set_unread_age({"gone": 1.0})
    metrics.set_unread_age({"events": 47.5})
    metrics.set_table_staleness(0.125)
    metrics.set_lag({"gone": 1})
    metrics.set_lag({"events": 41, "other": 42})
    metrics.set_retention({"gone": 1.0})
    metrics.set_retention({"events": 86_400.0})
    metrics.set_table(43, 44)
    metrics.on_unreadable("truncated", 45)
    metrics.on_spans("exported", 46)
    metrics.on_spans("dropped", 47)


def router() -> RouterMetrics:
    """Return the router's metrics after every method was called."""
    metrics = RouterMetrics(KNOWN)
    common(metrics)
    first = Routed("zenoo", "case.created", iter(()), count=3, withheld=2, age_ms=4_000)
    second = Routed("zenoo", "case.created", iter(()), count=4, withheld=0, age_ms=2_000)
    metrics.on_routed([first, second])
    metrics.on_truncated(5)
    metrics.set_waiting_for_registry(True)
    metrics.set_paused_partitions("schema_registry", 46)
    metrics.set_uncommitted(6)
    metrics.on_commit(0.5)
    metrics.on_commit(0.25)
    return metrics


def delivery() -> DeliveryMetrics:
    """Return the metrics of delivery after every method was called."""
    metrics = DeliveryMetrics(KNOWN, max_in_flight=512)
    common(metrics)
    metrics.on_outcome(outcome("delivered", status=200))
    metrics.on_outcome(outcome("delivered", status=200, attempt=2))
    metrics.on_outcome(outcome("retry", "503", status=503), True)
    metrics.on_outcome(outcome("dead", "exhausted", error="refused"))
    metrics.on_outcome(outcome("dead", "unknown_subscription"))
    metrics.on_outcome(outcome("cancelled", "paused"))
    metrics.on_deferred("host_limit", 7)
    metrics.set_admission({"rate_limit": 8, "host_limit": 0}, {"circuit_open": 9, "retry_after": 10}, 11)
    metrics.set_disabled(12)
    metrics.on_truncated(13)
    metrics.set_jobs_waiting({"24h": 1})
    metrics.set_jobs_waiting({"5m": 14})
    metrics.set_oldest_due({"24h": 1.0})
    metrics.set_oldest_due({"5m": 15.5})
    metrics.set_unread_due({"24h": 1.0})
    metrics.set_unread_due({"5m": 15.25})
    metrics.set_in_flight(16, 17)
    metrics.set_uncommitted(18)
    metrics.on_transaction("committed", 0.5)
    metrics.on_transaction("aborted", 0.25)
    metrics.set_lines_omitted(3)
    metrics.set_lines_omitted(19)
    return metrics


def ledger() -> LedgerMetrics:
    """Return the ledger's metrics after every method was called."""
    metrics = LedgerMetrics()
    common(metrics)
    metrics.set_waiting_for_database(True)
    metrics.on_batch(7, 0.5)
    metrics.on_batch(8, 0.25)
    metrics.set_lag_seconds(3.5)
    metrics.set_prepared(2.5)
    metrics.on_truncated(9)
    return metrics


def api() -> ApiMetrics:
    """Return the API's metrics after every method was called."""
    metrics = ApiMetrics()
    common(metrics)
    metrics.on_request("diligent", "list", 200, 0.5)
    metrics.on_request("diligent", "list", 204, 0.25)
    metrics.on_request("diligent", "list", 404, 0.25)
    metrics.on_write("created")
    metrics.set_lines_omitted(48)
    return metrics


COMMON: Final[list[tuple[Sample, float]]] = [
    (("signpost_role_start_time_seconds", {}), 1_800_000_000.5),
    (("signpost_waiting_for_broker", {}), 1),
    (("signpost_unread_age_seconds", {"topic": "events"}), 47.5),
    (("signpost_table_staleness_seconds", {"table": "subscriptions"}), 0.125),
    (("signpost_consumer_lag_records", {"topic": "events"}), 41),
    (("signpost_consumer_lag_records", {"topic": "other"}), 42),
    (("signpost_topic_retention_seconds", {"topic": "events"}), 86_400),
    (("signpost_table_entries", {"table": "subscriptions"}), 43),
    (("signpost_table_unusable_records", {"table": "subscriptions"}), 44),
    (("signpost_unreadable_records_total", {"reason": "truncated"}), 45),
    (("signpost_trace_spans_total", {"result": "exported"}), 46),
    (("signpost_trace_spans_total", {"result": "dropped"}), 47),
]
ROUTER: Final[list[tuple[Sample, float]]] = [
    (("signpost_build_info", {"role": "router", **BUILD}), 1),
    *COMMON,
    (("signpost_router_events_total", TYPE), 2),
    (("signpost_router_jobs_total", TYPE), 7),
    (("signpost_router_withheld_total", {}), 2),
    (("signpost_router_event_age_seconds_sum", ZENOO), 6),
    (("signpost_router_event_age_seconds_count", ZENOO), 2),
    (("signpost_router_truncated_records_total", {}), 5),
    (("signpost_router_waiting_for_registry", {}), 1),
    (("signpost_router_paused_partitions", {"reason": "schema_registry"}), 46),
    (("signpost_router_uncommitted_jobs", {}), 6),
    (("signpost_router_commit_duration_seconds_sum", {}), 0.75),
    (("signpost_router_commit_duration_seconds_count", {}), 2),
]
LEDGER: Final[list[tuple[Sample, float]]] = [
    (("signpost_build_info", {"role": "ledger", **BUILD}), 1),
    *COMMON,
    (("signpost_ledger_waiting_for_database", {}), 1),
    (("signpost_ledger_outcomes_total", {}), 15),
    (("signpost_ledger_batch_duration_seconds_sum", {}), 0.75),
    (("signpost_ledger_batch_duration_seconds_count", {}), 2),
    (("signpost_ledger_lag_seconds", {}), 3.5),
    (("signpost_ledger_prepared_seconds", {}), 2.5),
    (("signpost_ledger_truncated_records_total", {}), 9),
]
API: Final[list[tuple[Sample, float]]] = [
    (("signpost_build_info", {"role": "api", **BUILD}), 1),
    *COMMON,
    (("signpost_api_requests_total", {**LIST, "status": "2xx"}), 2),
    (("signpost_api_requests_total", {**LIST, "status": "4xx"}), 1),
    (("signpost_api_request_duration_seconds_sum", LIST), 1),
    (("signpost_api_request_duration_seconds_count", LIST), 3),
    (("signpost_api_writes_total", {"effect": "created"}), 1),
    (("signpost_log_lines_omitted_total", {"event": "api.requested"}), 48),
]
DELIVERY: Final[list[tuple[Sample, float]]] = [
    (("signpost_build_info", {"role": "deliver", **BUILD}), 1),
    *COMMON,
    (("signpost_delivery_in_flight_limit", {}), 512),
    (("signpost_delivery_attempts_total", {**TYPE, "result": "delivered"}), 2),
    (("signpost_delivery_attempts_total", {**TYPE, "result": "retry"}), 1),
    (("signpost_delivery_attempts_total", {**TYPE, "result": "dead"}), 1),
    (("signpost_dead_jobs_total", {"reason": "exhausted"}), 1),
    (("signpost_dead_jobs_total", {"reason": "unknown_subscription"}), 1),
    (("signpost_delivery_transport_errors_total", {"kind": "refused"}), 1),
    (("signpost_delivery_rejected_total", {"status": "503"}), 1),
    (("signpost_delivery_cancelled_total", {"reason": "paused"}), 1),
    (("signpost_delivery_attempt_duration_seconds_sum", ZENOO), 0.08),
    (("signpost_delivery_attempt_duration_seconds_count", ZENOO), 4),
    (("signpost_delivery_first_attempt_latency_seconds_sum", {**ZENOO, "limited": "no"}), 0.5),
    (("signpost_delivery_first_attempt_latency_seconds_count", {**ZENOO, "limited": "no"}), 2),
    (("signpost_delivery_first_attempt_latency_seconds_sum", {**ZENOO, "limited": "yes"}), 0.25),
    (("signpost_delivery_first_attempt_latency_seconds_count", {**ZENOO, "limited": "yes"}), 1),
    (("signpost_delivery_deferred_total", {"reason": "host_limit"}), 7),
    (("signpost_delivery_limited_endpoints", {"reason": "rate_limit"}), 8),
    (("signpost_delivery_open_circuits", {"reason": "circuit_open"}), 9),
    (("signpost_delivery_open_circuits", {"reason": "retry_after"}), 10),
    (("signpost_delivery_slow_requests", {}), 11),
    (("signpost_delivery_disabled_subscriptions", {}), 12),
    (("signpost_delivery_truncated_records_total", {}), 13),
    (("signpost_delivery_jobs_waiting", {"delay": "5m"}), 14),
    (("signpost_delivery_oldest_due_age_seconds", {"delay": "5m"}), 15.5),
    (("signpost_delivery_unread_due_age_seconds", {"delay": "5m"}), 15.25),
    (("signpost_delivery_in_flight_requests", {}), 16),
    (("signpost_delivery_resolving_requests", {}), 17),
    (("signpost_delivery_uncommitted_outcomes", {}), 18),
    (("signpost_delivery_transactions_total", {"result": "committed"}), 1),
    (("signpost_delivery_transactions_total", {"result": "aborted"}), 1),
    (("signpost_delivery_transaction_duration_seconds_sum", {}), 0.75),
    (("signpost_delivery_transaction_duration_seconds_count", {}), 2),
    (("signpost_log_lines_omitted_total", {"event": "delivery.attempted"}), 19),
]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [(router, ROUTER), (delivery, DELIVERY), (ledger, LEDGER), (api, API)],
    ids=["router", "delivery", "ledger", "api"],
)
def test_values_of_a_role_are_exact(metrics: object, expected: list[tuple[Sample, float]]) -> None:
    """Each sample that is not 0 has the value that was set or counted, and there is no other."""
    assert callable(metrics)
    found = {
        key: value
        for key, value in samples(metrics().registry).items()
        if value and not key[0].startswith("process_") and not key[0].endswith("_bucket")
    }
    assert found == pytest.approx({(name, frozenset(labels.items())): value for (name, labels), value in expected})


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_each_metric_of_the_catalog_has_an_exact_value(spec: Spec) -> None:
    """A metric without a value other than 0 in the lists above could be fixed at 0."""
    suffix = "_sum" if spec.buckets else ""
    values = [value for (name, labels), value in ROUTER + DELIVERY + LEDGER + API if name == spec.name + suffix]
    assert values
    assert 0 not in values


def test_every_label_of_the_catalog_is_used() -> None:
    """The samples have the labels of their metric, in the names of the catalog."""
    labels = {spec.name: set(spec.labels) for spec in SPECS}
    for (name, given), _ in ROUTER + DELIVERY + LEDGER + API:
        base = name if name in labels else name.rpartition("_")[0]
        assert set(given) == labels[base], name
