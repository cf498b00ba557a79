"""Explanation of an event: which subscriptions matched it, why others did not, and the result of each job. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from consumers.inspect.subscriptions import Version
from consumers.inspect.traces import EventSeen, JobSeen, LetterSeen, Place, Traces
from schemas.avro.codec import DecodedRecord
from schemas.catalog.errors import UnreadableRecord
from schemas.records.delivery import Job, JobCodec
from schemas.records.health import Health
from schemas.subscriptions.subscription import Subscription, matches

_JOBS: Final = JobCodec()

Ending: TypeAlias = Literal["delivered", "dead", "cancelled", "waiting", "unknown"]


@dataclass(frozen=True, slots=True)
class Attempt:
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
    """One run of a job: its attempts and ending; a waiting run also has its place, its start, and its due time."""

    job_id: str
    number: int
    attempts: tuple[Attempt, ...]
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
    """An event at one place; `trouble` says why it was matched with no subscription."""

    event_id: str
    place: Place
    at_ms: int | None
    sender: str
    event_type: str
    customer_id: str
    routed: bool | None
    trouble: str = ""
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
    health: Mapping[str, Health] = MappingProxyType({}),
) -> Explanation:
    """Explain the event at a place. `position`: the router's committed position there; `health`: by subscription.

    Subscriptions of other customers are only counted, unless `only` names one of them.
    """
    seen = next((one for one in traces.events if one.place == place), None)
    jobs = [one for one in traces.jobs if _source(one.job) == place]
    outcomes = [o for o in traces.outcomes if (o["source_topic"], o["source_partition"], o["source_offset"]) == place]
    subject = _subject(seen, jobs, outcomes, None if position is None else position > place[2])
    found = Explanation(
        wanted, place, subject.at_ms, subject.sender, subject.event_type, subject.customer_id, subject.routed
    )
    if seen is None:
        found.trouble = "its record is no longer on the topic; the rest is from its jobs and their outcomes"
    elif isinstance(seen.event, str):
        found.trouble = f"its record is unreadable: {seen.event}"
    unreadable = [one for one in traces.letters if _at(one) == place]
    found.dead_letters = [one.place for one in unreadable]
    if unreadable and not found.trouble:
        found.trouble = f"it was dead-lettered: {unreadable[-1].letter.reason}: {unreadable[-1].letter.detail}"
    runs = _runs(jobs, outcomes, traces.letters)
    by_id = _histories(versions)
    for id_ in sorted(by_id.keys() | runs.keys()):
        history, made = by_id.get(id_, []), runs.get(id_, ())
        if only is not None and id_ != only:
            continue
        if only is None and not made and _is_of_another(history, subject.customer_id):
            found.other_customers += 1
        elif made or not found.trouble:
            found.subscriptions.append(_explain_one(id_, history, made, subject, health.get(id_)))
    return found


def _histories(versions: Sequence[Version]) -> dict[str, list[Version]]:
    """Return the versions of each subscription, the oldest first."""
    by_id: dict[str, list[Version]] = {}
    for version in sorted(versions, key=lambda one: (one.at_ms, one.partition, one.offset)):
        by_id.setdefault(version.id, []).append(version)
    return by_id


def _explain_one(
    id_: str, history: Sequence[Version], runs: Sequence[Run], subject: _Subject, health: Health | None
) -> SubscriptionExplanation:
    last = next((v.content for v in reversed(history) if isinstance(v.content, Subscription)), None)
    host = _host(last) if last else ""
    if runs:
        return SubscriptionExplanation(id_, host, True, _how(history, runs), tuple(runs))
    return SubscriptionExplanation(id_, host, False, _why_not(history, subject, health))


def _how(history: Sequence[Version], runs: Sequence[Run]) -> str:
    if history and history[-1].content is None:
        return "deleted since"
    content = history[-1].content if history else None
    return "paused now" if isinstance(content, Subscription) and content.paused and runs[-1].ending == "waiting" else ""


def _why_not(history: Sequence[Version], subject: _Subject, health: Health | None) -> str:
    """Return why a subscription has no job, by its record at the time of the event if the topic still has it."""
    before = [v for v in history if subject.at_ms is None or v.at_ms <= subject.at_ms]
    content = before[-1].content if before else history[0].content
    match content:
        case None:
            return "deleted before the event arrived" if before else "deleted since"
        case str():
            return f"its record is unreadable: {content}; the events of its customer wait"
        case _:
            return _difference(content, subject, health, known_then=bool(before))


def _difference(content: Subscription, subject: _Subject, health: Health | None, *, known_then: bool) -> str:
    """Return the first reason that holds; `known_then`: `content` was effective when the event arrived."""
    later = not known_then and subject.at_ms is not None and content.created_at_ms > subject.at_ms
    takes = any(matches(pattern, subject.event_type) for pattern in content.event_types)
    reasons = (
        (content.customer_id != subject.customer_id, f"is of customer {content.customer_id}"),
        (content.sender != subject.sender, f"is of sender {content.sender}"),
        (later, "created after the event arrived"),
        (not takes, f"takes only {', '.join(content.event_types)}" if content.event_types else "takes no event types"),
        (content.paused, "paused" if known_then else "paused, by its later record"),
        (
            _was_disabled(content, subject, health),
            f"disabled ({health.reason if health else ''}) before the event arrived",
        ),
        (not known_then, "changed since: its record at the time of the event is no longer on the topic"),
        (subject.routed is False, "takes it, once the router reaches it"),
        (subject.routed is None, "takes it, but the router has no position there: it has not started"),
    )
    lost = (
        "takes it, but there is no job: the subscription was disabled then, retention has deleted the job, or the "
        "router used another record of the subscription"
    )
    return next((why for holds, why in reasons if holds), lost)


def _was_disabled(content: Subscription, subject: _Subject, health: Health | None) -> bool:
    if health is None or health.disabled_at_ms is None or not health.disables(content.activation):
        return False
    return subject.at_ms is None or health.disabled_at_ms <= subject.at_ms


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
        Attempt(
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
    end = next((o for o in reversed(outcomes) if o["state"] != "retry"), None)
    if end is not None:
        mine = [one.place for one in letters if one.letter.job_id == id_ and _run_of(one) == number]
        letter = mine[-1] if mine and end["state"] == "dead" else None
        return Run(id_, number, attempts, end["state"], end["reason"], dead_letter=letter)
    if not records:
        return Run(id_, number, attempts, "unknown", "its record is no longer in any delay topic")
    last = max(records, key=lambda one: (one.job.attempt, one.at_ms))
    if attempts and last.job.attempt <= attempts[-1].number:
        return Run(id_, number, attempts, "unknown", "the record of its next attempt is missing")
    due_at_ms = last.job.due_at_ms or None
    return Run(id_, number, attempts, "waiting", "", place=last.place, since_ms=last.at_ms, due_at_ms=due_at_ms)


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


def _source(job: Job) -> Place:
    return job.source_topic, job.source_partition, job.source_offset


def _at(seen: LetterSeen) -> Place:
    return seen.letter.topic, seen.letter.partition, seen.letter.offset


def _host(subscription: Subscription) -> str:
    try:
        return urlsplit(subscription.url).hostname or "?"
    except ValueError:
        return "?"
