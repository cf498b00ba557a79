"""Ports that refuse connections, drop them, or accept them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


class Doors:
    """Ports by name; `make` returns the protocol for a connection to an open port."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._doors: dict[str, socket.socket] = {}
        self._kept: list[object] = []

    async def turn(self, name: str, state: str) -> int:
        """Set the state of a port to `refuses`, `drops` or `open`, in this order; return the port."""
        door = self._doors.get(name)
        if door is None:  # bound, so that no other socket gets the port, but not listening: the system refuses
            door = socket.socket()
            self._doors[name] = door
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", 0))
        if state == "drops":  # the accept queue is full and stays full: further SYNs get no answer
            door.listen(0)
            self._kept += [_knock(door) for _ in range(4)]
        if state == "open":
            self._kept.append(await asyncio.get_running_loop().create_server(self._make, sock=door, backlog=1_024))
        return int(door.getsockname()[1])


def _knock(door: socket.socket) -> socket.socket:
    knocking = socket.socket()
    knocking.setblocking(False)
    knocking.connect_ex(door.getsockname())
    return knocking
