"""A delivery process with misbehaving endpoints: they fail their own jobs and no others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from consumers.delivery.admission.circuit_breaker import FAILURE_THRESHOLD
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always
from schemas.avro.codec import DecodedRecord
from tests.support.hostile import hostile_process
from tests.support.memory import MIB, resident_bytes
from tests.support.pipeline import Pipeline
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(4, 5)

HEALTHY = 10
EVENTS = 40
# Shorter than the timeout of a request: a job that waits behind a hanging endpoint would be late.
PROMPT_S = 25
TIMEOUT_US = 30_000_000
# How much later than its deadline a request may end here, as the machine may be busy.
SLACK_US = 3_000_000
# What a flood may add to memory: read buffers of 16 requests per endpoint, and what the allocator keeps of them.
FLAT = 48 * MIB

# Result of the first attempt: state, status, error, and whether the body was cut.
Expected = tuple[str, int | None, str | None, bool]
AT_ONCE: dict[str, Expected] = {
    "endless-body": ("delivered", 200, None, True),
    "endless-chunks": ("delivered", 200, None, True),
    "endless-headers": ("retry", None, "headers_too_large", False),
    "endless-interim": ("retry", None, "headers_too_large", False),
    "gzip-bomb": ("delivered", 200, None, False),
    "huge-headers": ("retry", None, "headers_too_large", False),
    "mid-headers": ("retry", None, "reset", False),
    "mid-body": ("delivered", 200, None, True),
    "redirect": ("retry", 302, None, False),
}
AT_THE_DEADLINE: dict[str, Expected] = {
    "never": ("retry", None, "timeout_answer", False),
    "drip-headers": ("retry", None, "timeout_answer", False),
    "drip-body": ("delivered", 200, None, True),
    "late": ("retry", None, "timeout_answer", False),
}


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with hostile_process() as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def late() -> Iterator[Receiver]:
    """An endpoint that responds with 200 one second after the deadline."""
    with Receiver(always(CannedResponse(200, delay=timedelta(seconds=31)))) as endpoint:
        yield endpoint


def result_of(outcome: DecodedRecord) -> Expected:
    return outcome["state"], outcome["status"], outcome["error"], outcome["body_cut"]


def results_of(pipeline: Pipeline, names: dict[str, str]) -> dict[str, list[DecodedRecord]]:
    """Return the outcomes of first attempts by the name of the subscription in `names`."""
    found: dict[str, list[DecodedRecord]] = {}
    for outcome in pipeline.outcomes():
        if outcome["attempt"] == 1 and outcome["subscription_id"] in names:
            found.setdefault(names[outcome["subscription_id"]], []).append(outcome)
    return found


def wait_for_results(
    pipeline: Pipeline, names: dict[str, str], expected: dict[str, Expected], count: int, deadline_s: float
) -> list[DecodedRecord]:
    """Wait until each name in `expected` has `count` outcomes, check all of them, and return them."""

    def enough_outcomes() -> dict[str, list[DecodedRecord]]:
        found = results_of(pipeline, names)
        counts = {how: len(found.get(how, [])) for how in expected}
        assert min(counts.values()) >= count, counts
        return {how: found[how] for how in expected}

    found = wait_until(enough_outcomes, deadline_s, f"{count} outcomes of each")
    assert {how: {result_of(outcome) for outcome in found[how]} for how in expected} == {
        how: {result} for how, result in expected.items()
    }
    return [outcome for outcomes in found.values() for outcome in outcomes]


def healthy_requests(receiver: Receiver, count: int, deadline_s: float) -> None:
    """Wait for `count` requests at the healthy endpoints; each endpoint gets each event once."""
    received = receiver.wait_for(count, deadline_s)
    assert len({(request.path, request.event_id) for request in received}) == len(received) == count


@pytest.mark.decision("Z9")
@pytest.mark.parametrize("with_deadlines", [False, pytest.param(True, marks=pytest.mark.long)])
def test_hostile_receivers_do_not_delay_healthy_ones(
    pipeline: Pipeline, receiver: Receiver, hostile: str, late: Receiver, with_deadlines: bool
) -> None:
    """Healthy endpoints get their requests while every hostile endpoint fails in its own way; memory stays flat."""
    pipeline.subscribe(*(f"{receiver.url}{number}" for number in range(HEALTHY)))
    pipeline.router()
    deliver = pipeline.deliver()
    pipeline.publish_some(EVENTS)
    healthy_requests(receiver, HEALTHY * EVENTS, PROMPT_S)
    before = resident_bytes(deliver.pid)
    behaviours = [*AT_ONCE, *AT_THE_DEADLINE]
    urls = [late.url if how == "late" else f"{hostile}{how}" for how in behaviours]
    names = dict(zip(pipeline.subscribe(*urls, start=HEALTHY), behaviours, strict=True))

    pipeline.publish_some(EVENTS, start=EVENTS)

    healthy_requests(receiver, 2 * HEALTHY * EVENTS, PROMPT_S)
    wait_for_results(pipeline, names, AT_ONCE, FAILURE_THRESHOLD, PROMPT_S)
    assert not results_of(pipeline, names).keys() & AT_THE_DEADLINE.keys()
    if with_deadlines:
        for outcome in wait_for_results(pipeline, names, AT_THE_DEADLINE, FAILURE_THRESHOLD, 150):
            assert TIMEOUT_US <= outcome["duration_us"] < TIMEOUT_US + SLACK_US
    pipeline.publish_some(EVENTS, start=2 * EVENTS)
    healthy_requests(receiver, 3 * HEALTHY * EVENTS, PROMPT_S)
    assert resident_bytes(deliver.pid) - before < FLAT
    assert deliver.is_alive()
