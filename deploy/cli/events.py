"""`signpost events publish` and `signpost events simulate`: the input of the pipeline."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any, Final, TypeVar

import typer

from deploy.cli.context import command_app, print_json, settings_of
from deploy.cli.options import print_error
from deploy.config.senders import sender_named, senders_of
from deploy.demo.simulator import Simulator
from producers.events.json_reader import EventReader
from producers.events.publisher import EventPublisher, random_event_id, wall_clock_us
from producers.events.schema_ids import SchemaIds
from schemas.catalog.errors import EventError
from schemas.events.event import Event
from schemas.input.terminal import printable
from schemas.senders.header_values import header_id
from schemas.senders.sender import Sender
from schemas.senders.traits import id_headers
from schemas.settings.settings import Settings

T = TypeVar("T")

INVALID: Final = 2
# 128 and the number of SIGINT, as shells report it.
INTERRUPTED: Final = 130
_MAX_SHOWN: Final = 10
_STDIN: Final = "-"

app = command_app("Publish events, your own or simulated ones.")


@app.command("publish")
def _publish(
    ctx: typer.Context,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="JSON: an object, an array or JSON Lines; - is standard input.")
    ],
    *,
    sender: Annotated[str, typer.Option(help="Sender of the events.")] = "zenoo",
    customer: Annotated[
        str | None, typer.Option(help="Customer of events without a `customer_id`.", show_default=False)
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Topic to publish to; by default the sender's source.", show_default=False)
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Kafka key of all events; by default the sender's rule.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with the ids of all published events.")] = False,
) -> None:
    """Check JSON events against their Avro schema and publish them; show their ids, which `signpost explain` takes.

    A missing `event_id` or `created_at` is filled in. A file with an error is not published at all.
    """
    settings = settings_of(ctx)
    known = sender_named(settings, sender)
    reader = EventReader(known, wall_clock_us, random_event_id, customer or None, senders_of(settings))
    published: list[dict[str, Any]] = []
    failed = False
    with _publisher(settings, known, topic) as publisher:
        for file in files:
            try:
                name, events = _publish_file(publisher, reader, file, key)
            except EventError as error:
                print_error(str(error))
                failed = True
                continue
            ids = [_ids_of(event, known) for event in events]
            published.append({"file": name, "topic": publisher.topic, "published": len(ids), "events": ids})
            if not json:
                _print_published(published[-1])
    if json:
        print_json(published)
    if failed:
        raise typer.Exit(INVALID)


def _publish_file(
    publisher: EventPublisher, reader: EventReader, file: str, key: str | None
) -> tuple[str, list[Event]]:
    """Publish all events of a file or none, and return its name and its events; EventError names the invalid ones."""
    name, text = _read(file)
    values = [publisher.prepare(event, key, name) for event in reader.read(text, name)]
    for value in values:
        publisher.publish_prepared(value)
    publisher.flush()
    return name, [value.event for value in values]


def _ids_of(event: Event, sender: Sender) -> dict[str, str]:
    """Return the id of an event, and its form in the headers of this sender if that is another one."""
    ids = {"event_id": event.event_id}
    sent = header_id(event.event_id)
    if sent != event.event_id:
        ids |= {header.name: sent for header in id_headers(sender) if header.id_field == "event_id"}
    return ids


def _print_published(published: dict[str, Any]) -> None:
    events = published["events"]
    typer.echo(f"{published['file']}: {_count(len(events))} published to {published['topic']}")
    for ids in events[:_MAX_SHOWN]:
        id_, *sent = ids.items()
        in_headers = f"  ({', '.join(f'{name}: {value}' for name, value in sent)})" if sent else ""
        typer.echo(printable(f"  {id_[1]}{in_headers}"))
    if len(events) > _MAX_SHOWN:
        typer.echo(f"  and {len(events) - _MAX_SHOWN:,} more; --json shows all ids")


@app.command("simulate")
def _simulate(
    ctx: typer.Context,
    *,
    sender: Annotated[str, typer.Option(help="Sender of the events.")] = "zenoo",
    rate: Annotated[float, typer.Option(help="Events per second.", min=0.01, max=100_000)] = 100,
    seconds: Annotated[float, typer.Option(help="Duration in seconds.", min=0.01)] = 10,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed makes the same events.", show_default=False)
    ] = None,
    customer: Annotated[
        list[str] | None, typer.Option(help="Customer of the events, acme by default; repeatable.", show_default=False)
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Topic to publish to; by default the sender's source.", show_default=False)
    ] = None,
) -> None:
    """Publish realistic events of all types of a sender at a steady rate."""
    settings = settings_of(ctx)
    known = sender_named(settings, sender)
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    events = Simulator(seed, tuple(customer or ["acme"]), wall_clock_us, known).events()
    total = max(1, round(rate * seconds))
    stopped = False
    with _publisher(settings, known, topic) as publisher:
        start = time.monotonic()
        try:
            for event in paced(islice(events, total), rate, time.monotonic, time.sleep):
                publisher.publish(event)
        except KeyboardInterrupt:
            stopped = True
        publisher.flush()
        took = time.monotonic() - start
    count = publisher.published
    of = f" of {total:,}, stopped by Ctrl-C," if stopped else ""
    typer.echo(
        f"{_count(count)}{of} in {took:.1f} s ({count / took:,.0f}/s) published to {publisher.topic} (seed {seed})"
    )
    if stopped:
        raise typer.Exit(INTERRUPTED)


def paced(items: Iterator[T], rate: float, now_s: Callable[[], float], sleep_s: Callable[[float], None]) -> Iterator[T]:
    """Yield items when they are due, `rate` per second, none early; a late one does not delay the others."""
    start = now_s()
    for index in range(sys.maxsize):
        wait = start + index / rate - now_s()
        if wait > 0:
            sleep_s(wait)
        # Made after the wait: an event's creation time is then the time of its publication.
        try:
            item = next(items)
        except StopIteration:
            return
        yield item


def _publisher(settings: Settings, sender: Sender, topic: str | None) -> EventPublisher:
    registry = settings.schema_registry_url
    sources = (source.topic for source in settings.sources if source.sender == sender.name)
    return EventPublisher(
        settings.kafka_properties(),
        sender=sender,
        topic=topic or next(sources, settings.names.events(sender.name)),
        max_event=settings.max_event,
        max_body=settings.max_body,
        schema_ids=None if registry is None else SchemaIds(registry),
    )


def _read(file: str) -> tuple[str, str]:
    """Return a file's name in messages, and its text."""
    name = "standard input" if file == _STDIN else file
    try:
        content = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
        return name, content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EventError(f"{name}: not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise EventError(f"{name}: cannot be read: {error.strerror}") from error


def _count(number: int) -> str:
    return f"{number:,} event{'' if number == 1 else 's'}"
