"""`signpost up` with several processes per role: they share the partitions, and a killed one is restarted."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.dev.receiver import Receiver
from tests.support.pipeline import Pipeline, ends_of
from tests.support.roles import RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

SUBSCRIPTIONS = 12
EVENTS = 10


def total(address: str, name: str) -> float:
    """Return the sum of a metric of the process at this address."""
    families = text_string_to_metric_families(httpx.get(f"{address}/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_two_processes_per_role_deliver_and_survive_a_kill(
    pipeline: Pipeline, tmp_path: Path, start_role: RoleStarter, receiver: Receiver
) -> None:
    """Both delivery processes deliver. With one process per role killed, each job still ends exactly once."""
    pipeline.subscribe(*(f"{receiver.url}{number}" for number in range(SUBSCRIPTIONS)))
    arguments = ["up", "--state", str(tmp_path / "state"), "--deliver", "2", "--router", "2"]
    up = start_role(arguments, pipeline.env())
    wait_until(lambda: "ready; " in up.log_text(), what="up is ready")
    content: dict[str, Any] = json.loads((tmp_path / "state" / "up.json").read_text(encoding="utf-8"))
    assert {role: len(pids) for role, pids in content["pids"].items()} == {
        "router": 2,
        "deliver": 2,
        "ledger": 1,
        "api": 1,
    }

    pipeline.publish_some(EVENTS)
    pipeline.wait_for_ends(EVENTS * SUBSCRIPTIONS)
    delivering = [address for name, address in content["addresses"].items() if name.startswith("deliver")]
    assert all(total(address, "signpost_delivery_attempts_total") > 0 for address in delivering)

    for pids in content["pids"].values():
        os.kill(pids[-1], signal.SIGKILL)
    pipeline.publish_some(EVENTS, start=EVENTS)
    outcomes = pipeline.wait_for_ends(2 * EVENTS * SUBSCRIPTIONS)
    assert set(ends_of(outcomes).values()) == {1}
    assert up.terminate() == 0
