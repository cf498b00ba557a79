"""What follows from an answer: for its job, for the pace of its endpoint, and for the endpoint's health."""

from __future__ import annotations

from typing import Protocol

from consumers.delivery.admission import AdmissionControl
from consumers.delivery.answer import Answer, Responded
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.health import Change, HealthBook
from consumers.delivery.lane import Lane
from consumers.delivery.recorder import CancelReason, Recorder
from consumers.delivery.sending import Sending
from consumers.delivery.verdict import DELIVERED, Verdict, asked_to_wait_ms, is_delivered, judge
from consumers.delivery.work import Work
from consumers.table_state import Entry, Gone, Lookup
from schemas.delivery import Job, Outcome
from schemas.failures import OURS


class Subscriptions(Protocol):
    """What is known of subscriptions (consumers.table)."""

    def lookup(self, id_: str, partition: int, offset: int) -> Lookup[Endpoint]:
        """Return what counts for a subscription."""
        ...

    def get(self, id_: str) -> Entry[Endpoint] | None:
        """Return what counts for a subscription, as far as has been read."""
        ...

    def mark(self) -> int:
        """Return a mark of now, for `passed_since`."""
        ...

    def passed_since(self, mark: int) -> bool:
        """Whether all has been read that was there when the mark was made."""
        ...


class EndObserver(Protocol):
    """Who wants to know what came of a job: metrics and log."""

    def ended(self, outcome: Outcome) -> None:
        """Hear of an attempt, or of a job that was cancelled."""
        ...


class Observer(EndObserver, Protocol):
    """Who wants to know what happened: metrics and log."""

    def deferred(self, reason: str) -> None:
        """Count a job that was deferred to a delay topic."""
        ...

    def poison(self, reason: str) -> None:
        """Hear of a record that could not be read."""
        ...


class Judging:
    """Ends attempts and jobs; `longest_ms` is the wait of the longest tier."""

    def __init__(
        self,
        *,
        subscriptions: Subscriptions,
        recorder: Recorder,
        sending: Sending,
        admission: AdmissionControl,
        health: HealthBook,
        observer: EndObserver,
        longest_ms: int,
    ) -> None:
        self._subscriptions = subscriptions
        self._recorder = recorder
        self._sending = sending
        self._admission = admission
        self._health = health
        self._observer = observer
        self._longest_ms = longest_ms

    def judge(self, work: Work, answer: Answer, duration_us: int, now_ms: int) -> None:
        """Record what an attempt came to."""
        verdict = DELIVERED if is_delivered(answer) else self._judge_failure(work, answer, now_ms)
        if self._health.known or verdict is not DELIVERED:
            self._note(work, answer, now_ms)
        self._observer.ended(self._recorder.attempt(work, answer, verdict, duration_us, now_ms))

    def cancel(self, work: Work, reason: CancelReason, host: str, now_ms: int) -> None:
        """Record that a job will never be sent."""
        if reason == "deleted" and self._health.known:
            self._write(self._health.deleted(work.lane.partition, work.job.subscription_id), work.lane)
        self._observer.ended(self._recorder.cancel(work, reason, host, now_ms))

    def unknown(self, work: Work, now_ms: int) -> None:
        """Record that nobody knows whom a job is for."""
        self._observer.ended(self._recorder.unknown(work, now_ms))

    def _judge_failure(self, work: Work, answer: Answer, now_ms: int) -> Verdict:
        assert work.endpoint is not None
        schedule = self._sending.rules_of(work.endpoint).schedule
        wait_ms = asked_to_wait_ms(answer, now_ms)
        if wait_ms:
            self._admission.throttle(work.job.subscription_id, now_ms + wait_ms, now_ms)
        return judge(work.job.attempt, answer, schedule, now_ms, self._longest_ms)

    def _note(self, work: Work, answer: Answer, now_ms: int) -> None:
        """Note what an answer says of its endpoint, unless what happened was of our own making or is of the past."""
        assert work.endpoint is not None
        partition, activation = work.lane.partition, work.endpoint.activation
        if is_delivered(answer):
            self._write(self._health.delivered(partition, work.job, activation, now_ms), work.lane)
            return
        why = answer.status if isinstance(answer, Responded) else answer.kind
        if why not in OURS and not self._is_past(work.job, work.endpoint):
            self._write(self._health.failed(partition, work.job, activation, now_ms, why), work.lane)

    def _is_past(self, job: Job, endpoint: Endpoint) -> bool:
        """Whether the subscription was resumed, deleted or sent elsewhere since: what failed then disables nothing.

        Who moves to another URL has the old one answer 410 soon after.
        """
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        if not isinstance(found, Entry):
            return isinstance(found, Gone)
        return found.value.activation > endpoint.activation or found.value.target != endpoint.target

    def _write(self, change: Change | None, lane: Lane) -> None:
        if change is not None:
            self._recorder.health(change, lane)
