"""The `signpost` command: global options, and errors as sentences.

Exit codes: 0 done; 1 something required does not respond or is misconfigured; 2 invalid input.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from deploy.cli.group import LazyGroup
from deploy.cli.options import GlobalOptions, print_error, with_notes
from deploy.cli.output import accept_any_text, flush_failure, write_failure
from deploy.config.kafka_log import limit_repeats
from deploy.roles.process_exit import exit_process
from schemas.catalog.errors import InvalidInput, SignpostError

FAILED: Final = 1
INVALID: Final = 2
_INTERRUPTED: Final = 130  # as shells report Ctrl-C
# Imported modules stay alive: to scan them every 700 new objects, Python's default, took a tenth of a start (450 ms).
_NEW_OBJECTS: Final = 50_000

app = typer.Typer(
    name="signpost",
    cls=LazyGroup,
    help="Signs Kafka events and delivers them as webhooks: at least once, on a schedule, every attempt on record.",
    epilog="Start with `signpost demo`: a real run on a real broker. Settings: signpost.toml and SIGNPOST_… variables; "
    "`signpost settings` shows them. `--state` and `--config` may also follow the command.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # Python's own traceback is the best report of an unforeseen error
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
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
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    ctx.obj = GlobalOptions(config=config, state=state)
    # Clients log about connections. Roles configure that log; other commands report failures as errors.
    for logger in ("signpost", "producers"):
        logging.getLogger(logger).addHandler(logging.NullHandler())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`arguments` without the program's name; sys.argv by default) and exit."""
    gc.set_threshold(_NEW_OBJECTS)
    accept_any_text()
    limit_repeats(logging.lastResort)  # for commands that configure no log
    try:
        app(None if arguments is None else list(arguments), prog_name="signpost")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except InvalidInput as error:
        _report(str(error))
        sys.exit(INVALID)
    except SignpostError as error:
        _report(with_notes(str(error), error))
        sys.exit(FAILED)
    except Exception as error:
        sentence = write_failure(error) if isinstance(error, OSError) else _kafka_sentence(error)
        if sentence is None:
            raise
        _report(with_notes(sentence, error))
        sys.exit(FAILED)


def run() -> NoReturn:
    """Run the command line and end this process."""
    code = 0
    try:
        main()
    except SystemExit as ending:
        code = _exit_code(ending)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sentence = flush_failure()
    if sentence is not None and code == 0:  # otherwise an error is already reported
        _report(sentence)
        code = FAILED
    exit_process(code)


def _report(sentence: str) -> None:
    """Print an error; without effect if standard error cannot be written either, or the sentence is empty."""
    with contextlib.suppress(OSError):
        print_error(sentence)


def _exit_code(ending: SystemExit) -> int:
    """Return the exit code, as Python would: None is 0, a text is 1."""
    if isinstance(ending.code, int):
        return ending.code
    return FAILED if ending.code else 0


def _kafka_sentence(error: Exception) -> str | None:
    """Return the message of a Kafka client's error that a command did not catch; None for any other error."""
    kafka = sys.modules.get("confluent_kafka")  # imported by the command, if at all
    if kafka is None or not isinstance(error, kafka.KafkaException):
        return None
    reason = error.args[0]
    text = reason.str() if isinstance(reason, kafka.KafkaError) else str(reason)
    return f"Kafka: {text}; `signpost settings` shows the broker's address and the credentials"


if __name__ == "__main__":
    run()
