"""Yardsticks of the REST API: a server that answers fixed bytes, and the transactions of a run without the API.

`python -m tests.bench.api_yardsticks FILE` is the server: uvicorn with httptools and uvloop, as the API has them. It
answers every request with the status, headers and body in FILE.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import uvicorn
from confluent_kafka import Message, Producer
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy.roles.http_server import url_of
from tests.bench.stage import Stage
from tests.support.api import Answer
from tests.support.topics import create_topic, read_topic

_TIMEOUT_S: Final = 30.0
# As producers/compacted/partition_owner.py has them.
_PRODUCER: Final[dict[str, str | int | bool]] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 0,
    "compression.type": "lz4",
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 5,
    "log_level": 0,
}


class Server(NamedTuple):
    """A running server: the API, or one that answers fixed bytes."""

    address: str
    pid: int


@contextmanager
def fixed_server(answer: Answer, folder: Path) -> Iterator[Server]:
    """Run a server in a process of its own that answers every request as the API answered one."""
    file = folder / f"{uuid4().hex}.json"
    headers = [(name, value) for name, value in answer.headers.items() if name not in ("date", "connection")]
    file.write_text(json.dumps({"status": answer.status, "headers": headers, "body": answer.body.decode()}))
    command = [sys.executable, "-m", "tests.bench.api_yardsticks", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the server has ended"
            yield Server(address, process.pid)
        finally:
            process.kill()


class Transaction(NamedTuple):
    """The records of one transaction on a partition: changes, and their audit records."""

    changes: Sequence[Message]
    audits: Sequence[Message]


def transactions_since(stage: Stage, begins: Mapping[str, Mapping[int, int]]) -> dict[int, list[Transaction]]:
    """Return the transactions that the API wrote after these offsets of its two topics, by partition.

    The marker at the end of a transaction takes an offset, so a gap between two records separates their transactions.
    """
    subscriptions, operations = (
        _by_partition(read_topic(stage.bootstrap_servers, topic, begins=begins[topic]))
        for topic in (stage.names.subscriptions, stage.names.operations)
    )
    found: dict[int, list[Transaction]] = {}
    for partition, changes in subscriptions.items():
        audits = iter(operations[partition])
        batches: list[list[Message]] = []
        for message in changes:
            if batches and _offset(batches[-1][-1]) + 1 == _offset(message):
                batches[-1].append(message)
            else:
                batches.append([message])
        found[partition] = [Transaction(batch, list(islice(audits, len(batch)))) for batch in batches]
    return found


def plain_transactions(stage: Stage, transactions: Mapping[int, Sequence[Transaction]]) -> dict[str, float]:
    """Write the same records in the same transactions to other topics, all partitions at the same time."""
    topics = tuple(f"{stage.names.prefix}plain-{name}" for name in ("subscriptions", "operations"))
    for topic in topics:
        create_topic(stage.bootstrap_servers, topic, stage.settings.partitions)
    producers = {partition: _producer(stage, partition) for partition in transactions}

    def write(partition: int) -> None:
        producer = producers[partition]
        for transaction in transactions[partition]:
            producer.begin_transaction()
            for topic, messages in zip(topics, transaction, strict=True):
                for message in messages:
                    producer.produce(topic, message.value() or b"", message.key() or b"", partition)
            producer.commit_transaction(_TIMEOUT_S)

    count = sum(len(one.changes) for ones in transactions.values() for one in ones)
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(len(producers)) as executor:
        list(executor.map(write, producers))
    seconds, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    return {"rate": round(count / seconds, 1), "cpu_us": round(cpu_s / count * 1e6, 1)}


def _by_partition(messages: Sequence[Message]) -> dict[int, list[Message]]:
    found: dict[int, list[Message]] = {}
    for message in messages:
        partition = message.partition()
        assert partition is not None
        found.setdefault(partition, []).append(message)
    return found


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def _producer(stage: Stage, partition: int) -> Producer:
    own = {"transactional.id": f"{stage.names.prefix}plain.{partition}"}
    producer = Producer({"bootstrap.servers": stage.bootstrap_servers, **_PRODUCER, **own})
    producer.list_topics(timeout=_TIMEOUT_S)
    producer.init_transactions(_TIMEOUT_S)
    return producer


def _answering(file: Path) -> ASGIApp:
    given: dict[str, Any] = json.loads(file.read_text())
    body = given["body"].encode()
    headers = [(name.encode(), value.encode()) for name, value in given["headers"]]
    start = {"type": "http.response.start", "status": given["status"], "headers": headers}

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return app


def main(file: str) -> None:
    """Serve until the process is killed; print the address first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(url_of(listening), flush=True)
        config = uvicorn.Config(
            _answering(Path(file)),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
