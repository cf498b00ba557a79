"""`signpost positions list`: partitions are grouped into few rows, and none is hidden."""

from __future__ import annotations

from consumers.inspect.lag import WaitingCount
from consumers.kafka.positions import PartitionOffsets
from deploy.cli.positions_view import rows_of
from schemas.records.source import SourcePositions

FOUND = {("jobs.0s", number): PartitionOffsets(number, "", 0, number) for number in range(12)} | {
    ("jobs.0s", 4): PartitionOffsets(4, "", 0, 9),
    ("jobs.0s", 7): PartitionOffsets(None, "", 0, 3),
    ("jobs.0s", 8): PartitionOffsets(20, "", 0, 3),
    ("events", 0): PartitionOffsets(5, "", 0, 5),
}
# Of the offsets 4 to 8 of partition 4, two are transaction markers; partition 3 waits for a marker only.
FOUND |= {("jobs.0s", 3): PartitionOffsets(3, "", 0, 4)}
WAITING = {key: WaitingCount(3 if key == ("jobs.0s", 4) else 0, True) for key in FOUND if key != ("jobs.0s", 7)}
SOURCES = {"events": SourcePositions("events", 0, "now", {0: 5})}


def test_similar_partitions_share_a_row() -> None:
    """Partitions are grouped into read, waiting, without a position and outside their log, with their numbers."""
    assert rows_of(FOUND, WAITING, SOURCES, each=False) == [
        ("jobs.0s", "0-3,5-6,9-11", "0…11", "0", "0…11", "0", "-"),
        ("jobs.0s", "4", "4", "0", "9", "3", "-"),
        ("jobs.0s", "7", "-", "0", "3", "-", "-"),
        ("jobs.0s", "8", "20", "0", "3", "0", "-"),
        ("events", "0", "5", "0", "5", "0", "5"),
    ]


def test_each_shows_a_row_per_partition() -> None:
    """With `--each`, every partition has its row."""
    rows = rows_of(FOUND, WAITING, SOURCES, each=True)
    assert [(row[0], row[1]) for row in rows] == [(topic, str(number)) for topic, number in FOUND]


def test_upper_bound_is_marked() -> None:
    """A sum is an upper bound if the count of one partition is."""
    waiting = {("events", 0): WaitingCount(600_000, False), ("jobs.0s", 4): WaitingCount(3, True)}
    shown = {row[0]: row[5] for row in rows_of({key: FOUND[key] for key in waiting}, waiting, SOURCES, each=False)}
    assert shown == {"events": "≤ 600,000", "jobs.0s": "3"}
