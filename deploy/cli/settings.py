"""`signpost settings`: the settings of this run, and where each comes from."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

import typer

from deploy.cli.columns import Column, print_table, screen_width
from deploy.cli.context import command_app, loaded_of, print_json
from deploy.config.settings_sources import Loaded
from schemas.settings.kafka_properties import is_secret
from schemas.settings.settings import NamedKey, Settings, unit_of

app = command_app()

MASK: Final = "***"
_UNITS: Final = (
    (timedelta(days=1), "d"),
    (timedelta(hours=1), "h"),
    (timedelta(minutes=1), "m"),
    (timedelta(seconds=1), "s"),
)


class Row(NamedTuple):
    """One setting as shown; `value` has a JSON type."""

    key: str
    value: Any
    origin: str
    unit: str
    description: str


@app.command()
def _settings(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: one object per key.")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Describe what each setting is for.")] = False,
) -> None:
    """Show all settings and where each comes from, with secrets masked."""
    rows = list(rows_of(loaded_of(ctx)))
    if as_json:
        print_json({row.key: {"value": row.value, "origin": row.origin, "unit": row.unit} for row in rows})
        return
    width = screen_width()
    if describe and width is not None:
        for row in rows:
            first, *others = described(row, width)
            typer.secho(first, bold=True)
            for line in others:
                typer.echo(line)
        return
    columns = [Column("SETTING"), Column("VALUE"), Column("FROM")]
    cells = [[row.key, cell(row), _short(row.origin)] for row in rows]
    if describe:
        columns.append(Column("DESCRIPTION"))
        cells = [[*shown, row.description] for shown, row in zip(cells, rows, strict=True)]
    print_table(columns, cells)


def described(row: Row, width: int) -> list[str]:
    """Return a setting as a paragraph: value, origin and description."""
    lines = [f"{row.key} = {cell(row)}"]
    if row.origin != "default":
        origin = f"from {_short(row.origin)}"
        if len(lines[0]) + 2 + len(origin) <= width:
            lines = [f"{lines[0]}  {origin}"]
        else:
            lines.append(f"    {origin}")
    lines += textwrap.wrap(
        row.description, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )
    return lines


def rows_of(loaded: Loaded) -> Iterator[Row]:
    """Yield all settings in the order of their documentation, with secrets masked."""
    for key, field in Settings.model_fields.items():
        description = field.description or ""
        if key != "kafka":
            yield Row(key, _shown(key, getattr(loaded.settings, key)), loaded.origin(key), unit_of(key), description)
            continue
        for name, value in loaded.settings.kafka.items():
            shown = MASK if is_secret(name) else value
            yield Row(f"kafka.{name}", shown, loaded.origin(f"kafka.{name}"), "", "A property of librdkafka.")


def _shown(key: str, value: Any) -> Any:
    """Return a value as a JSON type, with secrets masked."""
    shown: Any = str(value)
    match value:
        case None | bool() | int() | float():
            shown = value
        case _ if key == "sealing_key":
            shown = MASK
        case _ if key in ("schema_registry_url", "proxy", "database_url"):
            shown = re.sub(r"//[^/]*@", f"//{MASK}@", value)
        case timedelta():
            shown = _duration(value)
        case datetime():
            shown = value.isoformat()
        case tuple():
            shown = [_shown(key, item) for item in value]
        case NamedKey():
            shown = {"id": value.id, **({"key": MASK} if value.file is None else {"file": str(value.file)})}
        case _ if hasattr(value, "model_dump"):
            shown = value.model_dump()
    return shown


def _duration(value: timedelta) -> str:
    """Write a duration as settings do, in the largest unit that divides it."""
    for unit, name in _UNITS:
        if value and not value % unit:
            return f"{value // unit}{name}"
    return f"{value.total_seconds():g}s"


def _short(origin: str) -> str:
    """Return a file's path, relative to the current folder where that is shorter."""
    if not origin.startswith("/"):
        return origin
    return min(origin, os.path.relpath(origin), key=len)


def _item_text(item: Any) -> str:
    """Return an item of a list as text: an event source, a sealing key, or a plain value."""
    match item:
        case {"topic": topic, "sender": sender}:
            return f"{topic} ({sender})"
        case {"id": id_}:
            return str(id_)
        case _:
            return str(item)


def cell(row: Row) -> str:
    """Return a value as a cell of the table."""
    match row.value:
        case None | []:
            return "-"
        case bool(value):
            return str(value).lower()
        case int() | float():
            whole = isinstance(row.value, int) or row.value.is_integer()
            # Units are plurals: bytes, copies, requests.
            unit = _singular(row.unit) if row.value == 1 else row.unit
            return f"{int(row.value) if whole else row.value} {unit}".rstrip()
        case list(items):
            return ", ".join(_item_text(item) for item in items)
        case _:
            return str(row.value)


def _singular(unit: str) -> str:
    return f"{unit.removesuffix('ies')}y" if unit.endswith("ies") else unit.removesuffix("s")
