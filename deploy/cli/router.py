"""`signpost router`: one router process."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.context import command_app, settings_of
from deploy.cli.role import Listen, Supervised, instance_option, refuse_instance_of_up, run_role
from deploy.roles.router import build

app = command_app()


@app.command()
def _router(
    ctx: typer.Context,
    instance: Annotated[int | None, instance_option("routers")] = None,
    listen: Listen = None,
    *,
    supervised: Supervised = False,
) -> None:
    """Match each event with the subscriptions of its customer, and create a job for each match."""
    settings = settings_of(ctx, broker=not supervised)
    if not supervised:
        refuse_instance_of_up(ctx, "router", instance)
    raise typer.Exit(run_role(build, settings, instance, listen or settings.router_listen))
