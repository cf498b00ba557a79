"""`signpost router`: one router process, put together from its parts."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.context import ROLES, settings_of
from deploy.cli.role import Supervised, refuse_slot_of_up, run_role


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("router", rich_help_panel=ROLES)(_router)


def _router(
    ctx: typer.Context,
    slot: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of this process among those of its kind: with it a restart keeps its partitions."
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where /metrics, /healthz and /readyz are served.")
    ] = None,
    *,
    supervised: Supervised = False,
) -> None:
    """Match each event with the subscriptions of its customer, and make a job for each that takes it."""
    from deploy.router_role import build  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait

    settings = settings_of(ctx)
    if not supervised:
        refuse_slot_of_up(ctx, "router", slot)
    raise typer.Exit(run_role(build, settings, slot, listen or settings.router_listen))
