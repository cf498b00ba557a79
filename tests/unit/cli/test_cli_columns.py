"""Tables on a terminal: they fit its width, and important columns are not cut."""

from __future__ import annotations

import pytest

from deploy.cli.columns import Column, folded, table
from deploy.cli.dead_letters import lines_of

EVENT = "evt_82f2a50c2263957a6c876fd144bc16f7"
LETTER = {
    "id": "11:1234",
    "time": "2026-11-21T17:20:34.576Z",
    "reason": "unknown_event_type",
    "attempts": 6,
    "retried_as_run": 2,
    "subscription_id": "acme-" + "s" * 123,
    "event_id": EVENT,
    "detail": "attempt 6 was the last: the endpoint answered 503 " * 4,
}


def test_columns_are_cut_in_order() -> None:
    """A column is cut to its least width before the next one is cut; a column without a least width is never cut."""
    columns = (Column("A"), Column("B", least=4, cut_order=1), Column("C", least=3))
    row = ("a" * 10, "b" * 10, "c" * 10)
    assert table(columns, [row], 30)[1] == "a" * 10 + "  " + "b" * 10 + "  " + "c" * 5 + "…"
    assert table(columns, [row], 24)[1] == "a" * 10 + "  " + "b" * 6 + "…  cc…"
    assert table(columns, [row], 21)[1] == "a" * 10 + "  bbb…  cc…"
    assert table(columns, [row], None)[1] == "  ".join(row)


def test_cells_are_escaped_and_limited() -> None:
    """Hostile text of a record is escaped and limited in length, in a pipe as well."""
    (_, line) = table((Column("A"), Column("B")), [("\x1b[2J\n" + "x" * 5_000, "b")], None)
    assert line.startswith("\\x1b[2J\\nxxx")
    assert line.isprintable()
    assert len(line) < 400


def test_optional_column_is_left_out_first() -> None:
    """An optional column is left out before another one is cut, since half an id is useless."""
    columns = (Column("A", least=4, cut_order=1), Column("B", least=4, optional=True))
    row = ("a" * 10, "b" * 10)
    assert table(columns, [row], 16)[1] == "a" * 10 + "  bbb…"
    assert table(columns, [row], 15) == ["A", "a" * 10]
    assert table(columns, [row], 6) == ["A", "a" * 5 + "…"]


@pytest.mark.parametrize("width", [80, 100, 160, 200])
def test_dead_letters_fit_a_terminal(width: int) -> None:
    """No line is wider than the terminal, and id, reason, retry and event id are uncut."""
    lines = lines_of([LETTER, {"id": "0:1", "time": LETTER["time"], "reason": "unreadable", "detail": "x" * 90}], width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(part in text for part in (EVENT, "11:1234", "unknown_event_type", "run 2", "unreadable", "  ?  "))


def test_dead_letter_in_a_pipe_is_one_line() -> None:
    """Outside a terminal, each dead letter is one line with the full subscription id, for grep."""
    head, line = lines_of([LETTER], None)
    assert head.split() == ["ID", "TIME", "REASON", "TRIES", "RETRIED", "SUBSCRIPTION", "SENDER", "EVENT", "DETAIL"]
    assert LETTER["subscription_id"] in line


@pytest.mark.parametrize("width", [80, 100, 160])
def test_record_is_folded_between_its_fields(width: int) -> None:
    """Continuation lines are indented, nothing is lost, and an id that fits a line is uncut."""
    record = f'2026-11-21T17:21:37.267Z 10:83 sub-1 job event_id={EVENT} body="{"x" * 300}" a-b=' + "c-d " * 40
    lines = folded(record, width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.startswith("    ") for line in lines[1:])
    assert "".join(line.strip() for line in lines).replace(" ", "") == record.replace(" ", "")
    assert any(f"event_id={EVENT}" in line for line in lines)
