"""The local broker: requirements, data, end, and messages."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from deploy.dev import kafka
from deploy.dev.broker import start_broker
from deploy.dev.container import ContainerBroker
from deploy.dev.jars import kafka_jars
from deploy.dev.jvm import JvmBroker, find_java
from deploy.dev.log_files import MAX_LOG, previous
from schemas.catalog.errors import Unavailable
from tests.support.processes import is_running, python, read_line
from tests.support.roles import RoleStarter
from tests.support.topics import create_topic, read_topic
from tests.support.waiting import wait_until


def silent(line: str) -> None:
    """Discard a line of progress."""


def write(bootstrap_servers: str, topic: str, value: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    producer.produce(topic, value=value)
    assert producer.flush(30) == 0


def values(bootstrap_servers: str, topic: str) -> list[bytes | None]:
    return [message.value() for message in read_topic(bootstrap_servers, topic)]


def test_broker_ends_with_its_parent() -> None:
    """After SIGKILL of the parent process the JVM ends and its temporary data is removed."""
    with python(
        """
        import time
        from deploy.dev.jvm import JvmBroker
        broker = JvmBroker(data=None, port=None, on_progress=lambda line: None)
        print(broker.pid, broker.data, flush=True)
        time.sleep(600)
        """
    ) as parent:
        pid, data = read_line(parent).split(" ", 1)
        assert is_running(int(pid))
        assert Path(data).exists()
        parent.kill()

        wait_until(lambda: not is_running(int(pid)), what="the JVM ends")
        wait_until(lambda: not Path(data).exists(), what="its data is removed")


def test_data_folder_is_used_again(tmp_path: Path) -> None:
    """A second broker in a folder of any name has the same port and records, and keeps the log of the first one."""
    data = tmp_path / "dåta, with a \\ 日本"
    first = JvmBroker(data=data, port=None, on_progress=silent)
    try:
        create_topic(first.bootstrap_servers, "kept")
        write(first.bootstrap_servers, "kept", "1")
    finally:
        first.close()
    second = JvmBroker(data=data, port=None, on_progress=silent)
    try:
        assert second.port == first.port
        assert values(second.bootstrap_servers, "kept") == [b"1"]
        for log in ("kafka.log", "kafka.log.1"):
            assert (data / log).read_text(encoding="utf-8").count("Kafka Server started") == 1
    finally:
        second.close()


def test_broker_can_be_stopped_and_started(tmp_path: Path) -> None:
    """A stopped broker refuses connections. Started again, it has the same address and records."""
    broker = JvmBroker(data=None, port=None, on_progress=silent)
    try:
        create_topic(broker.bootstrap_servers, "kept")
        write(broker.bootstrap_servers, "kept", "1")
        address = broker.bootstrap_servers
        pid = broker.pid

        broker.stop()

        assert not broker.is_alive()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", broker.port))
        broker.start()
        assert (broker.bootstrap_servers, broker.is_alive()) == (address, True)
        assert broker.pid != pid
        assert values(address, "kept") == [b"1"]
        assert [port for host, port in listening(broker.pid) if host != "127.0.0.1"] == []
    finally:
        broker.close()
    assert not broker.data.exists()


def listening(pid: int) -> list[tuple[str, int]]:
    """Return the addresses at which a process listens (on Linux; an empty list elsewhere)."""
    folder = Path(f"/proc/{pid}")
    if sys.platform != "linux":
        return []
    inodes = {str(file.readlink()) for file in (folder / "fd").iterdir() if file.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in (folder / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                host, _, port = fields[1].partition(":")
                # Each group of 32 bits is in host byte order. The last group is the IPv4 address of a mapped address.
                is_v4 = table == "tcp" or host.startswith("0000000000000000FFFF0000")
                number = int(host[-8:], 16).to_bytes(4, sys.byteorder)
                found.append((socket.inet_ntoa(number) if is_v4 else f"IPv6 {host}", int(port, 16)))
    assert found, "it listens at no address"
    return found


def test_taken_port_is_refused_at_once() -> None:
    """A port that is in use is named, and the process that listens there is not taken for the new broker."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} of 127.0.0.1 is taken"):
            JvmBroker(data=None, port=port, on_progress=silent)


def test_jvm_that_exits_early_is_explained(tmp_path: Path) -> None:
    """A JVM that exits while it starts is reported in one sentence with the reason and the file of its log."""
    storage = tmp_path / kafka.STORAGE
    storage.mkdir()
    (storage / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=77\n")

    with pytest.raises(Unavailable, match=r"exited with code 1 during start-up: .*77.* \(log: .*kafka\.log\)") as error:
        JvmBroker(data=tmp_path, port=None, on_progress=silent)
    assert "\n" not in str(error.value)


def test_log_of_a_running_broker_is_bounded(tmp_path: Path) -> None:
    """A long log moves to kafka.log.1, the JVM continues in an empty file, and a failed start is still explained."""
    broker = JvmBroker(data=tmp_path / "data", port=None, on_progress=silent)
    log = broker.data / "kafka.log"
    try:
        broker.limit_log()
        assert "Kafka Server started" in log.read_text(encoding="utf-8")  # it is far from the limit
        broker.limit_log(1_000)
        create_topic(broker.bootstrap_servers, "after-the-limit")
        wait_until(lambda: "after-the-limit" in broker.log_tail(), what="Kafka logs the new topic")

        assert "Kafka Server started" in previous(log).read_text(encoding="utf-8")
        logged = log.read_text(encoding="utf-8")
        assert "Kafka Server started" not in logged
        assert "\0" not in logged  # the JVM appends: it does not continue at its old offset
        broker.stop()
        with socket.create_server(("127.0.0.1", broker.port)), pytest.raises(Unavailable, match="during start-up: "):
            broker.start()
        broker.start()
        assert "Kafka Server started" in log.read_text(encoding="utf-8")
    finally:
        broker.close()


def test_log_outlives_temporary_data() -> None:
    """The log of a killed broker can be read after its temporary data was removed."""
    broker = JvmBroker(data=None, port=None, on_progress=silent)
    try:
        os.kill(broker.pid, signal.SIGKILL)
        wait_until(lambda: not broker.is_alive(), what="the JVM ends")
        assert broker.ended == "was killed by SIGKILL"
        log = broker.save_log()
    finally:
        broker.close()
    assert not broker.data.exists()
    assert "Kafka Server started" in log.read_text(encoding="utf-8")
    log.unlink()


@pytest.mark.long
def test_damaged_archive_of_classes_prevents_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start records an archive of classes, and the broker uses it. A damaged one is removed."""
    jars = kafka_jars(silent)
    own = tmp_path / "signpost" / jars.name
    own.mkdir(parents=True)
    for jar in jars.glob("*.jar"):
        (own / jar.name).symlink_to(jar)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = JvmBroker(data=None, port=None, on_progress=silent)
    try:
        (archive,) = own.glob("*.jsa")
        if sys.platform == "linux":
            assert str(archive) in Path(f"/proc/{first.pid}/maps").read_text()
    finally:
        first.close()
    archive.chmod(0o600)
    os.truncate(archive, archive.stat().st_size // 2)

    second = JvmBroker(data=None, port=None, on_progress=silent)
    try:
        assert second.is_alive()
        assert not archive.exists()
    finally:
        second.close()


def test_servers_of_the_settings_are_used() -> None:
    """Servers that the settings name are used and reported, and never stopped."""
    reported: list[str] = []
    with start_broker("kafka.example:9092", on_progress=reported.append) as broker:
        assert (broker.bootstrap_servers, broker.kind) == ("kafka.example:9092", "given")
        with pytest.raises(Unavailable, match="was not started here"):
            broker.stop()
    assert reported == ["broker: kafka.example:9092, named by the settings"]


def test_silent_docker_daemon_does_not_block_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Docker daemon that never responds delays the start by a few seconds, no more."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(path))
        daemon.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        started_s = time.monotonic()

        with pytest.raises(Unavailable, match="no Docker daemon responds"):
            ContainerBroker(data=None, port=None, on_progress=silent)

        assert time.monotonic() - started_s < 15


def test_old_java_is_refused(tmp_path: Path) -> None:
    """A Java before 17 is refused with its version. A Java that does not run is refused, too."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_292\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(Unavailable, match=r"too old: Kafka needs Java 17 or later .*1\.8\.0_292"):
        find_java({"JAVA_HOME": str(tmp_path)})

    java.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(Unavailable, match="does not run"):
        find_java({"JAVA_HOME": str(tmp_path)})


def test_heap_of_the_broker_can_be_set() -> None:
    """`KAFKA_HEAP_OPTS`, which Kafka's own scripts read, also sets the heap of the local broker."""
    assert kafka.heap_options({}) == kafka.heap_options({"KAFKA_HEAP_OPTS": ""}) == "-Xms128m -Xmx768m"
    wanted = "-Xms1g -Xmx1g"
    assert kafka.heap_options({"KAFKA_HEAP_OPTS": wanted}) == wanted


def test_command_runs_a_broker_until_sigterm(start_role: RoleStarter, tmp_path: Path) -> None:
    """`signpost broker` reports its start, then kind and address. It bounds its log, and ends with 0 after SIGTERM."""
    role = start_role(["broker", "--data", str(tmp_path / "data")], {})
    wait_until(lambda: "broker: Kafka" in role.log_text(), what="the broker runs")
    *_, starting, running = role.log_text().splitlines()
    assert starting.startswith("broker: starting Kafka")
    assert running.startswith("broker: Kafka")
    address = next(word for word in running.split() if word.startswith("127.0.0.1:"))
    create_topic(address, "there")
    if (log := tmp_path / "data" / "kafka.log").exists():  # of a JVM; Docker bounds the log of a container
        os.truncate(log, MAX_LOG + 1)
        wait_until(lambda: log.stat().st_size < MAX_LOG, what="the log begins again")

    assert role.terminate() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_command_exits_if_the_settings_name_a_broker(start_role: RoleStarter) -> None:
    """If the settings name a broker, the command says so and exits."""
    role = start_role(["broker"], {"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092"})

    assert role.wait() == 0
    assert "broker: kafka.example:9092, named by the settings" in role.log_text()


def test_error_names_all_three_ways_to_a_broker(start_role: RoleStarter, tmp_path: Path) -> None:
    """Without servers, Docker and Java there is one error with exit code 1, which says what to do about each."""
    nothing = {"PATH": str(tmp_path), "JAVA_HOME": "", "DOCKER_HOST": f"unix://{tmp_path}/none"}
    role = start_role(["broker"], nothing)

    assert role.wait() == 1
    text = role.log_text()
    assert "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS=host:port" in text
    assert "a container of apache/kafka: no Docker daemon: " in text
    assert "a local JVM, with Java 17 or later and Maven: no java on the PATH" in text
    assert "Traceback" not in text
