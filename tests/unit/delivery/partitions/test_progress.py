"""Progress of a partition: after any order of completion, any gaps and any crash, only unfinished jobs are repeated."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.delivery.partitions.progress import (
    LIST_BYTES,
    MAX_BATCH,
    MAX_METADATA,
    MAX_UNFINISHED,
    ROOMY_UNFINISHED,
    Position,
    Progress,
)

pytestmark = pytest.mark.promise(1, 2)

SERIAL = "deliver-127-abcdef.4294967295"


def read_all(progress: Progress, offsets: list[int]) -> list[int]:
    """Read the offsets that a consumer returns from the committed position on; return the unfinished ones."""
    return [offset for offset in offsets if offset >= progress.next_offset and progress.read(offset)]


@st.composite
def logs(draw: st.DrawFn) -> list[int]:
    """Offsets of the records of a log. The gaps are markers, aborted or compacted records."""
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
    """After any order of reading and finishing, over several crashes, a restart repeats each unfinished job once."""
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
    """With gaps of any size, and a restart in between, reading stops before the metadata exceeds 4,095 bytes."""
    rng = random.Random(seed)
    progress, offset = Progress(Position(7, "")), 7
    to_do: list[int] = []
    for _ in range(2):
        while not progress.full and offset < 2**22:
            # The batch that was read when reading stops is read completely.
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
def test_metadata_fits_at_any_distance_between_unfinished_offsets(stride: int) -> None:
    """With nothing finished, at any distance between records, the list fits when reading stops, and can be decoded."""
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
    """A committed position shows which transaction of which process committed it."""
    assert Progress(Position(3, "")).position(SERIAL).metadata.startswith(f"1|{SERIAL}|")


@pytest.mark.parametrize("metadata", ["", "x", "1|", "1||", "2|s|AAAA", "1|s|!!", "1|s|é", "somebody else's"])
def test_metadata_of_other_tools_lists_nothing(metadata: str) -> None:
    """Metadata of other tools is not taken for a list: all records from the offset on are read."""
    progress = Progress(Position(10, metadata))
    assert read_all(progress, [10, 11, 12]) == [10, 11, 12]


def test_list_is_dropped_where_the_log_ends_below_it() -> None:
    """An unclean election reuses offsets, so records that the list calls finished are read again."""
    progress = Progress(Position(5, ""))
    read_all(progress, [5, 6, 7, 8])
    for offset in (6, 7, 8):
        progress.finish(offset)
    position = progress.position(SERIAL)
    assert read_all(Progress(position, log_end=9), [5, 6, 7, 8]) == [5]
    assert read_all(Progress(position, log_end=7), [5, 6]) == [5, 6]


def test_full_partition_is_read_again() -> None:
    """A full partition is read again once enough of its jobs are finished."""
    progress = Progress(Position(0, ""))
    for offset in range(MAX_UNFINISHED):
        progress.read(offset)
    assert progress.full
    for offset in range(MAX_UNFINISHED // 2):
        progress.finish(offset)
        assert not progress.has_room_again
    for offset in range(MAX_UNFINISHED // 2, MAX_UNFINISHED * 2 // 3):
        progress.finish(offset)
    assert progress.has_room_again


class ProgressModel(RuleBasedStateMachine):
    """A log with gaps, the set of finished offsets, and crashes at any moment. Committed positions are correct."""

    @initialize(first=st.integers(0, 2**40), stride=st.sampled_from([1, 3, 40, 1_100, 40_000]))
    def begin(self, first: int, stride: int) -> None:
        self.records: list[int] = []
        self.log_end = self.log_begin = first
        self.stride = stride
        self.finished: set[int] = set()
        self.committed = Position(first, "")
        self.committed_finished: set[int] = set()
        self.progress = Progress(self.committed)
        self.buffered: list[int] = []

    @rule(count=st.integers(1, 400), seed=st.integers(0, 2**32))
    def append(self, count: int, seed: int) -> None:
        """Append records, with markers or records of aborted transactions between them."""
        rng = random.Random(seed)
        for _ in range(count):
            self.log_end += rng.randint(0, self.stride - 1)
            self.records.append(self.log_end)
            self.log_end += 1

    @rule()
    def read_a_batch(self) -> None:
        """Read a batch as the reader does: completely, and not while full."""
        if not self.progress.full:
            batch = [offset for offset in self.records if offset >= self.progress.next_offset][:MAX_BATCH]
            to_do = read_all(self.progress, batch)
            assert not self.committed_finished & set(to_do), "it was finished before the restart"
            self.buffered += to_do

    @precondition(lambda self: self.buffered)
    @rule(part=st.sampled_from([0.02, 0.5, 0.9, 1.0]), seed=st.integers(0, 2**32))
    def finish_some(self, part: float, seed: int) -> None:
        """Let jobs end in any order."""
        random.Random(seed).shuffle(self.buffered)
        for _ in range(int(len(self.buffered) * part)):
            offset = self.buffered.pop()
            self.progress.finish(offset)
            self.finished.add(offset)

    @rule()
    def commit(self) -> None:
        self.committed = self.progress.position(SERIAL)
        self.committed_finished = set(self.finished)

    @rule()
    def crash(self) -> None:
        """Restart. Only jobs that were not finished and committed are repeated."""
        self.finished = set(self.committed_finished)
        self.progress = Progress(self.committed, log_begin=self.log_begin, log_end=self.log_end)
        self.buffered = []

    @precondition(lambda self: self.records)
    @rule(kept=st.integers(0, 300))
    def retention(self, kept: int) -> None:
        """Delete the first records. Only those that were not read are lost."""
        index = max(0, len(self.records) - kept)
        self.log_begin = max(self.log_begin, self.records[index] if index < len(self.records) else self.log_end)
        self.progress.skip_to(self.log_begin)
        self.records = [at for at in self.records if at >= self.log_begin]

    @invariant()
    def metadata_fits(self) -> None:
        """The list has at most 4,000 bytes, and the metadata at most what the broker accepts."""
        metadata = self.progress.position(SERIAL).metadata
        assert len(metadata.split("|")[2]) <= LIST_BYTES
        assert len(metadata) <= MAX_METADATA
        assert metadata.isascii()

    @invariant()
    def never_past_an_unfinished_offset(self) -> None:
        """A restart from the current position would repeat the unfinished jobs, and nothing else."""
        position = self.progress.position(SERIAL)
        assert position.offset <= min(self.buffered, default=position.offset)
        again = Progress(position, log_begin=self.log_begin, log_end=max(self.log_end, position.offset))
        assert read_all(again, self.records) == [at for at in self.records if at not in self.finished]


TestProgressModel = ProgressModel.TestCase
TestProgressModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_full_partition_is_read_again_while_jobs_that_may_wait_are_unfinished() -> None:
    """Jobs of unresponsive endpoints, as many as may wait in memory, do not keep a partition that was full paused."""
    progress = Progress(Position(0, ""))
    offset = 0
    while not progress.full:
        assert progress.read(offset)
        offset += 1
    for finished in range(ROOMY_UNFINISHED, offset):
        progress.finish(finished)
    assert progress.unfinished == ROOMY_UNFINISHED
    assert progress.has_room_again
