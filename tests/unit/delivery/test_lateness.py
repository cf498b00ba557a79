"""A retry is never early, and at most 1 s late, or 2 % of its wait: the shares of all parts together.

`DelayTopics`, the rounding of waits and `PartitionState` are the real ones. A model has the times of the rest, on a
machine that is not overloaded: until the commit of a record, and from the resume of a partition to the start of a
request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.delivery.delay_topics import DelayTopic, DelayTopics, rounding_ms
from consumers.delivery.partitions.committer import COMMIT_EVERY_MS
from consumers.delivery.partitions.partition_state import PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from schemas.records.topics import TopicNames, delays_of
from schemas.senders.sender import load_senders

pytestmark = [pytest.mark.promise(3), pytest.mark.decision("Z4")]

NOW: Final = 1_800_000_000_000
DAY_MS: Final = 86_400_000
# From the start of a transaction to the append of its records.
APPEND_MS: Final = 50
# From the resume of a partition to the start of a request: a turn of the loop, a fetch, admission.
START_MS: Final = 100
DELAY_TOPICS: Final = DelayTopics(TopicNames(), delays_of(s.schedule for s in load_senders().values()), 1)

Share = Callable[[int], int]
"""Returns a part of a number of ms: all of it in the worst case."""


def through(delay_topic: DelayTopic, written_ms: int, share: Share) -> int:
    """Return when a record that was written at `written_ms` is read from a delay topic."""
    appended_ms = written_ms + share(COMMIT_EVERY_MS + APPEND_MS)
    start = Position(0, "")
    partition = PartitionState(delay_topic, 0, start, Progress(start))
    due_ms = appended_ms + delay_topic.wait_ms
    # The partition may have been resumed shortly before, for another head.
    interval_ms = delay_topic.min_resume_interval_ms
    before_ms = due_ms - 1 - (interval_ms - share(interval_ms))
    partition.resumed(before_ms)
    assert partition.wait_for_head(appended_ms, before_ms)
    assert partition.resume_at_ms is not None
    return partition.resume_at_ms + share(START_MS)


def started_ms(wait_ms: int, share: Share) -> int:
    """Return when the attempt after a wait starts: through the delay topics that Recorder and Scheduler choose."""
    due_ms = NOW + wait_ms
    delay_topic = DELAY_TOPICS.fit(wait_ms)
    now_ms = NOW
    while delay_topic is not None:
        now_ms = through(delay_topic, now_ms, share)
        remaining_ms = due_ms - now_ms
        if remaining_ms <= 0:
            return now_ms
        delay_topic = DELAY_TOPICS.fit(remaining_ms, rounding_ms(remaining_ms))
    return due_ms + share(START_MS)


def assert_promised(wait_ms: int, late_ms: int) -> None:
    """Assert that the lateness of a retry is within the promise."""
    assert 0 <= late_ms <= max(1_000, wait_ms // 50), f"{late_ms} ms late after {wait_ms} ms"


@pytest.mark.parametrize("sender", sorted(load_senders()))
def test_retries_of_every_schedule_are_on_time(sender: str) -> None:
    """Each wait of each sender goes through one delay topic, and ends within the promise in the worst case."""
    for step in load_senders()[sender].schedule:
        wait_ms = int(step.total_seconds() * 1_000)
        assert_promised(wait_ms, started_ms(wait_ms, lambda part: part) - NOW - wait_ms)


# Two steps of 20 s, which have the smallest room.
@example(40_600)
@given(st.one_of(st.integers(1_000, 120_000), st.integers(1_000, DAY_MS)))
def test_retry_after_any_wait_is_on_time_in_the_worst_case(wait_ms: int) -> None:
    """A `Retry-After` of any length ends within the promise, although it may take several delay topics."""
    assert_promised(wait_ms, started_ms(wait_ms, lambda part: part) - NOW - wait_ms)


@given(st.integers(1_000, DAY_MS), st.data())
def test_retry_is_on_time_however_its_parts_fall(wait_ms: int, data: st.DataObject) -> None:
    """Commits, resumes and starts may take any part of their time: a retry is never early and never too late."""

    def share(part: int) -> int:
        return data.draw(st.integers(0, part))

    assert_promised(wait_ms, started_ms(wait_ms, share) - NOW - wait_ms)
