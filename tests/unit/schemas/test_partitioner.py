"""The partition of a key."""

from __future__ import annotations

import pytest

from schemas.records.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hash_matches_java(key, expected):
    """The hash matches the vectors of Kafka's own UtilsTest.testMurmur2, which are signed numbers."""
    assert murmur2(key) == expected & 0xFFFFFFFF


def test_negative_hash_maps_to_a_partition_as_in_java():
    """The sign bit is cleared before the division, as in Java."""
    assert partition_of("foobar", 12) == (-790332482 & 0x7FFFFFFF) % 12
