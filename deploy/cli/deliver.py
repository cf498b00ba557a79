"""`signpost deliver`: one delivery process, put together from its parts."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.context import ROLES, settings_of
from deploy.cli.role import Supervised, refuse_slot_of_up, run_role


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deliver", rich_help_panel=ROLES)(_deliver)


def _deliver(
    ctx: typer.Context,
    slot: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of this process among those of its kind: with it a restart keeps its partitions and ends "
            "its predecessor's open transaction at once.",
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where /metrics, /endpoints, /healthz, /readyz are served.")
    ] = None,
    *,
    supervised: Supervised = False,
) -> None:
    """Send what is due: sign, POST, judge the answer, retry on schedule, record every attempt."""
    from deploy.delivery_role import build  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait

    settings = settings_of(ctx)
    if not supervised:
        refuse_slot_of_up(ctx, "deliver", slot)
    raise typer.Exit(run_role(build, settings, slot, listen or settings.deliver_listen))
