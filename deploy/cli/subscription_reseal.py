"""`signpost subscriptions reseal`: seal all secrets with the present sealing key, so that an older one can go."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.context import command_app, settings_of
from deploy.cli.subscription_access import readable, writer_of
from deploy.cli.subscription_view import print_result, print_sum
from deploy.config.author import command_author
from deploy.config.sealing_key import sealer_of
from producers.subscriptions.changes import Command, Reseal

app = command_app()


@app.command("reseal")
def _reseal(
    ctx: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sealed; write nothing.")] = False,
) -> None:
    """Seal secrets, header values and client keys of all subscriptions with the first of `sealing_keys`.

    The secrets stay the same. If one of them cannot be opened, the command names all of those and writes nothing.
    docs/operations.md describes the replacement of a sealing key.
    """
    settings = settings_of(ctx)
    sealer_of(settings)  # a clear error if no key is set
    with writer_of(settings) as writer:
        commands: list[Command] = [Reseal(subscription.id) for subscription in readable(writer.read())]
        if dry_run:
            results = writer.plan(commands)
            for result in results:
                print_result(result, dry_run=True)
        else:
            results = writer.write(commands, command_author(), print_result)
    print_sum(results, dry_run=dry_run)
