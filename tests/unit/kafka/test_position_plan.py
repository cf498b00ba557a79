"""What `--to` means, which topics are meant, and what setting a position skips or repeats."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from consumers.kafka.position_plan import PositionChange, PositionTarget, chosen, parse_target, plan_changes
from consumers.kafka.position_report import about_delay_topics, about_sources, waiting
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
def test_a_target_is_a_word_an_offset_or_a_time(text: str, target: PositionTarget) -> None:
    """Digits alone are an offset; a time without an offset from UTC is in UTC."""
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "-1", "now", "tomorrow", "12.5", "²"])
def test_any_other_target_is_refused(text: str) -> None:
    """Whatever else is given is answered with how it is written."""
    with pytest.raises(InvalidInput, match="--to"):
        parse_target(text)


def test_topics_are_meant_by_name_or_pattern() -> None:
    """With or without the prefix, each once; a name that is neither source nor delay topic is refused."""
    assert chosen(["crm", "jobs.*", "signpost.jobs.0s"], KNOWN, "signpost.") == KNOWN
    with pytest.raises(InvalidInput, match="neither a source nor a delay topic"):
        chosen(["outcomes"], KNOWN, "signpost.")


@pytest.mark.parametrize(
    ("setting", "effect"),
    [
        (PositionChange("crm", 0, None, 5, 0), "none -> 5"),
        (PositionChange("crm", 0, 3, 5, 0), "3 -> 5 (skips 2 records)"),
        (PositionChange("crm", 0, 3, 5, 4), "3 -> 5 (skips 1 record)"),
        (PositionChange("crm", 0, 3, 5, 5), "3 -> 5"),
        (PositionChange("crm", 0, 7, 5, 0), "7 -> 5 (reads 2 records again)"),
        (PositionChange("crm", 0, 5, 5, 0), "5 -> 5"),
    ],
)
def test_a_setting_says_what_it_skips_or_repeats(setting: PositionChange, effect: str) -> None:
    """Records that retention has deleted are skipped by nobody."""
    assert str(setting) == f"crm partition 0: {effect}"


def test_what_was_noted_is_kept_within_the_log() -> None:
    """A recorded position before the log's beginning, or after its end, is moved into it; a later partition begins."""
    found = {("crm", n): PartitionOffsets(None, "", 4, 10) for n in range(4)}
    note = SourcePositions("crm", 0, "now", {0: 2, 1: 5, 2: 5}, {2: 12})
    assert [s.to for s in plan_changes("recorded", found, {}, {"crm": note})] == [4, 5, 10, 4]
    with pytest.raises(InvalidInput, match="no position of crm is recorded"):
        plan_changes("recorded", found, {}, {"crm": None})


def test_what_is_said_of_a_source() -> None:
    """New, later partition, truncated, after the end, lost: each has its sentence, and the last two stop the router."""
    note = SourcePositions("crm", 0, "now", {0: 0})
    cases: list[tuple[list[PartitionOffsets], bool, str, bool]] = [
        ([PartitionOffsets(None, "", 0, 3)], False, "crm is new", False),
        ([PartitionOffsets(1, "", 0, 3), PartitionOffsets(None, "", 0, 3)], True, "new partitions", False),
        ([PartitionOffsets(1, "", 2, 3)], True, "deleted 1 to 1", False),
        ([PartitionOffsets(9, "", 2, 3)], True, "after the end of the log (3)", True),
        ([PartitionOffsets(None, "", 2, 3)], True, "has lost its positions", True),
    ]
    for partitions, noted, part, stops in cases:
        found = {("crm", number): known for number, known in enumerate(partitions)}
        (remark,) = about_sources(["crm"], found, {"crm": note} if noted else {})
        assert part in remark.sentence
        assert remark.stops is stops


def test_what_is_said_of_delay_topics() -> None:
    """A delay topic beside new jobs that have a position is new; without that they are lost, and that is said alone."""
    new = {("j.0s", 0): PartitionOffsets(1, "", 0, 3), ("j.5s", 0): PartitionOffsets(None, "", 0, 3)}
    (remark,) = about_delay_topics("j.0s", ["j.0s", "j.5s"], new)
    assert "j.5s is new" in remark.sentence
    (remark,) = about_delay_topics("j.0s", ["j.0s", "j.5s"], new | {("j.0s", 0): PartitionOffsets(None, "", 0, 3)})
    assert "'j.*'" in remark.sentence
    assert remark.stops


def test_what_waits_is_counted_from_where_the_log_begins() -> None:
    """Records that retention deleted wait no more; without a position nobody knows what waits."""
    assert [waiting(PartitionOffsets(offset, "", 4, 10)) for offset in (2, 4, 9, 10, 12)] == [6, 6, 1, 0, 0]
    assert waiting(PartitionOffsets(None, "", 4, 10)) is None
