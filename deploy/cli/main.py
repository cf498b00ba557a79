"""The `signpost` command: global options, and errors as sentences.

Exit codes: 0 done; 1 something that is needed does not answer or is not as it must be; 2 what was given is wrong.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from deploy.cli import (
    broker,
    dead_letters,
    deliver,
    demo,
    endpoints,
    events,
    explain,
    lag,
    positions,
    receiver,
    router,
    senders,
    settings,
    subscriptions,
    tail,
    topics,
    up,
    verify,
)
from deploy.cli.context import GlobalOptions, print_error
from deploy.cli.group import RootGroup
from deploy.ending import leave
from deploy.kafka_log import thin
from schemas.errors import InvalidInput, SignpostError

FAILED: Final = 1
INVALID: Final = 2
# What is imported stays: to look through it every 700 new objects, as Python does, took a tenth of a start (450 ms).
_NEW_OBJECTS: Final = 50_000

app = typer.Typer(
    name="signpost",
    cls=RootGroup,
    help="Signs Kafka events and delivers them as webhooks: at least once, on a schedule, every attempt on record.",
    epilog="Begin with `signpost demo`: a real run on a real broker. Settings: signpost.toml and SIGNPOST_… variables, "
    "shown by `signpost settings`. `--state` and `--config` may also stand after the command.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # an error that nobody foresaw is reported best by Python's own traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  # 20 ms that other commands need not wait

        typer.echo(f"signpost {version('kafka-signpost')}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", envvar="SIGNPOST_CONFIG", help="Settings file, in TOML."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", envvar="SIGNPOST_STATE", help="State folder of `signpost up`."),
    ] = None,
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    ctx.obj = GlobalOptions(config=config, state=state)
    # A client's lines about connections are for the log of a role, which configures it; commands say what failed.
    for logger in ("signpost", "producers"):
        logging.getLogger(logger).addHandler(logging.NullHandler())


_COMMANDS: Final = (
    up,
    demo,
    broker,
    receiver,
    events,
    subscriptions,
    senders,
    verify,
    router,
    deliver,
    topics,
    positions,
    settings,
    lag,
    endpoints,
    explain,
    tail,
    dead_letters,
)
for _module in _COMMANDS:
    _module.register(app)
RootGroup.order = [_module.__name__.rpartition(".")[2].replace("_", "-") for _module in _COMMANDS]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`arguments` without the program's name; sys.argv by default) and exit."""
    gc.set_threshold(_NEW_OBJECTS)
    thin(logging.lastResort)  # for commands that set up no log of their own
    try:
        app(None if arguments is None else list(arguments), prog_name="signpost")
    except InvalidInput as error:
        print_error(str(error))
        sys.exit(INVALID)
    except SignpostError as error:
        print_error(str(error))
        sys.exit(FAILED)
    except Exception as error:
        sentence = _kafka_sentence(error)
        if sentence is None:
            raise
        print_error(sentence)
        sys.exit(FAILED)


def run() -> NoReturn:
    """Run the command line, and end this process: what `signpost` does."""
    try:
        main()
    except SystemExit as ending:
        leave(ending.code if isinstance(ending.code, int) else FAILED if ending.code else 0)
    leave(0)


def _kafka_sentence(error: Exception) -> str | None:
    """Say what a Kafka client says, where a command let its error through; None for any other error."""
    kafka = sys.modules.get("confluent_kafka")
    if kafka is None or not isinstance(error, kafka.KafkaException):
        return None
    reason = error.args[0]
    text = reason.str() if isinstance(reason, kafka.KafkaError) else str(reason)
    return f"Kafka: {text}; `signpost settings` shows which broker is asked, and as whom"


if __name__ == "__main__":
    run()
