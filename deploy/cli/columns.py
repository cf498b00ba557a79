"""Tables for people: at most as wide as the terminal, and uncut in a file or a pipe."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import typer

from schemas.input.terminal import printable

_GAP: Final = "  "
_MAX_CELL: Final = 300


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `least`: it may be cut to that many characters, None: never. Columns of low `cut_order` are cut first.

    An `optional` column is left out if others would have to be cut to keep it.
    """

    head: str
    least: int | None = None
    cut_order: int = 0
    right: bool = False
    optional: bool = False


def screen_width() -> int | None:
    """Return the width of the terminal in characters; None if the output is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads, fitted to the terminal."""
    for line in table(columns, rows, screen_width()):
        typer.echo(line)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return the lines of a table: the heads and one line per row; columns are cut to fit `width`.

    If they do not fit even then, each row is a paragraph, one folded line per cell. Records may hold hostile text: a
    cell moves no cursor and has at most 300 characters.
    """
    rows = [[printable(cut(cell, _MAX_CELL)) for cell in row] for row in rows]
    widths = widths_of(columns, rows)
    optional = next((at for at, column in enumerate(columns) if column.optional), None)
    if width is not None and optional is not None and not _fits(columns, widths, optional, width):
        columns = [column for at, column in enumerate(columns) if at != optional]
        rows = [[cell for at, cell in enumerate(row) if at != optional] for row in rows]
        return table(columns, rows, width)
    if width is not None and least_width(columns, rows) > width:
        return [line for row in rows for line in _paragraph(columns, row, width)]
    shown = [[column.head for column in columns], *rows]
    widths = _cut_to(columns, widths, width)
    return [_GAP.join(_cells(columns, row, widths)).rstrip() for row in shown]


def least_width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """Return the width of a table whose columns are cut as far as possible."""
    widths = widths_of(columns, rows)
    needed = [w if c.least is None else min(w, c.least) for c, w in zip(columns, widths, strict=True)]
    return sum(needed) + len(_GAP) * (len(columns) - 1)


def _paragraph(columns: Sequence[Column], row: Sequence[str], width: int) -> list[str]:
    """Return a row as lines: its first cell, and below it the other cells after the heads of their columns."""
    first, *others = zip(columns, row, strict=True)
    lines = [first[1], *(f"  {column.head.lower()}: {cell}" for column, cell in others if cell)]
    return [part for line in lines for part in folded(line, width).split("\n")]


def _fits(columns: Sequence[Column], widths: Sequence[int], optional: int, width: int) -> bool:
    """Return whether a table with its optional column, cut as far as possible, fits `width` with the others uncut."""
    needed = sum(widths) - widths[optional] + min(widths[optional], columns[optional].least or 0)
    return needed + len(_GAP) * (len(columns) - 1) <= width


def widths_of(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width that each column needs for all its cells."""
    return [max([len(column.head), *(len(row[at]) for row in rows)]) for at, column in enumerate(columns)]


def cut(text: str, width: int) -> str:
    """Return the text, cut to at most `width` characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def folded(line: str, width: int | None) -> str:
    """Fold a line between words; continuation lines are indented, so that each record's first line stands out."""
    if width is None:
        return line
    within = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, width, subsequent_indent=within, break_on_hyphens=False, replace_whitespace=False)


def _cut_to(columns: Sequence[Column], widths: list[int], width: int | None) -> list[int]:
    """Return the widths of a table that fits `width`: of each cut order, the widest column is cut first."""
    if width is None:
        return widths
    over = sum(widths) + len(_GAP) * (len(columns) - 1) - width
    for cut_order in sorted({column.cut_order for column in columns if column.least is not None}):
        while over > 0:
            spare = [
                (widths[at], at)
                for at, column in enumerate(columns)
                if column.least is not None and column.cut_order == cut_order and widths[at] > column.least
            ]
            if not spare:
                break
            widths[max(spare)[1]] -= 1
            over -= 1
    return widths


def _cells(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = []
    for column, text, width in zip(columns, row, widths, strict=True):
        shown = cut(text, width)
        cells.append(shown.rjust(width) if column.right else shown.ljust(width))
    return cells
