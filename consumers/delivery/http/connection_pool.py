"""Idle connections: the most recently used one is taken first, the one idle longest is closed first."""

from __future__ import annotations

from collections.abc import Iterable

from consumers.delivery.http.connection import Connection, Key


class ConnectionPool:
    """Idle connections by key."""

    def __init__(self) -> None:
        self._by_key: dict[Key, list[Connection]] = {}
        self._oldest: dict[Connection, None] = {}  # in the order in which they became idle

    def __len__(self) -> int:
        return len(self._oldest)

    def take(self, key: Key) -> Connection | None:
        """Take the most recently used connection of this key; None if there is none."""
        connections = self._by_key.get(key)
        if connections is None:
            return None
        connection = connections.pop()
        del self._oldest[connection]
        if not connections:
            del self._by_key[key]
        return connection

    def put(self, connection: Connection) -> None:
        """Keep a connection for the next request of its key."""
        connections = self._by_key.get(connection.key)
        if connections is None:
            self._by_key[connection.key] = [connection]
        else:
            connections.append(connection)
        self._oldest[connection] = None

    def remove(self, connection: Connection) -> None:
        """Remove a connection."""
        del self._oldest[connection]
        connections = self._by_key[connection.key]
        connections.remove(connection)
        if not connections:
            del self._by_key[connection.key]

    def evict(self) -> Connection | None:
        """Remove the connection that has been idle longest; None if there is none."""
        connection = next(iter(self._oldest), None)
        if connection is not None:
            self.remove(connection)
        return connection

    def expire(self, now: float) -> Iterable[Connection]:
        """Remove connections that are too old."""
        for connection in [connection for connection in self._oldest if connection.is_stale(now)]:
            self.remove(connection)
            yield connection
