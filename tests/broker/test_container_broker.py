"""A broker in a container. The tests need a Docker daemon that has the image."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from confluent_kafka import Producer

from deploy.dev.container import ContainerBroker
from tests.support.parts import need
from tests.support.processes import python, read_line
from tests.support.topics import create_topic, read_topic
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def _docker() -> None:
    need("docker")


def names() -> list[str]:
    """Return the names of all containers of brokers, running or not."""
    command = ["docker", "ps", "--all", "--filter", "name=signpost-kafka-", "--format", "{{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def log_options(name: str) -> dict[str, str]:
    """Return the options of a container's log."""
    command = ["docker", "inspect", "--format", "{{json .HostConfig.LogConfig.Config}}", name]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def silent(line: str) -> None:
    """Discard a line of progress."""


def test_data_belongs_to_this_user_and_is_used_again(tmp_path: Path) -> None:
    """Records survive stop and close, files belong to this user, the log is bounded, and no container is left."""
    first = ContainerBroker(data=tmp_path / "data", port=None, on_progress=silent)
    name = first.describe.split()[1]
    try:
        assert name in names()
        assert log_options(name) == {"max-file": "2", "max-size": "64m"}
        create_topic(first.bootstrap_servers, "kept")
        producer = Producer({"bootstrap.servers": first.bootstrap_servers, "log_level": 0})
        producer.produce("kept", value="1")
        assert producer.flush(30) == 0
        del producer
        first.stop()
        assert not first.is_alive()
        first.start()
        assert [message.value() for message in read_topic(first.bootstrap_servers, "kept")] == [b"1"]
    finally:
        first.close()
    assert name not in names()

    second = ContainerBroker(data=tmp_path / "data", port=None, on_progress=silent)
    try:
        assert second.bootstrap_servers == first.bootstrap_servers
        assert [message.value() for message in read_topic(second.bootstrap_servers, "kept")] == [b"1"]
        assert {file.owner() for file in tmp_path.rglob("*")} == {tmp_path.owner()}
    finally:
        second.close()


def test_container_ends_with_its_parent() -> None:
    """After SIGKILL of the parent process the container and its temporary data are removed."""
    with python(
        """
        import time
        from deploy.dev.container import ContainerBroker
        broker = ContainerBroker(data=None, port=None, on_progress=lambda line: None)
        print(broker.describe.split()[1], broker.data, flush=True)
        time.sleep(600)
        """
    ) as parent:
        name, data = read_line(parent).split(" ", 1)
        assert name in names()
        parent.kill()

        wait_until(lambda: name not in names(), what="the container is removed")
        wait_until(lambda: not Path(data).exists(), what="its data is removed")
