"""Partitions of tiers that are left alone while the only endpoint that they hold jobs for is full."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery.gate import Gate
from consumers.delivery.lane import Lane
from consumers.delivery.progress import Position, Progress
from consumers.delivery.tiers import Tiers
from consumers.delivery.writers import Writers
from schemas.topics import TopicNames
from tests.support.pacing import NOW, Paced, Who, pacing

TIERS = Tiers(TopicNames("t."), [timedelta(seconds=seconds) for seconds in (0, 1, 5, 300)], 1)
TIER = TIERS.all[2]
PLACE = (TIER.topic, 3)
FLOODED = b"flooded"
SURELY_LATER_MS = 10_201


def flooded(jobs: int) -> tuple[Paced, Gate, Lane]:
    """Return an endpoint that takes 16 at once and got so many jobs, and a partition that holds only its own."""
    paced, writers = pacing(subscription=16), Writers()
    paced.warm(Who("flooded"), took_us=100_000)
    paced.jobs(Who("flooded"), jobs)
    writers.wrote(*PLACE, FLOODED)
    writers.sealed(NOW - 60_000)
    return paced, Gate(writers, paced.by_subscription, TIERS), Lane(TIER, 3, Position(0, ""), Progress(Position(0, "")))


def test_what_waits_for_a_full_endpoint_stays_in_its_topic() -> None:
    """The head of a partition that holds jobs of one full endpoint only is left until half of what waits has gone."""
    _, gate, lane = flooded(5_000)
    assert 1_000 <= gate.hold_ms(lane, FLOODED, NOW, NOW) <= TIER.wait_ms // 2
    assert gate.hold_ms(lane, b"other", NOW, NOW) == 0
    assert gate.hold_ms(lane, None, NOW, NOW) == 0


def test_what_an_endpoint_has_room_for_is_read() -> None:
    """While more of its jobs may wait in memory nothing is left in the topic."""
    _, gate, lane = flooded(500)
    assert gate.hold_ms(lane, FLOODED, NOW, NOW) == 0


def test_an_endpoint_that_does_not_answer_holds_nothing() -> None:
    """Jobs of an endpoint that is away, or told us to wait, are parked for that long, not left at the head."""
    paced, gate, lane = flooded(5_000)
    paced.told_to_wait("flooded", NOW + 60_000, NOW)
    assert gate.hold_ms(lane, FLOODED, NOW, NOW) == 0
    _, gate, lane = flooded(5_000)
    assert gate.hold_ms(lane, FLOODED, NOW, NOW + 2_000) == 0


def test_a_lane_that_is_left_alone_is_not_late() -> None:
    """A held head is looked at again in time, and what waits for its endpoint is no job that is late."""
    _, gate, lane = flooded(5_000)
    lane.gate = gate
    assert lane.wait_for_head(NOW - TIER.wait_ms, NOW, lambda: FLOODED)
    assert lane.resume_at_ms is not None
    assert NOW < lane.resume_at_ms <= NOW + TIER.wait_ms // 2
    assert lane.oldest_due_ms() is None
    lane.resumed(NOW)
    assert not lane.wait_for_head(NOW - TIER.wait_ms, NOW, lambda: b"other")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "a", "a", "b", "seal", "seal", "append", "abort", "takeover"]), st.integers(0, 4_000)
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([-100, 100]))
def test_nobody_else_is_behind_a_head_that_is_left_alone(steps: list[tuple[str, int]], skew_ms: int) -> None:
    """Whatever is written, appended late, aborted and written again: behind such a head is no other endpoint's job."""
    writers, now_ms = Writers(), NOW
    rows: list[bytes] = []
    batch: list[bytes] = []
    sealed_ms = 0
    log: deque[tuple[bytes, int]] = deque((key, NOW) for key in (b"a", b"b", b"a"))  # of another process
    for step, passes_ms in steps:
        now_ms += passes_ms
        is_over = batch and now_ms - sealed_ms > 10_000  # no transaction lasts longer
        match "abort" if is_over else step:
            case "seal" if not batch:
                writers.sealed(now_ms)
                batch, rows, sealed_ms = rows, [], now_ms
            case "append":
                log += [(key, now_ms + skew_ms) for key in batch]
                batch = []
            case "abort" if batch:
                writers.aborted()
                rows, batch = batch + rows, []
            case "takeover":
                writers.forget()
            case "a" | "b":
                rows.append(step.encode())
                writers.wrote(*PLACE, step.encode())
            case _:
                pass
        for number, (key, appended_ms) in enumerate(log):
            if writers.only(*PLACE, key, appended_ms):
                behind = [other for other, _ in list(log)[number:]]
                assert {*behind, *batch, *rows} == {key}


def test_partitions_are_left_alone_once_nobody_else_has_written_for_long_enough() -> None:
    """What one endpoint alone wrote ten seconds after another one's job is left alone again."""
    writers = Writers()
    writers.wrote(*PLACE, b"other")
    writers.wrote(*PLACE, FLOODED)
    writers.sealed(NOW)
    assert not writers.only(*PLACE, FLOODED, NOW + 10_000)
    assert writers.only(*PLACE, FLOODED, NOW + SURELY_LATER_MS)
