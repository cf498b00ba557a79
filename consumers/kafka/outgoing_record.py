"""A record to write in a transaction."""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.records.trace_context import RecordHeaders

# The partitioner chooses by the key.
ANY_PARTITION: Final = -1


class OutgoingRecord(NamedTuple):
    """Topic, partition number (or `ANY_PARTITION`), key and value; a record without a value is a tombstone.

    `headers` carry the context of a trace, if there is one.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders | None = None
