"""A delivery process is killed at each step of a transaction: the transaction takes effect as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Received, Reply
from tests.support.pipeline import Pipeline
from tests.support.proxy import Api, Direction, Gate, KafkaProxy
from tests.support.roles import Role, RoleStarter

pytestmark = pytest.mark.promise(1, 2)

FAILED_AND_RETRIED = [(1, "retry"), (2, "delivered")]
REPEATED = [(1, "delivered")]


class Seam(NamedTuple):
    """Step at which the process is killed: before the broker gets a request of this kind, or after it has responded."""

    api: Api | None  # None: the HTTP request to the endpoint
    direction: Direction

    @property
    def leaves(self) -> list[tuple[int, str]]:
        """Return the recorded attempts of a job whose first request fails and whose others succeed."""
        return FAILED_AND_RETRIED if self == (Api.END_TXN, "response") else REPEATED


SEAMS = [Seam(None, "request")] + [
    Seam(api, direction)
    for api in (Api.ADD_PARTITIONS_TO_TXN, Api.PRODUCE, Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT, Api.END_TXN)
    for direction in ("request", "response")
]
FEW = [
    Seam(None, "request"),
    Seam(Api.PRODUCE, "response"),
    Seam(Api.END_TXN, "request"),
    Seam(Api.END_TXN, "response"),
]


@pytest.fixture
def proxy(pipeline: Pipeline) -> Iterator[KafkaProxy]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        yield proxy


class Killer:
    """A receiver behaviour that kills the role when its transaction for an event reaches the step."""

    def __init__(self, seam: Seam, event_id: str, role: Role, proxy: KafkaProxy) -> None:
        self.event_id = event_id
        self.role = role
        self.gate = None if seam.api is None else Gate(seam.api, seam.direction, self.kill)
        if self.gate is not None:
            proxy.rule = self.gate

    def __call__(self, request: Received) -> Reply:
        if request.event_id != self.event_id or request.attempt > 1:
            return CannedResponse(200)
        if self.gate is None:
            self.role.kill()
        else:
            self.gate.arm()
        return CannedResponse(500)

    def kill(self) -> None:
        """Kill the role and drop the frame."""
        self.role.kill()
        assert self.gate is not None
        self.gate.open(lose=True)


@pytest.mark.parametrize("seams", [FEW, pytest.param(SEAMS, marks=pytest.mark.long)], ids=["few", "all"])
def test_kill_between_steps_of_a_transaction_repeats_or_keeps_all(
    pipeline: Pipeline, proxy: KafkaProxy, start_role: RoleStarter, receiver: Receiver, seams: list[Seam]
) -> None:
    """An attempt is recorded together with its retry and its offset, or it is made again."""
    behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, start_role, delay_speedup=600)
    pipeline.subscribe(receiver.url)
    pipeline.router()
    role = behind.deliver()
    for number, seam in enumerate(seams):
        receiver.behave = Killer(seam, f"evt_{number}", role, proxy)
        pipeline.publish_some(1, start=number)
        role.wait()
        role = behind.deliver()
        receiver.wait_for(2 * (number + 1))
        pipeline.wait_for_ends(number + 1)  # otherwise the next kill could meet the last transaction of this job

    assert role.terminate() == 0
    attempts: dict[Seam, list[tuple[int, str]]] = {seam: [] for seam in seams}
    for outcome in pipeline.outcomes():
        seam = seams[int(outcome["event_id"].removeprefix("evt_"))]
        attempts[seam].append((outcome["attempt"], outcome["state"]))
    assert {seam: sorted(found) for seam, found in attempts.items()} == {seam: seam.leaves for seam in seams}
    assert len(receiver.requests) == 2 * len(seams)
