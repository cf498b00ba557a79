"""`signpost dead-letters`: jobs out of attempts and records that nobody could read; seen, and given another chance."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from deploy.cli.columns import Column, cut, folded, screen_width, table, widths_of
from deploy.cli.context import OPERATE, print_error, print_json, settings_of
from deploy.cli.looking import Json, Since, no_bar, record_reader, scanning, since_ms
from schemas.errors import InvalidInput

if TYPE_CHECKING:  # `signpost --help` does without
    from consumers.console.dead_letters import DeadLetters, FoundDeadLetter
    from consumers.console.scan import Scanner
    from producers.dead_letters import Again, Decision
    from schemas.codec import Record
    from schemas.settings import Settings

_MANY = 10
_COLUMNS: Final = (
    Column("ID"),
    Column("TIME"),
    Column("REASON"),
    Column("TRIES", right=True),
    Column("RETRIED"),
    Column("SUBSCRIPTION", least=12, turn=1),
)
_MORE: Final = (Column("EVENT"), Column("DETAIL", least=24))

app = typer.Typer(help="Jobs out of attempts and records that nobody could read.", no_args_is_help=True)

Reason: TypeAlias = Annotated[
    str | None, typer.Option("--reason", help="Only these: exhausted, gone, unknown_schema, …", show_default=False)
]
Subscription: TypeAlias = Annotated[
    str | None, typer.Option("--subscription", metavar="ID", help="Only of this subscription.", show_default=False)
]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="dead-letters", rich_help_panel=OPERATE)


@app.command("list")
def _list(
    ctx: typer.Context,
    *,
    reason: Reason = None,
    subscription: Subscription = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.", min=1)] = 20,
    retried: Annotated[
        bool, typer.Option("--retried", help="Find out which were retried, however much has to be read for it.")
    ] = False,
    json: Json = False,
) -> None:
    """List dead letters, newest first, and for jobs that were retried the run that the retry made.

    On a narrow terminal event and detail are on a line of their own. `signpost explain EVENT` says how a retry went.
    """
    settings, begin_ms = settings_of(ctx), since_ms(since, time.time())
    with scanning(settings) as scanner:
        letters = _letters(scanner, settings)
        found = letters.newest(limit, reason=reason, subscription=subscription, since_ms=begin_ms)
        runs = letters.runs(found) if retried else letters.quick_runs(found)
    if runs is None:
        typer.echo("which of them were retried would take long to find out; --retried does", err=True)
    if json:
        print_json([_as_json(one, runs) for one in found])
    elif found:
        for line in lines_of([_as_json(one, runs) for one in found], screen_width()):
            typer.echo(line)
        if len(found) == limit:
            typer.echo(f"the newest {limit}; --limit shows more", err=True)
    else:
        chosen = any(option is not None for option in (reason, subscription, since))
        typer.echo("no dead letter fits" if chosen else "there are no dead letters")


@app.command("show")
def _show(
    ctx: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it: partition:offset.")],
    *,
    json: Json = False,
) -> None:
    """Show one with all its fields, the attempts before it, and the record or body itself."""
    from schemas.delivery import DeadLetter  # noqa: PLC0415  # see context.py

    settings = settings_of(ctx)
    with scanning(settings) as scanner:
        letters = _letters(scanner, settings)
        (found,) = letters.get([id_])
        attempts = letters.attempts(found.letter) if isinstance(found.letter, DeadLetter) else []
        runs = letters.quick_runs([found])
    fields = _as_json(found, runs)
    fields["made"] = [_attempt(outcome) for outcome in attempts]
    if isinstance(found.letter, DeadLetter):
        readable = record_reader(settings).read(found.letter.value)
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
        typer.Argument(metavar="ID", help="As `list` shows them.", show_default=False),
    ] = None,
    *,
    reason: Reason = None,
    subscription: Subscription = None,
    since: Since = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many there are.")] = False,
) -> None:
    """Give dead letters another chance: those of these ids, or all that --reason, --subscription and --since choose.

    A job is sent again as a new run: first attempt, same bytes, what the subscription says now. A record that nobody
    could read is published to its source again, as it was. Jobs chosen by options that were retried before are left
    out; one that is named by its id is retried again.
    """
    settings = settings_of(ctx)
    if bool(ids) == ((reason, subscription, since) != (None, None, None)):
        raise InvalidInput("name dead letters by their ids, or by --reason, --subscription and --since; one of the two")
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
    left_out = f", {before:,} left out that were retried before" if before else ""
    typer.echo(f"{done:,} retried, {refused:,} refused{left_out}")
    if refused:
        raise typer.Exit(1)


def _act(settings: Settings, decisions: list[Decision], *, yes: bool) -> tuple[int, int]:
    """Write what is to be written, say what cannot be, and return the numbers of both."""
    from producers.dead_letters import Again, RetryWriter  # noqa: PLC0415  # see context.py

    records = [decision for decision in decisions if isinstance(decision, Again)]
    if len(records) > _MANY and not yes:
        _ask(records)
    if records:
        writer = RetryWriter(settings.kafka_properties(), settings.max_event)
        writer.write(records, lambda record: typer.echo(f"{record.id}  {record.what}"))
    for decision in decisions:
        if not isinstance(decision, Again):
            print_error(f"{decision.id}: {decision.why}")
    return len(records), len(decisions) - len(records)


def _decide(
    scanner: Scanner, settings: Settings, letters: DeadLetters, found: list[FoundDeadLetter], *, again: bool
) -> tuple[list[Decision], int]:
    """Return what to do about each, oldest first, and how many are left out as they were retried before."""
    from consumers.console.subscriptions import SubscriptionHistory  # noqa: PLC0415  # see context.py
    from producers.dead_letters import Refused, Retry  # noqa: PLC0415
    from schemas.delivery import DeadLetter  # noqa: PLC0415

    if not found:
        return [], 0
    runs = letters.runs(found)
    retry = Retry(settings.names, SubscriptionHistory(scanner, settings.names).current, scanner.topics(), runs)
    decisions: list[Decision] = []
    before = 0
    for one in sorted(found, key=lambda one: (one.at_ms, one.partition, one.offset)):
        letter = one.letter
        if not isinstance(letter, DeadLetter):
            decisions.append(Refused(one.id, f"it is no dead letter: {letter}"))
        elif not again and one.retried(runs) is not None:
            before += 1
        else:
            decisions.append(retry.decide(one.id, letter))
    return decisions, before


def _ask(records: list[Again]) -> None:
    topics = ", ".join(sorted({record.topic for record in records}))
    if not sys.stdin.isatty():
        raise InvalidInput(f"{len(records):,} records would be written to {topics}; say --yes if that is meant")
    typer.confirm(f"Write {len(records):,} records to {topics}?", abort=True, err=True)


def _letters(scanner: Scanner, settings: Settings) -> DeadLetters:
    from consumers.console.dead_letters import DeadLetters  # noqa: PLC0415  # see context.py
    from schemas.errors import Unavailable  # noqa: PLC0415

    letters = DeadLetters(scanner, settings.names)
    if not letters.is_there:
        raise Unavailable(f"the topic {settings.names.dead} is not there; `signpost topics apply` makes it")
    return letters


def _as_json(found: FoundDeadLetter, runs: Mapping[str, int] | None) -> dict[str, Any]:
    from consumers.console.readable import text_of, time_text  # noqa: PLC0415  # see context.py

    head = {"id": found.id, "time": time_text(found.at_ms)}
    letter = found.letter
    if isinstance(letter, str):
        return {**head, "reason": "unreadable", "detail": letter, "retried_as_run": None}
    return {
        **head,
        "reason": letter.reason,
        "detail": letter.detail,
        "subscription_id": letter.subscription_id,
        "event_id": letter.event_id,
        "job_id": letter.job_id,
        "attempts": letter.attempts,
        **({} if runs is None else {"retried_as_run": found.retried(runs)}),
        "at": time_text(letter.at_ms),
        "source": f"{letter.topic}:{letter.partition}:{letter.offset}",
        "key": text_of(letter.key),
        "headers": {name: text_of(value) for name, value in letter.headers},
    }


def _attempt(outcome: Record) -> dict[str, Any]:
    from consumers.console.readable import time_text  # noqa: PLC0415  # see context.py

    return {
        "run": outcome["run"],
        "attempt": outcome["attempt"],
        "at": time_text(outcome["at_ms"]),
        "state": outcome["state"],
        "reason": outcome["reason"],
        "status": outcome["status"],
        "duration_ms": outcome["duration_us"] / 1_000,
        "host": outcome["host"],
        "response": outcome["response"].decode("utf-8", "backslashreplace"),
    }


def lines_of(letters: list[dict[str, Any]], width: int | None) -> list[str]:
    """Return a table of letters as `--json` has them; two lines a letter where one would be too long."""
    from consumers.console.readable import printable  # noqa: PLC0415  # see context.py

    rows = [tuple(printable(cell) for cell in _cells(letter)) for letter in letters]
    columns = (*_COLUMNS, *_MORE)
    widths = widths_of(columns, rows)
    if width is None or sum(widths[:-1]) + 24 + 2 * (len(columns) - 1) <= width:
        return table(columns, rows, width)
    head, *firsts = table(_COLUMNS, [row[: len(_COLUMNS)] for row in rows], width)
    lines = [head]
    for first, (*_, event, detail) in zip(firsts, rows, strict=True):
        lines += [first, cut(f"  {'' if event == '-' else f'{event}  '}{detail}", width)]
    return lines


def _cells(letter: dict[str, Any]) -> tuple[str, ...]:
    run, detail = letter.get("retried_as_run", "?"), letter["detail"]
    return (
        letter["id"],
        f"{letter['time'][:19]}Z",
        letter["reason"],
        str(letter.get("attempts") or "-"),
        f"run {run}" if isinstance(run, int) else run or "-",
        letter.get("subscription_id") or "-",
        letter.get("event_id") or "-",
        cut(detail, 80),
    )


def _print_fields(fields: dict[str, Any]) -> None:
    from consumers.console.readable import line, printable  # noqa: PLC0415  # see context.py

    made, record = fields.pop("made"), fields.pop("record", None)
    width = screen_width()
    for name, value in fields.items():
        shown = line(value) if isinstance(value, dict) else printable(str(value if value is not None else ""))
        if shown:
            typer.echo(folded(f"{name + ':':<17}{shown}", width))
    if made:
        typer.echo("attempts made:")
        for attempt in made:
            typer.echo(folded(f"  {line(attempt)}", width))
    if record is None:
        return
    typer.echo(f"the record:      {record.pop('kind')}")
    for name, value in record.items():
        if value is not None and name not in {"event_id", "subscription_id", "job_id"}:
            shown = line({"": value}).removeprefix("=") if isinstance(value, dict) else printable(str(value))
            typer.echo(folded(f"  {name + ':':<15}{shown}", width))
