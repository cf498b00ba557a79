"""`signpost explain`: what happened to an event, read from the topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from consumers.inspect.disabled import disablings
from consumers.inspect.explanation import ExplainedAttempt, Explanation, Run, SubscriptionExplanation, explain
from consumers.inspect.readable import time_text
from consumers.inspect.scan import Scanner
from consumers.inspect.subscriptions import SubscriptionHistory, Version
from consumers.inspect.traces import Place, Traces
from deploy.cli.context import command_app, print_json, settings_of
from deploy.cli.scanning import Json, ago, no_bar, now_ms, scanning
from deploy.cli.tracing import tracer_of
from deploy.config.health import read_health
from deploy.config.senders import senders_of
from schemas.catalog.errors import InvalidInput, Unavailable
from schemas.input.suggestions import did_you_mean
from schemas.input.terminal import printable
from schemas.senders.traits import ids_in
from schemas.settings.settings import Settings

app = command_app()

_NOT_FOUND: Final = 1
_ROUTED: Final = {
    True: "the router has read it",
    False: "the router has not read it yet",
    None: "no router has a position there",
}
_SECOND_MS: Final = 1_000
_SPANS: Final = ((3_600_000, "h", 1), (60_000, "min", 1), (_SECOND_MS, "s", 2))
_COLOURS: Final = {"delivered": "green", "dead": "red", "cancelled": "magenta", "waiting": "yellow"}


@app.command()
def _explain(
    ctx: typer.Context,
    event: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of the event, as it was published or as a receiver sees it in headers; id of a job; or "
            "topic:partition:offset.",
        ),
    ],
    *,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="TOPIC", help="Search this source only.", show_default=False)
    ] = None,
    subscription: Annotated[
        str | None,
        typer.Option("--subscription", metavar="ID", help="Only this one, of any customer.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Explain what happened to an event: who took it, who did not and why, each attempt, and the outcome.

    Each attempt has the time at which it started, absolute and relative to the event; in a run that retries a dead
    letter, relative to the retry. The command reads the topics, which keep their records for 30 days.
    """
    settings = settings_of(ctx)
    with scanning(settings) as scanner:
        traces, found = _found(scanner, settings, event, topic, subscription)
        known = [] if found else _subscriptions_named(scanner, settings, event)
        no_bar(scanner)
    if traces.missing:
        typer.echo(f"missing: {', '.join(traces.missing)}; `signpost topics apply` creates Signpost's own", err=True)
    if json:
        print_json([_as_json(one) for one in found])
    else:
        typer.echo("\n\n".join("\n".join(lines_of(one)) for one in found), nl=bool(found))
    if not found:
        typer.echo(
            printable(f"no event {event} is in {topic or 'any source'}, nor a job, outcome or dead letter of it"),
            err=True,
        )
        for id_ in known:
            typer.echo(f"{id_} is a subscription: `signpost subscriptions show {id_}` shows it", err=True)
        raise typer.Exit(_NOT_FOUND)


def _found(
    scanner: Scanner, settings: Settings, event: str, topic: str | None, subscription: str | None
) -> tuple[Traces, list[Explanation]]:
    names = settings.names
    tracer, sources = tracer_of(scanner, settings)
    if topic is not None and topic not in sources:
        topic = names.prefix + topic
        if topic not in sources:
            hint = did_you_mean(topic, sources) or f"; the sources are: {', '.join(sources)}"
            raise InvalidInput(f"--topic: {topic} is not a source{hint}")
    if not scanner.partitions(sources):
        raise Unavailable(f"no source exists ({', '.join(sources)}); `signpost topics apply` creates Signpost's own")
    traces = tracer.trace(event, [topic] if topic else sources)
    places = [place for place in traces.places() if topic in (None, place[0])]
    versions = SubscriptionHistory(scanner, names).versions if places else []
    if subscription is not None and places:
        _check_subscription(subscription, traces, versions)
    health = read_health(settings) if places and scanner.partitions([names.health]) else {}
    disabled = disablings(scanner, names, health) if places else {}
    there = set(scanner.partitions({place[0] for place in places}))
    committed = scanner.committed(f"{settings.prefix}router", [p[:2] for p in places if p[:2] in there])
    positions = {key: at.offset for key, at in committed.items()}
    return traces, [
        explain(event, place, traces, versions, position=positions.get(place[:2]), only=subscription, disabled=disabled)
        for place in places
    ]


def _check_subscription(id_: str, traces: Traces, versions: Sequence[Version]) -> None:
    """Refuse an unknown subscription. A deleted one may have left jobs and outcomes only."""
    known = {version.id for version in versions} | {one.job.subscription_id for one in traces.jobs}
    known |= {outcome["subscription_id"] for outcome in traces.outcomes}
    if id_ not in known:
        raise InvalidInput(f"--subscription: there is no subscription {id_}{did_you_mean(id_, known)}")


def _subscriptions_named(scanner: Scanner, settings: Settings, text: str) -> list[str]:
    """Return the subscriptions whose id was given instead of that of an event: a header may contain it."""
    if not scanner.partitions([settings.names.subscriptions]):
        return []
    known = {version.id for version in SubscriptionHistory(scanner, settings.names).versions}
    return [id_ for id_ in ids_in(text, senders_of(settings)) if id_ in known]


def lines_of(one: Explanation) -> list[str]:
    """Return an explanation as lines for people."""
    what = f"{one.event_type} of {one.customer_id}, sender {one.sender}" if one.event_type else one.sender
    arrived = f", arrived {time_text(one.at_ms)}" if one.at_ms else ""
    lines = [
        typer.style(printable(f"{one.event_id}  {what}"), bold=True),
        printable(f"at {_place(one.place)}{arrived}; {_ROUTED[one.routed]}"),
    ]
    if one.found_by:
        lines.append(printable(f"found by {one.found_by}"))
    if one.trace_id:
        lines.append(f"trace {one.trace_id}")
    if one.trouble:
        lines.append(printable(one.trouble))
    letters = [f"{partition}:{offset}" for _, partition, offset in one.dead_letters]
    lines += [f"dead letter {id_}; `signpost dead-letters show {id_}` shows it" for id_ in letters]
    took = [subscription for subscription in one.subscriptions if subscription.took]
    others = [subscription for subscription in one.subscriptions if not subscription.took]
    lines += ["", f"taken by {_count(len(took))}"]
    for subscription in took:
        lines += _taker_lines(subscription, one.at_ms)
    if others or one.other_customers:
        lines += ["", f"not taken by {_count(len(others) + one.other_customers)}"]
    width = max((len(subscription.subscription_id) for subscription in others), default=0)
    for subscription in others:
        lines.append(f"  {printable(subscription.subscription_id).ljust(width)}  {printable(subscription.why)}")
    if one.other_customers:
        lines.append(f"  {'and ' if others else ''}{one.other_customers:,} of other customers")
    return lines


def _taker_lines(subscription: SubscriptionExplanation, event_ms: int | None) -> list[str]:
    why = f"  ({subscription.why})" if subscription.why else ""
    lines = [printable(f"  {subscription.subscription_id}  {subscription.host}{why}")]
    for run in subscription.runs:
        began_ms = event_ms
        if run.number:
            began_ms = run.began_at_ms or next((attempt.at_ms for attempt in run.attempts), None)
            lines.append(f"    run {run.number}, a retry{f' of {time_text(began_ms)}' if began_ms is not None else ''}")
        lines += [printable(f"    {_attempt(attempt, began_ms)}") for attempt in run.attempts]
        ending = typer.style(printable(run.ending), fg=_COLOURS.get(run.ending))
        lines.append(f"    {ending}{printable(_ending(run))}")
    return lines


def _attempt(attempt: ExplainedAttempt, began_ms: int | None) -> str:
    """Return an attempt as a line: when it started, absolute and relative to the event or the retry, and its result."""
    result = str(attempt.status) if attempt.status is not None else attempt.error or attempt.reason
    started = time_text(attempt.at_ms)
    follows = ""
    if began_ms is not None:
        started += f"  {after(attempt.at_ms - began_ms):<9}"
    if attempt.next_due_at_ms:
        due_ms = attempt.next_due_at_ms
        follows = f", next at {time_text(due_ms) if began_ms is None else after(due_ms - began_ms)}"
    return f"{attempt.number}  {started}  {result} in {attempt.duration_us / 1_000:,.1f} ms{follows}"


def after(ms: int) -> str:
    """Write a time relative to the event or the retry: `+44 ms`, `+1.05 s`, `+5.0 min`, `+2.1 h`."""
    if abs(ms) < _SECOND_MS:
        return f"{ms:+} ms"
    for unit_ms, name, digits in _SPANS:
        if abs(ms) >= 2 * unit_ms or unit_ms == _SECOND_MS:
            return f"{ms / unit_ms:+,.{digits}f} {name}"
    raise AssertionError


def _ending(run: Run) -> str:
    if run.ending == "waiting" and run.place is not None:
        since = f" since {time_text(run.since_ms)}" if run.since_ms else ""
        due = f", due {time_text(run.due_at_ms)} ({ago(run.due_at_ms, now_ms())})" if run.due_at_ms else ""
        deferred = "" if due or run.place[0].endswith(".0s") else ", deferred: `signpost endpoints` shows why"
        return f" in {_place(run.place)}{since}{due}{deferred}"
    reason = f": {run.reason}" if run.reason else ""
    letter = run.dead_letter
    return reason + (f", dead letter {letter[1]}:{letter[2]}" if letter else "")


def _count(number: int) -> str:
    return f"{f'{number:,}' if number else 'no'} subscription{'' if number < 2 else 's'}"


def _place(place: Place) -> str:
    return ":".join(map(str, place))


def _as_json(one: Explanation) -> dict[str, Any]:
    """Return all fields, places as text and times in ISO 8601."""
    converted: dict[str, Any] = _converted(asdict(one))
    return converted


def _converted(value: Any) -> Any:
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
