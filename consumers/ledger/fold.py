"""Turns a batch of outcomes into rows. Pure: the deliveries that exist are an argument."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from consumers.ledger.records import storable
from consumers.ledger.rows import (
    HOUR_MS,
    LATENCY_BOUNDS_MS,
    Advance,
    Attempt,
    Batch,
    Delivery,
    Kept,
    Recorded,
    Rollup,
    RollupKey,
    Totals,
    Unwritten,
)

_OK = range(200, 300)


def fold(
    unwritten: Unwritten,
    known: Mapping[str, Delivery],
    advances: Mapping[tuple[str, int], Advance],
    kept: Kept,
) -> Batch:
    """Return the rows of a batch. `known` has the deliveries that exist already, by job id; they are changed."""
    attempts: list[Attempt] = []
    deliveries: dict[str, Delivery] = {}
    rollups: dict[RollupKey, Rollup] = {}
    totals: dict[str, Totals] = {}
    for outcome in unwritten.outcomes:
        recorded_at_ms = kept.clamped(outcome.recorded_at_ms)
        attempt = attempt_of(outcome, recorded_at_ms or 0)
        if recorded_at_ms is not None:
            attempts.append(attempt)
        delivery = deliveries.get(attempt.job_id)
        if delivery is None:
            delivery = deliveries[attempt.job_id] = known.get(attempt.job_id) or _new(attempt, outcome.record)
        total = totals.get(attempt.subscription_id)
        if total is None:
            total = totals[attempt.subscription_id] = Totals(attempt.customer_id, attempt.sender)
        _add(attempt, delivery, total)
        _roll_up(attempt, rollups, kept)
    written = [one for one in deliveries.values() if one.place_within(kept)]
    letters = [row for row in unwritten.dead_letters if kept.clamped(row.recorded_at_ms) is not None]
    operations = [row for row in unwritten.operations if kept.clamped(row.recorded_at_ms) is not None]
    return Batch(attempts, letters, operations, written, rollups, totals, advances)


def attempt_of(outcome: Recorded, recorded_at_ms: int) -> Attempt:
    """Return the row of an outcome. Text loses its NUL characters, which PostgreSQL cannot store."""
    record = outcome.record
    status = record["status"]
    return Attempt(
        recorded_at_ms,
        outcome.partition,
        outcome.offset,
        record["job_id"],
        record["run"],
        record["attempt"],
        storable(record["subscription_id"]),
        storable(record["customer_id"]),
        storable(record["sender"]),
        storable(record["event_type"]),
        storable(record["event_id"]),
        record["state"],
        record["reason"],
        status,
        record["error"],
        storable(record["host"]),
        record["at_ms"],
        record["duration_us"],
        record["next_due_at_ms"],
        None if status in _OK else record["response"],
        record.get("response_not_kept", 0),
        record["partition"],
        record["first_offset"],
    )


def is_attempt(attempt: Attempt) -> bool:
    """Return whether a request was tried: a job can also end before its next attempt."""
    return attempt.status is not None or attempt.error is not None


def _add(attempt: Attempt, delivery: Delivery, total: Totals) -> None:
    if is_attempt(attempt):
        delivery.attempts += 1
        total.attempts += 1
        if delivery.last_at_ms is None or attempt.at_ms >= delivery.last_at_ms:
            delivery.last_at_ms, delivery.last_status, delivery.last_error = (
                attempt.at_ms,
                attempt.status,
                attempt.error,
            )
        if total.last_at_ms is None or attempt.at_ms >= total.last_at_ms:
            total.last_at_ms, total.last_status, total.last_error = attempt.at_ms, attempt.status, attempt.error
    if attempt.state != "retry":
        if not delivery.end(attempt.run):
            return  # the job was repeated, and this run has ended before
        setattr(total, attempt.state, getattr(total, attempt.state) + 1)
    elif delivery.has_ended(attempt.run):
        return
    if attempt.run >= delivery.run:
        delivery.run = attempt.run
        delivery.state = attempt.state
        delivery.reason = attempt.reason
        delivery.next_due_at_ms = attempt.next_due_at_ms


def _roll_up(attempt: Attempt, rollups: dict[RollupKey, Rollup], kept: Kept) -> None:
    at_ms = kept.clamped(attempt.at_ms)
    if at_ms is None:
        return
    key = RollupKey(attempt.subscription_id, at_ms // HOUR_MS * HOUR_MS, attempt.state)
    rollup = rollups.get(key)
    if rollup is None:
        rollup = rollups[key] = Rollup()
    rollup.count += 1
    rollup.duration_us += attempt.duration_us
    rollup.buckets[bisect_left(LATENCY_BOUNDS_MS, attempt.duration_us / 1_000)] += 1


def _new(attempt: Attempt, record: Mapping[str, Any]) -> Delivery:
    return Delivery(
        attempt.job_id,
        record["appended_at_ms"],
        attempt.subscription_id,
        attempt.customer_id,
        attempt.sender,
        attempt.event_type,
        attempt.event_id,
    )
