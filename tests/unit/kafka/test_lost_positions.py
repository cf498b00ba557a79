"""Which positions of a source count as lost, and what is recorded of a source."""

from __future__ import annotations

import pytest

from consumers.kafka.lost_positions import lost_partitions, lost_sentence
from consumers.kafka.positions import PartitionOffsets
from schemas.records.source import SourcePositions, decode_source, encode_source

pytestmark = pytest.mark.promise(1)

NOTE = SourcePositions("crm", 1_700_000_000_000, "now", {0: 5, 1: 7}, {1: 9, 2: 3}, 1_700_003_600_000)


@pytest.mark.parametrize(
    ("offsets", "note", "lost"),
    [
        ({0: 5, 1: 9, 2: 3}, NOTE, []),
        ({0: None, 1: None, 2: None, 3: None}, NOTE, [0, 1, 2, 3]),  # all: the later one cannot be told apart
        ({0: 5, 1: 9, 2: None}, NOTE, [2]),
        ({0: 5, 1: 9, 2: 3, 3: None}, NOTE, []),  # added later
        ({0: None, 1: None}, None, [0, 1]),  # there is a note, which cannot be read
        ({0: 5, 1: None}, None, []),
    ],
)
def test_what_was_noted_and_has_no_position_is_lost(
    offsets: dict[int, int | None], note: SourcePositions | None, lost: list[int]
) -> None:
    """A recorded partition without a position is lost; one without a record is new, unless all are without."""
    found = {("crm", partition): PartitionOffsets(offset, "", 0, 10) for partition, offset in offsets.items()}
    found["other", 0] = PartitionOffsets(None, "", 0, 0)
    assert lost_partitions("crm", found, note) == lost


def test_the_sentence_names_the_command_and_what_is_known() -> None:
    """Whoever reads it knows which source, since when it is known, and what to do."""
    sentence = lost_sentence("crm", [0, 2], NOTE)
    assert "the source crm, recorded on 2023-11-14 22:13 UTC, has lost its positions (partitions 0, 2)" in sentence
    assert "`signpost positions set crm --to earliest|latest|TIME`" in sentence
    assert "--to recorded" in sentence
    assert "recorded" not in lost_sentence("crm", [0], None)


def test_a_note_comes_back_as_it_was_written() -> None:
    """Every field of a note survives its record."""
    assert decode_source(encode_source(NOTE)) == NOTE
    assert NOTE.positions == {0: 5, 1: 9, 2: 3}
