"""The state of the ledger's database is read without a change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from consumers.ledger.database import known_versions
from consumers.ledger.database_state import LedgerTables, NoLedgerTables, state_of
from consumers.ledger.writer import DatabaseAway
from tests.unit.ledger.database import Database


def test_present_tables_have_the_newest_version(database: Database) -> None:
    """A migrated database has the version of this program; only PostgreSQL has a server with a version."""
    state = state_of(database.url)
    assert isinstance(state, LedgerTables)
    assert state.version == state.known[0] == known_versions()[0]
    assert bool(state.server) is database.url.startswith("postgresql")


def test_empty_server_has_no_tables(postgres_url: str) -> None:
    """A database that the ledger has not used yet has no tables, also after it was read."""
    assert state_of(postgres_url) == NoLedgerTables()
    assert state_of(postgres_url) == NoLedgerTables()


def test_missing_file_is_not_created(tmp_path: Path) -> None:
    """A file of SQLite that does not exist has no tables, and still does not exist afterwards."""
    file = tmp_path / "ledger.db"
    assert state_of(f"sqlite:///{file}") == NoLedgerTables()
    assert not file.exists()


def test_unusable_databases_are_away(tmp_path: Path) -> None:
    """A file that is no database, and a port without a server, raise DatabaseAway without the password."""
    file = tmp_path / "notes.txt"
    file.write_text("no database " * 1_000)
    for url in (f"sqlite:///{file}", "postgresql://signpost:canary@127.0.0.1:1/ledger"):
        with pytest.raises(DatabaseAway) as away:
            state_of(url)
        assert "canary" not in str(away.value)


def test_other_versions_are_returned_as_they_are(tmp_path: Path) -> None:
    """The version of tables of another release is returned; the caller judges it."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert state_of(database.url) == LedgerTables("9999", tuple(known_versions()), ())
