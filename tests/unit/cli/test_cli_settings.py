"""Output of `signpost settings` on a terminal."""

from __future__ import annotations

import pytest

from deploy.cli.settings import Row, cell, described, rows_of
from deploy.config.settings_sources import Loaded
from schemas.settings.settings import Settings


@pytest.mark.parametrize("width", [80, 100, 160])
def test_setting_is_described_within_the_width(width: int) -> None:
    """No line is wider than the terminal, and the description is complete."""
    for row in rows_of(Loaded(Settings(), {"max_event": "/a/very/long/folder" * 2 + "/" + "signpost.toml"})):
        lines = described(row, width)
        assert max(map(len, lines)) <= width
        assert lines[0].startswith(f"{row.key} = ")
        assert " ".join(line.strip() for line in lines).endswith(row.description)


def test_origin_follows_the_value_if_it_fits() -> None:
    """An origin that does not fit has its own line."""
    row = Row("proxy", "http://proxy", "SIGNPOST_PROXY", "", "A proxy.")
    assert described(row, 60)[0] == "proxy = http://proxy  from SIGNPOST_PROXY"
    assert described(row, 30)[:2] == ["proxy = http://proxy", "    from SIGNPOST_PROXY"]


def test_durations_are_shown_with_a_unit() -> None:
    """A duration is shown in the largest unit that divides it."""
    shown = {row.key: row.value for row in rows_of(Loaded(Settings(), {}))}
    assert (shown["disable_failing_after"], shown["max_endpoint_wait"], shown["drain_timeout"]) == ("5d", "10m", "35s")


def test_numbers_are_shown_as_people_write_them() -> None:
    """A single unit has no plural, and a whole number no decimals."""
    settings = Settings(replication=1, partitions=1, delay_speedup=600.0)
    shown = {row.key: cell(row) for row in rows_of(Loaded(settings, {}))}
    assert (shown["replication"], shown["partitions"], shown["delay_speedup"]) == ("1 copy", "1 partition", "600")
    assert cell(Row("delay_speedup", 2.5, "", "", "")) == "2.5"
    assert cell(Row("replication", 3, "", "copies", "")) == "3 copies"
