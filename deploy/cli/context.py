"""What every command shares: the global options, the settings they lead to, and how answers and errors are printed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from schemas.errors import InvalidInput, SettingsError

if TYPE_CHECKING:  # pydantic and all that Settings needs: `signpost --help` does without
    from deploy.settings import Loaded
    from schemas.settings import Settings

# Panels of `signpost --help`; each command says in which it stands.
START: Final = "Start here"
PIPELINE: Final = "Subscriptions and events"
ROLES: Final = "Roles, one a process"
OPERATE: Final = "Operate"


@dataclass(slots=True)
class GlobalOptions:
    """The options before the command; `loaded` is filled by the first who asks."""

    config: Path | None = None
    state: Path | None = None
    loaded: Loaded | None = field(default=None, repr=False)


def options_of(ctx: typer.Context) -> GlobalOptions:
    """Return the global options of this run."""
    options = ctx.find_root().obj
    return options if isinstance(options, GlobalOptions) else GlobalOptions()


def loaded_of(ctx: typer.Context) -> Loaded:
    """Return the settings that hold and where they come from; SettingsError says what is wrong with them."""
    from deploy.settings import load  # noqa: PLC0415  # 0.2 s that `--help` need not wait

    options = options_of(ctx)
    if options.loaded is None:
        _check_state(options.state)
        options.loaded = load(options.state, options.config)
    return options.loaded


def _check_state(state: Path | None) -> None:
    """Refuse a state folder that is not there: other settings than those that are meant would hold."""
    if state is None or state.is_dir():
        return
    named = "SIGNPOST_STATE" if os.environ.get("SIGNPOST_STATE") == str(state) else "--state"
    raise SettingsError(f"{named}: there is no folder {state}; name the one that `signpost up` wrote into, or none")


def settings_of(ctx: typer.Context) -> Settings:
    """Return the settings that hold; SettingsError says what is wrong with them."""
    return loaded_of(ctx).settings


def duration_of(option: str, text: str) -> timedelta:
    """Return the duration that an option says; InvalidInput names the option."""
    from schemas.durations import parse_duration  # noqa: PLC0415  # few commands need it

    try:
        return parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error}") from None


def print_json(value: Any) -> None:
    """Print a value as indented JSON to standard output."""
    import orjson  # noqa: PLC0415  # only where JSON was asked for

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_error(message: str) -> None:
    """Print an error to standard error, red on a terminal: one line for each sentence."""
    for line in message.splitlines():
        shown = line if line.isprintable() else _escaped(line)
        typer.echo(f"{typer.style('error:', fg='red', bold=True)} {shown}", err=True)


def _escaped(line: str) -> str:
    """Keep what came from outside from moving the cursor."""
    from consumers.console.readable import printable  # noqa: PLC0415  # rarely needed

    return printable(line)
