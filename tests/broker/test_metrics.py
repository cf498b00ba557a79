"""Every metric of the roles gets values."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
from confluent_kafka import TopicPartition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from consumers.service.exposition import OPENMETRICS, TEXT
from consumers.service.metrics import SPECS
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path, fail_first
from producers.subscriptions.changes import Pause
from schemas.records.partitioner import partition_of
from schemas.records.topics import FIRST
from tests.support.api import client_of, key_of, start_api
from tests.support.pipeline import CUSTOMER, Pipeline
from tests.support.promtool import problems
from tests.support.roles import Role, RoleStarter
from tests.support.topics import produce
from tests.support.waiting import wait_until

EVENTS = 40
EVENT_TYPE = "alert.ai_research_completed"
SLOW_S = 2
PATHS = ("/well", "/failing", "/gone", "/slow", "/paused")
BEHAVIOURS = {
    "/failing": always(CannedResponse(503)),
    "/gone": always(CannedResponse(410)),
    "/slow": always(CannedResponse(delay=timedelta(seconds=SLOW_S))),
    "/paused": fail_first(1, CannedResponse(500), CannedResponse(200)),
}
# Name, labels, and the range of the value after the scenario of the test.
EXPECTED: dict[str, list[tuple[str, dict[str, str], float, float]]] = {
    "router": [
        ("signpost_router_events_total", {"sender": "zenoo", "event_type": EVENT_TYPE}, EVENTS, EVENTS),
        ("signpost_router_jobs_total", {"sender": "zenoo", "event_type": EVENT_TYPE}, EVENTS * 4, EVENTS * 4),
        ("signpost_router_withheld_total", {}, EVENTS, EVENTS),
        ("signpost_router_truncated_records_total", {}, 2, 2),
        ("signpost_router_uncommitted_jobs", {}, 0, 0),
        ("signpost_router_commit_duration_seconds_count", {}, 1, 1_000),
        ("signpost_router_commit_duration_seconds_sum", {}, 0.0001, 60),
        ("signpost_router_waiting_for_registry", {}, 0, 0),
        ("signpost_router_paused_partitions", {}, 0, 0),
        ("signpost_consumer_lag_records", {}, 0, 0),
    ],
    "deliver": [
        ("signpost_delivery_attempts_total", {"sender": "zenoo", "result": "delivered"}, EVENTS + 1, EVENTS * 2),
        ("signpost_delivery_attempts_total", {"event_type": EVENT_TYPE, "result": "retry"}, 1, EVENTS * 6),
        ("signpost_delivery_attempts_total", {"result": "dead"}, 1, 2),  # requests that were in flight together
        ("signpost_delivery_rejected_total", {"status": "410"}, 1, 2),
        ("signpost_dead_jobs_total", {"reason": "gone"}, 1, 2),
        ("signpost_delivery_cancelled_total", {"reason": "paused"}, 1, EVENTS),
        ("signpost_delivery_truncated_records_total", {}, 2, 2),
        ("signpost_delivery_deferred_total", {}, 1, EVENTS * 100),
        ("signpost_delivery_limited_endpoints", {}, 0, len(PATHS)),
        ("signpost_delivery_open_circuits", {}, 0, 0),
        ("signpost_delivery_slow_requests", {}, 0, 2),
        ("signpost_delivery_first_attempt_latency_seconds_count", {"sender": "zenoo"}, EVENTS * 2, EVENTS * 4),
        ("signpost_delivery_first_attempt_latency_seconds_sum", {"sender": "zenoo"}, 0.0001, EVENTS * 4 * 60),
        ("signpost_delivery_attempt_duration_seconds_count", {"sender": "zenoo"}, EVENTS * 2, EVENTS * 10),
        ("signpost_delivery_attempt_duration_seconds_sum", {"sender": "zenoo"}, SLOW_S, EVENTS * 10 * 30),
        ("signpost_delivery_transactions_total", {"result": "committed"}, 2, 1_000),
        ("signpost_delivery_transaction_duration_seconds_count", {}, 2, 1_000),
        ("signpost_delivery_transaction_duration_seconds_sum", {}, 0.0001, 60),
        ("signpost_delivery_uncommitted_outcomes", {}, 0, 5_000),
    ],
    "ledger": [
        ("signpost_build_info", {}, 1, 1),
        ("signpost_waiting_for_broker", {}, 0, 0),
        ("signpost_ledger_waiting_for_database", {}, 0, 0),
        ("signpost_ledger_outcomes_total", {}, EVENTS * 2, EVENTS * 10),
        ("signpost_ledger_batch_duration_seconds_count", {}, 1, 1_000),
        ("signpost_ledger_batch_duration_seconds_sum", {}, 0.0001, 60),
        ("signpost_ledger_lag_seconds", {}, 0, 60),
        ("signpost_ledger_prepared_seconds", {}, 2 * 86_400, 3 * 86_400),
        ("signpost_ledger_truncated_records_total", {}, 0, 0),
        ("signpost_consumer_lag_records", {}, 0, EVENTS * 10),
    ],
    "api": [
        ("signpost_build_info", {}, 1, 1),
        ("signpost_waiting_for_broker", {}, 0, 0),
        ("signpost_api_requests_total", {"operation": "create", "status": "2xx"}, 1, 1),
        ("signpost_api_request_duration_seconds_sum", {"operation": "create"}, 0.25, 60),
        ("signpost_api_writes_total", {"effect": "created"}, 1, 1),
    ],
    "both": [
        ("signpost_build_info", {}, 1, 1),
        ("signpost_unreadable_records_total", {"reason": "unknown_format"}, 1, 1),
        ("signpost_table_entries", {"table": "subscriptions"}, len(PATHS), len(PATHS)),
        ("signpost_table_unusable_records", {"table": "subscriptions"}, 1, 1),
        ("signpost_waiting_for_broker", {}, 0, 0),
    ],
}


def as_expected(role: Role) -> bool:
    """Return whether all metrics of a role are in their ranges."""
    expected = EXPECTED[role.name] + (EXPECTED["both"] if role.name in ("router", "deliver") else [])
    for name, labels, least, most in expected:
        found = role.metric(name, **labels)
        assert least <= found <= most, f"{name} {labels} of {role.name} is {found}, not {least} to {most}"
    return True


def names_shown(*roles: Role) -> set[str]:
    """Return the names of all metrics with samples, without the suffixes of counters and histograms."""
    texts = (role.get("/metrics")[1] for role in roles)
    families = (family for text in texts for family in text_string_to_metric_families(text) if family.samples)
    return {family.name for family in families}


def test_each_role_serves_both_formats(pipeline: Pipeline, receiver: Receiver, tmp_path: Path) -> None:
    """promtool accepts the text of each process. A scraper that asks for OpenMetrics gets it, with the same metrics."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    pipeline.subscribe(receiver.url)
    roles = [pipeline.router(), pipeline.deliver(), pipeline.ledger(url), start_api(pipeline, url)]
    pipeline.publish_some(3)
    pipeline.wait_for_ends(3)
    client = client_of(roles[3], key_of(pipeline, "onboarding").text)
    client.post("/api/v1/webhooks/", {"event_type": "all", "webhook_url": receiver.url})
    for role in roles:
        text = httpx.get(f"{role.address}/metrics", headers={"Accept": "text/plain"}, timeout=30)
        asked = httpx.get(f"{role.address}/metrics", headers={"Accept": "application/openmetrics-text"}, timeout=30)
        assert (text.headers["Content-Type"], asked.headers["Content-Type"]) == (TEXT, OPENMETRICS)
        names = {family.name for family in text_string_to_metric_families(text.text)}
        assert {family.name for family in openmetrics_families(asked.text)} == names
        assert "signpost_role_start_time_seconds" in names
        assert problems(text.content) == "", role.name


def truncated_router(pipeline: Pipeline) -> Role:
    """Start a router whose next records were deleted unread. Delivery will find the same in `jobs.0s`."""
    assert pipeline.router().terminate() == 0  # its position is committed now
    for topic in (pipeline.events_topic, pipeline.names.jobs(FIRST)):
        for number in range(2):
            produce(pipeline.bootstrap_servers, topic, b"gone %d" % number, partition=0)
        (future,) = pipeline.admin.delete_records([TopicPartition(topic, 0, 2)]).values()
        future.result(30)
    return pipeline.router()


def test_every_metric_has_a_value(
    broker: Broker,
    prefix: str,
    start_role: RoleStarter,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    """After deliveries, failures, unreadable and truncated records each metric of the list has a plausible value."""
    pipeline = Pipeline(
        broker.bootstrap_servers, prefix, start_role, delay_speedup=180, max_in_flight_per_subscription=2
    )
    receiver.behave = by_path(BEHAVIOURS, always(CannedResponse()))
    ids = pipeline.subscribe(*(f"{receiver.url.rstrip('/')}{path}" for path in PATHS))
    pipeline.write(Pause(ids[4]))
    elsewhere = (partition_of(CUSTOMER, 3) + 1) % 3  # an unreadable subscription blocks the customers of its partition
    produce(
        pipeline.bootstrap_servers, pipeline.names.subscriptions, b"nobody can read this", b"odd", partition=elsewhere
    )
    router = truncated_router(pipeline)
    produce(pipeline.bootstrap_servers, pipeline.events_topic, b"nobody can read this", partition=0)
    produce(pipeline.bootstrap_servers, f"{prefix}jobs.1m", b"nobody can read this", partition=0)
    pipeline.publish_some(EVENTS)
    # Delivery disables a subscription at 410, and the test pauses another: both only once all events have their jobs.
    wait_until(lambda: as_expected(router), what="the router counts what happened")
    deliver = pipeline.deliver()
    receiver.wait_for(2, 30, lambda received: received.path == "/slow")
    wait_until(lambda: deliver.metric("signpost_delivery_in_flight_requests") >= 1, what="requests are in flight")
    wait_until(
        lambda: deliver.metric("signpost_delivery_jobs_waiting", delay="30m") >= 1, what="a retry waits for 10 s"
    )
    assert deliver.metric("signpost_delivery_oldest_due_age_seconds", delay="0s") < 60
    pipeline.write(Pause(ids[1]))  # cancels the failing jobs at their retry

    ledger = pipeline.ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    wait_until(lambda: as_expected(deliver), what="delivery counts what happened")
    wait_until(lambda: as_expected(ledger), what="the ledger counts what happened")
    api = start_api(pipeline, f"sqlite:///{tmp_path / 'ledger.db'}")
    client = client_of(api, key_of(pipeline, "onboarding").text)
    client.post("/api/v1/webhooks/", {"event_type": "all", "webhook_url": receiver.url})
    wait_until(lambda: as_expected(api), what="the API counts what happened")
    wanted = {spec.name.removesuffix("_total") for spec in SPECS}
    assert wanted - names_shown(router, deliver, ledger, api) == set()
