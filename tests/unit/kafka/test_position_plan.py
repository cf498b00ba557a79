"""Setting positions: values of `--to`, selected topics, and what a change skips or repeats."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumers.kafka.position_plan import PositionChange, PositionTarget, chosen, parse_target, plan_changes
from consumers.kafka.position_report import about_delay_topics, about_sources
from consumers.kafka.positions import PartitionOffsets
from schemas.catalog.errors import InvalidInput
from schemas.records.source import SourcePositions

KNOWN = ["crm", "signpost.jobs.0s", "signpost.jobs.5s"]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("recorded", "recorded"),
        ("0", 0),
        ("20261121", 20261121),
        ("2026-02-16T10:05:30Z", datetime(2026, 2, 16, 10, 5, 30, tzinfo=UTC)),
        ("2026-02-16T10:05", datetime(2026, 2, 16, 10, 5, tzinfo=UTC)),
    ],
)
def test_target_is_a_word_an_offset_or_a_time(text: str, target: PositionTarget) -> None:
    """Digits alone are an offset; a time without an offset from UTC is in UTC."""
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "-1", "now", "tomorrow", "12.5", "²"])
def test_any_other_target_is_refused(text: str) -> None:
    """Any other value gives an error that names the option."""
    with pytest.raises(InvalidInput, match="--to"):
        parse_target(text)


def test_topics_are_selected_by_name_or_pattern() -> None:
    """The prefix is optional, each topic is selected once, and an unrelated topic is refused."""
    assert chosen(["crm", "jobs.*", "signpost.jobs.0s"], KNOWN, "signpost.") == KNOWN
    with pytest.raises(InvalidInput, match="neither a source nor a delay topic"):
        chosen(["outcomes"], KNOWN, "signpost.")


@pytest.mark.parametrize(
    ("change", "effect"),
    [
        (PositionChange("crm", 0, None, 5, 0), "none -> 5"),
        (PositionChange("crm", 0, 3, 5, 0), "3 -> 5 (skips 2 records)"),
        (PositionChange("crm", 0, 3, 5, 4), "3 -> 5 (skips 1 record)"),
        (PositionChange("crm", 0, 3, 5, 5), "3 -> 5"),
        (PositionChange("crm", 0, 7, 5, 0), "7 -> 5 (reads 2 records again)"),
        (PositionChange("crm", 0, 5, 5, 0), "5 -> 5"),
    ],
)
def test_change_reports_skipped_and_repeated_records(change: PositionChange, effect: str) -> None:
    """Records that retention has deleted do not count as skipped."""
    assert str(change) == f"crm partition 0: {effect}"


def test_recorded_position_is_moved_into_the_log() -> None:
    """A recorded position outside the log is moved into it; an unrecorded partition starts at its beginning."""
    found = {("crm", n): PartitionOffsets(None, "", 4, 10) for n in range(4)}
    source = SourcePositions("crm", 0, "now", {0: 2, 1: 5, 2: 5}, {2: 12})
    assert [s.to for s in plan_changes("recorded", found, {}, {"crm": source})] == [4, 5, 10, 4]
    with pytest.raises(InvalidInput, match="no position of crm is recorded"):
        plan_changes("recorded", found, {}, {"crm": None})


def test_source_positions_have_their_remark() -> None:
    """New, later partition, truncated, after the end, lost: each has its remark, and the last two stop the router."""
    source = SourcePositions("crm", 0, "now", {0: 0})
    cases: list[tuple[list[PartitionOffsets], bool, str, bool]] = [
        ([PartitionOffsets(None, "", 0, 3)], False, "crm is new", False),
        ([PartitionOffsets(1, "", 0, 3), PartitionOffsets(None, "", 0, 3)], True, "new partitions", False),
        ([PartitionOffsets(1, "", 2, 3)], True, "deleted 1 to 1", False),
        ([PartitionOffsets(9, "", 2, 3)], True, "after the end of the log (3)", True),
        ([PartitionOffsets(None, "", 2, 3)], True, "has lost its positions", True),
    ]
    for partitions, is_recorded, part, stops in cases:
        found = {("crm", number): known for number, known in enumerate(partitions)}
        (remark,) = about_sources(["crm"], found, {"crm": source} if is_recorded else {})
        assert part in remark.sentence
        assert remark.stops is stops


def test_remark_about_delay_topics() -> None:
    """A delay topic without a position is new if jobs.0s has one; otherwise all positions are lost."""
    new = {("j.0s", 0): PartitionOffsets(1, "", 0, 3), ("j.5s", 0): PartitionOffsets(None, "", 0, 3)}
    (remark,) = about_delay_topics("j.0s", ["j.0s", "j.5s"], new)
    assert "j.5s is new" in remark.sentence
    (remark,) = about_delay_topics("j.0s", ["j.0s", "j.5s"], new | {("j.0s", 0): PartitionOffsets(None, "", 0, 3)})
    assert "'j.*'" in remark.sentence
    assert remark.stops
