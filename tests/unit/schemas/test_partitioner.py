"""Which partition a key is on."""

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
def test_the_hash_is_that_of_java(key, expected):
    """The vectors of Kafka's own UtilsTest.testMurmur2, which are signed numbers."""
    assert murmur2(key) == expected & 0xFFFFFFFF


def test_a_negative_hash_becomes_a_partition_as_in_java():
    """Java clears the sign bit before it divides."""
    assert partition_of("foobar", 12) == (-790332482 & 0x7FFFFFFF) % 12
