"""Turns a batch of outcomes into rows. Pure: the deliveries that exist are an argument.

Each table has a function of its own, which goes through all outcomes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from consumers.ledger.rows import (
    HOUR_MS,
    LATENCY_BOUNDS_US,
    Advance,
    Attempt,
    Delivery,
    Kept,
    LedgerBatch,
    Rollup,
    RollupKey,
    Totals,
    Unwritten,
    bit_of,
)
from schemas.records.delivery import State


def fold(
    unwritten: Unwritten,
    known: Mapping[str, Delivery],
    advances: Mapping[tuple[str, int], Advance],
    kept: Kept,
) -> LedgerBatch:
    """Return the rows of a batch. `known` has the deliveries that exist already, by job id; they are changed."""
    outcomes = unwritten.outcomes
    new: dict[str, Delivery] = {}
    changed: dict[str, Delivery] = {}
    ends = _add_to_deliveries(outcomes, known, new, changed)
    deliveries, known_deliveries = _placed(new, kept), _placed(changed, kept)
    return LedgerBatch(
        attempts=_attempts(outcomes, new, changed, kept),
        dead_letters=[row for row in unwritten.dead_letters if kept.clamped(row.recorded_at_ms) is not None],
        operations=[row for row in unwritten.operations if kept.clamped(row.recorded_at_ms) is not None],
        deliveries=deliveries,
        known_deliveries=known_deliveries,
        rollups=_rollups(outcomes, kept),
        totals=_totals(outcomes, ends),
        advances=advances,
    )


def _add_to_deliveries(
    outcomes: Iterable[Attempt], known: Mapping[str, Delivery], new: dict[str, Delivery], changed: dict[str, Delivery]
) -> list[tuple[str, State]]:
    """Add outcomes to their deliveries, and return subscription and state of each run that ended for the first time.

    `new` and `changed` get the deliveries of the batch by job id. A repeated job can end a run twice; only the first
    end is returned.
    """
    ends: list[tuple[str, State]] = []
    for outcome in outcomes:
        job_id = outcome.job_id
        delivery = new.get(job_id) or changed.get(job_id)
        if delivery is None:
            delivery = known.get(job_id)
            if delivery is None:
                new[job_id] = delivery = _first(outcome)
                if delivery.ended_runs:
                    ends.append((delivery.subscription_id, delivery.state))
                continue
            changed[job_id] = delivery
        if _add(outcome, delivery):
            ends.append((outcome.subscription_id, outcome.state))
    return ends


def _first(outcome: Attempt) -> Delivery:
    """Return the delivery of a job of which this is the first outcome."""
    # Most outcomes are the only one of their job. Unpacking the row costs less than reading its fields by name.
    (
        _recorded_at_ms,
        _partition,
        _offset,
        job_id,
        run,
        _attempt,
        subscription_id,
        customer_id,
        sender,
        event_type,
        event_id,
        state,
        reason,
        status,
        error,
        _host,
        at_ms,
        _duration_us,
        next_due_at_ms,
        _response,
        _response_not_kept,
        _job_partition,
        _job_offset,
        appended_at_ms,
    ) = outcome
    is_attempt = status is not None or error is not None  # a job can also end before its first attempt
    return Delivery(
        job_id,
        appended_at_ms,
        subscription_id,
        customer_id,
        sender,
        event_type,
        event_id,
        run,
        state,
        reason,
        1 if is_attempt else 0,
        at_ms if is_attempt else None,
        status,
        error,
        next_due_at_ms,
        0 if state == "retry" else bit_of(run),
    )


def _add(outcome: Attempt, delivery: Delivery) -> bool:
    """Add a later outcome to a delivery; return whether a run ended for the first time."""
    run, state = outcome.run, outcome.state
    if outcome.status is not None or outcome.error is not None:
        delivery.attempts += 1
        if delivery.last_at_ms is None or outcome.at_ms >= delivery.last_at_ms:
            delivery.last_at_ms = outcome.at_ms
            delivery.last_status = outcome.status
            delivery.last_error = outcome.error
    if delivery.has_ended(run):
        return False  # the job was repeated
    if run >= delivery.run:
        delivery.run = run
        delivery.state = state
        delivery.reason = outcome.reason
        delivery.next_due_at_ms = outcome.next_due_at_ms
    return state != "retry" and delivery.end(run)


def _placed(deliveries: Mapping[str, Delivery], kept: Kept) -> list[Delivery]:
    """Return the deliveries that are written."""
    begin_ms, end_ms = kept
    return [one for one in deliveries.values() if begin_ms <= one.appended_at_ms < end_ms or one.place_within(kept)]


def _attempts(
    outcomes: Iterable[Attempt], new: Mapping[str, Delivery], changed: Mapping[str, Delivery], kept: Kept
) -> list[Attempt]:
    """Return the attempts that are written. Each one has the time of its delivery's row, by which it is found."""
    found: list[Attempt] = []
    begin_ms, end_ms = kept
    for outcome in outcomes:
        job_id, recorded_at_ms = outcome.job_id, outcome.recorded_at_ms
        delivery = new.get(job_id) or changed[job_id]
        if outcome.appended_at_ms == delivery.appended_at_ms and begin_ms <= recorded_at_ms < end_ms:
            found.append(outcome)
        elif (at_ms := kept.clamped(recorded_at_ms)) is not None:
            found.append(outcome._replace(recorded_at_ms=at_ms, appended_at_ms=delivery.appended_at_ms))
    return found


def _rollups(outcomes: Iterable[Attempt], kept: Kept) -> dict[RollupKey, Rollup]:
    """Return what the outcomes add to the hourly numbers."""
    found: dict[tuple[str, int, State], Rollup] = {}
    begin_ms, end_ms = kept
    for outcome in outcomes:
        at_ms, duration_us = outcome.at_ms, outcome.duration_us
        if at_ms < begin_ms:
            continue
        if at_ms >= end_ms:
            at_ms = end_ms - 1
        key = (outcome.subscription_id, at_ms - at_ms % HOUR_MS, outcome.state)
        rollup = found.get(key)
        if rollup is None:
            rollup = found[key] = Rollup()
        rollup.count += 1
        rollup.duration_us += duration_us
        rollup.buckets[bisect_left(LATENCY_BOUNDS_US, duration_us)] += 1
    return {RollupKey._make(key): rollup for key, rollup in found.items()}


def _totals(outcomes: Iterable[Attempt], ends: Iterable[tuple[str, State]]) -> dict[str, Totals]:
    """Return what the outcomes add to the totals."""
    found: dict[str, Totals] = {}
    for outcome in outcomes:
        total = found.get(outcome.subscription_id)
        if total is None:
            total = found[outcome.subscription_id] = Totals(outcome.customer_id, outcome.sender)
        status, error = outcome.status, outcome.error
        if status is None and error is None:
            continue
        at_ms = outcome.at_ms
        total.attempts += 1
        if total.last_at_ms is None or at_ms >= total.last_at_ms:
            total.last_at_ms = at_ms
            total.last_status = status
            total.last_error = error
    for (subscription_id, state), count in Counter(ends).items():
        total = found[subscription_id]
        match state:
            case "delivered":
                total.delivered += count
            case "dead":
                total.dead += count
            case _:
                total.cancelled += count
    return found
