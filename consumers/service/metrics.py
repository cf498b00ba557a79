"""Metrics of the roles: a closed list. No label is a URL, an id or a customer.

Senders and event types come from topics. They are labels only if a loaded sender knows them, else `other`, so that
events cannot increase the number of time series. All methods are cheap enough to call for each record. One thread calls
them.

`on_…` counts an event, `set_…` sets a gauge.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import version
from typing import Final, Literal, Protocol, TypeAlias

from confluent_kafka import libversion
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from consumers.service.compiled import is_compiled
from consumers.service.instruments import Counter, Gauge, Histogram, Labels, Spec
from schemas.catalog import reasons
from schemas.catalog.failures import OUTCOME_KINDS
from schemas.catalog.statuses import STATUSES, status_name
from schemas.records.delivery import Outcome

OTHER: Final = "other"
Result: TypeAlias = Literal["delivered", "retry", "dead"]
RESULTS: Final[tuple[Result, ...]] = ("delivered", "retry", "dead")
SpanResult: TypeAlias = Literal["exported", "failed", "dropped"]
SPAN_RESULTS: Final[tuple[SpanResult, ...]] = ("exported", "failed", "dropped")

_QUICK: Final[tuple[float, ...]] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SLOW: Final = (*_QUICK, 20.0, 30.0)
# Up to a lag that is an incident, not a latency.
_LAGGING: Final = (*_QUICK, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_AGES: Final[tuple[float, ...]] = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0, 604_800.0)
# An event from 1970 would outweigh the ages of all others in the sum.
_MAX_AGE_MS: Final = 30 * 86_400_000

_BUILD: Final = ("role", "version", "python", "librdkafka", "compiled")
BUILD_INFO: Final = Spec(
    "signpost_build_info", "Versions, and whether hot modules are compiled to C; always 1.", _BUILD
)
WAITING_FOR_BROKER: Final = Spec(
    "signpost_waiting_for_broker", "1 while the brokers do not respond, acknowledge or commit, else 0."
)
CONSUMER_LAG: Final = Spec(
    "signpost_consumer_lag_records",
    "Unread records in the partitions of this process, counted every 5 s.",
    ("topic",),
)
TABLE_ENTRIES: Final = Spec("signpost_table_entries", "Entries of the table of a compacted topic.", ("table",))
TABLE_UNUSABLE: Final = Spec(
    "signpost_table_unusable_records",
    "Unusable records of the table, until they are written again or deleted.",
    ("table",),
)
UNREADABLE: Final = Spec(
    "signpost_unreadable_records_total", "Unreadable records, which became dead letters.", ("reason",)
)
SPANS: Final = Spec(
    "signpost_trace_spans_total",
    "Spans of traces: exported, failed (the collector did not take them), or dropped (the queue was full).",
    ("result",),
)
DEAD: Final = Spec("signpost_dead_jobs_total", "Jobs that ended without a delivery.", ("reason",))

EVENTS_ROUTED: Final = Spec("signpost_router_events_total", "Events routed.", ("sender", "event_type"))
JOBS_CREATED: Final = Spec("signpost_router_jobs_total", "Jobs created.", ("sender", "event_type"))
JOBS_WITHHELD: Final = Spec(
    "signpost_router_withheld_total", "Matches without a job: the subscription is paused or disabled."
)
EVENT_AGE: Final = Spec(
    "signpost_router_event_age_seconds",
    "From `created_at` of an event, as its producer set it, to its routing: 0 if in the future, at most 30 days.",
    ("sender",),
    _AGES,
)
ROUTER_TRUNCATED: Final = Spec(
    "signpost_router_truncated_records_total", "Records of sources that retention deleted before they were read."
)
DELAY_TOPICS_TRUNCATED: Final = Spec(
    "signpost_delivery_truncated_records_total", "Records of delay topics that retention deleted before they were read."
)
WAITING_FOR_REGISTRY: Final = Spec(
    "signpost_router_waiting_for_registry",
    "1 while an event waits for its schema because the registry does not return it, else 0.",
)
PAUSED_PARTITIONS: Final = Spec(
    "signpost_router_paused_partitions",
    "Partitions paused before a record that waits: for a readable subscription, or for its schema.",
    ("reason",),
)
ROUTER_UNCOMMITTED: Final = Spec("signpost_router_uncommitted_jobs", "Jobs created since the last commit.")
ROUTER_COMMIT: Final = Spec(
    "signpost_router_commit_duration_seconds", "From the start of a flush to the end of its commit.", (), _QUICK
)

ATTEMPTS: Final = Spec("signpost_delivery_attempts_total", "Attempts.", ("sender", "event_type", "result"))
TRANSPORT_ERRORS: Final = Spec(
    "signpost_delivery_transport_errors_total", "Attempts without a response, by kind of transport error.", ("kind",)
)
REJECTED: Final = Spec(
    "signpost_delivery_rejected_total", "Attempts with a response other than 2xx, by status.", ("status",)
)
CANCELLED: Final = Spec("signpost_delivery_cancelled_total", "Jobs cancelled before an attempt.", ("reason",))
DEFERRED: Final = Spec("signpost_delivery_deferred_total", "Jobs deferred without an attempt.", ("reason",))
LIMITED: Final = Spec(
    "signpost_delivery_limited_endpoints",
    "Endpoints with jobs that wait in memory, by the limit they wait for.",
    ("reason",),
)
OPEN_CIRCUITS: Final = Spec(
    "signpost_delivery_open_circuits",
    "Endpoints whose circuit breaker is open or half-open.",
    ("reason",),
)
DISABLED: Final = Spec(
    "signpost_delivery_disabled_subscriptions",
    "Subscriptions disabled because their endpoint is gone or failed for days.",
)
SLOW_REQUESTS: Final = Spec(
    "signpost_delivery_slow_requests",
    "In-flight requests counted against the slow quota: overdue, to slow endpoints, or first contact.",
)
ATTEMPT_DURATION: Final = Spec(
    "signpost_delivery_attempt_duration_seconds",
    "From the start of an attempt to the end of the response headers, or to the transport error.",
    ("sender",),
    _SLOW,
)
FIRST_ATTEMPT: Final = Spec(
    "signpost_delivery_first_attempt_latency_seconds",
    "From the append of the event to the start of its first attempt. "
    "From the router's read of it if its topic keeps the timestamps of producers.",
    ("sender",),
    _LAGGING,
)
JOBS_WAITING: Final = Spec(
    "signpost_delivery_jobs_waiting", "Jobs that wait in a delay topic: unread, or read and unfinished.", ("delay",)
)
OLDEST_DUE: Final = Spec(
    "signpost_delivery_oldest_due_age_seconds", "Time since the oldest due job became due.", ("delay",)
)
IN_FLIGHT: Final = Spec("signpost_delivery_in_flight_requests", "Requests in flight.")
MAX_IN_FLIGHT: Final = Spec(
    "signpost_delivery_in_flight_limit", "Maximum number of requests in flight (max_in_flight)."
)
RESOLVING: Final = Spec("signpost_delivery_resolving_requests", "Requests that wait for DNS.")
DELIVERY_UNCOMMITTED: Final = Spec("signpost_delivery_uncommitted_outcomes", "Outcomes since the last commit.")
TRANSACTIONS: Final = Spec("signpost_delivery_transactions_total", "Transactions.", ("result",))
TRANSACTION_DURATION: Final = Spec(
    "signpost_delivery_transaction_duration_seconds", "From the first call of a transaction to the last.", (), _QUICK
)

WAITING_FOR_DATABASE: Final = Spec(
    "signpost_ledger_waiting_for_database", "1 while the database of the ledger does not respond, else 0."
)
LEDGER_OUTCOMES: Final = Spec("signpost_ledger_outcomes_total", "Outcomes written into the database.")
LEDGER_BATCH: Final = Spec(
    "signpost_ledger_batch_duration_seconds", "From the lookup of a batch's deliveries to its commit.", (), _QUICK
)
LEDGER_LAG: Final = Spec(
    "signpost_ledger_lag_seconds",
    "Age of the oldest outcome that was read and is not in the database; 0 if there is none.",
)
LEDGER_DAYS_AHEAD: Final = Spec(
    "signpost_ledger_days_ahead", "Days for which the tables are prepared, from now on; at 0 nothing can be written."
)
LEDGER_TRUNCATED: Final = Spec(
    "signpost_ledger_truncated_records_total", "Records that retention deleted before the ledger read them."
)
API_REQUESTS: Final = Spec(
    "signpost_api_requests_total",
    "Answered requests, by API, operation and class of the status (2xx, 4xx, 5xx).",
    ("flavour", "operation", "status"),
)
API_DURATION: Final = Spec(
    "signpost_api_request_duration_seconds",
    "From the headers of a request to its answer.",
    ("flavour", "operation"),
    _QUICK,
)
API_WRITES: Final = Spec("signpost_api_writes_total", "Changes of subscriptions, by their effect.", ("effect",))


class RoleMetrics:
    """Metrics of all roles; `known` are the event types of each loaded sender."""

    def __init__(self, role: str, known: Mapping[str, Collection[str]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._known: dict[tuple[str, str], Labels] = {
            (sender, event_type): (sender, event_type) for sender in known for event_type in known[sender]
        }
        self._senders = frozenset(known)
        build = Gauge(BUILD_INFO, self.registry)
        compiled = "yes" if is_compiled() else "no"
        build.set((role, version("kafka-signpost"), platform.python_version(), libversion()[0], compiled), 1)
        self._waiting_for_broker = Gauge(WAITING_FOR_BROKER, self.registry)
        self._lag = Gauge(CONSUMER_LAG, self.registry)
        self._entries = Gauge(TABLE_ENTRIES, self.registry)
        self._unusable = Gauge(TABLE_UNUSABLE, self.registry)
        self._unreadable = Counter(UNREADABLE, self.registry, reasons.DEAD_RECORDS)
        self._spans = Counter(SPANS, self.registry, SPAN_RESULTS)

    def set_waiting_for_broker(self, waiting: bool) -> None:
        """Set whether no broker responds."""
        self._waiting_for_broker.set((), waiting)

    def set_lag(self, records: Mapping[str, int]) -> None:
        """Set the numbers of unread records in the own partitions, by topic. Other topics have no value."""
        self._lag.replace(records)

    def set_table(self, entries: int, unusable: int, name: str = "subscriptions") -> None:
        """Set the number of entries and of unusable records of a table."""
        self._entries.set((name,), entries)
        self._unusable.set((name,), unusable)

    def on_unreadable(self, reason: str, count: int = 1) -> None:
        """Count unreadable records."""
        self._unreadable.add((reason,), count)

    def on_spans(self, result: SpanResult, count: int) -> None:
        """Count spans of traces.

        The thread of the role calls this for dropped spans, that of the export for the others: each has values of its
        own.
        """
        self._spans.add((result,), count)

    def _event_labels(self, sender: str, event_type: str) -> Labels:
        """Return the labels of an event, with `other` for unknown values."""
        return self._known.get((sender, event_type)) or (self._sender_label(sender), OTHER)

    def _sender_label(self, sender: str) -> str:
        return sender if sender in self._senders else OTHER


class RoutedEvent(Protocol):
    """A routed event, as the router counts it."""

    sender: str
    event_type: str
    count: int  # of its jobs
    withheld: int  # matches without a job: their subscription is paused or disabled
    age_ms: int


class RouterMetrics(RoleMetrics):
    """Metrics of the router."""

    def __init__(self, known: Mapping[str, Collection[str]]) -> None:
        super().__init__("router", known)
        self._events = Counter(EVENTS_ROUTED, self.registry)
        self._jobs = Counter(JOBS_CREATED, self.registry)
        self._withheld = Counter(JOBS_WITHHELD, self.registry)
        self._ages = Histogram(EVENT_AGE, self.registry)
        self._truncated = Counter(ROUTER_TRUNCATED, self.registry)
        self._waiting_for_registry = Gauge(WAITING_FOR_REGISTRY, self.registry)
        self._paused_partitions = Gauge(PAUSED_PARTITIONS, self.registry)
        self._uncommitted = Gauge(ROUTER_UNCOMMITTED, self.registry)
        self._commits = Histogram(ROUTER_COMMIT, self.registry)
        for labels in self._known:  # a rate needs a series that begins with 0
            self._events.add(labels, 0)
            self._jobs.add(labels, 0)
        for reason in reasons.PAUSED:
            self.set_paused_partitions(reason, 0)

    def on_routed(self, events: Iterable[RoutedEvent]) -> None:
        """Count a batch of events, their ages, their jobs, and the matches without a job."""
        by_type: dict[tuple[str, str], list[RoutedEvent]] = {}
        for event in events:
            by_type.setdefault((event.sender, event.event_type), []).append(event)
        for (sender, event_type), same_type in by_type.items():
            labels = self._event_labels(sender, event_type)
            self._events.add(labels, len(same_type))
            self._jobs.add(labels, sum([event.count for event in same_type]))
            self._withheld.add((), sum([event.withheld for event in same_type]))
            self._ages.observe_all(labels[:1], [_bounded_age_s(event.age_ms) for event in same_type])

    def on_truncated(self, records: int) -> None:
        """Count records that retention deleted before they were read."""
        self._truncated.add((), records)

    def set_waiting_for_registry(self, waiting: bool) -> None:
        """Set whether an event waits for its schema because the registry does not return it."""
        self._waiting_for_registry.set((), waiting)

    def set_paused_partitions(self, reason: str, partitions: int) -> None:
        """Set the number of partitions that are paused before a record, for one reason."""
        self._paused_partitions.set((reason,), partitions)

    def set_uncommitted(self, jobs: int) -> None:
        """Set the number of jobs created since the last commit."""
        self._uncommitted.set((), jobs)

    def on_commit(self, seconds: float) -> None:
        """Count a commit by the duration of its flush and commit."""
        self._commits.observe((), seconds)


def _bounded_age_s(age_ms: int) -> float:
    if age_ms <= 0:
        return 0.0
    return (age_ms if age_ms < _MAX_AGE_MS else _MAX_AGE_MS) / 1_000


class DeliveryMetrics(RoleMetrics):
    """Metrics of delivery."""

    def __init__(self, known: Mapping[str, Collection[str]], max_in_flight: int = 0) -> None:
        super().__init__("deliver", known)
        Gauge(MAX_IN_FLIGHT, self.registry).set((), max_in_flight)
        self._attempts = Counter(ATTEMPTS, self.registry)
        self._dead = Counter(DEAD, self.registry, reasons.DEAD_JOBS)
        self._transport_errors = Counter(TRANSPORT_ERRORS, self.registry, OUTCOME_KINDS)
        self._rejected = Counter(REJECTED, self.registry, STATUSES)
        self._cancelled = Counter(CANCELLED, self.registry, reasons.CANCELLED)
        self._deferred = Counter(DEFERRED, self.registry, reasons.DEFERRED)
        self._truncated = Counter(DELAY_TOPICS_TRUNCATED, self.registry)
        self._durations = Histogram(ATTEMPT_DURATION, self.registry)
        self._first = Histogram(FIRST_ATTEMPT, self.registry)
        self._jobs_waiting = Gauge(JOBS_WAITING, self.registry)
        self._oldest_due = Gauge(OLDEST_DUE, self.registry)
        self._in_flight = Gauge(IN_FLIGHT, self.registry)
        self._resolving = Gauge(RESOLVING, self.registry)
        self._limited = Gauge(LIMITED, self.registry)
        self._open_circuits = Gauge(OPEN_CIRCUITS, self.registry)
        self._slow = Gauge(SLOW_REQUESTS, self.registry)
        self._disabled = Gauge(DISABLED, self.registry)
        self._uncommitted = Gauge(DELIVERY_UNCOMMITTED, self.registry)
        self._transactions = Counter(TRANSACTIONS, self.registry)
        self._transaction_duration = Histogram(TRANSACTION_DURATION, self.registry)
        for labels in self._known:  # a rate needs a series that begins with 0
            for result in RESULTS:
                self._attempts.add((*labels, result), 0)

    def on_outcome(self, outcome: Outcome) -> None:
        """Count an attempt and its result, or a job that ended without an attempt."""
        job = outcome.job
        if outcome.state == "cancelled":
            self._cancelled.add((outcome.reason,))
            return
        if outcome.state == "dead" and outcome.status is None and outcome.error is None:
            self._dead.add((outcome.reason,))  # no attempt was made
            return
        self._attempts.add((*self._event_labels(job.sender, job.event_type), outcome.state))
        if outcome.state != "delivered":
            self._on_failure(outcome)
        sender = (self._sender_label(job.sender),)
        self._durations.observe(sender, outcome.duration_us / 1_000_000)
        if job.attempt == 1 and job.run == 0:
            self._first.observe(sender, max(0, outcome.at_ms - job.appended_at_ms) / 1_000)

    def _on_failure(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._transport_errors.add((outcome.error,))
        elif outcome.status is not None:
            self._rejected.add((status_name(outcome.status),))
        if outcome.state == "dead":
            self._dead.add((outcome.reason,))

    def on_deferred(self, reason: str, count: int = 1) -> None:
        """Count jobs that were deferred without an attempt."""
        self._deferred.add((reason,), count)

    def set_admission(self, limited: Mapping[str, int], open_circuits: Mapping[str, int], slow: int) -> None:
        """Set the numbers of limited endpoints, of circuit breakers that are not closed, and of slow requests."""
        for reason, endpoints in limited.items():
            self._limited.set((reason,), endpoints)
        for reason, endpoints in open_circuits.items():
            self._open_circuits.set((reason,), endpoints)
        self._slow.set((), slow)

    def set_disabled(self, subscriptions: int) -> None:
        """Set the number of disabled subscriptions in the own partitions."""
        self._disabled.set((), subscriptions)

    def on_truncated(self, records: int) -> None:
        """Count records of delay topics that retention deleted before they were read."""
        self._truncated.add((), records)

    def set_jobs_waiting(self, jobs: Mapping[str, int]) -> None:
        """Set the numbers of waiting jobs by delay. Other delays have no value."""
        self._jobs_waiting.replace(jobs)

    def set_oldest_due(self, seconds: Mapping[str, float]) -> None:
        """Set for how long the oldest due job has been due, by delay (0: none). Other delays have no value."""
        self._oldest_due.replace(seconds)

    def set_in_flight(self, requests: int, resolving: int = 0) -> None:
        """Set the number of requests in flight, and of requests that wait for DNS."""
        self._in_flight.set((), requests)
        self._resolving.set((), resolving)

    def set_uncommitted(self, outcomes: int) -> None:
        """Set the number of outcomes since the last commit."""
        self._uncommitted.set((), outcomes)

    def on_transaction(self, result: Literal["committed", "aborted", "unknown"], seconds: float) -> None:
        """Count a transaction and the duration of its calls."""
        self._transactions.add((result,))
        self._transaction_duration.observe((), seconds)


# All metrics above, for documentation, dashboards and their tests.


class LedgerMetrics(RoleMetrics):
    """Metrics of the ledger."""

    def __init__(self) -> None:
        super().__init__("ledger", {})
        self._waiting_for_database = Gauge(WAITING_FOR_DATABASE, self.registry)
        self._outcomes = Counter(LEDGER_OUTCOMES, self.registry)
        self._batches = Histogram(LEDGER_BATCH, self.registry)
        self._lag_seconds = Gauge(LEDGER_LAG, self.registry)
        self._days_ahead = Gauge(LEDGER_DAYS_AHEAD, self.registry)
        self._truncated = Counter(LEDGER_TRUNCATED, self.registry)

    def set_waiting_for_database(self, waiting: bool) -> None:
        """Set whether the database does not respond."""
        self._waiting_for_database.set((), waiting)

    def on_batch(self, outcomes: int, seconds: float) -> None:
        """Count the outcomes of a batch that is committed, and its duration."""
        self._outcomes.add((), outcomes)
        self._batches.observe((), seconds)

    def set_days_ahead(self, days: float) -> None:
        """Set for how many days from now on the tables are prepared."""
        self._days_ahead.set((), days)

    def set_lag_seconds(self, seconds: float) -> None:
        """Set the age of the oldest outcome that was read and is not written."""
        self._lag_seconds.set((), seconds)

    def on_truncated(self, records: int) -> None:
        """Count records that retention deleted before they were read."""
        self._truncated.add((), records)


class ApiMetrics(RoleMetrics):
    """Metrics of the API."""

    def __init__(self) -> None:
        super().__init__("api", {})
        self._requests = Counter(API_REQUESTS, self.registry)
        self._durations = Histogram(API_DURATION, self.registry)
        self._writes = Counter(API_WRITES, self.registry)

    def on_request(self, flavour: str, operation: str, status: int, duration_s: float) -> None:
        """Count an answered request and its duration."""
        self._requests.add((flavour, operation, f"{status // 100}xx"))
        self._durations.observe((flavour, operation), duration_s)

    def on_write(self, effect: str) -> None:
        """Count a change of a subscription, or a refused one."""
        self._writes.add((effect,))


SPECS: Final[tuple[Spec, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Spec))
