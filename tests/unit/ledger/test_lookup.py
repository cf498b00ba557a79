"""The deliveries of a batch are looked up in few days, and a repeated job counts once all the same."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from typing import Any, cast

import pytest

from consumers.ledger.fold import fold
from consumers.ledger.lookup import look_up
from consumers.ledger.queries import Period
from consumers.ledger.reads import LedgerReads
from consumers.ledger.rows import DAY_MS, Advance, Attempt, Delivery, Kept, Unwritten
from consumers.ledger.writer import LedgerWriter, Overtaken
from tests.unit.ledger.database import TOPIC, Database
from tests.unit.ledger.test_fold import KEPT, NOW_MS, outcome, retry

_DAY = NOW_MS // DAY_MS


def asked(*outcomes: Attempt) -> list[tuple[set[str], range]]:
    """Return the job ids that are searched in an empty ledger, with the days from today."""
    found: list[tuple[set[str], range]] = []

    class Empty:
        def known(self, job_ids: Collection[str], within: Kept) -> dict[str, Delivery]:
            found.append((set(job_ids), range(within.begin_ms // DAY_MS - _DAY, within.end_ms // DAY_MS - _DAY)))
            return {}

    look_up(cast("LedgerWriter", Empty()), outcomes, KEPT)
    return found


def test_first_attempts_are_searched_around_the_day_of_their_event() -> None:
    """Each job is searched in the days near its event, jobs of the same day by one query."""
    assert asked(
        outcome(job_id="a"), outcome(job_id="b"), outcome(job_id="c", appended_at_ms=NOW_MS - 10 * DAY_MS)
    ) == [({"a", "b"}, range(-3, 3)), ({"c"}, range(-13, -6))]


def test_days_that_are_not_kept_are_not_searched() -> None:
    """Events that are older than the retention have no rows; a time in the future is that of the last days."""
    assert asked(outcome(appended_at_ms=NOW_MS - 40 * DAY_MS)) == []
    assert asked(outcome(appended_at_ms=NOW_MS - 30 * DAY_MS)) == [({"job-1"}, range(-30, -26))]
    assert asked(outcome(appended_at_ms=NOW_MS + 400 * DAY_MS)) == [({"job-1"}, range(-1, 3))]


@pytest.mark.parametrize("later", [{"attempt": 2}, {"run": 1}])
def test_later_attempts_are_searched_in_all_days_if_they_are_not_near(later: dict[str, Any]) -> None:
    """A retry or a later run has a row, unless its first attempt is in the same batch."""
    everywhere = range(-30, 3)

    assert asked(outcome(**later)) == [({"job-1"}, range(-3, 3)), ({"job-1"}, everywhere)]
    assert asked(retry(), outcome(**later)) == [({"job-1"}, range(-3, 3))]


@pytest.mark.parametrize(
    ("repeated", "appended_at_ms"),
    [
        ({}, NOW_MS - 3 * DAY_MS),
        ({}, NOW_MS + 2 * DAY_MS),
        ({"attempt": 2}, NOW_MS - 20 * DAY_MS),
        ({"attempt": 2}, NOW_MS + 2 * DAY_MS),
    ],
)
def test_repeated_job_with_another_time_counts_once(
    database: Database, repeated: dict[str, Any], appended_at_ms: int
) -> None:
    """A killed router may read an event again on another day: its job stays one delivery with all attempts."""
    with closing(database.writer()) as writer:
        database.write(writer, outcome(0), expected=None, next_offset=1)
        again = outcome(1, appended_at_ms=appended_at_ms, **repeated)
        database.write(writer, again, expected=1, next_offset=2)

    with closing(LedgerReads(database.url)) as reads:
        delivery = reads.delivery("job-1", Period(KEPT.begin_ms, KEPT.end_ms))
        assert delivery is not None
        assert reads.totals(["sub-1"])["sub-1"].delivered == 1
        assert len(reads.attempts(delivery, KEPT.end_ms)) == delivery.attempts == 2
    assert database.rows("SELECT count(*) FROM deliveries") == [(1,)]


def test_delivery_that_another_process_has_written_meanwhile_counts_once(database: Database) -> None:
    """A batch that adds a delivery of another process is refused. Its repetition finds it, and counts it once."""
    advances = {(TOPIC, 4): Advance(None, 1)}
    with closing(database.writer()) as first, closing(database.writer()) as second:
        batch = fold(Unwritten([outcome(1)]), look_up(second, [outcome(1)], KEPT), advances, KEPT)
        database.write(first, outcome(0), expected=None, next_offset=1)
        with pytest.raises(Overtaken):
            second.write(batch)
        assert second.positions() == {(TOPIC, 3): 1}
        second.write(fold(Unwritten([outcome(1)]), look_up(second, [outcome(1)], KEPT), advances, KEPT))

    assert database.rows("SELECT delivered, attempts FROM totals") == [(1, 2)]
    assert database.rows("SELECT count(*) FROM attempts") == [(2,)]
