"""A broker that stands still for longer than its session with the controller, and then responds again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from deploy.dev.broker import Broker
from tests.support.pipeline import Pipeline
from tests.support.roles import RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

# The controller fences a broker without a heartbeat for 9 s, and metadata do not list a fenced broker.
SESSION_S = 9.0


@pytest.mark.long
def test_roles_continue_after_their_broker_stood_still(
    own_broker: Broker, prefix: str, start_role: RoleStarter, tmp_path: Path
) -> None:
    """Router and ledger report that no broker responds, survive its return, and go on."""
    if own_broker.kind != "jvm":
        pytest.skip("the broker is not a process of this machine")
    pipeline = Pipeline(own_broker.bootstrap_servers, prefix, start_role)
    pipeline.subscribe("http://127.0.0.1:9/")
    noticing = {"kafka_socket_timeout_ms": 3_000}  # so that the roles notice it within seconds
    router = pipeline.router(**noticing)
    database = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = pipeline.start("ledger", "--instance", "0", database_url=database, **noticing)
    pipeline.publish_some(1)
    wait_until(lambda: {job.event_id for job in pipeline.jobs()} == {"evt_0"}, what="the router routes")

    os.kill(own_broker.pid, signal.SIGSTOP)
    stopped_s = time.monotonic()
    try:
        for role in (router, ledger):
            wait_until(lambda role=role: "kafka.disconnected" in role.log_text(), 120, "it notices")  # type: ignore[misc]  # bound at once
        wait_until(lambda: time.monotonic() - stopped_s > SESSION_S + 1, what="the session of the broker is over")
    finally:
        os.kill(own_broker.pid, signal.SIGCONT)

    for role in (router, ledger):
        role.wait_ready(120)
    pipeline.publish_some(1, start=1)
    wait_until(lambda: {job.event_id for job in pipeline.jobs()} == {"evt_0", "evt_1"}, 120, "the router routes again")
    assert router.is_alive()
    assert ledger.is_alive()
