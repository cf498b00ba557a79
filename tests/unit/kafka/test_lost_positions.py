"""Lost positions of a source, and the record of its positions."""

from __future__ import annotations

import pytest

from consumers.kafka.lost_positions import lost_partitions, lost_sentence
from consumers.kafka.positions import PartitionOffsets
from schemas.records.source import SourcePositions, decode_source, encode_source

pytestmark = pytest.mark.promise(1)

SOURCE = SourcePositions("crm", 1_700_000_000_000, "now", {0: 5, 1: 7}, {1: 9, 2: 3}, 1_700_003_600_000)


@pytest.mark.parametrize(
    ("offsets", "source", "lost"),
    [
        ({0: 5, 1: 9, 2: 3}, SOURCE, []),
        # The partition that was added later cannot be distinguished.
        ({0: None, 1: None, 2: None, 3: None}, SOURCE, [0, 1, 2, 3]),
        ({0: 5, 1: 9, 2: None}, SOURCE, [2]),
        ({0: 5, 1: 9, 2: 3, 3: None}, SOURCE, []),  # added later
        ({0: None, 1: None}, None, [0, 1]),  # there is a record, which cannot be read
        ({0: 5, 1: None}, None, []),
    ],
)
def test_recorded_partition_without_a_position_is_lost(
    offsets: dict[int, int | None], source: SourcePositions | None, lost: list[int]
) -> None:
    """A recorded partition without a position is lost; an unrecorded one is new, unless all lack positions."""
    found = {("crm", partition): PartitionOffsets(offset, "", 0, 10) for partition, offset in offsets.items()}
    found["other", 0] = PartitionOffsets(None, "", 0, 0)
    assert lost_partitions("crm", found, source) == lost


def test_error_names_the_source_and_the_command() -> None:
    """The error names the source, the time of its record, and the command to run."""
    sentence = lost_sentence("crm", [0, 2], SOURCE)
    assert "the source crm, recorded on 2023-11-14 22:13 UTC, has lost its positions (partitions 0, 2)" in sentence
    assert "`signpost positions set crm --to earliest|latest|TIME`" in sentence
    assert "--to recorded" in sentence
    assert "recorded" not in lost_sentence("crm", [0], None)


def test_source_record_survives_encoding() -> None:
    """Every field of the record survives encoding."""
    assert decode_source(encode_source(SOURCE)) == SOURCE
    assert SOURCE.positions == {0: 5, 1: 9, 2: 3}
