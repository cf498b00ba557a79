"""A delivery process killed at each seam of its work: what it had begun is all there, or nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import Received, Reply, Response
from tests.support.pipeline import Pipeline
from tests.support.proxy import Api, Direction, Gate, KafkaProxy
from tests.support.roles import Role, RoleStarter

pytestmark = pytest.mark.promise(1, 2)

FAILED_AND_RETRIED = [(1, "retry"), (2, "delivered")]
REPEATED = [(1, "delivered")]


class Seam(NamedTuple):
    """A place to be killed at: before the broker has got a request of this kind, or after it has answered it."""

    api: Api | None  # None: the request to the endpoint
    direction: Direction

    @property
    def leaves(self) -> list[tuple[int, str]]:
        """Attempts on record in the end, of a job whose first request fails and whose others do not."""
        return FAILED_AND_RETRIED if self == (Api.END_TXN, "answer") else REPEATED


SEAMS = [Seam(None, "request")] + [
    Seam(api, direction)
    for api in (*(Api.ADD_PARTITIONS_TO_TXN, Api.PRODUCE, Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT, Api.END_TXN),)
    for direction in ("request", "answer")
]
FEW = [Seam(None, "request"), Seam(Api.PRODUCE, "answer"), Seam(Api.END_TXN, "request"), Seam(Api.END_TXN, "answer")]


@pytest.fixture
def proxy(pipeline: Pipeline) -> Iterator[KafkaProxy]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        yield proxy


class Killer:
    """Kills a role when its work on an event comes to a seam."""

    def __init__(self, seam: Seam, event_id: str, role: Role, proxy: KafkaProxy) -> None:
        self.seam, self.event_id, self.role = seam, event_id, role
        self.gate = None if seam.api is None else Gate(seam.api, seam.direction, self.kill)
        if self.gate is not None:
            proxy.rule = self.gate

    def __call__(self, request: Received) -> Reply:
        if request.event_id != self.event_id or request.attempt > 1:
            return Response(200)
        if self.gate is None:
            self.role.kill()
        else:
            self.gate.arm()
        return Response(500)

    def kill(self) -> None:
        """Kill the role, and let the broker, or the role, never see the frame."""
        self.role.kill()
        assert self.gate is not None
        self.gate.open(lose=True)


@pytest.mark.parametrize("seams", [FEW, pytest.param(SEAMS, marks=pytest.mark.long)], ids=["few", "all"])
def test_killed_at_a_seam(
    pipeline: Pipeline, proxy: KafkaProxy, start_role: RoleStarter, receiver: Receiver, seams: list[Seam]
) -> None:
    """An attempt is on record with its retry and its offset, or is made again; never one without the other."""
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
        pipeline.wait_for_ends(number + 1)  # or the next seam may be one of this job's last transaction

    assert role.terminate() == 0
    attempts: dict[Seam, list[tuple[int, str]]] = {seam: [] for seam in seams}
    for outcome in pipeline.outcomes():
        seam = seams[int(outcome["event_id"].removeprefix("evt_"))]
        attempts[seam].append((outcome["attempt"], outcome["state"]))
    assert {seam: sorted(found) for seam, found in attempts.items()} == {seam: seam.leaves for seam in seams}
    assert len(receiver.requests) == 2 * len(seams)
