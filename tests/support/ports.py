"""Ports that refuse connections, drop them, or accept them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


class Ports:
    """Ports by name; `make` returns the protocol for a connection to an open port."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._sockets: dict[str, socket.socket] = {}
        self._kept: list[object] = []

    async def set_state(self, name: str, state: str) -> int:
        """Set the state of a port to `refuses`, `drops` or `open`, in this order; return the port."""
        sock = self._sockets.get(name)
        if sock is None:  # bound, so that no other socket gets the port, but not listening: the system refuses
            sock = socket.socket()
            self._sockets[name] = sock
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
        if state == "drops":  # the accept queue is full and stays full: further SYNs get no response
            sock.listen(0)
            self._kept += [_connect(sock) for _ in range(4)]
        if state == "open":
            self._kept.append(await asyncio.get_running_loop().create_server(self._make, sock=sock, backlog=1_024))
        return int(sock.getsockname()[1])


def _connect(sock: socket.socket) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(sock.getsockname())
    return client
