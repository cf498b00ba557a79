"""`signpost subscriptions`: which events of which customer go where."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeGuard

import typer

from deploy.cli.context import PIPELINE, print_json, settings_of
from schemas.errors import InvalidInput, SubscriptionError

if TYPE_CHECKING:  # confluent_kafka and pydantic: `signpost --help` does without
    from producers.subscription_changes import Result, Unreadable, Wish
    from producers.subscription_log import SubscriptionLog
    from producers.subscriptions import SubscriptionWriter
    from schemas.rules import Draft
    from schemas.settings import Settings
    from schemas.subscription import Subscription

_SIGNS: Final = {"created": "+", "changed": "~", "paused": "~", "resumed": "~", "deleted": "-", "unchanged": "="}

app = typer.Typer(help="Say which events of which customer go where.", no_args_is_help=True)

Ids: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="ID", show_default=False)]
Customer: TypeAlias = Annotated[
    str | None, typer.Option("--customer", metavar="C", help="All of this customer.", show_default=False)
]
Host: TypeAlias = Annotated[
    str | None, typer.Option("--host", metavar="H", help="All whose URL is on this host.", show_default=False)
]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="subscriptions", rich_help_panel=PIPELINE)


@app.command("apply")
def _apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml")],
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
    from producers.subscription_changes import Apply, Delete  # noqa: PLC0415  # see above

    settings = settings_of(ctx)
    drafts, set_ = _checked(settings, file)
    if prune and set_ is None:
        raise InvalidInput(f"--prune deletes only what belongs to a set; write `set: NAME` at the top of {file}")
    with _writer(settings) as writer:
        wishes: list[Wish] = [Apply(draft) for draft in drafts]
        if prune:
            kept = {draft.id for draft in drafts}
            wishes += [Delete(s.id) for s in _readable(writer.read()) if s.set == set_ and s.id not in kept]
        if dry_run:
            writer.read()
            results = writer.plan(wishes)
            for result in results:
                _print_result(result, dry_run=True)
        else:
            results = writer.write(wishes, _print_result)
    _print_sum(results, dry_run=dry_run)


@app.command("list")
def _list(
    ctx: typer.Context,
    *,
    customer: Customer = None,
    host: Host = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with all fields but the secrets.")] = False,
) -> None:
    """List subscriptions."""
    with _writer(settings_of(ctx)) as writer:
        log = writer.read()
        chosen = (customer, host) != (None, None)
        found = [s for s in _readable(log) if _is_chosen(s, customer, host)]
        broken = {} if chosen else {id_: why for id_, why in log.items() if not _is_subscription(why)}
    if json:
        print_json([_as_json(s) for s in found] + [{"id": id_, "state": "unreadable"} for id_ in broken])
        return
    rows = [(s.id, s.customer_id, s.sender, _host(s), _state(s), ",".join(s.event_types)) for s in found]
    rows += [(id_, "?", "?", "?", "unreadable", "") for id_ in broken]
    _print_table(("ID", "CUSTOMER", "SENDER", "HOST", "STATE", "EVENT TYPES"), rows)


@app.command("show")
def _show(ctx: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one subscription with all its fields but the secrets."""
    from producers.subscription_changes import Unreadable  # noqa: PLC0415  # see above

    with _writer(settings_of(ctx)) as writer:
        log = writer.read()
        partition, found = log.find(id_)
        conflict = log.conflicts().get(id_)
    if found is None:
        raise SubscriptionError(f"subscription {id_}: does not exist")
    if isinstance(found, Unreadable):
        raise SubscriptionError(
            f"subscription {id_}: its record on partition {partition} is unreadable: {found.reason}"
        )
    fields = _as_json(found)
    fields["secrets"] = [f"{secret['id']} ({secret['created_at']})" for secret in fields["secrets"]] or ["none"]
    for name, value in fields.items():
        typer.echo(f"{name + ':':<13} {', '.join(value) if isinstance(value, list) else value}")
    if conflict is not None:
        typer.echo(f"conflict:     also on partitions {conflict[1:]}, whose records do not count")


@app.command("pause")
def _pause(ctx: typer.Context, ids: Ids = None, *, customer: Customer = None, host: Host = None) -> None:
    """Send nothing until it is resumed; what waits is cancelled."""
    from producers.subscription_changes import Pause  # noqa: PLC0415  # see above

    _pull(ctx, Pause, ids, customer, host)


@app.command("resume")
def _resume(ctx: typer.Context, ids: Ids = None, *, customer: Customer = None, host: Host = None) -> None:
    """Send what is published from now on."""
    from producers.subscription_changes import Resume  # noqa: PLC0415  # see above

    _pull(ctx, Resume, ids, customer, host)


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
    lever: type[Any],
    ids: Sequence[str] | None,
    customer: str | None,
    host: str | None,
    *,
    ask: bool = False,
) -> None:
    """Do the same to all that were chosen, by ids or by customer and host."""
    if bool(ids) == ((customer, host) != (None, None)):
        raise InvalidInput("name subscriptions by their ids, or by --customer and --host; one of the two")
    with _writer(settings_of(ctx)) as writer:
        chosen = list(ids or ()) or [s.id for s in _readable(writer.read()) if _is_chosen(s, customer, host)]
        if not chosen:
            raise InvalidInput("no subscription is chosen by that; `signpost subscriptions list` shows all")
        if ask:
            typer.confirm(f"Delete {_count(len(chosen))}: {', '.join(chosen[:10])}?", abort=True)
        results = writer.write([lever(id_) for id_ in dict.fromkeys(chosen)], _print_result)
    _print_sum(results, dry_run=False)


@contextmanager
def _writer(settings: Settings) -> Iterator[SubscriptionWriter]:
    import logging  # noqa: PLC0415  # see above

    from deploy.sealing_key import sealer_of  # noqa: PLC0415
    from producers.subscriptions import SubscriptionWriter  # noqa: PLC0415
    from schemas.sender import load_senders  # noqa: PLC0415

    kafka = settings.kafka_properties()
    # Without a key there is still much that can be done: to list, to pause, to delete.
    has_key = settings.sealing_key is not None or settings.sealing_key_file is not None
    sealer = sealer_of(settings) if has_key else None
    writer = SubscriptionWriter(kafka, settings.names, load_senders(), sealer)
    # Another writer that takes the partition is nothing to tell, although to the client it is fatal: the work is done
    # again. What cannot be done is an error of the command.
    client_log = logging.getLogger("signpost.kafka")
    level = client_log.level
    client_log.setLevel(logging.CRITICAL + 1)
    try:
        yield writer
    finally:
        client_log.setLevel(level)
        writer.close()


def _checked(settings: Settings, file: Path) -> tuple[tuple[Draft, ...], str | None]:
    """Return the drafts of a file and the name of its set; SubscriptionError holds all that is wrong with it."""
    from deploy.subscription_file import read_file  # noqa: PLC0415  # see above
    from schemas.egress import EgressPolicy  # noqa: PLC0415
    from schemas.rules import check  # noqa: PLC0415
    from schemas.sender import load_senders  # noqa: PLC0415

    found = read_file(file, os.environ)
    problems = list(found.problems)
    policy = EgressPolicy(settings.allow_http, settings.allow_cidrs, frozenset(settings.allow_ports))
    try:
        check(found.drafts, load_senders(), policy)
    except SubscriptionError as error:
        problems += error.problems
    if problems:
        raise SubscriptionError(*problems)
    return found.drafts, found.set


def _readable(log: SubscriptionLog) -> list[Subscription]:
    return [found for _, found in log.items() if _is_subscription(found)]


def _is_subscription(found: Subscription | Unreadable) -> TypeGuard[Subscription]:
    from schemas.subscription import Subscription  # noqa: PLC0415  # see above

    return isinstance(found, Subscription)


def _is_chosen(subscription: Subscription, customer: str | None, host: str | None) -> bool:
    return customer in (None, subscription.customer_id) and (host is None or host.lower() == _host(subscription))


def _host(subscription: Subscription) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415  # see above

    try:
        return urlsplit(subscription.url).hostname or "?"
    except ValueError:
        return "?"


def _state(subscription: Subscription) -> str:
    return "paused" if subscription.paused else "active"


def _as_json(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "sender": subscription.sender,
        "customer_id": subscription.customer_id,
        "url": subscription.url,
        "event_types": list(subscription.event_types),
        "state": _state(subscription),
        "set": subscription.set,
        "description": subscription.description,
        "created_at": _time(subscription.created_at_ms),
        "updated_at": _time(subscription.updated_at_ms),
        "secrets": [{"id": s.id, "created_at": _time(s.created_at_ms)} for s in subscription.secrets],
    }


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _print_result(result: Result, *, dry_run: bool = False) -> None:
    what = f"would be {result.effect}" if dry_run and result.effect != "unchanged" else result.effect
    where = f"  {result.subscription.customer_id}  {_host(result.subscription)}" if result.subscription else ""
    fields = f" ({', '.join(result.changed)})" if result.changed else ""
    typer.echo(f"{_SIGNS[result.effect]} {result.id}{where}  {what}{fields}")
    if result.secret is not None:
        shown = "would be made" if dry_run else f"{result.secret}  (made now, shown only this once)"
        typer.echo(f"    secret: {shown}")


def _print_sum(results: Iterable[Result], *, dry_run: bool) -> None:
    effects = [result.effect for result in results]
    parts = [f"{effects.count(effect)} {effect}" for effect in _SIGNS if effect in effects]
    sentence = ", ".join(parts) or "nothing to do"
    typer.echo(f"{sentence}{' (dry run: nothing was written)' if dry_run else ''}")


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _count(number: int) -> str:
    return f"{number:,} subscription{'' if number == 1 else 's'}"
