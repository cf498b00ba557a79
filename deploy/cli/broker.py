"""`signpost broker`: a Kafka broker on this machine, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.cli.context import command_app, settings_of
from deploy.dev.broker import start_broker
from deploy.dev.foreground import StopRequest
from schemas.catalog.errors import Unavailable

_CHECK_EVERY_S: Final = 1.0

app = command_app()


@app.command()
def _broker(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port at 127.0.0.1; by default the one that DIR was used with last, or any free one.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Folder for the records; by default they are deleted when the broker ends.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a Kafka broker on this machine until Ctrl-C: in a container if Docker responds, else on Java 17 or later.

    If the settings name a broker, the command reports that and exits without starting one.
    """
    with start_broker(
        settings_of(ctx, broker=False).bootstrap_servers, data=data, port=port, on_progress=typer.echo
    ) as broker:
        if broker.kind == "given":
            return
        stop_request = StopRequest()
        while not stop_request.wait(_CHECK_EVERY_S):
            if not broker.is_alive():
                raise Unavailable(f"the broker {broker.ended}; log: {broker.save_log()}")
            broker.limit_log()
