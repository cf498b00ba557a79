"""The global options, and how errors are printed: what the root needs before it loads a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from schemas.input.terminal import printable


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The options before the command."""

    config: Path | None = None
    state: Path | None = None


def options_of(ctx: typer.Context) -> GlobalOptions:
    """Return the global options of this run."""
    options = ctx.find_root().obj
    return options if isinstance(options, GlobalOptions) else GlobalOptions()


def print_error(message: str) -> None:
    """Print an error to standard error, red on a terminal, one line per problem."""
    for line in message.split("\n") if message else ():
        typer.echo(f"{typer.style('error:', fg='red', bold=True)} {printable(line)}", err=True)
