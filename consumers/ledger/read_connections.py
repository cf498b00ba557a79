"""Connections that only read, in a small pool. Each query has a deadline.

PostgreSQL ends a slow statement itself. A server or network that stopped without closing the connection does not, so
this process closes the connection a second later. SQLite calls back while it works.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event, Timer
from typing import Any, Final
from urllib.parse import quote

import psycopg
from sqlalchemy import Engine, Executable, QueuePool, create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from consumers.ledger.database import SQLITE, away
from consumers.ledger.writer import DatabaseAway

_POOL: Final = 4
_CONNECT_S: Final = 5
_GRACE_S: Final = 1.0
# SQLite executes this many instructions in about a millisecond.
_INSTRUCTIONS: Final = 10_000


class ReadConnections:
    """Executes queries on the database at a URL. Any thread may use it."""

    def __init__(self, url: str, statement_s: float) -> None:
        self._statement_s = statement_s
        parsed = make_url(url)
        is_sqlite = parsed.get_backend_name() == SQLITE
        self._bounded = self._bounded_sqlite if is_sqlite else self._bounded_postgresql
        self.engine = _sqlite_engine(parsed) if is_sqlite else _postgresql_engine(parsed, statement_s)

    def rows(self, query: Executable, values: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Return the rows of a query; DatabaseAway if the database does not respond in time, or refuses the query."""
        try:
            return self._rows(query, values)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise away(error) from error
            # The server was restarted: all connections of the pool are broken, and the next one is new.
        except SQLAlchemyError as error:
            raise away(error) from error
        try:
            return self._rows(query, values)
        except SQLAlchemyError as error:
            raise away(error) from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _rows(self, query: Executable, values: Mapping[str, Any] | None) -> Sequence[Sequence[Any]]:
        with self.engine.connect() as connection, self._bounded(connection.connection.driver_connection):
            return connection.execute(query, values).all()

    @contextlib.contextmanager
    def _bounded_sqlite(self, connection: Any) -> Iterator[None]:
        deadline_s = time.monotonic() + self._statement_s
        connection.set_progress_handler(lambda: time.monotonic() > deadline_s, _INSTRUCTIONS)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)

    @contextlib.contextmanager
    def _bounded_postgresql(self, connection: Any) -> Iterator[None]:
        assert isinstance(connection, psycopg.Connection)
        # A copy of the descriptor: a late timer cannot hit another connection that got the same number.
        with socket.socket(fileno=os.dup(connection.fileno())) as copy:
            has_passed = Event()
            timer = Timer(self._statement_s + _GRACE_S, _shut_down, [copy, has_passed])
            timer.daemon = True
            timer.start()
            try:
                yield
            except SQLAlchemyError as error:
                if has_passed.is_set():
                    raise DatabaseAway("the database of the ledger does not respond") from error
                raise
            finally:
                timer.cancel()


def _shut_down(connection: socket.socket, has_passed: Event) -> None:
    has_passed.set()
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _sqlite_engine(url: URL) -> Engine:
    file = f"file:{quote(str(Path(url.database or '').absolute()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, uri=True, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool, **_pool_options())


def _postgresql_engine(url: URL, statement_s: float) -> Engine:
    given = url.query.get("options", "")
    # Compiling a query that reads an index costs more than executing it.
    own = f"-c default_transaction_read_only=on -c jit=off -c statement_timeout={int(statement_s * 1_000)}"
    connect_args = {
        "options": f"{given} {own}".strip(),
        "connect_timeout": _CONNECT_S,
        "application_name": "signpost-ledger-reads",
        # Without prepared statements each query is planned for its own period, so its plan reads no other partition.
        "prepare_threshold": None,
    }
    parsed = url.set(drivername="postgresql+psycopg")
    return create_engine(parsed, connect_args=connect_args, use_native_hstore=False, **_pool_options())


def _pool_options() -> dict[str, Any]:
    # A query is one statement, which needs no transaction.
    return {"pool_size": _POOL, "max_overflow": 0, "pool_timeout": _CONNECT_S, "isolation_level": "AUTOCOMMIT"}
