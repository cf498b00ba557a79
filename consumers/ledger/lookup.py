"""Finds the deliveries of a batch that the database already has. It searches few days.

PostgreSQL searches each partition of the asked days for each job, so searching all days would cost more than writing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from consumers.ledger.rows import DAY_MS, Attempt, Delivery, Kept
from consumers.ledger.writer import LedgerWriter

# Repeated jobs count once, even if no router has run for this long.
_NEAR_DAYS: Final = 3


def look_up(writer: LedgerWriter, outcomes: Sequence[Attempt], kept: Kept) -> dict[str, Delivery]:
    """Return those of the deliveries of outcomes that exist, by job id.

    Each delivery is searched in the day of its event and in the days near it. The time of a repeated job can differ: if
    the topic keeps producers' timestamps, it is the time when the router read the event. A retry or a later run that is
    not found is searched in all days.
    """
    days: defaultdict[int, set[str]] = defaultdict(set)
    for outcome in outcomes:
        days[outcome.appended_at_ms // DAY_MS].add(outcome.job_id)
    found: dict[str, Delivery] = {}
    for day, job_ids in days.items():
        within = kept.around(day, _NEAR_DAYS)
        if within.begin_ms < within.end_ms:
            found |= writer.known(job_ids, within)
    missing = {outcome.job_id for outcome in outcomes if outcome.attempt > 1 or outcome.run > 0} - found.keys()
    if missing:
        missing -= {outcome.job_id for outcome in outcomes if outcome.attempt == 1 and outcome.run == 0}
    return found | writer.known(missing, kept) if missing else found
