"""How a single Kafka node for one machine is set up: its properties, its storage, and when it is ready."""

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

from schemas.catalog.errors import Unavailable

STORAGE: Final = "kafka"
PROPERTIES: Final = "server.properties"

_COORDINATORS: Final = 4
# Java's hash of a string grows by one with its last character: these groups are spread over all coordinators.
_GROUPS: Final = tuple(f"signpost-ready-{number}" for number in range(_COORDINATORS))
_ANSWER_S: Final = 2.0
_PORTS: Final = range(20_000, 32_768)
_PORT_TRIES: Final = 20
# Few partitions of Kafka's own topics, as each costs files and start-up time. The coordinator's wait of 3 s for more
# members, and the 10 s between looks for transactions to abort, would only be waited for here. Positions are kept as
# long as records are (30 d). The cleaner's buffer is 128 MiB by default, a quarter of the heap.
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
# Enough for hundreds of small topics. Under load it collects everything each ten seconds, for 0.1 to 0.2 s.
_HEAP: Final = "-Xms128m -Xmx768m"


def heap_options(environment: Mapping[str, str] = os.environ) -> str:
    """Return the options for the JVM's heap: those of KAFKA_HEAP_OPTS, as with Kafka's own scripts, or few MiB."""
    return environment.get("KAFKA_HEAP_OPTS") or _HEAP


def properties(*, listen: str, controller: str, advertised: str) -> str:
    """Return the text of server.properties; arguments are `host:port`.

    The storage is named relative to the folder that the broker runs in: so any path will do, with commas (`log.dirs` is
    a list) and letters outside Latin-1 (a properties file is not), and the folder may move into a container.
    """
    own = {
        "listeners": f"PLAINTEXT://{listen},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": STORAGE,
    }
    return "".join(f"{name}={value}\n" for name, value in (_FIXED | own).items())


def is_formatted(data: Path) -> bool:
    """Tell whether a data folder holds a formatted storage; its meta.properties is written last."""
    return (data / STORAGE / "meta.properties").is_file()


def new_cluster_id() -> str:
    """Return a random cluster id as Kafka writes them: 16 bytes in URL-safe base64."""
    while (cluster_id := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass  # the storage tool would take it for an option
    return cluster_id


def choose_port(data: Path, port: int | None) -> int:
    """Return `port`, or the one that a broker of this data folder had the last time, or any that is free.

    Unavailable where `port` is taken.
    """
    if port is not None:
        if not _is_free(port):
            raise Unavailable(f"port {port} of 127.0.0.1 is taken")
        return port
    former = _former_port(data)
    return former if former is not None and _is_free(former) else free_port()


def _former_port(data: Path) -> int | None:
    try:
        lines = (data / PROPERTIES).read_text(encoding="utf-8").splitlines()
        return next(int(line.rpartition(":")[2]) for line in lines if line.startswith("advertised.listeners="))
    except (OSError, ValueError, StopIteration):
        return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago.

    It is below those that systems give to connections (Linux from 32,768, others from 49,152): one of these may be
    taken by any request to anywhere before a broker listens, or while it is restarted.
    """
    for _ in range(_PORT_TRIES):
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        any_port: int = probe.getsockname()[1]
    return any_port


def wait_until_ready(port: int, data: Path, alive: Callable[[], bool], deadline_s: float) -> bool:
    """Wait until the broker of a data folder answers at a port of 127.0.0.1; False when it died before.

    Unavailable when the deadline passed. An answer of somebody else at that port does not count.
    """
    ends_at = time.monotonic() + deadline_s
    while time.monotonic() < ends_at:
        if not alive():
            return False
        if _accepts(port) and _answers(port, data):
            return True
        time.sleep(0.05)
    raise Unavailable(f"Kafka at 127.0.0.1:{port} did not answer within {deadline_s:.0f} s")


def _cluster_of(data: Path) -> str:
    try:
        lines = (data / STORAGE / "meta.properties").read_text(encoding="ascii").splitlines()
    except OSError:  # a container formats its storage itself
        return "not formatted yet"
    return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), "unknown")


def _accepts(port: int) -> bool:
    """Tell whether somebody listens; asked before a Kafka client is, which logs each refusal."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(port: int, data: Path) -> bool:
    """Tell whether the broker at a port is that of a data folder, and all its group coordinators are at work."""
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
    """Ask a group for a position, which also makes Kafka create the topic of positions.

    Until that answers `AdminClient.list_consumer_group_offsets` may end the process that calls it: librdkafka 2.16
    takes the answer NOT_COORDINATOR for one to a consumer (librdkafka issue 5040, a null pointer). A consumer asks, as
    every question of an AdminClient to a coordinator that is not at work yet may end the process, then or later
    (`rko_result` in rdkafka_admin.c, seen on a busy machine; `eonce->refcnt`, librdkafka issue 4605).
    """
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "log_level": 0})
    try:
        consumer.committed([TopicPartition("signpost-ready", 0)], timeout=_ANSWER_S)
    except KafkaException:
        return False
    finally:
        consumer.close()
    return True
