"""Turns a batch of outcomes into rows. Pure: the deliveries that exist are an argument."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

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
)


def fold(
    unwritten: Unwritten,
    known: Mapping[str, Delivery],
    advances: Mapping[tuple[str, int], Advance],
    kept: Kept,
) -> LedgerBatch:
    """Return the rows of a batch. `known` has the deliveries that exist already, by job id; they are changed."""
    attempts: list[Attempt] = []
    deliveries: dict[str, Delivery] = {}
    rollups: dict[RollupKey, Rollup] = {}
    totals: dict[str, Totals] = {}
    begin_ms, end_ms = kept
    for attempt, appended_at_ms in unwritten.outcomes:
        if begin_ms <= attempt.recorded_at_ms < end_ms:
            attempts.append(attempt)
        elif (recorded_at_ms := kept.clamped(attempt.recorded_at_ms)) is not None:
            attempts.append(attempt._replace(recorded_at_ms=recorded_at_ms))
        job_id, subscription_id = attempt.job_id, attempt.subscription_id
        delivery = deliveries.get(job_id)
        if delivery is None:
            delivery = deliveries[job_id] = known.get(job_id) or _new(attempt, appended_at_ms)
        total = totals.get(subscription_id)
        if total is None:
            total = totals[subscription_id] = Totals(attempt.customer_id, attempt.sender)
        _add(attempt, delivery, total)
        if begin_ms <= attempt.at_ms:
            _roll_up(attempt, rollups, end_ms)
    written = [one for one in deliveries.values() if begin_ms <= one.appended_at_ms < end_ms or one.place_within(kept)]
    letters = [row for row in unwritten.dead_letters if kept.clamped(row.recorded_at_ms) is not None]
    operations = [row for row in unwritten.operations if kept.clamped(row.recorded_at_ms) is not None]
    return LedgerBatch(attempts, letters, operations, written, rollups, totals, advances)


def _add(attempt: Attempt, delivery: Delivery, total: Totals) -> None:
    run, state, status, error = attempt.run, attempt.state, attempt.status, attempt.error
    if status is not None or error is not None:  # a job can also end before its next attempt
        at_ms = attempt.at_ms
        delivery.attempts += 1
        total.attempts += 1
        if delivery.last_at_ms is None or at_ms >= delivery.last_at_ms:
            delivery.last_at_ms = at_ms
            delivery.last_status = status
            delivery.last_error = error
        if total.last_at_ms is None or at_ms >= total.last_at_ms:
            total.last_at_ms = at_ms
            total.last_status = status
            total.last_error = error
    if state == "retry":
        if delivery.has_ended(run):
            return
    elif not delivery.end(run):
        return  # the job was repeated, and this run has ended before
    elif state == "delivered":
        total.delivered += 1
    elif state == "dead":
        total.dead += 1
    else:
        total.cancelled += 1
    if run >= delivery.run:
        delivery.run = run
        delivery.state = state
        delivery.reason = attempt.reason
        delivery.next_due_at_ms = attempt.next_due_at_ms


def _roll_up(attempt: Attempt, rollups: dict[RollupKey, Rollup], end_ms: int) -> None:
    at_ms, duration_us = attempt.at_ms, attempt.duration_us
    if at_ms >= end_ms:
        at_ms = end_ms - 1
    key = RollupKey(attempt.subscription_id, at_ms - at_ms % HOUR_MS, attempt.state)
    rollup = rollups.get(key)
    if rollup is None:
        rollup = rollups[key] = Rollup()
    rollup.count += 1
    rollup.duration_us += duration_us
    rollup.buckets[bisect_left(LATENCY_BOUNDS_US, duration_us)] += 1


def _new(attempt: Attempt, appended_at_ms: int) -> Delivery:
    return Delivery(
        attempt.job_id,
        appended_at_ms,
        attempt.subscription_id,
        attempt.customer_id,
        attempt.sender,
        attempt.event_type,
        attempt.event_id,
    )
