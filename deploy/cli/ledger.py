"""`signpost ledger`: one ledger process; `signpost ledger rebuild`: all its rows again, from the topics."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Annotated

import typer

from consumers.kafka.group_positions import refuse_members
from consumers.kafka.topic_reader import TopicReader
from consumers.kafka.topics import ledger_group
from consumers.ledger.database import migrate
from consumers.ledger.rebuild import rebuild
from consumers.ledger.rows import Kept
from deploy.cli.context import settings_of
from deploy.cli.options import options_of
from deploy.cli.role import Listen, Supervised, instance_option, refuse_instance_of_up, run_role
from deploy.config.admin import reachable_admin
from deploy.config.database import database_url_of
from deploy.roles.ledger import build, writer_of

app = typer.Typer(invoke_without_command=True, add_completion=False, rich_markup_mode="markdown")


@app.callback()
def _ledger(
    ctx: typer.Context,
    instance: Annotated[int | None, instance_option("ledgers")] = None,
    listen: Listen = None,
    *,
    supervised: Supervised = False,
) -> None:
    """Write every outcome into the database of the ledger: attempts, deliveries, hourly numbers and totals."""
    if ctx.invoked_subcommand is not None:
        return
    settings = settings_of(ctx, broker=not supervised)
    if not supervised:
        refuse_instance_of_up(ctx, "ledger", instance)
    url = database_url_of(settings, options_of(ctx).state)
    raise typer.Exit(run_role(partial(build, url), settings, instance, listen or settings.ledger_listen))


@app.command("rebuild")
def _rebuild(ctx: typer.Context) -> None:
    """Write all rows again from the topics, apart from the totals. No ledger process may run meanwhile.

    Totals stay as they are: they also count what the topics no longer have.
    """
    settings = settings_of(ctx)
    url = database_url_of(settings, options_of(ctx).state)
    admin = reachable_admin(settings)
    group = ledger_group(settings.names)
    refuse_members(admin, group, "rebuild the ledger")
    migrate(url)
    writer = writer_of(url)
    try:
        kept = Kept.at(time.time_ns() // 1_000_000, settings.ledger_retention // timedelta(days=1))
        count = rebuild(TopicReader(settings.kafka_properties(), admin, group), writer, settings.names, kept)
    finally:
        writer.close()
    typer.echo(f"{count:,} records written")
