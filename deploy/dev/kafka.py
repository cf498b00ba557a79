"""Setup of a single Kafka node for one machine: properties, storage, port, readiness."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.dev.addresses import accepts, is_free
from schemas.catalog.errors import Unavailable

STORAGE: Final = "kafka"
PROPERTIES: Final = "server.properties"

_COORDINATORS: Final = 4
# Java's String.hashCode grows by one with the last character, so these groups cover all coordinators.
_GROUPS: Final = tuple(f"signpost-ready-{number}" for number in range(_COORDINATORS))
_REQUEST_S: Final = 2.0
_PORTS: Final = range(20_000, 32_768)
_PORT_TRIES: Final = 20
# Kafka's own topics have few partitions, as each costs files and start-up time. A single node need not wait 3 s for
# more members of a group, or 10 s between checks for transactions to abort. Positions are kept for 30 d, as long as
# records. The cleaner's default buffer of 128 MiB would be a sixth of the heap.
_FIXED: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": str(_COORDINATORS),
    "offsets.retention.minutes": "43200",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "8388608",
}
# Enough for hundreds of small topics.
_HEAP: Final = "-Xms128m -Xmx768m"


def heap_options(environment: Mapping[str, str] = os.environ) -> str:
    """Return the heap options of the JVM: KAFKA_HEAP_OPTS as in Kafka's own scripts, or a small heap."""
    return environment.get("KAFKA_HEAP_OPTS") or _HEAP


def properties(*, listen: str, controller: str, advertised: str) -> str:
    """Return the text of server.properties; arguments are `host:port`.

    The storage path is relative to the broker's working folder. So that folder may have commas in its path (`log.dirs`
    is a list) and characters outside Latin-1 (the encoding of properties files), and may be mounted in a container.
    """
    own = {
        "listeners": f"PLAINTEXT://{listen},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": STORAGE,
    }
    return "".join(f"{name}={value}\n" for name, value in (_FIXED | own).items())


def is_formatted(data: Path) -> bool:
    """Return whether a data folder has a formatted storage; meta.properties is written last."""
    return (data / STORAGE / "meta.properties").is_file()


def new_cluster_id() -> str:
    """Return a random cluster id in Kafka's format: 16 bytes in URL-safe base64."""
    while (cluster_id := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass  # the storage tool would read it as an option
    return cluster_id


def choose_port(data: Path, port: int | None) -> int:
    """Return `port` if given, else the previous port of this data folder, else a free one.

    Unavailable if `port` is taken.
    """
    if port is not None:
        if not is_free(port):
            raise Unavailable(f"port {port} of 127.0.0.1 is taken")
        return port
    previous = _previous_port(data)
    return previous if previous is not None and is_free(previous) else free_port()


def _previous_port(data: Path) -> int | None:
    address = previous_address(data)
    port = "" if address is None else address.rpartition(":")[2]
    return int(port) if port.isdecimal() else None


def previous_address(data: Path) -> str | None:
    """Return the address that clients used of the last broker of a data folder; None if there was none."""
    try:
        lines = (data / PROPERTIES).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return next((line.rpartition("//")[2] for line in lines if line.startswith("advertised.listeners=")), None)


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago.

    It is below the ephemeral ports (Linux: from 32,768, others from 49,152). Any outgoing connection could take one of
    those before the broker listens, or while it restarts.
    """
    for _ in range(_PORT_TRIES):
        port = secrets.choice(_PORTS)
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        any_port: int = probe.getsockname()[1]
    return any_port


def wait_until_ready(port: int, data: Path, is_alive: Callable[[], bool], deadline_s: float) -> bool:
    """Wait until the broker of a data folder is ready at a port of 127.0.0.1; False if it died first.

    Unavailable after `deadline_s`. A response from another cluster at that port does not count.
    """
    ends_at = time.monotonic() + deadline_s
    while time.monotonic() < ends_at:
        if not is_alive():
            return False
        # A Kafka client would log each refusal.
        if accepts(f"127.0.0.1:{port}") and _is_ready(port, data):
            return True
        time.sleep(0.05)
    raise Unavailable(f"Kafka at 127.0.0.1:{port} was not ready within {deadline_s:.0f} s")


def _cluster_of(data: Path) -> str:
    try:
        lines = (data / STORAGE / "meta.properties").read_text(encoding="ascii").splitlines()
    except OSError:  # a container formats its storage itself
        return "not formatted yet"
    return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), "unknown")


def _is_ready(port: int, data: Path) -> bool:
    """Return whether the broker at a port belongs to a data folder and all its group coordinators respond."""
    bootstrap_servers = f"127.0.0.1:{port}"
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "socket.timeout.ms": 5000})
    try:
        metadata = admin.list_topics(timeout=2)
    except KafkaException:
        return False
    return (
        bool(metadata.brokers)
        and str(metadata.cluster_id) == _cluster_of(data)
        and all(_coordinates(bootstrap_servers, group) for group in _GROUPS)
    )


def _coordinates(bootstrap_servers: str, group: str) -> bool:
    """Return whether a group's coordinator responds. The request also makes Kafka create `__consumer_offsets`.

    The request comes from a Consumer. An AdminClient request to a coordinator that is not ready can crash the process,
    at once or later: librdkafka 2.16 handles the response NOT_COORDINATOR like one to a consumer (null pointer,
    librdkafka issue 5040; `rko_result` in rdkafka_admin.c; `eonce->refcnt`, librdkafka issue 4605).
    """
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "log_level": 0})
    try:
        consumer.committed([TopicPartition("signpost-ready", 0)], timeout=_REQUEST_S)
    except KafkaException:
        return False
    finally:
        consumer.close()
    return True
