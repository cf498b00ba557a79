"""Yardsticks, each in a process of its own: `python -m tests.bench.yardsticks bare|httpx …`.

- `bare`: sockets that post the same headers and bodies to the same sink, without Kafka and without an HTTP client.
- `httpx`: a plain consumer of jobs.0s that signs, posts with httpx.AsyncClient in several tasks, and commits.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
from confluent_kafka import Consumer

from schemas.records.delivery import JobCodec
from schemas.senders.sender import load_senders
from tests.bench.stage import event
from tests.support.attempts import Attempted
from tests.support.pipeline import SECRET

SENDER = load_senders()["zenoo"]
KEYS = (SENDER.signing_key(SECRET),)


def run(*args: str) -> dict[str, float]:
    """Run a yardstick and return its figures: rate per second and CPU per request in microseconds."""
    command = [sys.executable, "-m", "tests.bench.yardsticks", *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def bare(url: str, count: int, in_flight: int) -> None:
    """POST `count` bodies to 100 paths over `in_flight` connections with epoll, `send` and `recv` only."""
    address = urlsplit(url)
    body = SENDER.render(event(0, "customer-0"))
    lines = SENDER.headers(Attempted(event_id="evt_00000000"), body, KEYS, int(time.time()))
    requests = [
        b"\r\n".join(
            [
                b"POST /h%d HTTP/1.1" % number,
                f"Host: {address.netloc}".encode(),
                *lines,
                b"Content-Length: %d" % len(body),
                b"",
                body,
            ]
        )
        for number in range(100)
    ]
    epoll = select.epoll()
    connections = {}
    for _ in range(min(in_flight, count)):
        connection = socket.create_connection((address.hostname, address.port))
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        epoll.register(connection, select.EPOLLIN)
        connections[connection.fileno()] = connection
        connection.send(requests[len(connections) % 100])
    started = len(connections)
    done = 0
    while done < count:
        for descriptor, _ in epoll.poll():
            connection = connections[descriptor]
            if not connection.recv(65_536).startswith(b"HTTP/1.1 200 "):
                raise SystemExit("the sink failed")
            done += 1
            if started < count:
                connection.send(requests[started % 100])
                started += 1
    for connection in connections.values():
        connection.close()
    epoll.close()


async def consume(bootstrap: str, topic: str, url: str, count: int, tasks: int) -> None:
    """Deliver the first `count` jobs of a topic in `tasks` tasks, as a simple consumer does."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-httpx-{tasks}-{os.getpid()}",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    jobs: asyncio.Queue[Any] = asyncio.Queue(4 * tasks)
    decode = JobCodec().decode
    done = 0

    async def deliver(client: httpx.AsyncClient) -> None:
        nonlocal done
        while True:
            message = await jobs.get()
            job = decode(message.value())
            lines = SENDER.headers(job, job.body, KEYS, int(time.time()))
            headers = dict(line.decode("latin-1").split(": ", 1) for line in lines)
            response = await client.post(f"{url}/h{done % 100}", content=job.body, headers=headers)
            assert response.status_code == 200
            consumer.store_offsets(message)  # auto commit sends it to the broker every 5 s
            done += 1

    limits = httpx.Limits(max_connections=tasks, max_keepalive_connections=tasks)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        workers = [asyncio.create_task(deliver(client)) for _ in range(tasks)]
        first = await asyncio.to_thread(consumer.consume, 1, 30.0)
        clock = _Clock()  # joining the group does not count
        for message in first:
            await jobs.put(message)
        while done < count:
            for message in await asyncio.to_thread(consumer.consume, 4 * tasks, 0.05):
                await jobs.put(message)
        clock.report(done)
        for worker in workers:
            worker.cancel()
    consumer.close()


class _Clock:
    """Time and CPU of this process since the clock was made."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._cpu = _cpu()

    def report(self, count: int) -> None:
        """Print the rate, and the CPU per item."""
        seconds = time.monotonic() - self._at
        cpu = _cpu() - self._cpu
        print(json.dumps({"rate": round(count / seconds), "cpu_us": round(cpu / count * 1e6, 1)}))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(name: str, *args: str) -> None:
    """Run a yardstick and print its figures as a line of JSON."""
    if name == "bare":
        url, count, in_flight = args
        bare(url, 4 * int(in_flight), int(in_flight))  # warm up before the clock starts
        clock = _Clock()
        bare(url, int(count), int(in_flight))
        clock.report(int(count))
    else:
        bootstrap, topic, url, count, tasks = args
        asyncio.run(consume(bootstrap, topic, url, int(count), int(tasks)))


if __name__ == "__main__":
    main(*sys.argv[1:])
