"""`signpost topics`: Signpost's own topics, compared with their required configuration."""

from __future__ import annotations

import typer

from consumers.kafka.topics import apply, plan
from deploy.cli.context import command_app, settings_of
from deploy.config.admin import reachable_admin
from deploy.config.wanted_topics import wanted_topics
from deploy.dev.up import topics_text

DIFFERENT = 1

app = command_app("Compare Signpost's own topics with their required configuration, and create or alter them.")


@app.command("plan")
def _plan(ctx: typer.Context) -> None:
    """Show what `apply` would change; exit code 1 if anything differs."""
    settings = settings_of(ctx)
    changes = plan(settings.kafka_properties(), reachable_admin(settings), wanted_topics(settings), settings.names)
    for change in changes:
        typer.echo(str(change))
    if changes:
        raise typer.Exit(DIFFERENT)
    typer.echo("all topics are configured as required")


@app.command("apply")
def _apply(ctx: typer.Context) -> None:
    """Create missing topics and alter those that differ. Removes nothing; safe to run again at any time."""
    settings = settings_of(ctx)
    wanted = wanted_topics(settings)
    changes = apply(
        settings.kafka_properties(),
        reachable_admin(settings),
        wanted,
        settings.names,
        lambda change: typer.echo(str(change)),
        begin=lambda topics: typer.echo(f"creating {topics_text(topics)}", err=True),
    )
    outcome = "" if changes else "; nothing changed"
    typer.echo(f"{len(wanted)} topics are configured as required{outcome}")
