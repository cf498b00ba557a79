"""Encodes outgoing records: outcomes, jobs for delay topics, dead letters, endpoint health, operations. Pure."""

from __future__ import annotations

from typing import Final, cast

from confluent_kafka import Message

from consumers.delivery.classification import Classified
from consumers.delivery.delay_topics import DelayTopic, DelayTopics
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.types import MAX_BODY_KEPT, Response, ResponseOrError
from consumers.delivery.results.health import HealthChange
from consumers.delivery.task import DeliveryTask
from consumers.kafka.dead_letters import SourceRecord, dead_letter
from consumers.kafka.outgoing_record import ANY_PARTITION, OutgoingRecord
from consumers.kafka.truncation import Truncation
from schemas.catalog.errors import UnreadableRecord
from schemas.records.delivery import DeadLetter, DeadLetterCodec, JobCodec, Outcome, OutcomeCodec, State
from schemas.records.health import encode_health, encode_operation
from schemas.records.topics import TopicNames
from schemas.records.trace_context import RecordHeaders

RESPONSE_KEPT: Final = 1_024
_MASK: Final = b"***"


class Recorder:
    """Returns outgoing records; does not write them.

    A dead letter of a record with more than `max_record` bytes is written without its bytes, because the topic `dead`
    might not accept them.
    """

    def __init__(self, names: TopicNames, delay_topics: DelayTopics, max_record: int) -> None:
        self._names = names
        self._max_record = max_record
        self._delay_topics = delay_topics
        self._jobs = JobCodec()
        self._outcomes = OutcomeCodec()
        self._letters = DeadLetterCodec()

    def outcome(self, outcome: Outcome) -> OutgoingRecord:
        """Return the record of an outcome."""
        key = outcome.job.subscription_id.encode()
        headers = None if outcome.trace is None else outcome.trace.headers()
        return OutgoingRecord(self._names.outcomes, ANY_PARTITION, key, self._outcomes.encode(outcome), headers)

    def retry(self, task: DeliveryTask, due_at_ms: int, now_ms: int) -> OutgoingRecord:
        """Return the job for its next attempt, for the delay topic that fits its due time."""
        delay_topic = self._delay_topics.fit(due_at_ms - now_ms) or self._delay_topics.deferral
        headers = None if task.trace is None else task.trace.next_job.headers()
        return self._job(task, delay_topic, headers, attempt=task.job.attempt + 1, due_at_ms=due_at_ms)

    def moved(self, task: DeliveryTask, delay_topic: DelayTopic) -> OutgoingRecord:
        """Return the job unchanged, for another delay topic. This does not use up an attempt."""
        headers = None if task.trace is None else task.trace.headers
        return self._job(task, delay_topic, headers, attempt=task.job.attempt, due_at_ms=task.job.due_at_ms)

    def dead(self, task: DeliveryTask, reason: str, detail: str, at_ms: int) -> OutgoingRecord:
        """Return the dead letter of a job that ended at `at_ms` (Unix ms)."""
        job, trace = task.job, task.trace
        partition = task.partition
        letter = DeadLetter(
            reason=reason,
            detail=detail,
            topic=partition.topic,
            partition=partition.number,
            offset=task.offset,
            at_ms=at_ms,
            key=job.subscription_id.encode(),
            value=task.value if len(task.value) <= self._max_record else None,
            headers=() if trace is None else trace.next_job.pairs(),
            job_id=job.job_id,
            subscription_id=job.subscription_id,
            event_id=job.event_id,
            attempts=job.attempt,
        )
        headers = None if trace is None else trace.attempt.headers()
        return OutgoingRecord(self._names.dead, ANY_PARTITION, letter.key, self._letters.encode(letter), headers)

    def unreadable(self, message: Message, error: UnreadableRecord, now_ms: int) -> OutgoingRecord:
        """Return the dead letter of an unreadable record, with its bytes."""
        record = cast("SourceRecord", message)  # a consumed message has all fields
        key, value = dead_letter(record, error.reason, error.detail, now_ms, self._max_record)
        return OutgoingRecord(self._names.dead, ANY_PARTITION, key, value)

    def health(self, change: HealthChange, partition: int) -> list[OutgoingRecord]:
        """Return the record of a health change, and of its operation if there is one.

        `partition` is the number of the job's partition: a process that recovers it reads that partition of `health`.
        """
        key = change.subscription_id.encode()
        value = None if change.health is None else encode_health(change.health)
        records = [OutgoingRecord(self._names.health, partition, key, value)]
        if change.operation is not None:
            operation = encode_operation(change.operation)
            records.append(OutgoingRecord(self._names.operations, ANY_PARTITION, key, operation))
        return records

    def truncated(self, truncated: Truncation, now_ms: int) -> OutgoingRecord:
        """Return the operation that names the records that retention deleted before they were read."""
        key, value = truncated.record(now_ms)
        return OutgoingRecord(self._names.operations, ANY_PARTITION, key, value)

    def _job(
        self,
        task: DeliveryTask,
        delay_topic: DelayTopic,
        headers: RecordHeaders | None,
        *,
        attempt: int,
        due_at_ms: int,
    ) -> OutgoingRecord:
        job = task.job
        value = self._jobs.moved(job, task.value, attempt=attempt, due_at_ms=due_at_ms, first_offset=task.first_offset)
        # All jobs of a subscription have the same partition number, so that one process delivers them.
        key = job.subscription_id.encode()
        return OutgoingRecord(delay_topic.topic, task.partition.number, key, value, headers)


def outcome_of(
    task: DeliveryTask,
    state: State,
    reason: str,
    *,
    response: ResponseOrError,
    classified: Classified,
    duration_us: int,
    next_due_at_ms: int | None = None,
) -> Outcome:
    """Return the outcome of an attempt to `task.endpoint`."""
    endpoint = task.endpoint
    assert endpoint is not None
    received = response if type(response) is Response else None
    kept, not_kept = b"", 0
    if received is not None and received.body:
        kept, not_kept = _kept(received, endpoint)
    return Outcome(
        task.job,
        state,
        reason,
        classified.status,
        classified.error,
        endpoint.host,
        task.started_ms,
        duration_us,
        next_due_at_ms,
        kept,
        received is not None and received.body_cut,
        task.partition.number,
        task.first_offset,
        not_kept,
    )


def outcome_without_attempt(task: DeliveryTask, state: State, reason: str, host: str, now_ms: int) -> Outcome:
    """Return the outcome of a job that ends without a request."""
    return Outcome(
        task.job, state, reason, None, None, host, now_ms, 0, None, b"", False, task.partition.number, task.first_offset
    )


def redacted(response: Response, endpoint: Endpoint) -> bytes:
    """Return the start of a response body for the record, with the secrets of its endpoint masked."""
    return _kept(response, endpoint)[0]


def _kept(response: Response, endpoint: Endpoint) -> tuple[bytes, int]:
    """Return the redacted start of a response body, and how many received bytes follow it.

    An endpoint may echo a secret, and the end of the read part may cut it off.
    """
    body = response.body
    not_kept = response.not_kept
    for secret in endpoint.secrets:
        body = body.replace(secret, _MASK)
    if response.body_cut or len(response.body) >= MAX_BODY_KEPT:
        for secret in endpoint.secrets:
            partial = next((size for size in range(len(secret) - 1, 0, -1) if body.endswith(secret[:size])), 0)
            body = body[: len(body) - partial]
            not_kept += partial
    return body[:RESPONSE_KEPT], not_kept + max(0, len(body) - RESPONSE_KEPT)
