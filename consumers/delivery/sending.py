"""What is sent for a job, and by which rules: those of its subscription, then of its sender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consumers.delivery.admission import DELIVERED, ResponseKind
from consumers.delivery.answer import Answer, Request, Responded
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.tiers import Schedule
from consumers.delivery.verdict import OVERLOADED, is_delivered
from consumers.delivery.work import Work
from schemas.durations import milliseconds
from schemas.egress import Target
from schemas.failures import OURS

# Rules are kept for so many subscriptions at a time.
_MOST: Final = 20_000
# Kinds that say nothing of the endpoint.
_UNRELATED: Final = OURS | {"blocked_url", "blocked_address"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts for attempts at an endpoint."""

    endpoint: Endpoint
    schedule: Schedule
    timeout_ms: int


class Sending:
    """Makes requests; `speedup` divides the waits of schedules."""

    def __init__(self, speedup: float) -> None:
        self._speedup = speedup
        self._rules: dict[str, Rules] = {}

    def rules_of(self, endpoint: Endpoint) -> Rules:
        """Return the rules of an endpoint."""
        rules = self._rules.get(endpoint.subscription_id)
        if rules is None or rules.endpoint is not endpoint:
            if len(self._rules) >= _MOST:
                self._rules.clear()
            schedule = Schedule.of(endpoint.waits, self._speedup)
            rules = Rules(endpoint, schedule, milliseconds(endpoint.timeout))
            self._rules[endpoint.subscription_id] = rules
        return rules

    def request(self, work: Work, endpoint: Endpoint, target: Target, now_ms: int) -> Request:
        """Return the request of a job."""
        job = work.job
        headers = endpoint.sender.headers(job, job.body, endpoint.keys_at(now_ms), now_ms // 1_000)
        if endpoint.header_lines:
            headers = [*endpoint.header_lines, *headers]
        timeout_ms = self.rules_of(endpoint).timeout_ms
        return Request(target, headers, job.body, timeout_ms, work, endpoint.client_certificate)


def result_of(answer: Answer) -> ResponseKind:
    """Return what an answer says of its endpoint."""
    if is_delivered(answer):
        return DELIVERED
    if isinstance(answer, Responded):
        return ResponseKind.OVERLOADED if answer.status in OVERLOADED else ResponseKind.REJECTED
    if answer.kind in _UNRELATED:
        return ResponseKind.UNRELATED
    return ResponseKind.TIMEOUT if "timeout" in answer.kind else ResponseKind.UNREACHABLE


def label_of(answer: Answer) -> str:
    """Return an answer in a word: its status, or why there was none."""
    return f"status_{answer.status}" if isinstance(answer, Responded) else answer.kind
