"""The global options, and how errors are printed: what the root needs before it loads a command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from schemas.catalog.errors import NoResponse
from schemas.input.terminal import printable

LOADED: Final = "deploy.cli.context.loaded"  # the key of the settings of this run, in the meta of typer's context


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


def note_brokers(error: Exception, loaded: Any) -> None:
    """Note on an error of Kafka the address of the brokers, and where the setting comes from.

    `loaded` are the settings of this run with their origins; None if none were read.
    """
    if loaded is None or loaded.settings.bootstrap_servers is None:
        return
    kafka = sys.modules.get("confluent_kafka")  # imported by the command, if at all
    if isinstance(error, NoResponse) or (kafka is not None and isinstance(error, kafka.KafkaException)):
        origin = loaded.origin("kafka.bootstrap.servers")
        error.add_note(f"bootstrap.servers is {loaded.settings.bootstrap_servers} (from {origin})")


def with_notes(sentence: str, error: Exception) -> str:
    """Return the sentence about an error, followed by its notes."""
    return "; ".join([sentence, *getattr(error, "__notes__", ())])
