"""The REST API: one process with 100,000 subscriptions, and clients in another process, next to yardsticks."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consumers.ledger.database import migrate
from tests.bench.api_yardsticks import Server, fixed_server, plain_transactions, transactions_since
from tests.bench.latency import percentiles
from tests.bench.measure import cpu_seconds, resident_mib
from tests.bench.stage import Bench, Stage
from tests.support.api import Answer, ApiClient
from tests.support.topics import end_offsets

_CUSTOMERS: Final = 10_000
_EACH: Final = 10
_SECONDS: Final = 20.0
_READERS: Final = 32
_WRITERS: Final = 300


def api(bench: Bench) -> dict[str, Any]:
    """Reads and acknowledged writes per second of one API process, next to fixed bytes and to plain transactions."""
    customers = bench.scaled(_CUSTOMERS, 100)
    seconds = max(2.0, _SECONDS * bench.scale)
    with bench.stage() as stage, tempfile.TemporaryDirectory() as folder:
        subscribed = stage.subscribed(customers, _EACH, sender="diligent")
        url = f"sqlite:///{folder}/ledger.db"
        migrate(url)
        started_s = time.monotonic()
        role = stage.start("api", database_url=url, api_rate_limit=0)
        ready_s = time.monotonic() - started_s
        key = _operator_key(stage)
        targets = Path(folder) / "targets.json"
        targets.write_text(json.dumps([(one.id, one.customer) for one in subscribed]))
        clients, server = _Clients(key, targets, seconds), Server(role.address, role.pid)

        def compared(kind: str, path: str) -> dict[str, Any]:
            """Read from the API, and from a server that answers each request with the bytes of one answer of it."""
            found = clients.load(server, kind, _READERS)
            with fixed_server(_answer(server, key, subscribed[0].customer, path), Path(folder)) as fixed:
                return _next_to(found, clients.load(fixed, kind, _READERS))

        reads = compared("read", f"/webhooks/{subscribed[0].id}")
        at_half_load = clients.load(server, "read", _READERS, reads["rate"] / 2)
        lists = compared("list", "/webhooks")
        topics = (stage.names.subscriptions, stage.names.operations)
        begins = {topic: end_offsets(stage.bootstrap_servers, topic) for topic in topics}
        writes = clients.load(server, "write", _WRITERS)
        return {
            "subscriptions": len(subscribed),
            "ready_s": round(ready_s, 2),
            "reads": reads,
            "reads_at_half_load": at_half_load,
            "lists": lists,
            "writes": _next_to(writes, plain_transactions(stage, transactions_since(stage, begins))),
            "resident_mib": resident_mib(role),
        }


@dataclass(frozen=True, slots=True)
class _Clients:
    """Clients with an operator's key, in another process. `targets` is a file with ids and customers of webhooks."""

    key: str
    targets: Path
    seconds: float

    def load(self, server: Server, kind: str, connections: int, rate: float = 0.0) -> dict[str, Any]:
        """Return the requests per second, the CPU of the server per request, and the latency."""
        before = cpu_seconds(server.pid)
        command = [sys.executable, "-m", "tests.bench.api", server.address, self.key, str(self.targets), kind]
        ended = subprocess.run(
            [*command, str(connections), str(self.seconds), str(rate)], capture_output=True, timeout=600, check=False
        )
        assert ended.returncode == 0, ended.stderr.decode()
        found: dict[str, Any] = json.loads(ended.stdout)
        used = cpu_seconds(server.pid) - before
        return {"rate": found["rate"], "cpu_us": round(used / found["count"] * 1e6, 1), "ms": found["ms"]}


def _next_to(found: dict[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures with those of a yardstick, and their ratios."""
    return {
        **found,
        "plain": plain,
        "rate_to_plain": round(found["rate"] / plain["rate"], 2),
        "cpu_to_plain": round(found["cpu_us"] / max(0.1, plain["cpu_us"]), 2),
    }


def _answer(server: Server, key: str, customer: str, path: str) -> Answer:
    client = ApiClient(server.address, key, flavour="diligent")
    answer = client.request("GET", path, headers={"X-Signpost-Customer": customer})
    assert answer.status == 200, answer.body
    return answer


def _operator_key(stage: Stage) -> str:
    command = [sys.executable, "-m", "deploy.cli.main", "keys", "create", "--operator", "--json"]
    ended = subprocess.run(command, env={**os.environ, **stage.env()}, capture_output=True, timeout=60, check=True)
    return str(json.loads(ended.stdout)["key"])


class _Load:
    """Requests on several connections. With `rate` each has its time, so that a slow answer delays no other one."""

    def __init__(self, host: str, port: int, key: str, targets: Sequence[tuple[str, str]], kind: str) -> None:
        self._host, self._port = host, port
        self._key = key
        self._targets = targets
        self._kind = kind
        self._random = random.Random(1)
        self.durations: list[float] = []

    async def run(self, connections: int, seconds: float, rate: float) -> float:
        """Send requests for some seconds; return how long it took."""
        began = time.monotonic()
        until = began + seconds
        due = iter(_times(began, rate)) if rate else None
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(self._connection(until, due))
        return time.monotonic() - began

    async def _connection(self, until: float, due: Iterator[float] | None) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        while True:
            start = time.monotonic()
            if due is not None:
                start = next(due)
                await _until(start)
            if start >= until:
                break
            writer.write(self._request())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            self.durations.append((time.monotonic() - start) * 1_000)
        writer.close()

    def _request(self) -> bytes:
        id_, customer = self._random.choice(self._targets)
        method, path, body = "GET", f"/webhooks/{id_}", b""
        if self._kind == "list":
            path = "/webhooks"
        elif self._kind == "write":
            method = "PATCH"
            body = json.dumps({"webhook_url": f"http://127.0.0.1:9/{self._random.random()}"}).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: api\r\nX-API-KEY: {self._key}\r\nX-Signpost-Customer: {customer}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _until(at: float) -> None:
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()), reached.set_result, None)
    await reached


def _times(began: float, rate: float) -> Iterator[float]:
    number = 0
    while True:
        yield began + number / rate
        number += 1


def main() -> None:
    """Run the clients and print a line of JSON: number, rate, and the durations in ms."""
    address, key, targets, kind, connections, seconds, rate = sys.argv[1:]
    host, _, port = address.removeprefix("http://").partition(":")
    load = _Load(host, int(port), key, json.loads(Path(targets).read_text()), kind)
    took = asyncio.run(load.run(int(connections), float(seconds), float(rate)))
    count = len(load.durations)
    assert not math.isclose(took, 0.0)
    print(json.dumps({"count": count, "rate": round(count / took, 1), "ms": percentiles(load.durations)}))


if __name__ == "__main__":
    main()
