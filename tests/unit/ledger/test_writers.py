"""The writers for SQLite and PostgreSQL, on real databases: each test runs on both."""

from __future__ import annotations

from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from consumers.ledger.database import engine_of, migrate
from consumers.ledger.fold import fold
from consumers.ledger.rows import DAY_MS, Kept, OperationRow, Unwritten
from consumers.ledger.tables import DAILY, METADATA
from consumers.ledger.writer import Overtaken
from schemas.catalog.errors import Unavailable
from tests.unit.ledger.database import TOPIC, Database
from tests.unit.ledger.test_fold import KEPT, NOW_MS, outcome, retry


def test_migrations_create_the_tables_that_the_code_uses(database: Database) -> None:
    """The migrated database has no difference to the tables of the code, and a second migration changes nothing."""
    migrate(database.url)
    engine = engine_of(database.url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), METADATA)
    engine.dispose()

    assert found == []


def test_tables_of_an_earlier_version_are_upgraded(database: Database) -> None:
    """A database of the first version gets the new column; its rows stay, and new ones can be written."""
    with closing(database.writer()):
        pass  # PostgreSQL needs the partition of the day
    place = 'INSERT INTO operations (recorded_at_ms, "partition", "offset", at_ms, kind, reason, changed)'
    engine = engine_of(database.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE operations DROP COLUMN key_id")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        connection.exec_driver_sql(f"{place} VALUES ({NOW_MS}, 0, 0, {NOW_MS}, 'endpoint_failing', '', '')")
    engine.dispose()

    migrate(database.url)

    row = [NOW_MS, 0, 1, NOW_MS, "api_key_created", *[None] * 4, "", *[None] * 8, "", "key-id"]
    with closing(database.writer()) as writer:
        writer.write(fold(Unwritten(operations=[OperationRow._make(row)]), {}, {}, KEPT))
    assert database.rows('SELECT kind, key_id FROM operations ORDER BY "offset"') == [
        ("endpoint_failing", None),
        ("api_key_created", "key-id"),
    ]


def test_tables_of_a_newer_version_are_refused(database: Database) -> None:
    """A database that a newer Signpost has upgraded is left alone, and the error says so."""
    engine = engine_of(database.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()

    with pytest.raises(Unavailable, match="version 9999, which is newer than this Signpost: update it"):
        migrate(database.url)


def test_batch_and_position_are_written_together(database: Database) -> None:
    """Rows of all tables and the position of the next outcome are there after a batch."""
    with closing(database.writer()) as writer:
        assert writer.positions() == {}
        database.write(writer, retry(5), outcome(6, attempt=2), expected=None, next_offset=7)

        assert writer.positions() == {(TOPIC, 3): 7}
    assert database.rows("SELECT attempt, state, status, response FROM attempts ORDER BY attempt") == [
        (1, "retry", 503, b"ok"),
        (2, "delivered", 200, None),
    ]
    assert database.rows("SELECT state, attempts, last_status, ended_runs FROM deliveries") == [
        ("delivered", 2, 200, 1)
    ]
    assert database.rows("SELECT result, count, bucket_0 FROM rollups ORDER BY result") == [
        ("delivered", 1, 1),
        ("retry", 1, 1),
    ]
    assert database.rows("SELECT delivered, dead, cancelled, attempts FROM totals") == [(1, 0, 0, 2)]


def test_later_batches_add_to_numbers_and_replace_the_delivery(database: Database) -> None:
    """Numbers of several batches are added; a delivery has one row; the latest attempt stays the last."""
    with closing(database.writer()) as writer:
        database.write(writer, retry(0, at_ms=NOW_MS + 9), expected=None, next_offset=1)
        database.write(writer, outcome(1, attempt=2, at_ms=NOW_MS + 5), outcome(2), expected=1, next_offset=3)

    assert database.rows("SELECT state, attempts FROM deliveries") == [("delivered", 3)]
    assert database.rows("SELECT delivered, attempts, last_at_ms, last_status FROM totals") == [(1, 3, NOW_MS + 9, 503)]
    assert database.rows("SELECT sum(count) FROM rollups WHERE result = 'delivered'") == [(2,)]


def test_process_that_lost_its_partition_writes_nothing(database: Database) -> None:
    """A batch from a position that another process has advanced is refused, and leaves no row."""
    with closing(database.writer()) as first, closing(database.writer()) as second:
        database.write(first, outcome(0), expected=None, next_offset=1)
        for expected in (None, 0):
            with pytest.raises(Overtaken):
                database.write(second, outcome(0), expected=expected, next_offset=1)
        database.write(second, outcome(1, job_id="job-2"), expected=1, next_offset=2)

    assert database.rows("SELECT delivered FROM totals") == [(2,)]
    assert len(database.rows("SELECT job_id FROM attempts")) == 2


def test_old_rows_are_removed_and_totals_stay(database: Database) -> None:
    """After the retention rows are gone from all tables but the totals, and new ones can be written."""
    later = Kept(KEPT.begin_ms + 31 * DAY_MS, KEPT.end_ms + 31 * DAY_MS)
    with closing(database.writer()) as writer:
        database.write(writer, retry(0), outcome(1, attempt=2), expected=None, next_offset=2)
        while writer.keep(later):
            pass
        now = NOW_MS + 31 * DAY_MS
        database.write(
            writer,
            outcome(2, job_id="job-2", recorded_at_ms=now, at_ms=now, appended_at_ms=now),
            expected=2,
            next_offset=3,
            kept=later,
        )

    assert database.rows("SELECT job_id FROM attempts") == [("job-2",)]
    assert database.rows("SELECT job_id FROM deliveries") == [("job-2",)]
    assert database.rows("SELECT sum(count) FROM rollups") == [(1,)]
    assert database.rows("SELECT delivered, attempts FROM totals") == [(2, 3)]


def test_any_text_of_an_outcome_can_be_stored(database: Database) -> None:
    """Quotes, tabs, line ends, emoji and NUL in ids and responses neither break a statement nor the batch."""
    odd = "a'\"\t\n\\N\0é😀"
    with closing(database.writer()) as writer:
        database.write(writer, retry(0, event_id=odd, host=odd, response=odd.encode()), expected=None, next_offset=1)

    assert database.rows("SELECT event_id, host, response FROM attempts") == [
        (odd.replace("\0", "\ufffd"), odd.replace("\0", "\ufffd"), odd.encode())
    ]


def test_postgres_days_are_made_ahead_and_dropped(postgres_url: str) -> None:
    """PostgreSQL has a partition for each day to keep and two days ahead, no default one, and none that is older."""
    database = Database(postgres_url)
    with closing(database.writer()) as writer:
        writer.keep(Kept(KEPT.begin_ms + DAY_MS, KEPT.end_ms + DAY_MS))
    names = [name for (name,) in database.rows("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")]

    for table in DAILY:
        assert len([name for name in names if name.startswith(f"{table}_2")]) == 33
    assert not [name for name in names if "default" in name]
