"""Ports that refuse connections, drop them, or are open: three ways in which a host is dead, or not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


class Doors:
    """Ports by name; `make` is the protocol that serves whoever comes in at an open one."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._doors: dict[str, socket.socket] = {}
        self._kept: list[object] = []

    async def turn(self, name: str, how: str) -> int:
        """Make a port `refuses`, `drops` or `open`, in this order; return it."""
        door = self._doors.get(name)
        if door is None:  # bound, so that nobody else gets it, and not listening: the system refuses
            door = self._doors[name] = socket.socket()
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", 0))
        if how == "drops":  # whose queue is full and who takes nobody out of it: further SYNs get no answer
            door.listen(0)
            self._kept += [_knock(door) for _ in range(4)]
        if how == "open":
            self._kept.append(await asyncio.get_running_loop().create_server(self._make, sock=door, backlog=1_024))
        return int(door.getsockname()[1])


def _knock(door: socket.socket) -> socket.socket:
    knocking = socket.socket()
    knocking.setblocking(False)
    knocking.connect_ex(door.getsockname())
    return knocking
