"""What servers of the tests share that take connections of their own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


def connections_of(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield each connection that comes, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        yield connection


def stop_listening(listener: socket.socket) -> None:
    """Take no more connections; whoever waits for one hears of it."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
