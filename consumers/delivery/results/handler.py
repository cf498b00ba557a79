"""Ends deliveries: delivered, retried, dead, cancelled; and disables subscriptions."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import structlog

from consumers.delivery.classification import DELIVERED, Classified
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.types import ResponseOrError
from consumers.delivery.results.health import HealthChange, HealthTracker
from consumers.delivery.results.outcome_log import OutcomeLog
from consumers.delivery.results.recorder import Recorder, outcome_of, outcome_without_attempt
from consumers.delivery.results.retry_policy import Delivered, Exhausted, Gone, Retry, dispose
from consumers.delivery.task import DeliveryTask
from consumers.kafka.outgoing_record import OutgoingRecord
from consumers.service.metrics import DeliveryMetrics
from consumers.subscriptions.state import Deleted, Entry
from consumers.subscriptions.table import SubscriptionTable
from schemas.catalog.failures import OURS
from schemas.records.delivery import Job, Outcome, State
from schemas.records.health import Operation
from schemas.records.topics import TopicNames

_log = structlog.get_logger("delivery")
CancelReason: TypeAlias = Literal["deleted", "disabled", "paused", "reactivated"]
UNKNOWN_SUBSCRIPTION: Final = "unknown_subscription"


class ResultHandler:
    """Applies the rules of retry_policy.py and health.py. Returns outgoing records; does not write them.

    The caller commits the records together with the offset of the job's record. `longest_delay_ms` is the delay of the
    longest delay topic.
    """

    def __init__(
        self,
        *,
        names: TopicNames,
        subscriptions: SubscriptionTable[Endpoint],
        recorder: Recorder,
        health: HealthTracker,
        metrics: DeliveryMetrics,
        outcome_log: OutcomeLog,
        longest_delay_ms: int,
    ) -> None:
        self._subscriptions_topic = names.subscriptions
        self._subscriptions = subscriptions
        self._recorder = recorder
        self._health = health
        self._metrics = metrics
        self._outcome_log = outcome_log
        self._longest_delay_ms = longest_delay_ms

    def handle(
        self, task: DeliveryTask, response: ResponseOrError, classified: Classified, duration_us: int, now_ms: int
    ) -> list[OutgoingRecord]:
        """Return the records of an attempt: endpoint health, the next job or dead letter, the outcome."""
        job = task.job
        endpoint = task.endpoint
        assert endpoint is not None
        disposition = dispose(job.attempt, classified, endpoint.schedule, now_ms, self._longest_delay_ms)
        records: list[OutgoingRecord] = []
        if classified.kind is not DELIVERED or self._health.known:
            # A 410, or a failure that lasts for days, disables the subscription here.
            records += self._endpoint_health(task, endpoint, classified, now_ms)
        state: State
        next_due_at_ms = None
        match disposition:
            case Delivered():
                state, reason = "delivered", ""
            case Retry(due_at_ms):
                state, reason = "retry", classified.label
                next_due_at_ms = due_at_ms
                records.append(self._recorder.retry(task, due_at_ms, now_ms))
            case Gone():
                state, reason = "dead", "gone"
                records.append(
                    self._recorder.dead(task, "gone", "the endpoint responded with 410 Gone", task.started_ms)
                )
            case Exhausted():
                state, reason = "dead", "exhausted"
                detail = f"attempt {job.attempt} was the last; it ended with {classified.label}"
                records.append(self._recorder.dead(task, "exhausted", detail, task.started_ms))
        outcome = outcome_of(
            task,
            state,
            reason,
            response=response,
            classified=classified,
            duration_us=duration_us,
            next_due_at_ms=next_due_at_ms,
        )
        records.append(self._ended(task, outcome))
        return records

    def cancel(self, task: DeliveryTask, reason: CancelReason, host: str, now_ms: int) -> list[OutgoingRecord]:
        """Return the records of a job that will never be sent."""
        records: list[OutgoingRecord] = []
        if reason == "deleted" and self._health.known:
            number = task.partition.number
            records += self.health_records(self._health.deleted(number, task.job.subscription_id), number)
        records.append(self._ended(task, outcome_without_attempt(task, "cancelled", reason, host, now_ms)))
        return records

    def unknown_subscription(self, task: DeliveryTask, now_ms: int) -> list[OutgoingRecord]:
        """Return the records of a job whose subscription is not in the table at all."""
        job = task.job
        place = (
            f"partition {job.subscription_partition} offset {job.subscription_offset} of {self._subscriptions_topic}"
        )
        detail = f"subscription {job.subscription_id} has no record at {place}, nor elsewhere"
        letter = self._recorder.dead(task, UNKNOWN_SUBSCRIPTION, detail, now_ms)
        return [letter, self._ended(task, outcome_without_attempt(task, "dead", UNKNOWN_SUBSCRIPTION, "", now_ms))]

    def health_records(self, change: HealthChange | None, partition: int) -> list[OutgoingRecord]:
        """Return the records of a health change, and log its operation. `partition` is a partition number."""
        if change is None:
            return []
        if change.operation is not None:
            log = _log.info if change.operation.kind == "endpoint_recovered" else _log.warning
            log(f"delivery.{change.operation.kind}", **_log_fields(change.operation))
        return self._recorder.health(change, partition)

    def _endpoint_health(
        self, task: DeliveryTask, endpoint: Endpoint, classified: Classified, now_ms: int
    ) -> list[OutgoingRecord]:
        """Return the records of the health change that an attempt causes. Failures of this process cause none."""
        number, activation = task.partition.number, endpoint.activation
        if classified.kind is DELIVERED:
            change = self._health.delivered(number, task.job, activation, now_ms)
        elif classified.error in OURS or self._is_outdated(task.job, endpoint):
            change = None
        else:
            change = self._health.failed(number, task.job, activation, now_ms, classified)
        return self.health_records(change, number)

    def _is_outdated(self, job: Job, endpoint: Endpoint) -> bool:
        """Whether the subscription was resumed, deleted or moved to another URL after the attempt started.

        Such a failure must not disable it: the former URL of a subscription often responds with 410 soon after a move.
        """
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        if not isinstance(found, Entry):
            return isinstance(found, Deleted)
        return found.value.activation > endpoint.activation or found.value.target != endpoint.target

    def _ended(self, task: DeliveryTask, outcome: Outcome) -> OutgoingRecord:
        """Count and log an outcome, end its span, and return its record."""
        trace_id: str | None = None
        recorded_id: str | None = None
        if task.trace is not None:
            outcome.trace = task.trace.end(outcome)
            trace_id, recorded_id = outcome.trace.trace_id, outcome.trace_id
        self._metrics.on_outcome(outcome, task.limited, recorded_id)
        self._outcome_log.write(outcome, trace_id)
        return self._recorder.outcome(outcome)


def _log_fields(operation: Operation) -> dict[str, object]:
    fields = {
        "subscription": operation.subscription_id,
        "customer": operation.customer_id,
        "reason": operation.reason,
        "status": operation.status,
        "error": operation.error,
        "since_ms": operation.since_ms,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}
