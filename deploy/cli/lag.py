"""`signpost lag`: what waits, since when, and who works on it."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import typer

from deploy.cli.columns import Column, print_table
from deploy.cli.context import OPERATE, print_json, settings_of
from deploy.cli.looking import Json, ago, no_bar, now_ms, scanning
from schemas.errors import Unavailable

if TYPE_CHECKING:  # `signpost --help` does without
    from consumers.console.lag import Group, Member, TopicLag
    from consumers.console.scan import Scanner
    from schemas.settings import Settings

_COLUMNS: Final = (Column("TOPIC"), Column("WAITING", right=True), Column("OLDEST"), Column(""))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lag", rich_help_panel=OPERATE)(_lag)


def _lag(ctx: typer.Context, *, json: Json = False) -> None:
    """Show what waits in each source and tier, when its oldest came or is due, and who has which partitions.

    What waits is counted record by record; of very much only an upper bound is told (≤).
    """
    settings = settings_of(ctx)
    with scanning(settings) as scanner:
        lags, groups, missing = _found(scanner, settings)
        no_bar(scanner)
    if not lags:
        raise Unavailable(f"none of the topics is there ({', '.join(missing)}); `signpost topics apply` makes them")
    if missing:
        typer.echo(f"not there: {', '.join(missing)}; `signpost topics apply` makes Signpost's own", err=True)
    if json:
        print_json({"topics": [_as_json(one) for one in lags], "groups": [asdict(group) for group in groups]})
        return
    at_ms = now_ms()
    print_table(_COLUMNS, [_row(one, at_ms) for one in lags])
    for group in groups:
        _print_group(group)


def _found(scanner: Scanner, settings: Settings) -> tuple[list[TopicLag], list[Group], list[str]]:
    from consumers.console.lag import group_of, lag, source_due_ms, tier_due_ms  # noqa: PLC0415  # see looking.py
    from deploy.admin import reachable_admin  # noqa: PLC0415
    from deploy.senders import senders_of  # noqa: PLC0415
    from deploy.wanted_topics import sources_of  # noqa: PLC0415
    from schemas.durations import milliseconds  # noqa: PLC0415
    from schemas.topics import tiers_of  # noqa: PLC0415

    router, deliver = f"{settings.prefix}router", f"{settings.prefix}deliver"
    sources = {source.topic: source_due_ms for source in sources_of(settings)}
    tiers = {
        settings.names.jobs(delay): partial(tier_due_ms, wait_ms=int(milliseconds(delay) / settings.delay_speedup))
        for delay in tiers_of(sender.schedule for sender in senders_of(settings).values())
    }
    lags = lag(scanner, router, sources, new_at_beginning=False)
    lags += lag(scanner, deliver, tiers, new_at_beginning=True)
    there = {one.topic for one in lags}
    admin = reachable_admin(settings)
    groups = [
        group_of(admin, router, scanner.partitions(sources)),
        group_of(admin, deliver, scanner.partitions(tiers)),
    ]
    return lags, groups, [topic for topic in (*sources, *tiers) if topic not in there]


def _row(one: TopicLag, at_ms: int) -> tuple[str, ...]:
    from consumers.console.readable import time_text  # noqa: PLC0415  # see looking.py

    waiting = "?" if one.waiting is None else f"{'' if one.exact else '≤ '}{one.waiting:,}"
    oldest = "" if one.oldest_due_ms is None else f"{time_text(one.oldest_due_ms)} ({ago(one.oldest_due_ms, at_ms)})"
    note = ""
    if one.without_position == one.partitions and one.waiting is None:
        note = "nobody has a position here: `signpost positions list` says more"
    elif one.without_position:
        note = f"{one.without_position} of {one.partitions} partitions have no position"
    return one.topic, waiting, oldest, note


def _print_group(group: Group) -> None:
    count = len(group.members)
    typer.echo(f"\n{group.name}: {count} process{'' if count == 1 else 'es'}, {group.state}")
    for member in group.members:
        typer.echo(f"  {_name(member)}  {member.host}  {_partitions(member.partitions) or 'no partitions'}")
    if group.unowned:
        typer.echo(f"  nobody has {_partitions(group.unowned)}")


def _name(member: Member) -> str:
    from consumers.console.readable import printable  # noqa: PLC0415  # see looking.py

    return printable(f"slot {member.slot}" if member.slot else f"no slot ({member.client})")


def _partitions(owned: Any) -> str:
    """Name topics with the same partitions together: those of all tiers usually are the same."""
    from consumers.console.lag import spans  # noqa: PLC0415  # see looking.py

    topics: dict[str, list[str]] = {}
    for topic, numbers in owned.items():
        topics.setdefault(spans(numbers), []).append(topic)
    return "; ".join(
        f"partition{'' if span.isdecimal() else 's'} {span} of {_named(names)}" for span, names in topics.items()
    )


def _named(topics: list[str]) -> str:
    return ", ".join(topics) if len(topics) < 3 else f"{len(topics)} topics, {topics[0]} …"


def _as_json(one: TopicLag) -> dict[str, Any]:
    from consumers.console.readable import time_text  # noqa: PLC0415  # see looking.py

    fields = asdict(one)
    due_ms = fields.pop("oldest_due_ms")
    return {**fields, "oldest_due": None if due_ms is None else time_text(due_ms)}
