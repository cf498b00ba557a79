"""`signpost up`: start, state folder, restart of roles, and end."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.dev.addresses import is_free
from deploy.dev.broker import Broker
from deploy.dev.log_files import MAX_LOG, previous
from deploy.dev.state import BROKER_FOLDER
from deploy.dev.supervisor import RoleProcess
from tests.support.processes import is_running
from tests.support.roles import Role, RoleStarter, free_port
from tests.support.tools import Commands
from tests.support.waiting import wait_until

SECRET = "secret-of-the-tests-0123456789"


# Every kind of command that asks a broker. The folder of a stopped `up` is their only setting.
NEED_A_BROKER = [
    ["lag"],
    ["tail", "dead"],
    ["explain", "evt_1"],
    ["positions", "list"],
    ["topics", "plan"],
    ["dead-letters", "list"],
    ["endpoints"],
    ["subscriptions", "list"],
    ["subscriptions", "pause", "sub-1"],
    ["events", "simulate", "--seconds", "1"],
    ["router", "--instance", "7"],
    ["deliver", "--instance", "7"],
]
KEY = base64.b64encode(bytes(32)).decode()


def broker_pids(up: Up) -> list[int]:
    """Return the pids of the JVMs that `up` has started as its broker, oldest first; none for a container."""
    lines = [line for line in up.process.log_text().splitlines() if line.startswith("broker:") and "(pid " in line]
    return [int(line.partition("(pid ")[2].partition(",")[0]) for line in lines]


def free_ports_from(count: int) -> int:
    """Return the first of `count` free ports in a row."""
    while True:
        first = free_port()
        if all(is_free(first + number) for number in range(count)):
            return first


class Up:
    """`signpost up --state <folder>`, and commands that use the same state folder."""

    def __init__(self, state: Path, env: Mapping[str, str], start: RoleStarter) -> None:
        self.state = state
        self.env = dict(env)
        self._start = start
        self._process: Role | None = None

    def start(self, *options: str) -> Up:
        """Start `signpost up`, again if it has ended."""
        self._process = self._start(["up", "--state", str(self.state), *options], self.env)
        return self

    @property
    def process(self) -> Role:
        """The process of the last start."""
        assert self._process is not None, "up has not been started"
        return self._process

    @property
    def file(self) -> dict[str, Any]:
        """Return the content of up.json."""
        content: dict[str, Any] = json.loads((self.state / "up.json").read_text(encoding="utf-8"))
        return content

    @property
    def pids(self) -> list[int]:
        """Return the pids of all roles."""
        return [pid for pids in self.file["pids"].values() for pid in pids]

    def wait_ready(self) -> Up:
        """Wait for the line `ready`; start it first if that was not done. An older up.json does not count."""
        if self._process is None:
            self.start()

        def ready() -> bool:
            if not self.process.is_alive():
                raise RuntimeError(self.process.log_text())
            return "ready; " in self.process.log_text()

        wait_until(ready, what="up is ready")
        return self

    def run(self, *args: str, code: int = 0, **env: str) -> str:
        """Run a command with the state folder as its only setting, and return its output."""
        process = self._start(args, {"SIGNPOST_STATE": str(self.state)} | env)
        assert process.wait() == code, process.log_text()
        return process.log_text()

    def receiver(self) -> tuple[Role, str]:
        """Start `signpost receiver`, and return it with its URL."""
        port = free_port()
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
    """A shared `signpost up`, for tests that leave it running."""
    return Up(
        tmp_path_factory.mktemp("up") / "state",
        {
            "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "SIGNPOST_PREFIX": module_prefix,
            "SIGNPOST_PARTITIONS": "3",
        },
        module_start_role,
    )


def test_other_commands_need_only_the_state_folder(running: Up) -> None:
    """Subscribing, publishing and receiving work with the state folder as the only setting."""
    running.wait_ready()
    receiver, url = running.receiver()

    assert "sub-1" in running.subscribe(url)
    assert f"published to {running.env['SIGNPOST_PREFIX']}zenoo.events" in running.publish("evt_1")

    wait_until(lambda: "evt_1" in receiver.log_text(), what="the event is delivered")
    assert "signature ok" in receiver.log_text()


def test_up_json_has_pids_and_addresses(running: Up, broker: Broker) -> None:
    """up.json has the pids and addresses of the ready processes. Each slow step is printed before it starts."""
    running.wait_ready()
    log = running.process.log_text()
    steps = ("topics: creating ", "changes made in ", "roles: starting router, deliver, ledger")
    assert sorted(steps, key=log.index) == list(steps)

    content = running.file
    assert set(content) == {"bootstrap_servers", "pids", "addresses"}
    assert content["bootstrap_servers"] == broker.bootstrap_servers
    assert {role: len(pids) for role, pids in content["pids"].items()} == {
        "router": 1,
        "deliver": 1,
        "ledger": 1,
        "api": 1,
    }
    assert all(is_running(pid) for pid in running.pids)
    assert set(content["addresses"]) == {"router", "deliver", "ledger", "api"}
    for address in content["addresses"].values():
        assert httpx.get(f"{address}/readyz").status_code == 200


def test_killed_role_is_restarted(running: Up) -> None:
    """A role killed by SIGKILL is restarted, up.json names the new process, and events are delivered as before."""
    running.wait_ready()
    receiver, url = running.receiver()
    running.subscribe(url)
    before = running.file

    for role in ("deliver", "router", "ledger", "api"):
        os.kill(before["pids"][role][0], signal.SIGKILL)

    def replaced() -> bool:
        now = running.file["pids"]
        return all(now[role] and now[role] != before["pids"][role] for role in now)

    wait_until(replaced, what="up.json names the new processes")
    assert all(is_running(pid) for pid in running.pids)
    assert "killed by SIGKILL" in running.process.log_text()
    running.publish("evt_after")
    wait_until(lambda: "evt_after" in receiver.log_text(), what="the event is delivered")


def test_sigterm_drains_all_roles(up: Up) -> None:
    """After SIGTERM all roles drain, up.json is removed, and the exit code is 0."""
    pids = up.wait_ready().pids

    assert up.process.terminate() == 0

    assert not any(is_running(pid) for pid in pids)
    assert not (up.state / "up.json").exists()
    assert "drained" in (up.state / "logs" / "deliver-0.log").read_text(encoding="utf-8")


def test_sigterm_during_the_start_ends_up(up: Up) -> None:
    """SIGTERM during the start also ends up with exit code 0."""
    up.start()
    wait_until(lambda: "broker:" in up.process.log_text(), what="the broker is named")

    assert up.process.terminate() == 0


def test_roles_end_with_a_killed_up(up: Up) -> None:
    """SIGKILL of up ends all roles. The next up in the folder starts new ones and does not trust the old up.json."""
    pids = up.wait_ready().pids

    up.process.kill()

    wait_until(lambda: not any(is_running(pid) for pid in pids), what="the roles have ended")
    up.start()
    wait_until(lambda: "topics:" in up.process.log_text(), what="the next up starts")
    assert not (up.state / "up.json").exists() or not set(up.pids) & set(pids)
    up.wait_ready()


def test_second_up_is_refused(running: Up, start_role: RoleStarter) -> None:
    """A second up in the same folder exits at once with an error, and does not disturb the first."""
    pids = running.wait_ready().pids

    second = start_role(["up", "--state", str(running.state)], running.env)

    assert second.wait() == 1
    assert "another `signpost up` runs in" in second.log_text()
    assert running.pids == pids
    assert all(is_running(pid) for pid in pids)


def test_role_that_cannot_start_ends_up(running: Up, start_role: RoleStarter, tmp_path: Path) -> None:
    """A role that exits repeatedly ends `signpost up` with the role's own error, long before any timeout."""
    source = json.dumps([{"topic": f"{running.env['SIGNPOST_PREFIX']}nowhere", "sender": "zenoo"}])

    other = start_role(["up", "--state", str(tmp_path / "other")], running.env | {"SIGNPOST_SOURCES": source})

    assert other.wait() == 1
    assert "error: router does not start: the source topic" in other.log_text()


def test_own_broker_keeps_its_data(tmp_path: Path, start_role: RoleStarter, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no broker is given, up starts one and bounds its log. Its data survives SIGKILL of up and of the broker."""
    up = Up(tmp_path / "state", {"SIGNPOST_PARTITIONS": "1"}, start_role).wait_ready()
    servers = up.file["bootstrap_servers"]
    up.subscribe("http://127.0.0.1:9/hook")

    up.process.kill()
    up.start()
    up.wait_ready()

    assert up.file["bootstrap_servers"] == servers
    assert "sub-1" in up.run("subscriptions", "list")
    assert {path.name for path in up.state.iterdir()} == {
        *("broker", "logs", "ledger.db", "ledger.db-shm", "ledger.db-wal"),
        *("sealing.key", "signpost.toml", "up.json", "up.lock"),
    }
    assert (up.state / "sealing.key").stat().st_mode & 0o777 == 0o600

    if not (pids := broker_pids(up)):
        return  # a container, not a local JVM
    log = up.state / BROKER_FOLDER / "kafka.log"
    os.truncate(log, MAX_LOG + 1)
    wait_until(lambda: log.stat().st_size < MAX_LOG, what="the log begins again")
    assert previous(log).stat().st_size > MAX_LOG
    os.kill(pids[-1], signal.SIGKILL)
    wait_until(lambda: len(broker_pids(up)) > len(pids), what="the broker is started again")
    assert f"the broker at {servers} was killed by SIGKILL (log: " in up.process.log_text()
    assert "sub-1" in up.run("subscriptions", "list")
    assert not [line for line in up.process.log_text().splitlines() if line.startswith("error:")]
    receiver, url = up.receiver()
    up.subscribe(url)
    up.publish("evt_after")
    wait_until(lambda: "evt_after" in receiver.log_text(), what="events are delivered as before")
    assert up.process.terminate() == 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    run = Commands({"SIGNPOST_STATE": str(up.state)}, monkeypatch)
    for command in NEED_A_BROKER:
        code, _, error = run(*command)
        assert (code, f"`signpost up` is not running in {up.state}" in error) == (1, True), command
    for command in (["settings"], ["senders", "list"]):
        assert run(*command).code == 0, command


def test_broker_that_cannot_start_again_ends_up(tmp_path: Path, start_role: RoleStarter) -> None:
    """A broker that died and cannot start with its data is tried a few times; then up ends with one sentence."""
    up = Up(tmp_path / "state", {"SIGNPOST_PARTITIONS": "1"}, start_role).wait_ready()
    if not (pids := broker_pids(up)):
        pytest.skip("the broker runs in a container")
    (up.state / "broker" / "kafka" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=77\n")
    os.kill(pids[-1], signal.SIGKILL)

    assert up.process.wait(120) == 1

    lines = up.process.log_text().splitlines()
    (error,) = (line for line in lines if line.startswith("error:"))
    assert "did not start again: Kafka exited with code 1 during start-up: " in error
    assert "4 times in a row; its data is kept" in error
    assert len([line for line in lines if "starting it again with its data in" in line]) == 3


def test_up_listens_where_the_settings_say(up: Up, start_role: RoleStarter, tmp_path: Path) -> None:
    """Status servers have the ports of the settings, counted up for further processes, and after a restart as well."""
    router, deliver = (free_ports_from(2) for _ in range(2))
    up.env |= {"SIGNPOST_ROUTER_LISTEN": f"127.0.0.1:{router}", "SIGNPOST_DELIVER_LISTEN": f"0.0.0.0:{deliver}"}
    up.start("--deliver", "2").wait_ready()

    addresses = {
        name: f"http://127.0.0.1:{port}"
        for name, port in (("router", router), ("deliver", deliver), ("deliver-1", deliver + 1))
    }
    assert {name: url for name, url in up.file["addresses"].items() if name not in ("ledger", "api")} == addresses
    for address in addresses.values():
        assert httpx.get(f"{address}/metrics").status_code == 200
        assert f"{address}/metrics" in up.process.log_text()

    before = up.file["pids"]["deliver"][0]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: before not in up.file["pids"]["deliver"], what="the process is replaced")
    wait_until(RoleProcess("deliver", 0, port=deliver).is_ready, what="it is ready at its old port")

    shown = json.loads(up.run("settings", "--json"))
    assert shown["deliver_listen"]["value"] == f"0.0.0.0:{deliver}"
    second = start_role(["up", "--state", str(tmp_path / "second")], up.env)
    assert second.wait() == 2
    assert f"router_listen: port {router} of 127.0.0.1, for router, is taken" in second.log_text()


def test_drain_timeout_that_is_too_short_is_refused(up: Up, start_role: RoleStarter, tmp_path: Path) -> None:
    """`up` and a delivery process refuse a `drain_timeout` that does not cover the timeouts of senders."""
    sentence = "drain_timeout is 5s, but a request of sender diligent may take 30s: set drain_timeout to 35s or more"
    for command in (["up", "--state", str(tmp_path / "other")], ["deliver", "--instance", "0"]):
        refused = start_role(command, up.env | {"SIGNPOST_DRAIN_TIMEOUT": "5s", "SIGNPOST_SEALING_KEY": KEY})
        assert refused.wait() == 2
        assert sentence in refused.log_text()


def test_missing_sealing_key_is_refused_before_the_start(start_role: RoleStarter, tmp_path: Path) -> None:
    """`up` with a sealing key that cannot be read names the file, and starts neither broker nor roles."""
    keys = json.dumps([{"id": "new", "file": str(tmp_path / "missing.key")}])
    refused = start_role(["up", "--state", str(tmp_path / "state")], {"SIGNPOST_SEALING_KEYS": keys})
    assert refused.wait() == 2
    assert "missing.key: cannot be read" in refused.log_text()
    assert "broker:" not in refused.log_text()


def test_subscription_whose_timeout_exceeds_the_drain_is_refused(up: Up, start_role: RoleStarter) -> None:
    """A `drain_timeout` that was lowered below what a subscription's timeout needs ends the start, with its name."""
    up.env["SIGNPOST_DRAIN_TIMEOUT"] = "65s"
    up.wait_ready()
    arguments = ["--sender", "zenoo", "--customer", "acme", "--url", "http://127.0.0.1:9/hook", "--timeout", "1m"]
    up.run("subscriptions", "create", "sub-slow", *arguments)
    assert up.process.terminate() == 0

    up.env["SIGNPOST_DRAIN_TIMEOUT"] = "35s"
    up.start()

    assert up.process.wait() == 1
    assert "subscription sub-slow has a timeout of 60s: set drain_timeout to 65s or more" in up.process.log_text()
