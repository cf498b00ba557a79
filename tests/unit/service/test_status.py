"""The status server with slow clients."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import httpx
from prometheus_client import CollectorRegistry

from consumers.service.status_server import _MAX_CLIENTS, StatusServer


def test_idle_clients_do_not_block_probes() -> None:
    """A probe gets a response despite any number of idle connections, and the oldest of them are closed."""
    with StatusServer("127.0.0.1:0", CollectorRegistry(), lambda: None) as status, ExitStack() as stack:
        url = httpx.URL(status.address)
        idle = [
            stack.enter_context(socket.create_connection((url.host, url.port or 0), timeout=30))
            for _ in range(_MAX_CLIENTS + 10)
        ]
        assert httpx.get(f"{status.address}/readyz", timeout=30).text == "ok\n"
        assert idle[0].recv(1) == b""
