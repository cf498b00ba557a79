"""The database of the ledger: its URL, and its tables at the version of this program."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from consumers.ledger.writer import DatabaseAway
from schemas.catalog.errors import Unavailable

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
# An arbitrary number for PostgreSQL's advisory lock: one process migrates at a time.
_MIGRATION_LOCK: Final = 7_236_481
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def engine_of(url: str) -> Engine:
    """Return an engine for `sqlite:///<path>` or `postgresql://…`; nothing is connected yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() == SQLITE:
        engine = create_engine(parsed)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)


def _prepare_sqlite(connection: object, _record: object) -> None:
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)  # type: ignore[attr-defined]  # a sqlite3.Connection


# A database file gets its page layout (auto_vacuum) before its first table. In WAL mode readers never wait for the
# writer. NORMAL survives the death of the process; after a power cut the last transactions may be missing, positions
# included, and are read again. A batch changes up to some thousand pages, many of them the same as the batch before:
# they are copied from the log into the file after 32 MiB, not after each batch.
SQLITE_PRAGMAS: Final = (
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA cache_size = -65536",
    "PRAGMA wal_autocheckpoint = 8192",
)


def migrate(url: str) -> None:
    """Create or upgrade the tables; DatabaseAway, or Unavailable if the tables are newer than this program."""
    config = _config()
    engine = engine_of(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == POSTGRESQL:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            _refuse_newer(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise away(error) from error
    finally:
        engine.dispose()


def away(error: Exception) -> DatabaseAway:
    """Return the error for a failed request to the database. The URL, which may contain a password, is not in it."""
    cause = getattr(error, "orig", None) or error
    return DatabaseAway(f"the database of the ledger cannot be used: {' '.join(str(cause).split())}")


def known_versions() -> list[str]:
    """Return the versions of the tables that this program knows, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def version_of(connection: Connection) -> str | None:
    """Return the version of the tables; None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(connection: Connection) -> None:
    found = version_of(connection)
    if found is not None and found not in known_versions():
        raise Unavailable(
            f"the tables of the ledger have version {found}, which is newer than this Signpost: update it"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
