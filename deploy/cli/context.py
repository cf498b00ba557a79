"""What every command shares: its typer app, the settings of this run, durations, JSON output."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

from deploy.cli.options import LOADED, options_of
from deploy.config.settings_sources import Loaded, load
from deploy.dev.state import check_up_runs
from schemas.avro.json_writer import readable
from schemas.catalog.errors import InvalidInput, SettingsError
from schemas.input.durations import parse_duration
from schemas.settings.settings import Settings


def command_app(text: str | None = None) -> typer.Typer:
    """Return the `app` of a command's module, which the root group loads.

    `text` is the help of a group. A module that registers one command is that command, whose docstring is its help.
    """
    return typer.Typer(help=text, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


def loaded_of(ctx: typer.Context) -> Loaded:
    """Return the settings with their origins, read once per run; SettingsError names the wrong ones."""
    meta = ctx.find_root().meta
    if LOADED not in meta:
        options = options_of(ctx)
        check_state(options.state)
        meta[LOADED] = load(options.state, options.config)
    loaded: Loaded = meta[LOADED]
    return loaded


def check_state(state: Path | None) -> None:
    """Refuse a missing state folder: without it, other settings than the intended ones would apply."""
    if state is None or state.is_dir():
        return
    named = "SIGNPOST_STATE" if os.environ.get("SIGNPOST_STATE") == str(state) else "--state"
    raise SettingsError(f"{named}: there is no folder {state}; name the one that `signpost up` wrote into, or none")


def settings_of(ctx: typer.Context, *, broker: bool = True) -> Settings:
    """Return the settings, read once per run; SettingsError names the wrong ones.

    If the command needs a `broker`: Unavailable at once if that is the one of a `signpost up` that is not running.
    """
    loaded = loaded_of(ctx)
    if broker:
        check_up_runs(loaded)
    return loaded.settings


def duration_of(option: str, text: str) -> timedelta:
    """Return the duration that an option gives; InvalidInput names the option."""
    try:
        return parse_duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error}") from None


def print_json(value: Any) -> None:
    """Print a value as indented JSON to standard output; JSON text in it stays on one line."""
    sys.stdout.write(readable(value, indent=True) + "\n")
    sys.stdout.flush()
