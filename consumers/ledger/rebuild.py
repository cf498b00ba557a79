"""Writes all rows but the totals again, from the topics."""

from __future__ import annotations

import structlog

from consumers.kafka.topic_reader import Range, TopicReader, place_of
from consumers.ledger.fold import fold
from consumers.ledger.lookup import look_up
from consumers.ledger.loop import BATCH
from consumers.ledger.records import readers_of
from consumers.ledger.rows import Kept, Unwritten
from consumers.ledger.writer import LedgerWriter
from schemas.catalog.errors import UnreadableRecord
from schemas.records.topics import TopicNames

_log = structlog.get_logger("ledger")


def rebuild(reader: TopicReader, writer: LedgerWriter, names: TopicNames, kept: Kept) -> int:
    """Remove all rows but totals and positions, write them again from the topics, and return the number of records.

    The topics are read up to the positions; the rest is left to the ledger. Totals are left alone, because they also
    count what the topics no longer have. Blocks. No ledger process may run. A rebuild that was interrupted is repeated
    as a whole.
    """
    take = readers_of(names)
    positions = writer.positions()
    logs = reader.ranges(key for key in positions if key[0] in take)
    ranges = [Range(*log.key, log.begin, min(log.end, positions[log.key])) for log in logs]
    writer.clear()
    writer.keep(kept)
    unwritten = Unwritten()
    written = 0
    for messages in reader.read(ranges):
        for message in messages:
            topic, partition, offset = place_of(message)
            try:
                take[topic](message, unwritten)  # type: ignore[arg-type]  # a message without an error has all of it
            except UnreadableRecord as error:
                _log.warning("record.skipped", reason=error.reason, topic=topic, partition=partition, offset=offset)
            if unwritten.size >= BATCH:
                written += _write(writer, unwritten, kept)
                unwritten = Unwritten()
    return written + _write(writer, unwritten, kept)


def _write(writer: LedgerWriter, unwritten: Unwritten, kept: Kept) -> int:
    batch = fold(unwritten, look_up(writer, unwritten.outcomes, kept), {}, kept)
    batch.totals = {}
    writer.write(batch)
    return unwritten.size
