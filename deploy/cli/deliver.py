"""`signpost deliver`: one delivery process, put together from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import ROLES, settings_of
from schemas.errors import BeginAnew

if TYPE_CHECKING:
    from schemas.settings import Settings


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
        str | None, typer.Option(metavar="HOST:PORT", help="Where /metrics, /healthz and /readyz are served.")
    ] = None,
) -> None:
    """Send what is due: sign, POST, judge the answer, retry on schedule, record every attempt."""
    settings = settings_of(ctx)
    raise typer.Exit(_run(settings, slot, listen or settings.deliver_listen))


def _run(settings: Settings, slot: int | None, listen: str) -> int:
    from consumers.runtime.signals import Stop  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait
    from consumers.runtime.status import StatusServer  # noqa: PLC0415
    from deploy.anew import begin_anew  # noqa: PLC0415
    from deploy.delivery_role import build  # noqa: PLC0415
    from deploy.logs import configure_logging  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format)
    stop = Stop()
    role = build(settings, slot)
    try:
        with StatusServer(listen, role.metrics.registry, role.why_not_ready) as status:
            return 0 if role.run(stop, status.address) else 1
    except BeginAnew as error:
        begin_anew(str(error))
