"""`signpost subscriptions`: which events of which customer go where."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from deploy.cli import subscription_edit
from deploy.cli.columns import Column, print_table
from deploy.cli.context import PIPELINE, print_json, settings_of
from deploy.cli.subscription_access import check_file, existing, is_subscription, readable, writer_of
from deploy.cli.subscription_view import (
    as_json,
    count_of,
    host_of,
    print_fields,
    print_result,
    print_sum,
    print_warnings,
    state_of,
)
from schemas.errors import InvalidInput

if TYPE_CHECKING:  # confluent_kafka and pydantic: `signpost --help` does without
    from producers.subscription_changes import Wish
    from schemas.subscription import Subscription

_COLUMNS: Final = (
    Column("ID", least=16, turn=1),
    Column("CUSTOMER", least=12, turn=1),
    Column("SENDER"),
    Column("HOST", least=14),
    Column("STATE"),
    Column("EVENT TYPES", least=12),
)

app = typer.Typer(help="Say which events of which customer go where.", no_args_is_help=True)

Ids: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Of subscriptions; as many as needed.", show_default=False)
]
Customer: TypeAlias = Annotated[
    str | None, typer.Option("--customer", metavar="C", help="All of this customer.", show_default=False)
]
Host: TypeAlias = Annotated[
    str | None, typer.Option("--host", metavar="H", help="All whose URL is on this host.", show_default=False)
]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    subscription_edit.register(app)
    parent.add_typer(app, name="subscriptions", rich_help_panel=PIPELINE)


@app.command("apply")
def _apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="In YAML; README.md describes its fields.")],
    *,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete what an earlier apply of the same `set:` created and the file lacks."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and write nothing.")] = False,
) -> None:
    """Make the subscriptions of a file so, and say what that changes.

    All errors of a file are shown together, and then nothing is written. A file is written customer by customer; run
    again it completes. A secret that is made is shown once, here. When the command ends with exit code 0, no process
    acts on the old state any more.
    """
    from deploy.subscription_file import read_file  # noqa: PLC0415  # 0.3 s that `--help` need not wait
    from producers.subscription_changes import Apply, Delete  # noqa: PLC0415

    settings = settings_of(ctx)
    found = read_file(file, os.environ)
    check_file(settings, found)
    drafts, set_ = found.drafts, found.set
    if prune and set_ is None:
        raise InvalidInput(f"--prune deletes only what belongs to a set; write `set: NAME` at the top of {file}")
    with writer_of(settings) as writer:
        wishes: list[Wish] = [Apply(draft) for draft in drafts]
        if prune:
            kept = {draft.id for draft in drafts}
            wishes += [Delete(s.id) for s in readable(writer.read()) if s.set == set_ and s.id not in kept]
        if dry_run:
            writer.read()
            results = writer.plan(wishes)
            for result in results:
                print_result(result, dry_run=True)
        else:
            results = writer.write(wishes, print_result)
    print_warnings(results)
    print_sum(results, dry_run=dry_run)


@app.command("list")
def _list(
    ctx: typer.Context,
    *,
    customer: Customer = None,
    host: Host = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with all fields but the secrets.")] = False,
) -> None:
    """List subscriptions."""
    from deploy.health import read_health  # noqa: PLC0415  # see above

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
    rows = [
        (s.id, s.customer_id, s.sender, host_of(s), state_of(s, known.get(s.id)), ",".join(s.event_types))
        for s in found
    ]
    rows += [(id_, "?", "?", "?", "unreadable", "") for id_ in broken]
    print_table(_COLUMNS, rows)


@app.command("show")
def _show(ctx: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID", help="Of a subscription.")]) -> None:
    """Show one subscription with all its fields but the secrets."""
    from deploy.health import read_health  # noqa: PLC0415  # see above

    settings = settings_of(ctx)
    with writer_of(settings) as writer:
        log = writer.read()
        found, conflict = existing(log, id_), log.conflicts().get(id_)
    print_fields(found, read_health(settings).get(id_))
    if conflict is not None:
        typer.echo(f"conflict:           also on partitions {conflict[1:]}, whose records do not count")


@app.command("pause")
def _pause(ctx: typer.Context, ids: Ids = None, *, customer: Customer = None, host: Host = None) -> None:
    """Send nothing until it is resumed; what waits is cancelled."""
    from producers.subscription_changes import Pause  # noqa: PLC0415  # see above

    _pull(ctx, Pause, ids, customer, host)


@app.command("resume")
def _resume(ctx: typer.Context, ids: Ids = None, *, customer: Customer = None, host: Host = None) -> None:
    """Send what is published from now on, to one that was paused, or disabled as its endpoint did not work."""
    from deploy.health import read_health  # noqa: PLC0415  # see above
    from producers.subscription_changes import Resume  # noqa: PLC0415

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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal.")] = False,
) -> None:
    """Remove it, with its secret; what waits is cancelled."""
    from producers.subscription_changes import Delete  # noqa: PLC0415  # see above

    _pull(ctx, Delete, ids, customer, host, ask=not yes and sys.stdin.isatty())


def _pull(
    ctx: typer.Context,
    lever: Callable[[str], Wish],
    ids: Sequence[str] | None,
    customer: str | None,
    host: str | None,
    *,
    ask: bool = False,
) -> None:
    """Do the same to all that were chosen, by ids or by customer and host."""
    if bool(ids) == ((customer, host) != (None, None)):
        raise InvalidInput("name subscriptions by their ids, or by --customer and --host; one of the two")
    with writer_of(settings_of(ctx)) as writer:
        chosen = list(ids or ()) or [s.id for s in readable(writer.read()) if _is_chosen(s, customer, host)]
        if not chosen:
            raise InvalidInput("no subscription is chosen by that; `signpost subscriptions list` shows all")
        if ask:
            typer.confirm(f"Delete {count_of(len(chosen))}: {', '.join(chosen[:10])}?", abort=True)
        results = writer.write([lever(id_) for id_ in dict.fromkeys(chosen)], print_result)
    print_sum(results, dry_run=False)


def _is_chosen(subscription: Subscription, customer: str | None, host: str | None) -> bool:
    return customer in (None, subscription.customer_id) and (host is None or host.lower() == host_of(subscription))
