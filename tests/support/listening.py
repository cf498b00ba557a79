"""What servers of the tests share that take connections of their own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


def connections_of(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield each connection that comes, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        yield connection


def serve_each(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Serve each connection in a thread of its own until the listener is closed; return at once.

    A connection is closed when `serve` returns, and may end under it.
    """

    def closing(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        for connection in connections_of(listener):
            threading.Thread(target=closing, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def stop_listening(listener: socket.socket) -> None:
    """Take no more connections; whoever waits for one hears of it."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
