"""`signpost tail`: the records of any topic, decoded, one line per record."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Annotated

import typer
from confluent_kafka import Message

from consumers.inspect.scan import Scanner
from consumers.inspect.tail import Tail, follow, records
from consumers.inspect.traces import Place, is_derived_id
from consumers.kafka.topic_reader import Range
from deploy.cli.columns import folded, screen_width
from deploy.cli.context import command_app, settings_of
from deploy.cli.scanning import Json, Since, no_bar, record_reader, scanning, since_ms, topic_named
from deploy.cli.tracing import tracer_of
from deploy.config.senders import senders_of
from schemas.avro.json_writer import readable
from schemas.settings.settings import Settings

app = command_app()

_DEFAULT_LINES = 10


@app.command()
def _tail(
    ctx: typer.Context,
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="With or without the prefix: outcomes, dead, jobs.5m, zenoo.events.")
    ],
    *,
    since: Since = None,
    grep: Annotated[
        str | None,
        typer.Option(
            "--grep",
            metavar="TEXT",
            help="Only lines with this text; in a source also the event with this id of a job or header.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new records until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            min=0,
            help=f"Only the newest N; by default {_DEFAULT_LINES}, with --since all.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show the records of any topic, decoded: time, partition:offset, key and fields. Secrets are masked.

    Signpost's records and events are shown field by field, other records as text or in hexadecimal. A record is one
    line, folded between its fields on a terminal. With --json it is one line of JSON, uncut.
    """
    settings = settings_of(ctx)
    begin_ms = since_ms(since, time.time())
    limit = _DEFAULT_LINES if lines is None and since is None else lines
    with scanning(settings) as scanner:
        name = topic_named(scanner, topic, settings.prefix)
        places = _places_of(scanner, settings, name, grep)
        shown = Tail(record_reader(settings), senders_of(settings), grep, places)
        ranges = scanner.ranges_of([name], begin_ms)
        if not _show_present(scanner, ranges, shown, limit, json=json):
            is_empty = all(r.begin == r.end for r in scanner.ranges_of([name]))
            typer.echo(_nothing(name, is_empty=is_empty, grep=grep, since=since), err=True)
        if follow:
            _follow(settings, ranges, shown, json=json)


def _places_of(scanner: Scanner, settings: Settings, topic: str, grep: str | None) -> Collection[Place]:
    """Return the places in a source of the event that the text names by an id that is not in its bytes."""
    if grep is None or not is_derived_id(grep):
        return ()
    tracer, sources = tracer_of(scanner, settings)
    return frozenset(tracer.trace(grep, [topic]).places()) if topic in sources else ()


def _show_present(scanner: Scanner, ranges: list[Range], shown: Tail, limit: int | None, *, json: bool) -> int:
    """Show the present records; return their number."""
    count = 0
    for batch in records(scanner, ranges, shown, limit):
        if batch:
            no_bar(scanner)
        count += _show(shown, batch, json)
    no_bar(scanner)
    return count


def _follow(settings: Settings, ranges: list[Range], shown: Tail, *, json: bool) -> None:
    """Show new records until Ctrl-C."""
    with suppress(KeyboardInterrupt):  # the way to end it
        for message in follow(settings.kafka_properties(), ranges, shown.accepts):
            if message is not None:
                _show(shown, [message], json)


def _show(tail: Tail, messages: Iterable[Message], json: bool) -> int:
    """Write records to standard output; return their number."""
    count = 0
    width = screen_width()
    for message in messages:
        count += 1
        text = readable(tail.fields(message)) if json else tail.line(message)
        sys.stdout.write((text if json else folded(text, width)) + "\n")
    sys.stdout.flush()
    return count


def _nothing(topic: str, *, is_empty: bool, grep: str | None, since: str | None) -> str:
    if is_empty:
        return f"{topic} is empty"
    what = f"no record of {topic}" + (f" since {since}" if since else "")
    if grep:
        return f"{what} contains {grep!r}"
    return what if since else f"{what} is requested"
