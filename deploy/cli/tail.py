"""`signpost tail`: the records of any topic, decoded, one line each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.columns import folded, screen_width
from deploy.cli.context import OPERATE, settings_of
from deploy.cli.looking import Json, Since, no_bar, record_reader, scanning, since_ms, topic_named

if TYPE_CHECKING:  # `signpost --help` does without
    from confluent_kafka import Message

    from consumers.console.scan import Scanner
    from consumers.console.tail import Tail
    from consumers.runtime.topic_reader import Range
    from schemas.settings import Settings

_DEFAULT_LINES = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tail", rich_help_panel=OPERATE)(_tail)


def _tail(
    ctx: typer.Context,
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="With or without the prefix: outcomes, dead, jobs.5m, zenoo.events.")
    ],
    *,
    since: Since = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="TEXT", help="Only lines that hold this text.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            min=0,
            help=f"The newest so many: {_DEFAULT_LINES}, or all with --since, if it is not said.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show the records of any topic, decoded: time, partition:offset, key, and what it says. Secrets are masked.

    Own records and events are shown field by field, anything else as text or in hexadecimal. A record is one line,
    folded between its fields on a terminal. With --json it is one line of JSON, uncut.
    """
    from consumers.console.tail import Tail  # noqa: PLC0415  # clients load in 0.3 s
    from deploy.senders import senders_of  # noqa: PLC0415

    settings, begin_ms = settings_of(ctx), since_ms(since, time.time())
    limit = _DEFAULT_LINES if lines is None and since is None else lines
    shown = Tail(record_reader(settings), senders_of(settings), grep)
    with scanning(settings) as scanner:
        name = topic_named(scanner, topic, settings.prefix)
        ranges = scanner.ranges_of([name], begin_ms)
        if not _show_present(scanner, ranges, shown, limit, json=json):
            is_empty = all(r.begin == r.end for r in scanner.ranges_of([name]))
            typer.echo(_nothing(name, is_empty=is_empty, grep=grep, since=since), err=True)
        if follow:
            _follow(settings, ranges, shown, json=json)


def _show_present(scanner: Scanner, ranges: list[Range], shown: Tail, limit: int | None, *, json: bool) -> int:
    """Show what is there, and return how many records that were."""
    from consumers.console.tail import records  # noqa: PLC0415  # see above

    count = 0
    for batch in records(scanner, ranges, shown, limit):
        if batch:
            no_bar(scanner)
        count += _show(shown, batch, json)
    no_bar(scanner)
    return count


def _follow(settings: Settings, ranges: list[Range], shown: Tail, *, json: bool) -> None:
    """Show what comes, until Ctrl-C."""
    from consumers.console.tail import follow  # noqa: PLC0415  # see above

    with suppress(KeyboardInterrupt):  # that is how it ends
        for message in follow(settings.kafka_properties(), ranges, shown.accepts):
            if message is not None:
                _show(shown, [message], json)


def _show(tail: Tail, messages: Iterable[Message], json: bool) -> int:
    import orjson  # noqa: PLC0415  # see above

    count, width = 0, screen_width()
    for count, message in enumerate(messages, 1):  # noqa: B007  # it is what is returned
        text = orjson.dumps(tail.fields(message), default=str).decode() if json else tail.line(message)
        sys.stdout.write((text if json else folded(text, width)) + "\n")
    sys.stdout.flush()
    return count


def _nothing(topic: str, *, is_empty: bool, grep: str | None, since: str | None) -> str:
    if is_empty:
        return f"{topic} is empty"
    what = f"no record of {topic}" + (f" since {since}" if since else "")
    return what + (f" holds {grep!r}" if grep else "" if since else " is asked for")
