"""`signpost dead-letters`: jobs that ran out of attempts and unreadable records, shown and retried."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import typer

from consumers.inspect.dead_letters import DeadLetters, FoundDeadLetter
from consumers.inspect.readable import Readable, cut_hex, line, response_fields, text_of, time_text
from consumers.inspect.scan import Scanner
from consumers.inspect.subscriptions import SubscriptionHistory
from deploy.cli.columns import Column, cut, folded, least_width, screen_width, table, widths_of
from deploy.cli.context import command_app, print_json, settings_of
from deploy.cli.options import print_error
from deploy.cli.scanning import Json, Since, no_bar, record_reader, scanning, since_ms
from deploy.config.wanted_topics import sources_of
from producers.dead_letters import Decision, PlannedRetry, RefusedRetry, RetryPlanner, RetryWriter
from schemas.avro.codec import DecodedRecord
from schemas.avro.json_text import JsonText
from schemas.catalog.errors import InvalidInput, Unavailable
from schemas.catalog.reasons import DEAD
from schemas.input.suggestions import did_you_mean, one_of
from schemas.input.terminal import printable
from schemas.records.delivery import DeadLetter
from schemas.settings.settings import Settings

_MANY: Final = 10
_DETAIL_WIDTH: Final = 24
_SHOWN_ABOVE: Final = frozenset({"event_id", "event_type", "sender", "subscription_id", "job_id"})
_COLUMNS: Final = (
    Column("ID"),
    Column("TIME"),
    Column("REASON"),
    Column("TRIES", right=True),
    Column("RETRIED"),
    Column("SUBSCRIPTION", least=12, cut_order=1),
)
_MORE: Final = (Column("SENDER"), Column("EVENT"), Column("DETAIL", least=_DETAIL_WIDTH))

app = command_app("Show and retry dead letters: jobs that ran out of attempts, and unreadable records.")

Reason: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--reason",
        callback=lambda reason: reason if reason is None else one_of("--reason", reason, DEAD),
        help="Only this reason: exhausted, gone, unknown_schema, …; docs/operations.md lists all.",
        show_default=False,
    ),
]
Subscription: TypeAlias = Annotated[
    str | None, typer.Option("--subscription", metavar="ID", help="Only of this subscription.", show_default=False)
]


@app.command("list")
def _list(
    ctx: typer.Context,
    *,
    reason: Reason = None,
    subscription: Subscription = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Maximum number of dead letters.", min=1)] = 20,
    retried: Annotated[
        bool, typer.Option("--retried", help="Show which were retried, however many records must be read for it.")
    ] = False,
    json: Json = False,
) -> None:
    """List dead letters, newest first; a retried job has the number of its new run.

    Narrow terminals show event, sender and detail on a second line. `signpost explain EVENT` shows how a retry went.
    """
    settings = settings_of(ctx)
    begin_ms = since_ms(since, time.time())
    with scanning(settings) as scanner:
        letters = _letters(scanner, settings)
        found = letters.newest(limit, reason=reason, subscription=subscription, since_ms=begin_ms)
        runs = letters.runs(found) if retried else letters.quick_runs(found)
        hint = "" if found or subscription is None else _unknown_subscription(scanner, settings, subscription)
    events = DeadEvents(settings)
    if runs is None:
        typer.echo("too many records to look up which were retried; --retried does it anyway", err=True)
    if json:
        print_json([_as_json(one, runs, events) for one in found])
    elif found:
        for line in lines_of([_as_json(one, runs, events) for one in found], screen_width()):
            typer.echo(line)
        if len(found) == limit:
            typer.echo(f"the newest {limit} only; --limit shows more", err=True)
    else:
        chosen = any(option is not None for option in (reason, subscription, since))
        typer.echo(f"no dead letter matches{hint}" if chosen else "there are no dead letters")


@app.command("show")
def _show(
    ctx: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="As in `list`: partition:offset.")],
    *,
    json: Json = False,
) -> None:
    """Show one dead letter: all fields, the attempts before it, and the record or body."""
    settings = settings_of(ctx)
    with scanning(settings) as scanner:
        letters = _letters(scanner, settings)
        (found,) = letters.get([id_])
        attempts = letters.attempts(found.letter) if isinstance(found.letter, DeadLetter) else []
        runs = letters.quick_runs([found])
    events = DeadEvents(settings)
    fields = _as_json(found, runs, events)
    fields["made"] = [_attempt(outcome) for outcome in attempts]
    if isinstance(found.letter, DeadLetter):
        readable = events.record_of(found.letter)
        fields["record"] = {"kind": readable.kind, **readable.fields}
    if json:
        print_json(fields)
    else:
        _print_fields(fields)


@app.command("retry")
def _retry(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="As in `list`.", show_default=False),
    ] = None,
    *,
    reason: Reason = None,
    subscription: Subscription = None,
    since: Since = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Retry dead letters: those with these ids, or all that --reason, --subscription and --since select.

    A job is sent again as a new run: first attempt, same body, current subscription. An unreadable record is published
    to its source again, unchanged. Options select only jobs that were not retried before; an id selects its job always.
    """
    settings = settings_of(ctx)
    if bool(ids) == ((reason, subscription, since) != (None, None, None)):
        raise InvalidInput("select dead letters either by ids or by --reason, --subscription and --since")
    begin_ms = since_ms(since, time.time())
    with scanning(settings) as scanner:
        letters = _letters(scanner, settings)
        if ids:
            found = letters.get(ids)
        else:
            found = letters.newest(None, reason=reason, subscription=subscription, since_ms=begin_ms)
        decisions, before = _decide(scanner, settings, letters, found, again=bool(ids))
        no_bar(scanner)
    done, refused = _act(settings, decisions, yes=yes)
    skipped = f", {before:,} skipped: retried before" if before else ""
    typer.echo(f"{done:,} retried, {refused:,} refused{skipped}")
    if refused:
        raise typer.Exit(1)


def _act(settings: Settings, decisions: list[Decision], *, yes: bool) -> tuple[int, int]:
    """Write the retries and report the refusals; return the numbers of both."""
    records = [decision for decision in decisions if isinstance(decision, PlannedRetry)]
    if len(records) > _MANY and not yes:
        _ask(records)
    if records:
        writer = RetryWriter(settings.kafka_properties(), settings.max_event)
        writer.write(records, lambda record: typer.echo(f"{record.id}  {record.what}"))
    for decision in decisions:
        if not isinstance(decision, PlannedRetry):
            print_error(f"{decision.id}: {decision.why}")
    return len(records), len(decisions) - len(records)


def _decide(
    scanner: Scanner, settings: Settings, letters: DeadLetters, found: list[FoundDeadLetter], *, again: bool
) -> tuple[list[Decision], int]:
    """Return a decision for each, oldest first, and the number of those skipped because they were retried before."""
    if not found:
        return [], 0
    runs = letters.runs(found)
    retry = RetryPlanner(settings.names, SubscriptionHistory(scanner, settings.names).current, scanner.topics(), runs)
    decisions: list[Decision] = []
    before = 0
    for one in sorted(found, key=lambda one: (one.at_ms, one.partition, one.offset)):
        letter = one.letter
        if not isinstance(letter, DeadLetter):
            decisions.append(RefusedRetry(one.id, f"not a dead letter: {letter}"))
        elif not again and one.retried(runs) is not None:
            before += 1
        else:
            decisions.append(retry.decide(one.id, letter))
    return decisions, before


def _ask(records: list[PlannedRetry]) -> None:
    topics = ", ".join(sorted({record.topic for record in records}))
    if not sys.stdin.isatty():
        raise InvalidInput(f"{len(records):,} records would be written to {topics}; confirm with --yes")
    typer.confirm(f"Write {len(records):,} records to {topics}?", abort=True, err=True)


def _unknown_subscription(scanner: Scanner, settings: Settings, id_: str) -> str:
    """Return a hint if a subscription is not known. A deleted one may still have dead letters."""
    known = {version.id for version in SubscriptionHistory(scanner, settings.names).versions}
    return "" if id_ in known else f"; there is no subscription {printable(id_)}{did_you_mean(id_, known)}"


def _letters(scanner: Scanner, settings: Settings) -> DeadLetters:
    letters = DeadLetters(scanner, settings.names)
    if not letters.is_there:
        raise Unavailable(f"the topic {settings.names.dead} does not exist; `signpost topics apply` creates it")
    return letters


class DeadEvents:
    """The events of dead letters, as far as their bytes and sources tell."""

    def __init__(self, settings: Settings) -> None:
        self._reader = record_reader(settings)
        self._sources = {source.topic: source.sender for source in sources_of(settings)}

    def record_of(self, letter: DeadLetter) -> Readable:
        """Return the record of a dead letter in readable form."""
        return self._reader.read(letter.value, (letter.topic, letter.partition, letter.offset))

    def ids_of(self, letter: DeadLetter) -> dict[str, str | None]:
        """Return event id, event type and sender; None where they are unknown."""
        fields = self.record_of(letter).fields if letter.value is not None else {}
        known: dict[str, str | None] = {name: fields.get(name) or None for name in ("event_id", "event_type", "sender")}
        known["event_id"] = letter.event_id or known["event_id"]
        known["sender"] = known["sender"] or self._sources.get(letter.topic)
        return known


def _as_json(found: FoundDeadLetter, runs: Mapping[str, int] | None, events: DeadEvents) -> dict[str, Any]:
    head = {"id": found.id, "time": time_text(found.at_ms)}
    letter = found.letter
    if isinstance(letter, str):
        return {**head, "reason": "unreadable", "detail": letter, "retried_as_run": None}
    return {
        **head,
        "reason": letter.reason,
        "detail": letter.detail,
        "subscription_id": letter.subscription_id,
        **events.ids_of(letter),
        "job_id": letter.job_id,
        "attempts": letter.attempts,
        **({} if runs is None else {"retried_as_run": found.retried(runs)}),
        "at": time_text(letter.at_ms),
        "source": f"{letter.topic}:{letter.partition}:{letter.offset}",
        "key": text_of(letter.key),
        "headers": {name: text_of(value) for name, value in letter.headers},
    }


def _attempt(outcome: DecodedRecord) -> dict[str, Any]:
    return {
        "run": outcome["run"],
        "attempt": outcome["attempt"],
        "at": time_text(outcome["at_ms"]),
        "state": outcome["state"],
        "reason": outcome["reason"],
        "status": outcome["status"],
        "duration_ms": outcome["duration_us"] / 1_000,
        "host": outcome["host"],
        **response_fields(outcome),
    }


def lines_of(letters: list[dict[str, Any]], width: int | None) -> list[str]:
    """Return a table of dead letters, given as for `--json`; several lines per letter if one would be too long."""
    rows = [tuple(printable(cell) for cell in _cells(letter)) for letter in letters]
    columns = (*_COLUMNS, *_MORE)
    widths = widths_of(columns, rows)
    if width is None or sum(widths[:-1]) + _DETAIL_WIDTH + 2 * (len(columns) - 1) <= width:
        return table(columns, rows, width)
    if least_width(_COLUMNS, [row[: len(_COLUMNS)] for row in rows]) > width:
        return table(columns, rows, width)
    head, *firsts = table(_COLUMNS, [row[: len(_COLUMNS)] for row in rows], width)
    lines = [head]
    for first, (*_, sender, event, detail) in zip(firsts, rows, strict=True):
        known = "  ".join(cell for cell in (event, sender) if cell != "-")
        lines += [first, cut(f"  {f'{known}  ' if known else ''}{detail}", width)]
    return lines


def _cells(letter: dict[str, Any]) -> tuple[str, ...]:
    run = letter.get("retried_as_run", "?")
    return (
        letter["id"],
        f"{letter['time'][:19]}Z",
        letter["reason"],
        str(letter.get("attempts") or "-"),
        f"run {run}" if isinstance(run, int) else run or "-",
        letter.get("subscription_id") or "-",
        letter.get("sender") or "-",
        letter.get("event_id") or "-",
        cut(letter["detail"], 80),
    )


def _print_fields(fields: dict[str, Any]) -> None:
    made = fields.pop("made")
    record = fields.pop("record", None)
    width = screen_width()
    for name, value in fields.items():
        shown = line(value) if isinstance(value, dict) else printable(str(value if value is not None else ""))
        if shown:
            typer.echo(folded(f"{name + ':':<17}{shown}", width))
    if made:
        typer.echo("attempts:")
        for attempt in made:
            typer.echo(folded(f"  {line(attempt)}", width))
    if record is None:
        return
    typer.echo(f"record:          {record.pop('kind')}")
    for name, value in cut_hex(record).items():
        if value is not None and name not in _SHOWN_ABOVE:
            is_json = isinstance(value, dict | list | JsonText)
            shown = line({"": value}).removeprefix("=") if is_json else printable(str(value))
            typer.echo(folded(f"  {name + ':':<15}{shown}", width))
