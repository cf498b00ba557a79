"""Builds the request of a delivery task: the subscription's own headers, the sender's signed headers, the body.

`traceparent` follows the other headers if the job has a trace and its sender allows it.
"""

from __future__ import annotations

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.types import Request
from consumers.delivery.task import DeliveryTask
from schemas.network.egress import Target
from schemas.senders.header_values import AttemptValues


def build_request(task: DeliveryTask, endpoint: Endpoint, target: Target, now_ms: int) -> Request:
    """Return the request of a task, signed at `now_ms` (Unix ms). Its context is the task.

    A task with a trace starts the span of its attempt.
    """
    job = task.job
    headers = attempt_headers(job, job.body, endpoint, now_ms)
    trace = task.trace
    if trace is not None:
        line = trace.start(job, target.host, target.port, now_ms)
        if endpoint.sends_trace_context:
            headers.append(line)
    return Request(target, headers, job.body, endpoint.timeout_ms, task, endpoint.client_certificate)


def attempt_headers(attempt: AttemptValues, body: bytes, endpoint: Endpoint, now_ms: int) -> list[bytes]:
    """Return the header lines of an attempt, signed at `now_ms` (Unix ms)."""
    headers = endpoint.sender.headers(attempt, body, endpoint.keys_at(now_ms), now_ms // 1_000)
    if endpoint.header_lines:
        headers = [*endpoint.header_lines, *headers]
    return headers
