"""Explanation of an event: which subscriptions matched it, why others did not, and the result of each job. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from consumers.inspect.disabled import Disabling
from consumers.inspect.readable import time_text
from consumers.inspect.subscriptions import Version
from consumers.inspect.traces import EventSeen, JobSeen, LetterSeen, Place, Traces
from schemas.avro.codec import DecodedRecord
from schemas.catalog.errors import UnreadableRecord
from schemas.records.delivery import Job, JobCodec
from schemas.subscriptions.subscription import Subscription, host_of, matches

_JOBS: Final = JobCodec()

Ending: TypeAlias = Literal["delivered", "dead", "cancelled", "waiting", "unknown"]


@dataclass(frozen=True, slots=True)
class ExplainedAttempt:
    """One attempt; `error` is the kind of transport error, `next_due_at_ms` is set if another attempt follows."""

    number: int
    at_ms: int
    state: str
    status: int | None
    reason: str
    error: str
    duration_us: int
    next_due_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job: its attempts and ending; a waiting run also has its place, its start, and its due time.

    `began_at_ms` is when its first record was written; None if retention has deleted that record.
    """

    job_id: str
    number: int
    began_at_ms: int | None
    attempts: tuple[ExplainedAttempt, ...]
    ending: Ending
    reason: str
    place: Place | None = None
    since_ms: int | None = None
    due_at_ms: int | None = None
    dead_letter: Place | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionExplanation:
    """Whether one subscription took the event, and if not, `why`."""

    subscription_id: str
    host: str
    took: bool
    why: str
    runs: tuple[Run, ...] = ()


@dataclass(slots=True)
class Explanation:
    """An event at one place; `trouble` says why it was matched with no subscription.

    `found_by` says which kind of id was given, unless it is that of the event. `trace_id` is the id of its trace in
    OpenTelemetry, empty if there is none.
    """

    event_id: str
    found_by: str
    place: Place
    at_ms: int | None
    sender: str
    event_type: str
    customer_id: str
    routed: bool | None
    trouble: str = ""
    trace_id: str = ""
    dead_letters: list[Place] = field(default_factory=list)
    subscriptions: list[SubscriptionExplanation] = field(default_factory=list)
    other_customers: int = 0


@dataclass(frozen=True, slots=True)
class _Subject:
    sender: str
    event_type: str
    customer_id: str
    at_ms: int | None
    routed: bool | None


def explain(
    wanted: str,
    place: Place,
    traces: Traces,
    versions: Sequence[Version],
    *,
    position: int | None,
    only: str | None,
    disabled: Mapping[str, Sequence[Disabling]] = MappingProxyType({}),
) -> Explanation:
    """Explain the event at a place. `position`: the router's committed position there; `disabled`: by subscription.

    Subscriptions of other customers are only counted, unless `only` names one of them.
    """
    seen = next((one for one in traces.events if one.place == place), None)
    jobs = [one for one in traces.jobs if _source(one.job) == place]
    outcomes = [outcome for outcome in traces.outcomes if _source_of(outcome) == place]
    subject = _subject(seen, jobs, outcomes, None if position is None else position > place[2])
    unreadable = [one for one in traces.letters if _at(one) == place]
    found = Explanation(
        event_id=_id_of(place, traces, wanted),
        found_by=traces.found_by,
        place=place,
        at_ms=subject.at_ms,
        sender=subject.sender,
        event_type=subject.event_type,
        customer_id=subject.customer_id,
        routed=subject.routed,
        trouble=_trouble(seen, unreadable),
        trace_id=traces.trace_ids.get(place, ""),
        dead_letters=[one.place for one in unreadable],
    )
    runs = _runs(jobs, outcomes, traces.letters)
    by_id = _histories(versions)
    for id_ in sorted(by_id.keys() | runs.keys()):
        history, made = by_id.get(id_, []), runs.get(id_, ())
        if only is not None and id_ != only:
            continue
        if only is None and not made and _is_of_another(history, subject.customer_id):
            found.other_customers += 1
        elif made or not found.trouble:
            found.subscriptions.append(_explain_one(id_, history, made, subject, disabled.get(id_, ())))
    return found


def _id_of(place: Place, traces: Traces, wanted: str) -> str:
    """Return the id of the event at a place; `wanted` if no record has it."""
    found = [seen.event_id for seen in traces.events if seen.place == place]
    found += [one.job.event_id for one in traces.jobs if _source(one.job) == place]
    found += [str(o["event_id"]) for o in traces.outcomes if _source_of(o) == place]
    found += [one.event_id for one in traces.letters if one.source == place]
    return next((id_ for id_ in found if id_), wanted)


def _trouble(seen: EventSeen | None, unreadable: Sequence[LetterSeen]) -> str:
    last = unreadable[-1].letter if unreadable else None
    dead = "" if last is None else f"it was dead-lettered: {last.reason}: {last.detail}"
    if seen is None:
        return f"its record is no longer on the topic; {dead or 'the rest is from its jobs and their outcomes'}"
    return f"its record is unreadable: {seen.event}" if isinstance(seen.event, str) else dead


def _histories(versions: Sequence[Version]) -> dict[str, list[Version]]:
    """Return the versions of each subscription, the oldest first."""
    by_id: dict[str, list[Version]] = {}
    for version in sorted(versions, key=lambda one: (one.at_ms, one.partition, one.offset)):
        by_id.setdefault(version.id, []).append(version)
    return by_id


def _explain_one(
    id_: str, history: Sequence[Version], runs: Sequence[Run], subject: _Subject, disabled: Sequence[Disabling]
) -> SubscriptionExplanation:
    last = next((v.content for v in reversed(history) if isinstance(v.content, Subscription)), None)
    host = host_of(last) if last else ""
    if runs:
        return SubscriptionExplanation(id_, host, True, _how(history, runs), tuple(runs))
    return SubscriptionExplanation(id_, host, False, _why_not(history, subject, disabled))


def _how(history: Sequence[Version], runs: Sequence[Run]) -> str:
    if history and history[-1].content is None:
        return "deleted since"
    content = history[-1].content if history else None
    return "paused now" if isinstance(content, Subscription) and content.paused and runs[-1].ending == "waiting" else ""


def _why_not(history: Sequence[Version], subject: _Subject, disabled: Sequence[Disabling]) -> str:
    """Return why a subscription has no job, by its record at the time of the event if the topic still has it."""
    before = [v for v in history if subject.at_ms is None or v.at_ms <= subject.at_ms]
    content = before[-1].content if before else history[0].content
    match content:
        case None:
            return "deleted before the event arrived" if before else "deleted since"
        case str():
            return f"its record is unreadable: {content}; the events of its customer wait"
        case _:
            later = history[len(before) :]
            reason = _difference(content, subject, disabled, known_then=bool(before))
            return reason or _withheld_by_later(later, subject, disabled)


def _difference(
    content: Subscription, subject: _Subject, disabled: Sequence[Disabling], *, known_then: bool
) -> str | None:
    """Return the first reason that holds; `known_then`: `content` was effective when the event arrived."""
    later = not known_then and subject.at_ms is not None and content.created_at_ms > subject.at_ms
    takes = any(matches(pattern, subject.event_type) for pattern in content.event_types)
    disabling = _disabled_then(content, subject, disabled)
    # An activation is the time of the resume, in Unix ms.
    resumed = not known_then and subject.at_ms is not None and content.activation > subject.at_ms
    reasons = (
        (content.customer_id != subject.customer_id, f"is of customer {content.customer_id}"),
        (content.sender != subject.sender, f"is of sender {content.sender}"),
        (later, "created after the event arrived"),
        (not takes, f"takes only {', '.join(content.event_types)}" if content.event_types else "takes no event types"),
        (content.paused, "paused" if known_then else "paused, by its later record"),
        (disabling is not None, f"disabled ({disabling.reason if disabling else ''}) before the event arrived"),
        (resumed, f"paused or disabled when the event arrived; resumed at {time_text(content.activation)}"),
        (not known_then, "changed since: its record at the time of the event is no longer on the topic"),
        (subject.routed is False, "takes it, once the router reaches it"),
        (subject.routed is None, "takes it, but the router has no position there: it has not started"),
    )
    return next((why for holds, why in reasons if holds), None)


def _disabled_then(content: Subscription, subject: _Subject, disabled: Sequence[Disabling]) -> Disabling | None:
    """Return what disabled a subscription until the event arrived; None if it was active, or resumed in between."""
    found = None
    for one in disabled:
        is_before = subject.at_ms is None or one.at_ms <= subject.at_ms
        resumed = one.at_ms < content.activation and (subject.at_ms is None or content.activation <= subject.at_ms)
        if is_before and not resumed:
            found = one
    return found


def _withheld_by_later(later: Sequence[Version], subject: _Subject, disabled: Sequence[Disabling]) -> str:
    """Return why a subscription that took the event has no job: the router reads it some time after it has arrived."""
    arrived_ms = subject.at_ms or 0
    ends = [(one.at_ms, f"disabled ({one.reason})") for one in disabled if one.at_ms > arrived_ms]
    for version in later:
        if version.content is None:
            ends.append((version.at_ms, "deleted"))
        elif isinstance(version.content, Subscription) and version.content.paused:
            ends.append((version.at_ms, "paused"))
    if ends:
        at_ms, what = min(ends)
        return (
            f"takes it, but there is no job: it was {what} at {time_text(at_ms)}, probably before the router read the "
            "event"
        )
    return (
        "takes it, but there is no job: retention has deleted the job, or the router used another record of the "
        "subscription"
    )


def _runs(
    jobs: Iterable[JobSeen], outcomes: Iterable[DecodedRecord], letters: Iterable[LetterSeen]
) -> dict[str, tuple[Run, ...]]:
    """Return the runs of all jobs by subscription, in their order."""
    records: dict[tuple[str, str, int], list[JobSeen]] = {}
    for one in jobs:
        records.setdefault((one.job.subscription_id, one.job.job_id, one.job.run), []).append(one)
    tried: dict[tuple[str, str, int], list[DecodedRecord]] = {}
    for outcome in outcomes:
        tried.setdefault((outcome["subscription_id"], outcome["job_id"], outcome["run"]), []).append(outcome)
    found: dict[str, tuple[Run, ...]] = {}
    letters = list(letters)
    for key in sorted(records.keys() | tried.keys()):
        run = _run(key, records.get(key, []), tried.get(key, []), letters)
        found[key[0]] = (*found.get(key[0], ()), run)
    return found


def _run(
    key: tuple[str, str, int], records: list[JobSeen], outcomes: list[DecodedRecord], letters: Sequence[LetterSeen]
) -> Run:
    _, id_, number = key
    outcomes = sorted(outcomes, key=lambda o: (o["at_ms"], o["attempt"]))
    attempts = tuple(
        ExplainedAttempt(
            number=o["attempt"],
            at_ms=o["at_ms"],
            state=o["state"],
            status=o["status"],
            reason=o["reason"],
            error=o["error"] or "",
            duration_us=o["duration_us"],
            next_due_at_ms=o["next_due_at_ms"],
        )
        for o in outcomes
        if _was_sent(o)
    )
    first = min((one.at_ms for one in records if one.job.attempt == 1), default=None)
    end = next((o for o in reversed(outcomes) if o["state"] != "retry"), None)
    if end is not None:
        mine = [one.place for one in letters if one.letter.job_id == id_ and _run_of(one) == number]
        letter = mine[-1] if mine and end["state"] == "dead" else None
        return Run(id_, number, first, attempts, end["state"], end["reason"], dead_letter=letter)
    if not records:
        return Run(id_, number, first, attempts, "unknown", "its record is no longer in any delay topic")
    last = max(records, key=lambda one: (one.job.attempt, one.at_ms))
    if attempts and last.job.attempt <= attempts[-1].number:
        return Run(id_, number, first, attempts, "unknown", "the record of its next attempt is missing")
    due_at_ms = last.job.due_at_ms or None
    return Run(id_, number, first, attempts, "waiting", "", place=last.place, since_ms=last.at_ms, due_at_ms=due_at_ms)


def _was_sent(outcome: DecodedRecord) -> bool:
    """Return whether an outcome is that of an attempt, which has a status or an error."""
    return outcome["status"] is not None or outcome["error"] is not None


def _run_of(seen: LetterSeen) -> int:
    try:
        return _JOBS.decode(seen.letter.value).run
    except UnreadableRecord:
        return 0


def _subject(
    seen: EventSeen | None, jobs: Sequence[JobSeen], outcomes: Sequence[DecodedRecord], routed: bool | None
) -> _Subject:
    if seen is not None and not isinstance(seen.event, str):
        return _Subject(seen.sender, seen.event.event_type, seen.event.customer_id, seen.at_ms or None, routed)
    for one in jobs:
        job = one.job
        return _Subject(job.sender, job.event_type, job.customer_id, max(job.appended_at_ms, 0) or None, routed)
    for o in outcomes:
        return _Subject(o["sender"], o["event_type"], o["customer_id"], max(o["appended_at_ms"], 0) or None, routed)
    return _Subject(seen.sender if seen else "", "", "", seen.at_ms if seen else None, routed)


def _is_of_another(history: Sequence[Version], customer_id: str) -> bool:
    """Return whether all known records of a subscription are of other customers, or tombstones."""
    customers = {v.content.customer_id for v in history if isinstance(v.content, Subscription)}
    return customer_id not in customers and not isinstance(history[-1].content, str)


def _source_of(outcome: DecodedRecord) -> Place:
    return outcome["source_topic"], outcome["source_partition"], outcome["source_offset"]


def _source(job: Job) -> Place:
    return job.source_topic, job.source_partition, job.source_offset


def _at(seen: LetterSeen) -> Place:
    return seen.letter.topic, seen.letter.partition, seen.letter.offset
