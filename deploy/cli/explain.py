"""`signpost explain`: what became of an event, read from the topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import OPERATE, print_json, settings_of
from deploy.cli.looking import Json, ago, no_bar, now_ms, scanning
from schemas.errors import InvalidInput, Unavailable
from schemas.near import did_you_mean

if TYPE_CHECKING:  # `signpost --help` does without
    from consumers.console.explanation import Attempt, Explanation, Run, Verdict
    from consumers.console.scan import Scanner
    from consumers.console.traces import Place, Traces
    from schemas.settings import Settings

_NOT_FOUND: Final = 1
_ROUTED: Final = {
    True: "the router has read it",
    False: "the router has not come to it yet",
    None: "no router has begun there",
}
_SECOND_MS: Final = 1_000
_SPANS: Final = ((3_600_000, "h", 1), (60_000, "min", 1), (_SECOND_MS, "s", 2))
_COLOURS: Final = {"delivered": "green", "dead": "red", "cancelled": "magenta", "waiting": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", rich_help_panel=OPERATE)(_explain)


def _explain(
    ctx: typer.Context,
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", help="Its id, or topic:partition:offset.")],
    *,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="TOPIC", help="Look in this source only.", show_default=False)
    ] = None,
    subscription: Annotated[
        str | None,
        typer.Option("--subscription", metavar="ID", help="Ask about this one, whosever it is.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Say what became of an event: who took it and who did not and why, each attempt, and how it ended or waits.

    Attempts are shown with the time at which they started, and how long after the event that was. All of it is read
    from the topics, now. It is there as long as they keep it (30 days).
    """
    settings = settings_of(ctx)
    with scanning(settings) as scanner:
        traces, found = _found(scanner, settings, event, topic, subscription)
        no_bar(scanner)
    if traces.missing:
        typer.echo(
            f"not there: {', '.join(traces.missing)}; `signpost topics apply` makes what is Signpost's", err=True
        )
    if json:
        print_json([_as_json(one) for one in found])
    for one in () if json else found:
        _print(one)
    if not found:
        typer.echo(f"no event {event} is in {topic or 'any source'}, and nothing is there that came of one", err=True)
        raise typer.Exit(_NOT_FOUND)


def _found(
    scanner: Scanner, settings: Settings, event: str, topic: str | None, subscription: str | None
) -> tuple[Traces, list[Explanation]]:
    from consumers.console.explanation import explain  # noqa: PLC0415  # clients load in 0.3 s that `--help` saves
    from consumers.console.subscriptions import Subscriptions  # noqa: PLC0415
    from consumers.console.traces import Tracer  # noqa: PLC0415
    from consumers.runtime.registry import Registry  # noqa: PLC0415
    from deploy.health import read_health  # noqa: PLC0415
    from deploy.router_role import source_senders  # noqa: PLC0415
    from deploy.senders import senders_of  # noqa: PLC0415
    from schemas.event_codec import EventDecoder  # noqa: PLC0415
    from schemas.topics import tiers_of  # noqa: PLC0415

    names, url = settings.names, settings.schema_registry_url
    registry = None if url is None else Registry(url)
    decoders = {
        source: (sender.name, EventDecoder(sender, registry)) for source, sender in source_senders(settings).items()
    }
    if topic is not None and topic not in decoders:
        topic = names.prefix + topic
        if topic not in decoders:
            hint = did_you_mean(topic, decoders) or f"; the sources are: {', '.join(decoders)}"
            raise InvalidInput(f"--topic: that is no source{hint}")
    if not scanner.partitions(decoders):
        raise Unavailable(f"no source is there ({', '.join(decoders)}); `signpost topics apply` makes Signpost's own")
    tiers = [names.jobs(delay) for delay in tiers_of(sender.schedule for sender in senders_of(settings).values())]
    traces = Tracer(scanner, names, tiers, decoders).trace(event, [topic] if topic else decoders)
    places = [place for place in traces.places() if topic in (None, place[0])]
    versions = Subscriptions(scanner, names).versions if places else []
    health = read_health(settings) if places and scanner.partitions([names.health]) else {}
    there = set(scanner.partitions({place[0] for place in places}))
    committed = scanner.committed(f"{settings.prefix}router", [p[:2] for p in places if p[:2] in there])
    positions = {key: at.offset for key, at in committed.items()}
    return traces, [
        explain(event, place, traces, versions, position=positions.get(place[:2]), only=subscription, health=health)
        for place in places
    ]


def _print(one: Explanation) -> None:
    from consumers.console.readable import printable, time_text  # noqa: PLC0415  # as above

    what = f"{one.event_type} of {one.customer_id}, sender {one.sender}" if one.event_type else one.sender
    came = f", came {time_text(one.at_ms)}" if one.at_ms else ""
    typer.secho(printable(f"{one.event_id}  {what}"), bold=True)
    typer.echo(printable(f"at {_place(one.place)}{came}; {_ROUTED[one.routed]}"))
    if one.trouble:
        typer.echo(printable(one.trouble))
    for place in one.dead_letters:
        typer.echo(f"dead letter {place[1]}:{place[2]}; `signpost dead-letters show {place[1]}:{place[2]}` shows it")
    took = [verdict for verdict in one.verdicts if verdict.took]
    others = [verdict for verdict in one.verdicts if not verdict.took]
    typer.echo(f"\ntaken by {_count(len(took))}")
    for verdict in took:
        _print_taker(verdict, one.at_ms)
    if others or one.other_customers:
        typer.echo(f"\nnot taken by {_count(len(others) + one.other_customers)}")
    width = max((len(verdict.subscription_id) for verdict in others), default=0)
    for verdict in others:
        typer.echo(f"  {printable(verdict.subscription_id).ljust(width)}  {printable(verdict.why)}")
    if one.other_customers:
        typer.echo(f"  {'and ' if others else ''}{one.other_customers:,} of other customers")


def _print_taker(verdict: Verdict, event_ms: int | None) -> None:
    from consumers.console.readable import printable  # noqa: PLC0415  # as above

    why = f"  ({verdict.why})" if verdict.why else ""
    typer.echo(printable(f"  {verdict.subscription_id}  {verdict.host}{why}"))
    for run in verdict.runs:
        if run.number:
            typer.echo(f"    run {run.number}, a retry")
        for attempt in run.attempts:
            typer.echo(printable(f"    {_attempt(attempt, event_ms)}"))
        typer.echo(f"    {typer.style(printable(run.ending), fg=_COLOURS.get(run.ending))}{printable(_ending(run))}")


def _attempt(attempt: Attempt, event_ms: int | None) -> str:
    """Say when an attempt started, how long after the event that was, and what came of it."""
    from consumers.console.readable import time_text  # noqa: PLC0415  # as above

    answer = str(attempt.status) if attempt.status is not None else attempt.error or attempt.reason
    started, follows = time_text(attempt.at_ms), ""
    if event_ms is not None:
        started += f"  {after(attempt.at_ms - event_ms):<9}"
    if attempt.next_due_at_ms:
        due_ms = attempt.next_due_at_ms
        follows = f", next at {time_text(due_ms) if event_ms is None else after(due_ms - event_ms)}"
    return f"{attempt.number}  {started}  {answer} in {attempt.duration_us / 1_000:,.1f} ms{follows}"


def after(ms: int) -> str:
    """Write how long after the event something was: `+44 ms`, `+1.05 s`, `+5.0 min`, `+2.1 h`."""
    if abs(ms) < _SECOND_MS:
        return f"{ms:+} ms"
    for unit_ms, name, digits in _SPANS:
        if abs(ms) >= 2 * unit_ms or unit_ms == _SECOND_MS:
            return f"{ms / unit_ms:+,.{digits}f} {name}"
    raise AssertionError


def _ending(run: Run) -> str:
    from consumers.console.readable import time_text  # noqa: PLC0415  # as above

    if run.ending == "waiting" and run.place is not None:
        since = f" since {time_text(run.since_ms)}" if run.since_ms else ""
        due = f", due {time_text(run.due_at_ms)} ({ago(run.due_at_ms, now_ms())})" if run.due_at_ms else ""
        aside = "" if due or run.place[0].endswith(".0s") else ", put aside: `signpost endpoints` says why"
        return f" in {_place(run.place)}{since}{due}{aside}"
    reason = f": {run.reason}" if run.reason else ""
    letter = run.dead_letter
    return reason + (f", dead letter {letter[1]}:{letter[2]}" if letter else "")


def _count(number: int) -> str:
    return f"{f'{number:,}' if number else 'no'} subscription{'' if number < 2 else 's'}"


def _place(place: Place) -> str:
    return ":".join(map(str, place))


def _as_json(one: Explanation) -> dict[str, Any]:
    """Return all of it, places as text and times as ISO 8601."""
    from dataclasses import asdict  # noqa: PLC0415  # as above

    converted: dict[str, Any] = _converted(asdict(one))
    return converted


def _converted(value: Any) -> Any:
    from consumers.console.readable import time_text  # noqa: PLC0415  # as above

    match value:
        case dict():
            return {
                name.removesuffix("_ms"): time_text(inner)
                if name.endswith("_ms") and inner is not None
                else _converted(inner)
                for name, inner in value.items()
            }
        case (str(), int(), int()):
            return _place(value)
        case list() | tuple():
            return [_converted(inner) for inner in value]
        case _:
            return value
