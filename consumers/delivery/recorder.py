"""What comes of a job, as records: outcomes, the same job in another tier, dead letters. All go through the outbox."""

from __future__ import annotations

from typing import Final, Literal, cast

import structlog
from confluent_kafka import Message

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.health import Change
from consumers.delivery.http.types import MAX_BODY_KEPT, Response, ResponseOrError, TransportError
from consumers.delivery.lane import Lane
from consumers.delivery.outbox import Outbox, Row
from consumers.delivery.tiers import Tier, Tiers
from consumers.delivery.verdict import Delivered, Exhausted, Gone, Retry, Verdict
from consumers.delivery.work import Work
from consumers.runtime.dead_letters import SourceRecord, dead_letter
from consumers.runtime.overtaken import Overtaken
from schemas.delivery import DeadLetter, DeadLetterCodec, JobCodec, Outcome, OutcomeCodec, State
from schemas.errors import UnreadableRecord
from schemas.health import Operation, encode_health, encode_operation
from schemas.topics import TopicNames

_log = structlog.get_logger("delivery")
CancelReason = Literal["deleted", "disabled", "paused", "reactivated"]
UNKNOWN: Final = "unknown_subscription"
_ANY_PARTITION: Final = -1
RESPONSE_KEPT: Final = 1_024
_MASK: Final = b"***"


class Recorder:
    """Turns what happened into rows of the outbox; each call finishes a record's offset.

    `max_record` is in bytes: a larger one, which `dead` may not take, is dead without its bytes.
    """

    def __init__(self, names: TopicNames, tiers: Tiers, outbox: Outbox, max_record: int) -> None:
        self._names = names
        self._max_record = max_record
        self._tiers = tiers
        self._outbox = outbox
        self._jobs = JobCodec()
        self._outcomes = OutcomeCodec()
        self._letters = DeadLetterCodec()

    def attempt(self, work: Work, answer: ResponseOrError, verdict: Verdict, duration_us: int, now_ms: int) -> Outcome:
        """Record an attempt and what follows from it."""
        match verdict:
            case Delivered():
                outcome = self._outcome(work, "delivered", "", answer=answer, duration_us=duration_us)
            case Retry(due_at_ms, reason):
                outcome = self._outcome(
                    work, "retry", reason, answer=answer, duration_us=duration_us, next_due_at_ms=due_at_ms
                )
                tier = self._tiers.fit(due_at_ms - now_ms) or self._tiers.parking
                self._move(work, tier, attempt=work.job.attempt + 1, due_at_ms=due_at_ms)
            case Gone():
                outcome = self._outcome(work, "dead", "gone", answer=answer, duration_us=duration_us)
                self._dead(work, "gone", "the endpoint answered 410: never again")
            case Exhausted(reason):
                outcome = self._outcome(work, "dead", "exhausted", answer=answer, duration_us=duration_us)
                self._dead(work, "exhausted", f"attempt {work.job.attempt} was the last; it ended with {reason}")
        self._write_outcome(work, outcome)
        return outcome

    def cancel(self, work: Work, reason: CancelReason, host: str, now_ms: int) -> Outcome:
        """Record that a job will never be sent."""
        work.started_ms = now_ms
        outcome = self._outcome(work, "cancelled", reason)
        outcome.host = host
        self._write_outcome(work, outcome)
        return outcome

    def unknown(self, work: Work, now_ms: int) -> Outcome:
        """Record that the subscription record that a job names is not there, and none of its id is."""
        work.started_ms = now_ms
        job = work.job
        outcome = self._outcome(work, "dead", UNKNOWN)
        place = (
            f"partition {job.subscription_partition} offset {job.subscription_offset} of {self._names.subscriptions}"
        )
        self._dead(work, UNKNOWN, f"the record of {job.subscription_id} is not there: {place}")
        self._write_outcome(work, outcome)
        return outcome

    def move(self, work: Work, tier: Tier) -> None:
        """Write a job to another tier as it is, without counting an attempt."""
        self._move(work, tier, attempt=work.job.attempt, due_at_ms=work.job.due_at_ms)
        self._outbox.finish(work.lane, work.offset)

    def health(self, change: Change, lane: Lane) -> None:
        """Write what an answer meant for its endpoint, in the transaction of its outcome."""
        key = change.subscription_id.encode()
        value = None if change.health is None else encode_health(change.health)
        # To the partition *number* of the jobs: whoever takes that over reads it.
        self._outbox.add(Row(self._names.health, lane.partition, key, value, lane))
        if change.operation is not None:
            self._outbox.add(Row(self._names.operations, _ANY_PARTITION, key, encode_operation(change.operation), lane))
            log = {"endpoint_recovered": _log.info}.get(change.operation.kind, _log.warning)
            log(f"delivery.{change.operation.kind}", **_told(change.operation))

    def forget(self, change: Change, lane: Lane) -> None:
        """Write what became of an endpoint though no job came by, with the position of its partition."""
        self.health(change, lane)
        self._outbox.touch(lane)

    def overtaken(self, lost: Overtaken, lane: Lane, now_ms: int) -> None:
        """Write what retention took before it was read."""
        key, value = lost.record(now_ms)
        self._outbox.add(Row(self._names.operations, _ANY_PARTITION, key, value, lane))

    def poison(self, lane: Lane, message: Message, error: UnreadableRecord, now_ms: int) -> None:
        """Write a record that nobody could read to `dead`, with its bytes."""
        record = cast("SourceRecord", message)  # one that was consumed has all of it
        key, value = dead_letter(record, error.reason, error.detail, now_ms, self._max_record)
        self._outbox.add(Row(self._names.dead, _ANY_PARTITION, key, value, lane))
        self._outbox.finish(lane, record.offset())
        place = {"topic": lane.topic, "partition": lane.partition, "offset": record.offset()}
        _log.warning("delivery.dead", reason=error.reason, detail=error.detail[:200], **place)

    def _move(self, work: Work, tier: Tier, *, attempt: int, due_at_ms: int) -> None:
        job = work.job
        value = self._jobs.moved(job, work.value, attempt=attempt, due_at_ms=due_at_ms, first_offset=work.first_offset)
        # The partition *number* stays, so that one process sees all jobs of a subscription.
        self._outbox.add(Row(tier.topic, work.lane.partition, job.subscription_id.encode(), value, work.lane))

    def _dead(self, work: Work, reason: str, detail: str) -> None:
        job, lane = work.job, work.lane
        letter = DeadLetter(
            reason=reason,
            detail=detail,
            topic=lane.topic,
            partition=lane.partition,
            offset=work.offset,
            at_ms=work.started_ms,
            key=job.subscription_id.encode(),
            value=work.value if len(work.value) <= self._max_record else None,
            job_id=job.job_id,
            subscription_id=job.subscription_id,
            event_id=job.event_id,
            attempts=job.attempt,
        )
        self._outbox.add(Row(self._names.dead, _ANY_PARTITION, letter.key, self._letters.encode(letter), lane))

    def _write_outcome(self, work: Work, outcome: Outcome) -> None:
        key = work.job.subscription_id.encode()
        row = Row(self._names.outcomes, _ANY_PARTITION, key, self._outcomes.encode(outcome), work.lane)
        self._outbox.add(row)
        self._outbox.finish(work.lane, work.offset)

    def _outcome(
        self,
        work: Work,
        state: State,
        reason: str,
        *,
        answer: ResponseOrError | None = None,
        duration_us: int = 0,
        next_due_at_ms: int | None = None,
    ) -> Outcome:
        responded = answer if type(answer) is Response else None
        return Outcome(
            work.job,
            state,
            reason,
            responded.status if responded else None,
            answer.kind if isinstance(answer, TransportError) else None,
            work.endpoint.host if work.endpoint else "",
            work.started_ms,
            duration_us,
            next_due_at_ms,
            _redacted(responded, work.endpoint) if responded and responded.body and work.endpoint else b"",
            responded.body_cut if responded else False,
            work.lane.partition,
            work.first_offset,
        )


def _told(operation: Operation) -> dict[str, object]:
    """Return what the log says of an operation."""
    told = {
        "subscription": operation.subscription_id,
        "customer": operation.customer_id,
        "reason": operation.reason,
        "status": operation.status,
        "error": operation.error,
        "since_ms": operation.since_ms,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def _redacted(responded: Response, endpoint: Endpoint) -> bytes:
    """Return what is kept of a response: an endpoint may echo a secret that it knows, whole or cut off at the end."""
    body = responded.body
    for secret in endpoint.secrets:
        body = body.replace(secret, _MASK)
    if responded.body_cut or len(responded.body) >= MAX_BODY_KEPT:
        for secret in endpoint.secrets:
            cut = next((size for size in range(len(secret) - 1, 0, -1) if body.endswith(secret[:size])), 0)
            body = body[: len(body) - cut]
    return body[:RESPONSE_KEPT]
