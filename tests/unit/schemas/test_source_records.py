"""Records of the topic `sources`: versions, and since when the records of a source can be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.avro.codec import PREFIX_LENGTH, RecordCodec
from schemas.records.source import SourcePositions, decode_source, encode_source

STARTED = SourcePositions("events", 1_000, "earliest", {0: 5, 1: 0}, {0: 9}, 2_000)


def test_record_is_readable_by_older_processes_until_positions_are_set() -> None:
    """Only a record with the time of `signpost positions set` needs version 2. Both versions are read alike."""
    (older,) = RecordCodec("source").older_prefixes
    was_set = replace(STARTED, set_at_ms=3_000)
    assert encode_source(STARTED)[:PREFIX_LENGTH] == older
    assert encode_source(was_set)[:PREFIX_LENGTH] != older
    assert [decode_source(encode_source(one)) for one in (STARTED, was_set)] == [STARTED, was_set]


@pytest.mark.parametrize(("set_at_ms", "expected_ms"), [(None, 1_000), (3_000, 3_000), (500, 1_000)])
def test_records_can_be_read_since_the_start_or_since_positions_were_set(
    set_at_ms: int | None, expected_ms: int
) -> None:
    """The later one counts."""
    assert replace(STARTED, set_at_ms=set_at_ms).readable_since_ms == expected_ms
