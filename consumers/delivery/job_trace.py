"""The trace of a job in delivery: a span for each attempt.

    router's span ─┬─► attempt 1
                   ├─► attempt 2 ··link··► attempt 1
                   └─► attempt 3 ··link··► attempt 2

All attempts are in the trace of the event, as children of the router's span, and each is linked to the one before it.
Records of jobs carry the context in their headers (schemas/records/trace_context.py). Only a process with traces reads
these headers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from confluent_kafka import Message

from consumers.kafka.record_headers import headers_of
from consumers.service.spans import Span, Spans
from schemas.records.delivery import Job, Outcome
from schemas.records.trace_context import RecordHeaders, TraceContext, job_context_of

_NS_PER_MS: Final = 1_000_000
_NS_PER_US: Final = 1_000


class JobTrace:
    """The trace of one job while this process has it. If the trace is not sampled, it only forwards the context."""

    __slots__ = ("_context", "_span", "_spans")

    def __init__(self, spans: Spans, context: TraceContext) -> None:
        self._spans = spans
        self._context = context  # of the job: the router's span
        self._span: Span | None = None  # of the attempt under way

    @property
    def attempt(self) -> TraceContext:
        """The context of the attempt in progress; the context of the job if there is no attempt."""
        return self._context if self._span is None else self._span.context

    @property
    def headers(self) -> RecordHeaders:
        """The headers of the job's record in another delay topic."""
        return self._context.headers()

    @property
    def next_job(self) -> TraceContext:
        """The context of the job's next attempt: the attempt in progress is its last attempt."""
        return self._context if self._span is None else replace(self._context, last_attempt=self._span.context.span_id)

    def start(self, job: Job, host: str, port: int, now_ms: int) -> bytes:
        """Start the span of an attempt. Return the header line for its request."""
        attributes: dict[str, str | int] = {
            **_job_attributes(job),
            "http.request.method": "POST",
            "server.address": host,
            "server.port": port,
        }
        if job.attempt > 1:
            attributes["http.request.resend_count"] = job.attempt - 1
        self._span = self._spans.start(
            "POST",
            "client",
            now_ms * _NS_PER_MS,
            parent=self._context,
            attributes=attributes,
            previous=self._context.last_attempt,
        )
        return self.attempt.request_line()

    def withdraw(self) -> None:
        """Forget an attempt whose request was never sent."""
        self._span = None

    def end(self, outcome: Outcome) -> TraceContext:
        """End the span of the attempt, or record the end of a job without an attempt. Return its context."""
        job, at_ns = outcome.job, outcome.at_ms * _NS_PER_MS
        span = self._span
        if span is None and outcome.status is None and outcome.error is None:
            span = self._spans.start(
                "end job",
                "internal",
                at_ns,
                parent=self._context,
                attributes=_job_attributes(job),
                previous=self._context.last_attempt,
            )
        if span is None:
            return self._context
        attributes: dict[str, str | int] = {"signpost.state": outcome.state}
        if outcome.reason:
            attributes["signpost.reason"] = outcome.reason
        if outcome.status is not None:
            attributes["http.response.status_code"] = outcome.status
        span.end(at_ns + outcome.duration_us * _NS_PER_US, attributes, _error_of(outcome))
        return span.context


class JobTraces:
    """Makes the traces of jobs from the headers of their records."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def of(self, record: Message) -> JobTrace | None:
        """Return the trace of a job, None if its record has no valid context."""
        context = job_context_of(headers_of(record))
        return None if context is None else JobTrace(self._spans, context)


def _job_attributes(job: Job) -> dict[str, str | int]:
    return {
        "signpost.sender": job.sender,
        "signpost.event_type": job.event_type,
        "signpost.event_id": job.event_id,
        "signpost.job_id": job.job_id,
        "signpost.subscription_id": job.subscription_id,
        "signpost.run": job.run,
        "signpost.attempt": job.attempt,
    }


def _error_of(outcome: Outcome) -> str | None:
    """Return the kind of failure; None for a delivery, and for a job that was cancelled."""
    if outcome.state in ("delivered", "cancelled"):
        return None
    if outcome.error is not None:
        return outcome.error
    return outcome.reason if outcome.status is None else str(outcome.status)
