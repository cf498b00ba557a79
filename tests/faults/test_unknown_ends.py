"""A transaction of which nobody heard how it ended: looked up, and written again only if it was not committed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import Behaviour, Received, Reply, Response
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
    """Return what a role has found out about transactions of which it did not hear how they ended."""
    lines = [json.loads(line) for line in role.log_text().splitlines() if '"transaction.looked_up"' in line]
    return [line["committed"] for line in lines]


def test_an_end_that_nobody_heard_of(
    pipeline: Pipeline, proxy: KafkaProxy, start_role: RoleStarter, receiver: Receiver
) -> None:
    """Committed or not, what is recorded is recorded once, offsets go on, and nothing is sent again."""
    behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, start_role)
    pipeline.subscribe(receiver.url)
    pipeline.router()
    role = behind.deliver()
    ways: dict[Direction, bool] = {"answer": True, "request": False}  # whether the broker had got it

    for number, lost in enumerate(ways):
        gate = Gate(Api.END_TXN, lost)
        receiver.behave = arming(gate)
        proxy.rule = gate
        pipeline.publish_some(EVENTS, start=number * EVENTS)
        gate.wait_reached()
        wait_until(lambda heard=number + 1: len(looked_up(role)) == heard, 60, "the end is looked up")  # type: ignore[misc]
        gate.open(lose=True)

    outcomes = pipeline.wait_for_ends(2 * EVENTS)
    assert looked_up(role) == list(ways.values())
    assert set(ends_of(outcomes).values()) == {1}
    assert role.terminate() == 0
    assert set(Counter(request.event_id for request in receiver.requests).values()) == {1}
    # Its successor has nothing to do over again.
    role = behind.deliver()
    pipeline.publish_some(1, start=2 * EVENTS)
    pipeline.wait_for_ends(2 * EVENTS + 1)
    assert role.terminate() == 0
    assert len(receiver.requests) == 2 * EVENTS + 1


def arming(gate: Gate) -> Behaviour:
    """Response 200, and arm the gate with the first request."""
    waiting = [gate]

    def behave(_: Received) -> Reply:
        if waiting:
            waiting.pop().arm()
        return Response(200)

    return behave
