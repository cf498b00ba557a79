"""`signpost broker`: a broker for this machine, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.cli.context import START, settings_of

_LOOK_EVERY_S: Final = 1.0


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("broker", rich_help_panel=START)(_broker)


def _broker(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port at 127.0.0.1; by default the last one of DIR, or any.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep the records here; by default they are gone with the broker.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a Kafka broker on this machine until Ctrl-C: in a container if Docker answers, else on Java 17 or later.

    Where the settings name a broker, says so and ends: nothing has to be started.
    """
    from deploy.local.broker import start_broker  # noqa: PLC0415  # confluent_kafka, which `--help` does without
    from deploy.local.foreground import Ending  # noqa: PLC0415
    from schemas.errors import Unavailable  # noqa: PLC0415

    with start_broker(settings_of(ctx).bootstrap_servers, data=data, port=port, say=typer.echo) as broker:
        if broker.kind == "given":
            return
        ending = Ending()
        while not ending.wait(_LOOK_EVERY_S):
            if not broker.is_alive():
                raise Unavailable(f"the broker ended by itself; the end of its log:\n{broker.log_tail()}")
