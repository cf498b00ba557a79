"""Metrics of the roles, by the closed list of metric_specs.py. No label is a URL, an id or a customer.

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

from consumers.service import metric_specs as specs
from consumers.service.compiled import is_compiled
from consumers.service.instruments import Counter, Gauge, Histogram, Labels
from schemas.catalog import reasons
from schemas.catalog.failures import OUTCOME_KINDS
from schemas.catalog.statuses import STATUSES, status_name
from schemas.records.delivery import UNKNOWN_OFFSET, Outcome

SPECS: Final = specs.SPECS
OTHER: Final = "other"
AttemptResult: TypeAlias = Literal["delivered", "retry", "dead"]
RESULTS: Final[tuple[AttemptResult, ...]] = ("delivered", "retry", "dead")
TransactionResult: TypeAlias = Literal["committed", "aborted", "unknown"]
TRANSACTION_RESULTS: Final[tuple[TransactionResult, ...]] = ("committed", "aborted", "unknown")
SpanResult: TypeAlias = Literal["exported", "failed", "dropped"]
SPAN_RESULTS: Final[tuple[SpanResult, ...]] = ("exported", "failed", "dropped")
SampledEvent: TypeAlias = Literal["delivery.attempted", "api.requested"]

# An event from 1970 would outweigh the ages of all others in the sum.
_MAX_AGE_MS: Final = 30 * 86_400_000


class RoleMetrics:
    """Metrics of all roles; `known` are the event types of each loaded sender."""

    def __init__(self, role: str, known: Mapping[str, Collection[str]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._known: dict[tuple[str, str], Labels] = {
            (sender, event_type): (sender, event_type) for sender in known for event_type in known[sender]
        }
        self._senders = frozenset(known)
        build = Gauge(specs.BUILD_INFO, self.registry)
        compiled = "yes" if is_compiled() else "no"
        build.set((role, version("kafka-signpost"), platform.python_version(), libversion()[0], compiled), 1)
        self._role_start = Gauge(specs.ROLE_START, self.registry)
        self._waiting_for_broker = Gauge(specs.WAITING_FOR_BROKER, self.registry)
        self._lag = Gauge(specs.CONSUMER_LAG, self.registry)
        self._unread_age = Gauge(specs.UNREAD_AGE, self.registry)
        self._retention = Gauge(specs.TOPIC_RETENTION, self.registry)
        self._entries = Gauge(specs.TABLE_ENTRIES, self.registry)
        self._unusable = Gauge(specs.TABLE_UNUSABLE, self.registry)
        self._staleness = Gauge(specs.TABLE_STALENESS, self.registry)
        self._unreadable = Counter(specs.UNREADABLE, self.registry, reasons.DEAD_RECORDS)
        self._spans = Counter(specs.SPANS, self.registry, SPAN_RESULTS)

    def set_role_start(self, unix_s: float) -> None:
        """Set when the role started in this process."""
        self._role_start.set((), unix_s)

    def set_waiting_for_broker(self, waiting: bool) -> None:
        """Set whether no broker responds."""
        self._waiting_for_broker.set((), waiting)

    def set_lag(self, records: Mapping[str, int]) -> None:
        """Set the numbers of unread records in the own partitions, by topic. Other topics have no value."""
        self._lag.replace(records)

    def set_unread_age(self, seconds: Mapping[str, float]) -> None:
        """Set the ages of the oldest unread records in the own partitions, by topic. Other topics have no value."""
        self._unread_age.replace(seconds)

    def set_retention(self, seconds: Mapping[str, float]) -> None:
        """Set the retention of topics. Other topics have no value. A thread of its own calls this."""
        self._retention.replace(seconds)

    def set_table(self, entries: int, unusable: int, name: str = "subscriptions") -> None:
        """Set the number of entries and of unusable records of a table."""
        self._entries.set((name,), entries)
        self._unusable.set((name,), unusable)

    def set_table_staleness(self, seconds: float, name: str = "subscriptions") -> None:
        """Set for how long it is unknown whether a table is complete."""
        self._staleness.set((name,), seconds)

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
        self._events = Counter(specs.EVENTS_ROUTED, self.registry)
        self._jobs = Counter(specs.JOBS_CREATED, self.registry)
        self._withheld = Counter(specs.JOBS_WITHHELD, self.registry)
        self._ages = Histogram(specs.EVENT_AGE, self.registry)
        self._truncated = Counter(specs.ROUTER_TRUNCATED, self.registry)
        self._waiting_for_registry = Gauge(specs.WAITING_FOR_REGISTRY, self.registry)
        self._paused_partitions = Gauge(specs.PAUSED_PARTITIONS, self.registry)
        self._uncommitted = Gauge(specs.ROUTER_UNCOMMITTED, self.registry)
        self._commits = Histogram(specs.ROUTER_COMMIT, self.registry)
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
        Gauge(specs.MAX_IN_FLIGHT, self.registry).set((), max_in_flight)
        self._attempts = Counter(specs.ATTEMPTS, self.registry)
        self._dead = Counter(specs.DEAD, self.registry, reasons.DEAD_JOBS)
        self._transport_errors = Counter(specs.TRANSPORT_ERRORS, self.registry, OUTCOME_KINDS)
        self._rejected = Counter(specs.REJECTED, self.registry, STATUSES)
        self._cancelled = Counter(specs.CANCELLED, self.registry, reasons.CANCELLED)
        self._deferred = Counter(specs.DEFERRED, self.registry, reasons.DEFERRED)
        self._truncated = Counter(specs.DELAY_TOPICS_TRUNCATED, self.registry)
        self._durations = Histogram(specs.ATTEMPT_DURATION, self.registry)
        self._first = Histogram(specs.FIRST_ATTEMPT, self.registry)
        # Made once: the labels of each delivery would be new tuples otherwise.
        senders = (*known, OTHER)
        self._sender_labels: dict[str, Labels] = {sender: (sender,) for sender in senders}
        self._unlimited: dict[str, Labels] = {sender: (sender, "no") for sender in senders}
        self._limited_labels: dict[str, Labels] = {sender: (sender, "yes") for sender in senders}
        self._jobs_waiting = Gauge(specs.JOBS_WAITING, self.registry)
        self._oldest_due = Gauge(specs.OLDEST_DUE, self.registry)
        self._unread_due = Gauge(specs.UNREAD_DUE, self.registry)
        self._in_flight = Gauge(specs.IN_FLIGHT, self.registry)
        self._resolving = Gauge(specs.RESOLVING, self.registry)
        self._limited = Gauge(specs.LIMITED, self.registry)
        self._open_circuits = Gauge(specs.OPEN_CIRCUITS, self.registry)
        self._slow = Gauge(specs.SLOW_REQUESTS, self.registry)
        self._disabled = Gauge(specs.DISABLED, self.registry)
        self._uncommitted = Gauge(specs.DELIVERY_UNCOMMITTED, self.registry)
        self._transactions = Counter(specs.TRANSACTIONS, self.registry, TRANSACTION_RESULTS)
        self._transaction_duration = Histogram(specs.TRANSACTION_DURATION, self.registry)
        self._lines_omitted = _counter_of_lines("delivery.attempted", self.registry)
        for labels in self._known:  # a rate needs a series that begins with 0
            for result in RESULTS:
                self._attempts.add((*labels, result), 0)

    def on_outcome(self, outcome: Outcome, limited: bool = False, trace_id: str | None = None) -> None:
        """Count an attempt and its result, or a job that ended without an attempt.

        `limited`: the job waited in memory for a limit of its endpoint or host. `trace_id` is that of the attempt.
        """
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
        sender = self._sender_label(job.sender)
        self._durations.observe(self._sender_labels[sender], outcome.duration_us / 1_000_000, trace_id)
        if job.attempt == 1 and job.run == 0:
            # A job with the offset of an earlier record was deferred.
            by_sender = self._limited_labels if limited or job.first_offset != UNKNOWN_OFFSET else self._unlimited
            self._first.observe(by_sender[sender], max(0, outcome.at_ms - job.appended_at_ms) / 1_000, trace_id)

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

    def set_unread_due(self, seconds: Mapping[str, float]) -> None:
        """Set for how long the oldest unread job has been due, by delay (0: none). Other delays have no value."""
        self._unread_due.replace(seconds)

    def set_in_flight(self, requests: int, resolving: int = 0) -> None:
        """Set the number of requests in flight, and of requests that wait for DNS."""
        self._in_flight.set((), requests)
        self._resolving.set((), resolving)

    def set_uncommitted(self, outcomes: int) -> None:
        """Set the number of outcomes since the last commit."""
        self._uncommitted.set((), outcomes)

    def on_transaction(self, result: TransactionResult, seconds: float) -> None:
        """Count a transaction and the duration of its calls."""
        self._transactions.add((result,))
        self._transaction_duration.observe((), seconds)

    def set_lines_omitted(self, lines: int) -> None:
        """Set the number of lines of delivered jobs that sampling has left out."""
        self._lines_omitted.set_total(("delivery.attempted",), lines)


def _counter_of_lines(event: SampledEvent, registry: CollectorRegistry) -> Counter:
    return Counter(specs.LINES_OMITTED, registry, (event,))


class LedgerMetrics(RoleMetrics):
    """Metrics of the ledger."""

    def __init__(self) -> None:
        super().__init__("ledger", {})
        self._waiting_for_database = Gauge(specs.WAITING_FOR_DATABASE, self.registry)
        self._outcomes = Counter(specs.LEDGER_OUTCOMES, self.registry)
        self._batches = Histogram(specs.LEDGER_BATCH, self.registry)
        self._lag_seconds = Gauge(specs.LEDGER_LAG, self.registry)
        self._prepared = Gauge(specs.LEDGER_PREPARED, self.registry)
        self._truncated = Counter(specs.LEDGER_TRUNCATED, self.registry)

    def set_waiting_for_database(self, waiting: bool) -> None:
        """Set whether the database does not respond."""
        self._waiting_for_database.set((), waiting)

    def on_batch(self, outcomes: int, seconds: float) -> None:
        """Count the outcomes of a batch that is committed, and its duration."""
        self._outcomes.add((), outcomes)
        self._batches.observe((), seconds)

    def set_prepared(self, seconds: float) -> None:
        """Set for how long from now on the tables are prepared."""
        self._prepared.set((), seconds)

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
        self._requests = Counter(specs.API_REQUESTS, self.registry)
        self._durations = Histogram(specs.API_DURATION, self.registry)
        self._writes = Counter(specs.API_WRITES, self.registry)
        self._lines_omitted = _counter_of_lines("api.requested", self.registry)

    def on_request(
        self, flavour: str, operation: str, status: int, duration_s: float, trace_id: str | None = None
    ) -> None:
        """Count an answered request and its duration."""
        self._requests.add((flavour, operation, f"{status // 100}xx"))
        self._durations.observe((flavour, operation), duration_s, trace_id)

    def set_lines_omitted(self, lines: int) -> None:
        """Set the number of lines of successful requests that sampling has left out."""
        self._lines_omitted.set_total(("api.requested",), lines)

    def on_write(self, effect: str) -> None:
        """Count a change of a subscription, or a refused one."""
        self._writes.add((effect,))
