"""`signpost up`: everything runs, is found through the state folder, comes back when it dies, and ends in order."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.dev import kafka
from deploy.dev.broker import Broker
from tests.support.processes import is_running
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

SECRET = "secret-of-the-tests-0123456789"


class Up:
    """`signpost up --state <folder>` and the commands that a user gives beside it."""

    def __init__(self, state: Path, env: Mapping[str, str], start: RoleStarter) -> None:
        self.state = state
        self.env = dict(env)
        self._start = start
        self.process = self.start()

    def start(self) -> Role:
        """Start it, once more if it has ended."""
        self.process = self._start(["up", "--state", str(self.state)], self.env)
        return self.process

    @property
    def file(self) -> dict[str, Any]:
        """Return what up.json says."""
        content: dict[str, Any] = json.loads((self.state / "up.json").read_text(encoding="utf-8"))
        return content

    @property
    def pids(self) -> list[int]:
        """Return the pids of all roles."""
        return [pid for pids in self.file["pids"].values() for pid in pids]

    def wait_ready(self) -> Up:
        """Wait until it says so; up.json is there by then, and an older one is not taken for it."""

        def ready() -> bool:
            if not self.process.is_alive():
                raise RuntimeError(self.process.log_text())
            return "ready; " in self.process.log_text()

        wait_until(ready, 90, "up is ready")
        return self

    def run(self, *args: str, code: int = 0, **env: str) -> str:
        """Run a command that knows nothing but the state folder, and return what it printed."""
        process = self._start(args, {"SIGNPOST_STATE": str(self.state)} | env)
        assert process.wait() == code, process.log_text()
        return process.log_text()

    def receiver(self) -> tuple[Role, str]:
        """Start `signpost receiver`; return it and its URL."""
        port = kafka.free_port()
        receiver = self._start(["receiver", "--port", str(port), "--secret", SECRET], {})
        wait_until(lambda: "verifies signatures" in receiver.log_text(), what="the receiver listens")
        return receiver, f"http://127.0.0.1:{port}/hook"

    def subscribe(self, url: str) -> str:
        """Apply a file with one subscription to all events of acme."""
        one = {"id": "sub-1", "sender": "zenoo", "customer_id": "acme", "url": url, "event_types": ["*"]}
        file = self.state.parent / "subscriptions.yaml"
        file.write_text(json.dumps({"subscriptions": [one | {"secret": SECRET}]}), encoding="utf-8")
        return self.run("subscriptions", "apply", str(file))

    def publish(self, event_id: str) -> str:
        """Publish one event from a file."""
        event = {
            "event_id": event_id,
            "event_type": "alert.ai_research_completed",
            "data": {
                "alert_token": "alt_1",
                "confidence": 85,
                "false_positive_probability": 82,
                "recommended_action": "Approve",
            },
        }
        file = self.state.parent / "event.json"
        file.write_text(json.dumps(event), encoding="utf-8")
        return self.run("events", "publish", "--customer", "acme", str(file))


@pytest.fixture
def up(broker: Broker, prefix: str, tmp_path: Path, start_role: RoleStarter) -> Up:
    env = {"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    return Up(tmp_path / "state", env | {"SIGNPOST_PREFIX": prefix, "SIGNPOST_PARTITIONS": "3"}, start_role)


@pytest.fixture(scope="module")
def running(
    broker: Broker, module_prefix: str, module_start_role: RoleStarter, tmp_path_factory: pytest.TempPathFactory
) -> Up:
    """One for the tests after which it still runs."""
    return Up(
        tmp_path_factory.mktemp("up") / "state",
        {
            "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "SIGNPOST_PREFIX": module_prefix,
            "SIGNPOST_PARTITIONS": "3",
        },
        module_start_role,
    )


def test_other_commands_need_the_state_folder_alone(running: Up) -> None:
    """Subscribing, publishing and receiving work with the state folder as the only setting, whatever up runs with."""
    running.wait_ready()
    receiver, url = running.receiver()

    assert "sub-1" in running.subscribe(url)
    assert f"published to {running.env['SIGNPOST_PREFIX']}zenoo.events" in running.publish("evt_1")

    wait_until(lambda: "evt_1" in receiver.log_text(), what="the event is delivered")
    assert "signature ok" in receiver.log_text()


def test_up_json_says_what_runs_and_where(running: Up, broker: Broker) -> None:
    """up.json says which processes run and are ready, and where; what takes long is said before it is done."""
    running.wait_ready()
    said = running.process.log_text()
    assert (
        said.index("topics: creating ") < said.index("changes made in ") < said.index("roles: starting router, deliver")
    )

    content = running.file
    assert set(content) == {"bootstrap_servers", "pids", "addresses"}
    assert content["bootstrap_servers"] == broker.bootstrap_servers
    assert {kind: len(pids) for kind, pids in content["pids"].items()} == {"router": 1, "deliver": 1}
    assert all(is_running(pid) for pid in running.pids)
    assert set(content["addresses"]) == {"router", "deliver"}
    for address in content["addresses"].values():
        assert httpx.get(f"{address}/readyz").status_code == 200
        assert address in running.process.log_text()


def test_a_killed_role_comes_back(running: Up) -> None:
    """A role killed by SIGKILL is started again, up.json names the new process, and events are delivered as before."""
    running.wait_ready()
    receiver, url = running.receiver()
    running.subscribe(url)
    before = running.file

    for kind in ("deliver", "router"):
        os.kill(before["pids"][kind][0], signal.SIGKILL)

    def replaced() -> bool:
        now = running.file["pids"]
        return all(now[kind] and now[kind] != before["pids"][kind] for kind in now)

    wait_until(replaced, what="up.json names the new processes")
    assert all(is_running(pid) for pid in running.pids)
    assert "ended by SIGKILL" in running.process.log_text()
    running.publish("evt_after")
    wait_until(lambda: "evt_after" in receiver.log_text(), 60, "the event is delivered")


def test_sigterm_drains_all(up: Up) -> None:
    """After SIGTERM all roles end by themselves, nothing of up.json is left, and the exit code is 0."""
    pids = up.wait_ready().pids

    assert up.process.terminate() == 0

    assert not any(is_running(pid) for pid in pids)
    assert not (up.state / "up.json").exists()
    assert "drained" in (up.state / "logs" / "deliver-0.log").read_text(encoding="utf-8")


def test_sigterm_while_it_starts(up: Up) -> None:
    """A SIGTERM before everything runs ends it with exit code 0 as well."""
    wait_until(lambda: "broker:" in up.process.log_text(), what="it has begun")

    assert up.process.terminate() == 0


def test_roles_end_with_an_up_that_is_killed(up: Up) -> None:
    """SIGKILL of up ends all roles, and the next up in the folder starts anew instead of trusting the old up.json."""
    pids = up.wait_ready().pids

    up.process.kill()

    wait_until(lambda: not any(is_running(pid) for pid in pids), what="the roles have ended")
    up.start()
    wait_until(lambda: "topics:" in up.process.log_text(), what="the next one has begun")
    assert not (up.state / "up.json").exists() or not set(up.pids) & set(pids)
    up.wait_ready()


def test_a_second_up_is_refused(running: Up, start_role: RoleStarter) -> None:
    """A second up in the same folder ends at once and says so; the first one is not disturbed."""
    pids = running.wait_ready().pids

    second = start_role(["up", "--state", str(running.state)], running.env)

    assert second.wait() == 1
    assert "another `signpost up` runs in" in second.log_text()
    assert running.pids == pids
    assert all(is_running(pid) for pid in pids)


def test_a_role_that_cannot_start_ends_up(running: Up, start_role: RoleStarter, tmp_path: Path) -> None:
    """A role that ends again and again ends up with the role's own sentence, long before any timeout."""
    source = json.dumps([{"topic": f"{running.env['SIGNPOST_PREFIX']}nowhere", "sender": "zenoo"}])

    other = start_role(["up", "--state", str(tmp_path / "other")], running.env | {"SIGNPOST_SOURCES": source})

    assert other.wait() == 1
    assert "error: router does not start: the source topic" in other.log_text()


def test_a_broker_of_its_own_keeps_its_data(tmp_path: Path, start_role: RoleStarter) -> None:
    """With no broker given up starts one, its data outlives SIGKILL, and a broker that dies is named as the reason."""
    up = Up(tmp_path / "state", {"SIGNPOST_PARTITIONS": "1"}, start_role).wait_ready()
    servers = up.file["bootstrap_servers"]
    up.subscribe("http://127.0.0.1:9/hook")

    up.process.kill()
    up.start()
    up.wait_ready()

    assert up.file["bootstrap_servers"] == servers
    assert "sub-1" in up.run("subscriptions", "list")
    assert {path.name for path in up.state.iterdir()} == {
        *("broker", "logs", "sealing.key", "signpost.toml", "up.json", "up.lock")
    }
    assert (up.state / "sealing.key").stat().st_mode & 0o777 == 0o600

    process = next(line for line in up.process.log_text().splitlines() if line.startswith("broker:"))
    if "pid " in process:  # a local JVM, not a container
        os.kill(int(process.partition("pid ")[2].partition(",")[0]), signal.SIGKILL)
        assert up.process.wait() == 1
        assert f"error: the broker at {servers} exited by itself" in up.process.log_text()
