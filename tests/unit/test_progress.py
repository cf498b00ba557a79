"""Progress of a partition: any order of completion, any gaps, any crash; restart repeats exactly the unfinished."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.delivery.progress import (
    MAX_BATCH,
    MAX_METADATA,
    MAX_UNFINISHED,
    Position,
    Progress,
)

SERIAL = "deliver-127-abcdef.4294967295"


def read_all(progress: Progress, offsets: list[int]) -> list[int]:
    """Read the offsets that a consumer sees from the committed position on; return those that are to be done."""
    return [offset for offset in offsets if offset >= progress.next_offset and progress.read(offset)]


@st.composite
def logs(draw: st.DrawFn) -> list[int]:
    """Offsets of the records of a log; what is missing between them are markers, aborted or compacted records."""
    gaps = draw(st.lists(st.integers(0, 40), min_size=1, max_size=120))
    first = draw(st.integers(0, 2**40))
    offsets = []
    for gap in gaps:
        first += gap + 1
        offsets.append(first)
    return offsets


@settings(max_examples=400, deadline=None)
@given(offsets=logs(), data=st.data())
def test_restart_repeats_exactly_the_unfinished(offsets: list[int], data: st.DataObject) -> None:
    """Whatever is read and finished in any order, over several crashes, a restart does each unfinished job once."""
    finished: set[int] = set()
    position = Position(offsets[0], "")
    for _ in range(data.draw(st.integers(1, 4), label="lives")):
        progress = Progress(position)
        to_do = read_all(progress, offsets[: data.draw(st.integers(0, len(offsets)), label="read")])
        assert not finished & set(to_do)
        count = data.draw(st.integers(0, len(to_do)), label="finished")
        for offset in data.draw(st.permutations(to_do), label="order")[:count]:
            progress.finish(offset)
            finished.add(offset)
        position = progress.position(SERIAL)
    again = read_all(Progress(position), offsets)
    assert again == [offset for offset in offsets if offset not in finished]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), stuck=st.integers(0, 1_000), gap=st.sampled_from([1, 3, 40, 1_100, 40_000]))
def test_metadata_never_exceeds_the_brokers_limit(seed: int, stuck: int, gap: int) -> None:
    """Over gaps of any size, and a restart in between, reading stops before the list outgrows 4,095 ASCII bytes."""
    rng = random.Random(seed)
    progress, offset = Progress(Position(7, "")), 7
    to_do: list[int] = []
    for _ in range(2):
        while not progress.full and offset < 2**22:
            # The batch at hand when reading stops may be taken as well.
            for _ in range(MAX_BATCH):
                if progress.read(offset):
                    to_do.append(offset)
                if rng.random() < 0.5 and progress.unfinished > stuck:
                    progress.finish(to_do.pop(rng.randrange(len(to_do))))
                offset += rng.randint(1, gap)
        position = progress.position(SERIAL)
        assert position.metadata.isascii()
        assert len(position.metadata) <= MAX_METADATA
        progress = Progress(position)
        assert read_all(progress, sorted(to_do)) == sorted(to_do)


@pytest.mark.parametrize("stride", [1, 2, 31, 32, 33, 1_024, 1_025, 20_000, 32_768, 100_000])
def test_metadata_fits_however_far_apart_the_unfinished_are(stride: int) -> None:
    """With nothing finished, at any distance between records, the list fits when reading stops, and is read back."""
    progress = Progress(Position(0, ""))
    offsets: list[int] = []
    while not progress.full:
        batch = [(len(offsets) + number) * stride for number in range(MAX_BATCH)]
        for offset in batch:
            progress.read(offset)
            if progress.full:
                break
        offsets += batch[: batch.index(offset) + 1]
    position = progress.position(SERIAL)
    assert len(position.metadata) <= MAX_METADATA
    assert len(offsets) >= 100
    assert read_all(Progress(position), offsets) == offsets


def test_position_names_its_serial() -> None:
    """Whoever reads a committed position can tell which transaction of which process wrote it."""
    assert Progress(Position(3, "")).position(SERIAL).serial == SERIAL


@pytest.mark.parametrize("metadata", ["", "x", "1|", "1||", "2|s|AAAA", "1|s|!!", "1|s|é", "somebody else's"])
def test_foreign_metadata_lists_nothing(metadata: str) -> None:
    """Metadata that some other tool committed is not taken for a list: everything from the offset on is read."""
    progress = Progress(Position(10, metadata))
    assert read_all(progress, [10, 11, 12]) == [10, 11, 12]


def test_list_is_dropped_where_the_log_ends_below_it() -> None:
    """After an unclean election offsets are given anew: what the list calls finished is read again."""
    progress = Progress(Position(5, ""))
    read_all(progress, [5, 6, 7, 8])
    for offset in (6, 7, 8):
        progress.finish(offset)
    position = progress.position(SERIAL)
    assert read_all(Progress(position, log_end=9), [5, 6, 7, 8]) == [5]
    assert read_all(Progress(position, log_end=7), [5, 6]) == [5, 6]


def test_reading_goes_on_after_a_full_stop() -> None:
    """A partition that was full is read on once most of what may be unfinished is finished."""
    progress = Progress(Position(0, ""))
    for offset in range(MAX_UNFINISHED):
        progress.read(offset)
    assert progress.full
    for offset in range(MAX_UNFINISHED // 2):
        progress.finish(offset)
        assert not progress.roomy
    for offset in range(MAX_UNFINISHED // 2, MAX_UNFINISHED * 2 // 3):
        progress.finish(offset)
    assert progress.roomy
