"""Log lines of a role whose broker is unreachable."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.roles import RoleStarter
from tests.support.waiting import wait_until


@contextmanager
def closing_server() -> Iterator[tuple[int, list[None]]]:
    """Listen on a port and close each connection at once; gives the port, and a list with an item per connection."""
    calls: list[None] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()
                    calls.append(None)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], calls
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize("role", ["router", "deliver"])
def test_role_without_broker_writes_few_lines(start_role: RoleStarter, role: str) -> None:
    """However often its Kafka clients fail to connect, a role writes fewer than ten log lines, all of them JSON."""
    with closing_server() as (port, calls):
        process = start_role(
            [role],
            {
                "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
                "SIGNPOST_SEALING_KEY": base64.b64encode(bytes(32)).decode(),
                "SIGNPOST_LOG_FORMAT": "json",
                "SIGNPOST_LOG_LEVEL": "debug",
            },
        )
        wait_until(lambda: len(calls) > 20, what="the clients have tried 20 times")
        wait_until(lambda: "kafka.disconnected" in process.log_text(), what="the role logs it")
        assert process.terminate() == 0

    lines = [json.loads(line) for line in process.log_text().splitlines()]
    assert sum(line["event"] == "kafka.disconnected" for line in lines) == 1
    assert len(lines) < 10
