"""The state of the ledger's database, read without a change: no file, table or setting of the database is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from consumers.ledger.database import SQLITE, away, known_versions, version_of
from consumers.ledger.read_connections import ReadConnections

# Of each statement.
_STATEMENT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class NoLedgerTables:
    """The ledger has not created its tables, or the file of SQLite, yet."""


@dataclass(frozen=True, slots=True)
class LedgerTables:
    """The tables of the ledger. `version` is theirs, `known` are those of this program, the newest first.

    `server` is the version of PostgreSQL; empty for SQLite.
    """

    version: str
    known: tuple[str, ...]
    server: tuple[int, ...]


DatabaseState: TypeAlias = NoLedgerTables | LedgerTables


def state_of(url: str) -> DatabaseState:
    """Return the state of the database at a URL; DatabaseAway if it does not respond or refuses the connection."""
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == SQLITE
    if is_sqlite and not Path(parsed.database or "").exists():
        return NoLedgerTables()
    reads = ReadConnections(url, _STATEMENT_S)
    try:
        with reads.engine.connect() as connection:
            version = version_of(connection)
            server = tuple(part for part in connection.dialect.server_version_info or () if isinstance(part, int))
    except SQLAlchemyError as error:
        raise away(error) from error
    finally:
        reads.close()
    if version is None:
        return NoLedgerTables()
    return LedgerTables(version, tuple(known_versions()), () if is_sqlite else server)
