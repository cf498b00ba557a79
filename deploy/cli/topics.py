"""`signpost topics`: the difference between the topics that are and those that have to be, shown and made."""

from __future__ import annotations

import typer

from deploy.cli.context import OPERATE, settings_of

DIFFERENT = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    topics = typer.Typer(no_args_is_help=True, help="Signpost's own topics: what differs, and making it so.")
    topics.command("plan")(_plan)
    topics.command("apply")(_apply)
    app.add_typer(topics, name="topics", rich_help_panel=OPERATE)


def _plan(ctx: typer.Context) -> None:
    """Show what `apply` would change; exit code 1 if there is anything."""
    from consumers.runtime.topics import plan  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait
    from deploy.admin import reachable_admin  # noqa: PLC0415
    from deploy.wanted_topics import wanted_topics  # noqa: PLC0415

    settings = settings_of(ctx)
    admin, wanted = reachable_admin(settings), wanted_topics(settings)
    changes = plan(settings.kafka_properties(), admin, wanted, settings.names)
    for change in changes:
        typer.echo(str(change))
    if changes:
        raise typer.Exit(DIFFERENT)
    typer.echo("all topics are as they must be")


def _apply(ctx: typer.Context) -> None:
    """Make what is missing and alter what differs. It may be run again at any time; it removes nothing."""
    from consumers.runtime.topics import apply  # noqa: PLC0415  # as above
    from deploy.admin import reachable_admin  # noqa: PLC0415
    from deploy.local.up import making  # noqa: PLC0415
    from deploy.wanted_topics import wanted_topics  # noqa: PLC0415

    settings = settings_of(ctx)
    kafka, admin, wanted = settings.kafka_properties(), reachable_admin(settings), wanted_topics(settings)
    changes = apply(
        kafka,
        admin,
        wanted,
        settings.names,
        lambda change: typer.echo(str(change)),
        begin=lambda made: typer.echo(f"making {making(made)}", err=True),
    )
    typer.echo(f"{len(wanted)} topics are as they must be" + ("" if changes else "; nothing was to be done"))
