"""What the ledger needs of a database. `sqlite.py` and `postgresql.py` implement it; all calls block."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from consumers.kafka.positions import PartitionKey
from consumers.ledger.rows import Delivery, Kept, LedgerBatch
from schemas.catalog.errors import Unavailable


class DatabaseAway(Unavailable):
    """The database does not respond, or refuses the request: it is repeated."""


class Overtaken(Unavailable):
    """Another process has advanced a position, or added a delivery of the batch. Nothing was written."""


class LedgerWriter(Protocol):
    """Writes batches. Every method raises DatabaseAway if the request fails."""

    def positions(self) -> dict[PartitionKey, int]:
        """Return the next offset of each partition that has one."""

    def known(self, job_ids: Collection[str], within: Kept) -> dict[str, Delivery]:
        """Return those of the deliveries that exist and whose events were appended within the times, by job id."""

    def write(self, batch: LedgerBatch) -> None:
        """Write a batch in one transaction, positions included; Overtaken if a position is not the expected one."""

    def keep(self, kept: Kept) -> bool:
        """Remove some of the rows that are too old, and prepare for those to come; True if old rows remain."""

    def clear(self) -> None:
        """Remove all rows but totals and positions."""

    def close(self) -> None:
        """Close the connection."""
