"""`signpost subscriptions`: which events of which customer go to which URL."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from deploy.cli import subscription_edit, subscription_reseal
from deploy.cli.columns import Column, print_table
from deploy.cli.context import command_app, print_json, settings_of
from deploy.cli.subscription_access import check_file, existing, is_subscription, readable, writer_of
from deploy.cli.subscription_view import (
    as_json,
    count_of,
    print_fields,
    print_result,
    print_secret_warnings,
    print_sum,
    print_warnings,
    state_of,
)
from deploy.config.author import command_author
from deploy.config.health import read_health
from deploy.config.subscription_file import read_file
from producers.subscriptions.changes import Apply, Command, Delete, Pause, Resume
from schemas.catalog.errors import InvalidInput
from schemas.subscriptions.subscription import Subscription, host_of

_COLUMNS: Final = (
    Column("ID", least=16, cut_order=1),
    Column("CUSTOMER", least=12, cut_order=1),
    Column("SENDER"),
    Column("HOST", least=14),
    Column("STATE"),
    Column("EVENT TYPES", least=12),
)

app = command_app("Manage subscriptions: which events of which customer go to which URL.")

Ids: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Ids of subscriptions.", show_default=False)
]
Customer: TypeAlias = Annotated[
    str | None, typer.Option("--customer", metavar="C", help="All subscriptions of this customer.", show_default=False)
]
Host: TypeAlias = Annotated[
    str | None,
    typer.Option("--host", metavar="H", help="All subscriptions to this host.", show_default=False),
]


@app.command("apply")
def _apply(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="In YAML; - is standard input. docs/subscriptions.md describes the fields."
        ),
    ],
    *,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete subscriptions of the same `set:` that are not in the file."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; write nothing.")] = False,
) -> None:
    """Create or change subscriptions as the file says, and show each change.

    If the file has errors, the command shows all of them and writes nothing. It writes customer by customer; after an
    interruption, run it again. A generated secret is shown once, here. After exit code 0 no process acts on the old
    state any more.
    """
    settings = settings_of(ctx)
    found = read_file(file, os.environ)
    check_file(settings, found)
    drafts = found.drafts
    print_secret_warnings(drafts)
    set_ = found.set
    if prune and set_ is None:
        raise InvalidInput(
            f"--prune deletes only subscriptions of a set; write `set: NAME` at the top of {found.document.file}"
        )
    with writer_of(settings) as writer:
        commands: list[Command] = [Apply(draft) for draft in drafts]
        if prune:
            kept = {draft.id for draft in drafts}
            commands += [Delete(s.id) for s in readable(writer.read()) if s.set == set_ and s.id not in kept]
        if dry_run:
            writer.read()
            results = writer.plan(commands)
            for result in results:
                print_result(result, dry_run=True)
        else:
            results = writer.write(commands, command_author(), print_result)
    print_warnings(results)
    print_sum(results, dry_run=dry_run)


@app.command("list")
def _list(
    ctx: typer.Context,
    *,
    customer: Customer = None,
    host: Host = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with all fields except secrets.")] = False,
) -> None:
    """List subscriptions."""
    settings = settings_of(ctx)
    with writer_of(settings) as writer:
        log = writer.read()
        chosen = (customer, host) != (None, None)
        found = [s for s in readable(log) if _is_chosen(s, customer, host)]
        broken = {} if chosen else {id_: why for id_, why in log.items() if not is_subscription(why)}
    known = read_health(settings)
    if json:
        shown = [as_json(s, known.get(s.id)) for s in found]
        print_json(shown + [{"id": id_, "state": "unreadable"} for id_ in broken])
        return
    if not found and not broken:
        typer.echo("no subscription matches" if chosen else "there are no subscriptions")
        return
    rows = [
        (s.id, s.customer_id, s.sender, host_of(s), state_of(s, known.get(s.id)), ",".join(s.event_types) or "none")
        for s in found
    ]
    rows += [(id_, "?", "?", "?", "unreadable", "") for id_ in broken]
    print_table(_COLUMNS, rows)


@app.command("show")
def _show(ctx: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID", help="Its id.")]) -> None:
    """Show one subscription: all fields except secrets."""
    settings = settings_of(ctx)
    with writer_of(settings) as writer:
        log = writer.read()
        found = existing(log, id_)
        conflict = log.conflicts().get(id_)
    print_fields(found, read_health(settings).get(id_))
    if conflict is not None:
        typer.echo(f"conflict:           also on partitions {conflict[1:]}, where its records are ignored")


@app.command("pause")
def _pause(ctx: typer.Context, ids: Ids = None, *, customer: Customer = None, host: Host = None) -> None:
    """Stop sending until `resume`; waiting jobs are cancelled."""
    _pull(ctx, Pause, ids, customer, host)


@app.command("resume")
def _resume(ctx: typer.Context, ids: Ids = None, *, customer: Customer = None, host: Host = None) -> None:
    """Send events published from now on, to subscriptions that were paused or disabled."""
    known = read_health(settings_of(ctx))

    def resume(id_: str) -> Resume:
        health = known.get(id_)
        return Resume(id_, health.activation if health is not None and health.disabled_at_ms is not None else None)

    _pull(ctx, resume, ids, customer, host)


@app.command("delete")
def _delete(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    customer: Customer = None,
    host: Host = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete subscriptions with their secrets; waiting jobs are cancelled."""
    _pull(ctx, Delete, ids, customer, host, ask=not yes and sys.stdin.isatty())


def _pull(
    ctx: typer.Context,
    lever: Callable[[str], Command],
    ids: Sequence[str] | None,
    customer: str | None,
    host: str | None,
    *,
    ask: bool = False,
) -> None:
    """Apply the same change to all selected subscriptions: by ids, or by customer and host."""
    if bool(ids) == ((customer, host) != (None, None)):
        raise InvalidInput("select subscriptions either by ids or by --customer and --host")
    with writer_of(settings_of(ctx)) as writer:
        chosen = list(ids or ()) or [s.id for s in readable(writer.read()) if _is_chosen(s, customer, host)]
        if not chosen:
            raise InvalidInput("no subscription matches; `signpost subscriptions list` shows all")
        if ask:
            typer.confirm(f"Delete {count_of(len(chosen))}: {', '.join(chosen[:10])}?", abort=True)
        results = writer.write([lever(id_) for id_ in dict.fromkeys(chosen)], command_author(), print_result)
    print_sum(results, dry_run=False)


def _is_chosen(subscription: Subscription, customer: str | None, host: str | None) -> bool:
    return customer in (None, subscription.customer_id) and (host is None or host.lower() == host_of(subscription))


app.add_typer(subscription_edit.app)
app.add_typer(subscription_reseal.app)
