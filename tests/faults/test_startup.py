"""Roles that start before their broker, or with missing topics."""

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
def unusable_broker(accepts: bool) -> Iterator[int]:
    """Yield a port where nothing listens, or, with `accepts`, where connections get no response."""
    if not accepts:
        yield kafka.free_port()
        return
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def wait_until_it_reports_no_broker(role: Role) -> None:
    """Wait until log, metric and /readyz of a role report that no broker responds."""
    wait_until(lambda: role.get("/metrics")[0] == 200, what=f"{role.name} serves its status")
    wait_until(lambda: role.metric("signpost_waiting_for_broker") == 1, what=f"the metric of {role.name}")
    status, reason = role.get("/readyz")
    assert (status, "broker" in reason) == (503, True), reason
    assert role.log_text().count('"kafka.disconnected"') == 1


@pytest.mark.parametrize(
    ("role", "accepts"),
    [
        pytest.param("router", False, id="router-refused"),
        pytest.param("deliver", True, id="deliver-silent"),
        pytest.param("router", True, id="router-silent", marks=pytest.mark.long),
        pytest.param("deliver", False, id="deliver-refused", marks=pytest.mark.long),
    ],
)
def test_stop_while_waiting_for_a_broker_is_immediate(start_role: RoleStarter, role: str, accepts: bool) -> None:
    """SIGTERM before a broker has responded ends a role at once, with exit code 0."""
    with unusable_broker(accepts) as port:
        env = {
            "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
            "SIGNPOST_SEALING_KEY": SEALING_KEY,
            "SIGNPOST_LOG_FORMAT": "json",
        }
        process = start_role([role], env)
        wait_until_it_reports_no_broker(process)
        stopped_at = time.monotonic()
        assert process.terminate() == 0
        assert time.monotonic() - stopped_at < 2


def test_roles_that_start_before_their_broker_wait(own_broker: Broker, start_role: RoleStarter) -> None:
    """Roles that start without a broker report it, wait, and become ready when the broker responds."""
    pipeline = Pipeline(own_broker.bootstrap_servers, "early.", start_role)
    own_broker.stop()
    roles = [pipeline.start(role, ready=False) for role in ROLES]
    for role in roles:
        wait_until_it_reports_no_broker(role)
    own_broker.start()
    for role in roles:
        role.wait_ready()
        # Its other clients report their lost connections only now, and then reconnect.
        wait_until(lambda role=role: role.metric("signpost_waiting_for_broker") == 0, what="the metric")  # type: ignore[misc]  # a default has no type
        assert '"kafka.connected"' in role.log_text()
        assert role.terminate() == 0


@pytest.mark.parametrize("role", ROLES)
def test_missing_topic_ends_a_role_with_the_command_to_run(pipeline: Pipeline, role: str) -> None:
    """With a missing topic a role ends with exit code 1 and names `signpost topics apply`."""
    missing = pipeline.names.outcomes
    pipeline.admin.delete_topics([missing])[missing].result(30)
    process = pipeline.start(role, ready=False)
    assert process.wait(30) == 1
    assert f"create {missing}" in process.log_text()
    assert "signpost topics apply" in process.log_text()
