"""Roles that are started before their broker, or on topics that are not as they must be."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.dev import kafka
from deploy.dev.broker import Broker
from tests.support.pipeline import Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

ROLES = ("router", "deliver")
SEALING_KEY = base64.b64encode(bytes(32)).decode()


@contextmanager
def nobody(answering: bool) -> Iterator[int]:
    """A port where nothing listens, or where connections are taken and no question is answered."""
    if not answering:
        yield kafka.free_port()
        return
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def says_that_it_waits(role: Role) -> None:
    """Wait until log, metric and /readyz of a role say that there is no broker."""
    wait_until(lambda: role.get("/metrics")[0] == 200, what=f"{role.name} answers")
    wait_until(lambda: role.metric("signpost_waiting_for_broker") == 1, what=f"the metric of {role.name}")
    status, reason = role.get("/readyz")
    assert (status, "broker" in reason) == (503, True), reason
    assert role.log_text().count('"kafka.disconnected"') == 1


@pytest.mark.parametrize(
    ("role", "answering"),
    [
        pytest.param("router", False, id="router-refused"),
        pytest.param("deliver", True, id="deliver-silent"),
        pytest.param("router", True, id="router-silent", marks=pytest.mark.long),
        pytest.param("deliver", False, id="deliver-refused", marks=pytest.mark.long),
    ],
)
def test_told_to_end_while_it_waits_for_its_broker(start_role: RoleStarter, role: str, answering: bool) -> None:
    """SIGTERM before a broker has answered ends a role at once, with exit code 0."""
    with nobody(answering) as port:
        env = {
            "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
            "SIGNPOST_SEALING_KEY": SEALING_KEY,
            "SIGNPOST_LOG_FORMAT": "json",
        }
        process = start_role([role], env)
        says_that_it_waits(process)
        told_at = time.monotonic()
        assert process.terminate() == 0
        assert time.monotonic() - told_at < 2


def test_started_before_its_broker(own_broker: Broker, start_role: RoleStarter) -> None:
    """Roles that start while the broker is away say so, wait, and work once it is there."""
    pipeline = Pipeline(own_broker.bootstrap_servers, "early.", start_role)
    own_broker.stop()
    roles = [pipeline.start(role, ready=False) for role in ROLES]
    for role in roles:
        says_that_it_waits(role)
    own_broker.start()
    for role in roles:
        role.wait_ready()
        # Its other clients report now that they missed the broker, and find it there.
        wait_until(lambda role=role: role.metric("signpost_waiting_for_broker") == 0, what="the metric")  # type: ignore[misc]
        assert '"kafka.connected"' in role.log_text()
        assert role.terminate() == 0


@pytest.mark.parametrize("role", ROLES)
def test_topics_that_are_not_as_they_must_be(pipeline: Pipeline, role: str) -> None:
    """A missing topic is not waited for: the role ends with exit code 1 and says what mends it."""
    missing = pipeline.names.outcomes
    pipeline.admin.delete_topics([missing])[missing].result(30)
    process = pipeline.start(role, ready=False)
    assert process.wait(30) == 1
    assert f"create {missing}" in process.log_text()
    assert "signpost topics apply" in process.log_text()
