"""`signpost router`: one router process, put together from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import ROLES, settings_of
from schemas.errors import BeginAnew

if TYPE_CHECKING:
    from schemas.settings import Settings


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
) -> None:
    """Match each event with the subscriptions of its customer, and make a job for each that takes it."""
    settings = settings_of(ctx)
    _run(settings, slot, listen or settings.router_listen)


def _run(settings: Settings, slot: int | None, listen: str) -> None:
    from consumers.runtime.signals import Stop  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait
    from consumers.runtime.status import StatusServer  # noqa: PLC0415
    from deploy.anew import begin_anew  # noqa: PLC0415
    from deploy.logs import configure_logging  # noqa: PLC0415
    from deploy.router_role import build  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format)
    stop = Stop()
    role = build(settings, slot)
    try:
        with StatusServer(listen, role.metrics.registry, role.why_not_ready) as status:
            role.run(stop, status.address)
    except BeginAnew as error:
        begin_anew(str(error))
