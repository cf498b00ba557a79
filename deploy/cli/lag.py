"""`signpost lag`: what waits, since when, and which process reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Final

import typer

from consumers.inspect.lag import (
    Group,
    Member,
    PartitionLag,
    TopicLag,
    delay_topic_due_ms,
    group_of,
    lag,
    source_due_ms,
    spans,
)
from consumers.inspect.readable import time_text
from consumers.inspect.scan import Scanner
from deploy.cli.columns import Column, print_table
from deploy.cli.context import command_app, print_json, settings_of
from deploy.cli.scanning import Json, ago, no_bar, now_ms, scanning
from deploy.config.admin import reachable_admin
from deploy.config.senders import senders_of
from deploy.config.wanted_topics import sources_of
from schemas.catalog.errors import Unavailable
from schemas.input.durations import milliseconds
from schemas.input.terminal import printable
from schemas.records.topics import delays_of
from schemas.settings.settings import Settings

app = command_app()

_COLUMNS: Final = (Column("TOPIC"), Column("WAITING", right=True), Column("OLDEST"), Column(""))
_EACH: Final = (
    Column("TOPIC"),
    Column("PARTITION", right=True),
    Column("WAITING", right=True),
    Column("OLDEST"),
    Column("READ BY"),
)


@app.command()
def _lag(
    ctx: typer.Context,
    *,
    each: Annotated[
        bool, typer.Option("--each", help="One row per partition, with the process that reads it.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what waits in each source and delay topic, since when, and which process reads it.

    OLDEST is when the oldest event arrived, or when the oldest job is due. If a topic keeps the timestamps of
    producers, it is the time that the producer set. The command counts waiting records one by one; of very many it
    shows an upper bound (≤).
    """
    settings = settings_of(ctx)
    with scanning(settings) as scanner:
        lags, groups, missing = _found(scanner, settings)
        no_bar(scanner)
    if not lags:
        raise Unavailable(f"none of the topics exists ({', '.join(missing)}); `signpost topics apply` creates them")
    if missing:
        typer.echo(f"missing: {', '.join(missing)}; `signpost topics apply` creates Signpost's own", err=True)
    if json:
        print_json(
            {"topics": [_as_json(one, each=each) for one in lags], "groups": [asdict(group) for group in groups]}
        )
        return
    at_ms = now_ms()
    if each:
        readers = {
            (topic, number): _name(member)
            for group in groups
            for member in group.members
            for topic, numbers in member.partitions.items()
            for number in numbers
        }
        print_table(_EACH, [row for one in lags for row in _rows(one, readers, at_ms)])
    else:
        print_table(_COLUMNS, [_row(one, at_ms) for one in lags])
    for group in groups:
        _print_group(group)


def _found(scanner: Scanner, settings: Settings) -> tuple[list[TopicLag], list[Group], list[str]]:
    router = f"{settings.prefix}router"
    deliver = f"{settings.prefix}deliver"
    sources = {source.topic: source_due_ms for source in sources_of(settings)}
    delay_topics = {
        settings.names.jobs(delay): partial(
            delay_topic_due_ms, wait_ms=int(milliseconds(delay) / settings.delay_speedup)
        )
        for delay in delays_of(sender.schedule for sender in senders_of(settings).values())
    }
    lags = lag(scanner, router, sources, new_at_beginning=False)
    lags += lag(scanner, deliver, delay_topics, new_at_beginning=True)
    there = {one.topic for one in lags}
    admin = reachable_admin(settings)
    groups = [
        group_of(admin, router, scanner.partitions(sources)),
        group_of(admin, deliver, scanner.partitions(delay_topics)),
    ]
    return lags, groups, [topic for topic in (*sources, *delay_topics) if topic not in there]


def _rows(one: TopicLag, readers: Mapping[tuple[str, int], str], at_ms: int) -> list[tuple[str, ...]]:
    return [
        (
            one.topic,
            str(part.partition),
            _waiting(part),
            _oldest(part, at_ms),
            readers.get((one.topic, part.partition), "no process")
            + ("" if part.waiting is not None else "; no position"),
        )
        for part in one.each
    ]


def _waiting(one: TopicLag | PartitionLag) -> str:
    return "?" if one.waiting is None else f"{'' if one.exact else '≤ '}{one.waiting:,}"


def _oldest(one: TopicLag | PartitionLag, at_ms: int) -> str:
    return "" if one.oldest_due_ms is None else f"{time_text(one.oldest_due_ms)} ({ago(one.oldest_due_ms, at_ms)})"


def _row(one: TopicLag, at_ms: int) -> tuple[str, ...]:
    note = ""
    if one.without_position == one.partitions and one.waiting is None:
        note = "no position is committed: `signpost positions list` shows more"
    elif one.without_position:
        note = f"{one.without_position} of {one.partitions} partitions have no position"
    return one.topic, _waiting(one), _oldest(one, at_ms), note


def _print_group(group: Group) -> None:
    count = len(group.members)
    typer.echo(f"\n{group.name}: {count} process{'' if count == 1 else 'es'}, {group.state}")
    for member in group.members:
        typer.echo(f"  {_name(member)}  {member.host}  {_partitions(member.partitions) or 'no partitions'}")
    if group.unowned:
        typer.echo(f"  no process reads {_partitions(group.unowned)}")


def _name(member: Member) -> str:
    return printable(f"instance {member.instance}" if member.instance else f"no instance ({member.client})")


def _partitions(owned: Any) -> str:
    """Group topics with the same partitions: all delay topics usually share theirs."""
    topics: dict[str, list[str]] = {}
    for topic, numbers in owned.items():
        topics.setdefault(spans(numbers), []).append(topic)
    return "; ".join(
        f"partition{'' if span.isdecimal() else 's'} {span} of {_named(names)}" for span, names in topics.items()
    )


def _named(topics: list[str]) -> str:
    return ", ".join(topics) if len(topics) < 3 else f"{len(topics)} topics, {topics[0]} …"


def _as_json(one: TopicLag | PartitionLag, *, each: bool = False) -> dict[str, Any]:
    fields = asdict(one)
    fields.pop("each", None)
    due_ms = fields.pop("oldest_due_ms")
    fields["oldest_due"] = None if due_ms is None else time_text(due_ms)
    if each and isinstance(one, TopicLag):
        fields["each"] = [_as_json(part) for part in one.each]
    return fields
