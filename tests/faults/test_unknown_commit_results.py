"""A transaction with unknown result is looked up, and written again only if it was not committed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import Behaviour, CannedResponse, Received, Reply
from tests.support.pipeline import Pipeline, ends_of
from tests.support.proxy import Api, Direction, Gate, KafkaProxy
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1, 2)

EVENTS = 20


@pytest.fixture
def proxy(pipeline: Pipeline) -> Iterator[KafkaProxy]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        yield proxy


def looked_up(role: Role) -> list[bool]:
    """Return the results that a role found when it looked up transactions: True means committed."""
    lines = [json.loads(line) for line in role.log_text().splitlines() if '"transaction.resolved"' in line]
    return [line["committed"] for line in lines]


def test_transaction_with_lost_end_takes_effect_once(
    pipeline: Pipeline, proxy: KafkaProxy, start_role: RoleStarter, receiver: Receiver
) -> None:
    """Whether it was committed or not, outcomes are recorded once, offsets advance, and no request is repeated."""
    behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, start_role)
    pipeline.subscribe(receiver.url)
    pipeline.router()
    role = behind.deliver()
    # Direction of the lost frame, and whether the transaction was committed.
    committed: dict[Direction, bool] = {"response": True, "request": False}

    for number, lost in enumerate(committed):
        gate = Gate(Api.END_TXN, lost)
        receiver.behave = arming(gate)
        proxy.rule = gate
        pipeline.publish_some(EVENTS, start=number * EVENTS)
        gate.wait_reached()
        wait_until(lambda count=number + 1: len(looked_up(role)) == count, what="the result is looked up")  # type: ignore[misc]  # a default has no type
        gate.open(lose=True)

    outcomes = pipeline.wait_for_ends(2 * EVENTS)
    assert looked_up(role) == list(committed.values())
    assert set(ends_of(outcomes).values()) == {1}
    assert role.terminate() == 0
    assert set(Counter(request.event_id for request in receiver.requests).values()) == {1}
    # Its successor repeats nothing.
    role = behind.deliver()
    pipeline.publish_some(1, start=2 * EVENTS)
    pipeline.wait_for_ends(2 * EVENTS + 1)
    assert role.terminate() == 0
    assert len(receiver.requests) == 2 * EVENTS + 1


def arming(gate: Gate) -> Behaviour:
    """Respond with 200, and arm the gate at the first request."""
    waiting = [gate]

    def behave(_: Received) -> Reply:
        if waiting:
            waiting.pop().arm()
        return CannedResponse(200)

    return behave
