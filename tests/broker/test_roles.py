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


def test_role_gets_ready_and_ends(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """A role gets ready by /readyz, is killed by its pid, starts again, and exits with 0 after SIGTERM."""
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


def test_role_that_exits_is_shown_with_its_log(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """Waiting for a role that has exited fails at once with the end of its log."""
    role = start_role(["router"], settings(broker, prefix))  # its topics are missing

    with pytest.raises(AssertionError, match=r"(?s)router ended with exit code 1; its log ends:.*topics apply"):
        role.wait_ready()
