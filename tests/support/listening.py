"""Functions that the tests' own servers share."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


def connections_of(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield connections until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        yield connection


def serve_each(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Serve each connection in its own thread until the listener is closed; returns at once.

    A connection is closed when `serve` returns; its OSErrors are ignored.
    """

    def closing(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        for connection in connections_of(listener):
            threading.Thread(target=closing, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def stop_listening(listener: socket.socket) -> None:
    """Close a listener and wake a thread that waits in `accept`."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
