"""The helper that starts role processes, tried on the router."""

from __future__ import annotations

import pytest

from deploy.dev.broker import Broker
from tests.support.processes import is_running
from tests.support.roles import RoleStarter


def settings(broker: Broker, prefix: str) -> dict[str, str]:
    return {
        "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "SIGNPOST_PREFIX": prefix,
        "SIGNPOST_REPLICATION": "1",
        "SIGNPOST_PARTITIONS": "2",
    }


def test_a_role_gets_ready_and_ends_as_told(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """A role is waited for by /readyz, killed by its own pid, started again, and its exit code after SIGTERM is 0."""
    env = settings(broker, prefix)
    assert start_role(["topics", "apply"], env).wait() == 0

    first = start_role(["router", "--instance", "0"], env).wait_ready()
    assert is_running(first.pid)
    first.kill()
    assert not is_running(first.pid)

    second = start_role(["router", "--instance", "0"], env).wait_ready()
    assert second.get("/healthz")[0] == 200
    assert second.terminate() == 0
    assert second.log != first.log


def test_a_role_that_ends_is_shown_with_its_log(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """Waiting for a role that has ended fails at once, with the end of its log."""
    role = start_role(["router"], settings(broker, prefix))  # its topics are missing

    with pytest.raises(AssertionError, match=r"(?s)router ended with exit code 1; its log ends:.*topics apply"):
        role.wait_ready()
