"""Retries follow their schedule through the delay topics, which are paused until their first record is due."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Received, always
from schemas.avro.codec import DecodedRecord
from tests.support.pipeline import Pipeline, ends_of

pytestmark = pytest.mark.promise(3)

ENDPOINTS = 4
BATCHES = 3
EVENTS = 10  # per batch
SLACK_S = 30.0


def requests_by_job(receiver: Receiver) -> dict[tuple[str, str | None], list[Received]]:
    """Return the requests of each event to each endpoint, in order of arrival."""
    found: dict[tuple[str, str | None], list[Received]] = defaultdict(list)
    for request in receiver.requests:
        found[request.path, request.event_id].append(request)
    return found


def due_by_job(outcomes: list[DecodedRecord]) -> dict[tuple[str, str], list[int]]:
    """Return the due times of the retries of each job (subscription, event), in Unix ms, in order."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda outcome: outcome["attempt"]):
        if outcome["next_due_at_ms"] is not None:
            found[outcome["subscription_id"], outcome["event_id"]].append(outcome["next_due_at_ms"])
    return found


# At speedup 600 the whole schedule takes 160 s. At 60 its first four steps take 156 s: heads are fetched often.
@pytest.mark.decision("Z3")
@pytest.mark.parametrize(
    ("speedup", "retries"),
    [(600, 3), pytest.param(600, 5, marks=pytest.mark.long), pytest.param(60, 4, marks=pytest.mark.long)],
)
def test_retries_keep_their_schedule(pipeline: Pipeline, receiver: Receiver, speedup: int, retries: int) -> None:
    """Jobs behind others that wait get every retry of the schedule, none of them early."""
    receiver.behave = always(CannedResponse(500))
    ids = pipeline.subscribe(*(f"{receiver.url}{number}" for number in range(ENDPOINTS)))
    pipeline.router()
    pipeline.deliver(delay_speedup=speedup)
    schedule = [wait / speedup for wait in pipeline.sender.schedule[:retries]]

    for batch in range(BATCHES):
        pipeline.publish_some(EVENTS, start=batch * EVENTS)
        # Wait for two attempts of each, so that the next batch comes behind retries that wait.
        receiver.wait_for((batch + 1) * EVENTS * ENDPOINTS * 2, where=lambda request: request.attempt <= 2)
    jobs = BATCHES * EVENTS * ENDPOINTS
    deadline_s = sum(schedule, timedelta()).total_seconds() * 1.02 + SLACK_S
    receiver.wait_for(jobs * (retries + 1), deadline_s, lambda request: request.attempt <= retries + 1)

    sent = requests_by_job(receiver)
    assert len(sent) == jobs
    due = due_by_job(pipeline.outcomes())
    for (path, event_id), requests in sent.items():
        arrivals = [request.arrived_at for request in requests[: retries + 1]]
        waits = [later - earlier for earlier, later in pairwise(arrivals)]
        assert all(wait >= step.total_seconds() for wait, step in zip(waits, schedule, strict=True))
        announced = due[ids[int(path[1:])], str(event_id)][:retries]
        assert all(at * 1_000 >= due_ms for at, due_ms in zip(arrivals[1:], announced, strict=True))
    if retries == len(pipeline.sender.schedule):
        ends = pipeline.wait_for_ends(jobs)
        assert set(ends_of(ends).values()) == {1}
        assert {len(requests) for requests in requests_by_job(receiver).values()} == {retries + 1}
        assert {letter.reason for letter in pipeline.dead_letters()} == {"exhausted"}
