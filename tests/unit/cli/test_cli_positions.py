"""`signpost positions list`: partitions are grouped into few rows, and none is hidden."""

from __future__ import annotations

from consumers.kafka.positions import PartitionOffsets
from deploy.cli.positions_view import rows_of
from schemas.records.source import SourcePositions

FOUND = {("jobs.0s", number): PartitionOffsets(number, "", 0, number) for number in range(12)} | {
    ("jobs.0s", 4): PartitionOffsets(4, "", 0, 9),
    ("jobs.0s", 7): PartitionOffsets(None, "", 0, 3),
    ("jobs.0s", 8): PartitionOffsets(20, "", 0, 3),
    ("events", 0): PartitionOffsets(5, "", 0, 5),
}
SOURCES = {"events": SourcePositions("events", 0, "now", {0: 5})}


def test_similar_partitions_share_a_row() -> None:
    """Partitions are grouped into read, waiting, without a position and outside their log, with their numbers."""
    assert rows_of(FOUND, SOURCES, each=False) == [
        ("jobs.0s", "0-3,5-6,9-11", "0…11", "0", "0…11", "0", "-"),
        ("jobs.0s", "4", "4", "0", "9", "5", "-"),
        ("jobs.0s", "7", "-", "0", "3", "-", "-"),
        ("jobs.0s", "8", "20", "0", "3", "0", "-"),
        ("events", "0", "5", "0", "5", "0", "5"),
    ]


def test_each_shows_a_row_per_partition() -> None:
    """With `--each`, every partition has its row."""
    rows = rows_of(FOUND, SOURCES, each=True)
    assert [(row[0], row[1]) for row in rows] == [(topic, str(number)) for topic, number in FOUND]
