"""The table of scenarios at the end of a test run: one row per test that recorded one, in any process of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import pytest

RecordProperty: TypeAlias = Callable[[str, object], None]
_NAME: Final = "scenario"
_HEAD: Final = (
    "scenario",
    "events",
    "for faulty endpoints",
    "lost",
    "repeated",
    "healthy p99 without",
    "with",
    "healthy per second without",
    "with",
    "rewrites per deferred job",
)


@dataclass(frozen=True, slots=True)
class Row:
    """Results of a scenario; None: not measured. Pairs are without and with faulty endpoints."""

    scenario: str
    events: int
    faulty: int
    lost: int
    repeated: int
    p99_ms: tuple[float, float] | None = None
    per_second: tuple[float, float] | None = None
    rewrites: float | None = None

    def show(self, record_property: RecordProperty) -> None:
        """Record the row for the table at the end of the run."""
        record_property(_NAME, self.cells())

    def cells(self) -> list[str]:
        """Return the cells of the row."""
        return [
            self.scenario,
            f"{self.events:,}",
            f"{self.faulty:,}",
            str(self.lost),
            str(self.repeated),
            *_pair(self.p99_ms, "{:.0f} ms"),
            *_pair(self.per_second, "{:,.0f}"),
            "" if self.rewrites is None else f"{self.rewrites:.1f}",
        ]


def _pair(pair: tuple[float, float] | None, form: str) -> tuple[str, str]:
    """Return both cells; the second one with the difference in per cent."""
    if pair is None:
        return "", ""
    without, with_faults = pair
    return form.format(without), f"{form.format(with_faults)} ({100 * (with_faults / max(without, 0.001) - 1):+.0f} %)"


def table_of(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Return the lines of the table; none if no test recorded a row."""
    rows: list[list[str]] = [cells for report in reports for cells in _cells_of(report)]
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    lines = [[*_HEAD], ["-" * width for width in widths], *rows]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]


def _cells_of(report: pytest.TestReport) -> list[list[str]]:
    return [[str(cell) for cell in cells] for name, cells in report.user_properties if name == _NAME]  # type: ignore[attr-defined]  # pytest sets it
