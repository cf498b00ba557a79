"""`signpost deliver`: one delivery process."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.context import command_app, settings_of
from deploy.cli.role import Supervised, refuse_instance_of_up, run_role
from deploy.roles.delivery import build

app = command_app()


@app.command()
def _deliver(
    ctx: typer.Context,
    instance: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of this process among the delivery processes, for `group.instance.id`: with it, a restart "
            "keeps the process's partitions and aborts its predecessor's open transaction at once.",
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Address of /metrics, /endpoints, /healthz and /readyz.")
    ] = None,
    *,
    supervised: Supervised = False,
) -> None:
    """Deliver the jobs that are due: sign, POST, retry on schedule, record every attempt."""
    settings = settings_of(ctx, broker=not supervised)
    if not supervised:
        refuse_instance_of_up(ctx, "deliver", instance)
    raise typer.Exit(run_role(build, settings, instance, listen or settings.deliver_listen))
