"""SIGTERM to a role that is starting: it ends with exit code 0, and no job is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from deploy.dev.receiver import Receiver
from tests.support.pipeline import Pipeline
from tests.support.proxy import Api, Frame, KafkaProxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

LONG = pytest.mark.long


class Moment(NamedTuple):
    """A point of the start: after the first response to `first`, responses to `held` do not arrive."""

    role: str
    held: Api
    first: Api


class Hold:
    """A proxy rule: after the first response to `first`, responses to `held` do not arrive."""

    def __init__(self, held: Api, first: Api) -> None:
        self._held, self._first = held, first
        self._begun = threading.Event()
        self._over = threading.Event()
        self.reached = threading.Event()

    def __call__(self, frame: Frame) -> bool:
        if frame.direction == "response":
            if self._begun.is_set() and frame.api == self._held:
                self.reached.set()
                self._over.wait()
            if frame.api == self._first:
                self._begun.set()
        return True

    def end(self) -> None:
        """Let all responses pass."""
        self._over.set()


@pytest.fixture
def proxy(pipeline: Pipeline) -> Iterator[KafkaProxy]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        yield proxy


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(
            Moment("deliver", Api.INIT_PRODUCER_ID, Api.FIND_COORDINATOR), id="fences its predecessor", marks=LONG
        ),
        pytest.param(Moment("deliver", Api.FETCH, Api.INIT_PRODUCER_ID), id="reads subscriptions", marks=LONG),
        pytest.param(Moment("deliver", Api.JOIN_GROUP, Api.INIT_PRODUCER_ID), id="joins its group", marks=LONG),
        pytest.param(Moment("deliver", Api.OFFSET_FETCH, Api.JOIN_GROUP), id="asks for positions"),
        pytest.param(Moment("deliver", Api.FETCH, Api.JOIN_GROUP), id="reads health", marks=LONG),
        pytest.param(Moment("router", Api.FETCH, Api.METADATA), id="the router reads its tables", marks=LONG),
        pytest.param(Moment("router", Api.JOIN_GROUP, Api.METADATA), id="the router joins its group", marks=LONG),
        pytest.param(
            Moment("router", Api.OFFSET_FETCH, Api.JOIN_GROUP), id="the router asks for positions", marks=LONG
        ),
    ],
)
def test_stop_before_ready_loses_no_job(pipeline: Pipeline, proxy: KafkaProxy, receiver: Receiver, at: Moment) -> None:
    """A role stops with exit code 0 while its start waits for a response; its successor does all the work."""
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(5)
    other = pipeline.router() if at.role == "deliver" else pipeline.deliver()
    hold = Hold(at.held, at.first)
    proxy.rule = hold
    behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, pipeline._start_role)
    starting = behind.start(at.role, "--instance", "0", ready=False)
    wait_until(hold.reached.is_set, what=f"it waits for {at.held.name}")
    assert starting.get("/readyz")[0] != 200
    assert starting.terminate() == 0
    hold.end()
    assert receiver.requests == []

    pipeline.start(at.role, "--instance", "0")
    pipeline.wait_for_ends(5)
    assert len(receiver.requests) == 5
    assert other.is_alive()
