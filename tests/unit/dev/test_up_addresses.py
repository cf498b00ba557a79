"""Ports of the status servers that `signpost up` runs, and commands that find a stopped `up`."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.config.settings_sources import Loaded, load
from deploy.dev.broker_log import reason_in
from deploy.dev.kafka import free_port, properties
from deploy.dev.state import check_up_runs, write_settings
from deploy.dev.supervisor import RoleProcess
from deploy.dev.up import choose_addresses
from schemas.catalog.errors import InvalidInput, Unavailable


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SIGNPOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def roles(router: int, deliver: int) -> list[RoleProcess]:
    return [*(RoleProcess("router", n) for n in range(router)), *(RoleProcess("deliver", n) for n in range(deliver))]


def addresses(processes: list[RoleProcess]) -> dict[str, str]:
    return {role.name: f"{role.host}:{role.port}" for role in processes}


@contextmanager
def listening() -> Iterator[int]:
    """Listen at a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def base() -> int:
    """The first of eight free ports in a row."""
    while True:
        first = free_port()
        try:
            for server in [socket.create_server(("127.0.0.1", first + number)) for number in range(8)]:
                server.close()
        except OSError:
            continue
        return first


def test_ports_are_counted_up_for_further_processes(base: int) -> None:
    """Each role begins at its setting; no two processes share a port, even if the settings are neighbours or equal."""
    for router, deliver, expected in (
        (base, base + 4, {"router": 0, "router-1": 1, "deliver": 4, "deliver-1": 5, "deliver-2": 6}),
        (base, base + 1, {"router": 0, "router-1": 2, "deliver": 1, "deliver-1": 3, "deliver-2": 4}),
        (base, base, {"router": 0, "router-1": 2, "deliver": 1, "deliver-1": 3, "deliver-2": 4}),
    ):
        processes = roles(2, 3)
        given = load(router_listen=f"127.0.0.1:{router}", deliver_listen=f"127.0.0.1:{deliver}")
        chosen = choose_addresses(processes, given)
        assert addresses(processes) == {name: f"127.0.0.1:{base + number}" for name, number in expected.items()}
        assert chosen == {f"{kind}_listen": addresses(processes)[kind] for kind in ("router", "deliver")}
        assert not any(role.movable for role in processes)


def test_taken_port_of_a_setting_is_refused(base: int) -> None:
    """A port that was asked for is not silently replaced: a Prometheus would scrape nothing."""
    with socket.create_server(("127.0.0.1", base + 1)):
        given = load(router_listen=f"127.0.0.1:{base}", deliver_listen=f"127.0.0.1:{base + 4}")
        choose_addresses(roles(1, 1), given)
        with pytest.raises(InvalidInput, match=f"router_listen: port {base + 1} of 127.0.0.1, for router-1, is taken"):
            choose_addresses(roles(2, 1), given)


def test_ports_beyond_the_last_are_refused() -> None:
    """Counting up ends at port 65535."""
    with pytest.raises(InvalidInput, match="router_listen: port 65536"):
        choose_addresses(roles(2, 1), load(router_listen="127.0.0.1:65535"))


def test_default_ports_give_way(base: int) -> None:
    """Without a setting, a taken port is passed over, so that a second `up` can run. Port 0 is any free port."""
    with socket.create_server(("127.0.0.1", base)):
        given = load(router_listen=f"127.0.0.1:{base}", deliver_listen="[::1]:0")
        processes = roles(1, 1)
        choose_addresses(processes, Loaded(given.settings, {"deliver_listen": "given"}))
    assert processes[0].port == base + 1
    assert processes[0].movable
    assert processes[1].port > 0
    assert processes[1].address == f"http://[::1]:{processes[1].port}"


def stopped(state: Path, port: int) -> None:
    """Make the state folder of an `up` that ran a broker of its own at this port."""
    address = f"127.0.0.1:{port}"
    (state / "broker").mkdir(parents=True)
    text = properties(listen=address, controller="127.0.0.1:1", advertised=address)
    (state / "broker" / "server.properties").write_text(text, encoding="ascii")
    write_settings(state, load(without=state / "signpost.toml"), address, {})


def test_stopped_up_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command with the folder of a stopped `up` says that it is not running and how to start it."""
    stopped(tmp_path / "my state", free_port())
    with pytest.raises(SystemExit) as ended:
        main(["--state", str(tmp_path / "my state"), "lag"])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert f"error: `signpost up` is not running in {tmp_path / 'my state'}, and its broker at 127.0.0.1:" in error
    assert f"start both with `signpost up --state '{tmp_path / 'my state'}'`" in error


def test_stopped_up_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings file of `up` in the current folder is recognised as well."""
    stopped(tmp_path / "state", free_port())
    monkeypatch.chdir(tmp_path / "state")
    with pytest.raises(Unavailable, match="`signpost up` is not running in"):
        check_up_runs(load())


def test_broker_that_runs_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused while `up` starts, if the broker runs without `up`, or if it is another broker."""
    with listening() as port:
        stopped(tmp_path / "listening", port)
        check_up_runs(load(tmp_path / "listening"))

    stopped(tmp_path / "starting", free_port())
    with (tmp_path / "starting" / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        check_up_runs(load(tmp_path / "starting"))
    with pytest.raises(Unavailable):
        check_up_runs(load(tmp_path / "starting"))

    write_settings(tmp_path / "starting", load(), "kafka.example:9092", {})
    check_up_runs(load(tmp_path / "starting"))
    stopped(tmp_path / "other", free_port())
    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    check_up_runs(load(tmp_path / "other"))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", "it wrote no log"),
        ("[main] INFO a\n[main] INFO b\n", "[main] INFO b"),
        (
            "[main] ERROR Exiting\njava.net.BindException: Address in use\n\tat Net.bind\n\t... 9 more\n[main] INFO x",
            "java.net.BindException: Address in use",
        ),
        (
            "Error: Could not find or load main class kafka.Kafka\n",
            "Error: Could not find or load main class kafka.Kafka",
        ),
        ("x" * 1_000, "x" * 300 + "…"),
    ],
)
def test_reason_in_a_log_is_one_line(log: str, reason: str) -> None:
    """Of a broker's log the line is shown that says why it ended."""
    assert reason_in(log) == reason
