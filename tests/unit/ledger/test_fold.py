"""What a batch of outcomes adds to attempts, deliveries, hourly numbers and totals."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumers.ledger.fold import fold
from consumers.ledger.records import recorded
from consumers.ledger.rows import BUCKETS, DAY_MS, HOUR_MS, Attempt, Delivery, Kept, LedgerBatch, Unwritten

NOW_MS = 1_771_236_060_000
KEPT = Kept.at(NOW_MS, 30)


def outcome(offset: int = 0, *, recorded_at_ms: int = NOW_MS, **fields: Any) -> Attempt:
    """Return a delivered first attempt of `job-1`, with other fields."""
    record = {
        "job_id": "job-1",
        "run": 0,
        "subscription_id": "sub-1",
        "customer_id": "acme",
        "sender": "zenoo",
        "event_type": "case.created",
        "event_id": "evt_1",
        "attempt": 1,
        "state": "delivered",
        "reason": "",
        "status": 200,
        "error": None,
        "host": "example.com",
        "at_ms": NOW_MS,
        "duration_us": 20_000,
        "next_due_at_ms": None,
        "response": b"ok",
        "body_cut": False,
        "partition": 2,
        "first_offset": 77,
        "source_topic": "zenoo.events",
        "source_partition": 0,
        "source_offset": 5,
        "appended_at_ms": NOW_MS - 50,
        "response_not_kept": 0,
    }
    assert fields.keys() <= record.keys()
    return recorded(3, offset, recorded_at_ms, [*(record | fields).values()])


def retry(offset: int = 0, **fields: Any) -> Attempt:
    """Return an attempt that got a 503 and is tried again."""
    failed = {"state": "retry", "reason": "status", "status": 503, "next_due_at_ms": NOW_MS + 60_000}
    return outcome(offset, **(failed | fields))


def cancelled(offset: int = 0, **fields: Any) -> Attempt:
    """Return the end of a job without an attempt."""
    return outcome(offset, **({"state": "cancelled", "reason": "paused", "status": None, "duration_us": 0} | fields))


def folded(*outcomes: Attempt, known: dict[str, Delivery] | None = None) -> LedgerBatch:
    """Return the rows of a batch."""
    return fold(Unwritten(list(outcomes)), known or {}, {}, KEPT)


def test_delivered_job_counts_once_with_its_latest_attempt() -> None:
    """A job that failed once and was delivered is one delivery with two attempts, and the last status is 200."""
    batch = folded(retry(), outcome(1, attempt=2, at_ms=NOW_MS + 60_000))

    [delivery] = batch.deliveries
    total = batch.totals["sub-1"]
    assert (delivery.state, delivery.attempts, delivery.last_status, delivery.next_due_at_ms) == (
        "delivered",
        2,
        200,
        None,
    )
    assert (total.delivered, total.dead, total.cancelled, total.attempts) == (1, 0, 0, 2)
    assert (total.last_at_ms, total.last_status) == (NOW_MS + 60_000, 200)
    assert [(row.attempt, row.state) for row in batch.attempts] == [(1, "retry"), (2, "delivered")]


def test_run_that_ended_twice_counts_once() -> None:
    """A killed router makes a job twice: both ends are attempts on record, and one delivery in the totals."""
    batch = folded(outcome(), outcome(1))

    assert batch.totals["sub-1"].delivered == 1
    assert batch.totals["sub-1"].attempts == 2
    assert len(batch.attempts) == 2


def test_run_that_ended_in_an_earlier_batch_does_not_count_again() -> None:
    """What the database knows of a delivery decides whether an end counts."""
    [known] = folded(outcome()).deliveries

    batch = folded(outcome(1), retry(2, attempt=1), known={"job-1": known})

    assert batch.totals["sub-1"].delivered == 0
    assert batch.deliveries == []
    assert batch.known_deliveries[0].state == "delivered"


def test_each_run_counts_as_a_delivery_of_its_own() -> None:
    """A dead job that is retried by hand and delivered is one failed and one successful delivery."""
    batch = folded(outcome(state="dead", status=500, reason="exhausted"), outcome(1, run=1), cancelled(2, run=2))

    total = batch.totals["sub-1"]
    assert (total.delivered, total.dead, total.cancelled) == (1, 1, 1)
    assert batch.deliveries[0].run == 2


def test_runs_that_end_out_of_order_all_count() -> None:
    """A run that ends after a later one still counts, and the later one decides the state."""
    batch = folded(outcome(run=2), outcome(1, run=1, state="dead", status=410, reason="gone"), outcome(2, run=1))

    assert (batch.totals["sub-1"].delivered, batch.totals["sub-1"].dead) == (1, 1)
    assert (batch.deliveries[0].run, batch.deliveries[0].state) == (2, "delivered")


def test_job_that_ends_without_a_request_adds_no_attempt() -> None:
    """A cancelled job leaves the last attempt and its status as they were."""
    batch = folded(retry(), cancelled(1, attempt=2))

    total = batch.totals["sub-1"]
    assert (total.attempts, total.last_status, total.cancelled) == (1, 503, 1)
    assert batch.deliveries[0].state == "cancelled"


def test_older_attempt_that_arrives_later_is_not_the_last() -> None:
    """The latest attempt is the one that started last, in whatever order outcomes arrive."""
    batch = folded(outcome(at_ms=NOW_MS), retry(1, job_id="job-2", at_ms=NOW_MS - 1))

    assert batch.totals["sub-1"].last_status == 200


def test_last_attempt_without_a_response_has_no_status() -> None:
    """A timeout is the last attempt, with its error and without a status."""
    batch = folded(outcome(), retry(1, job_id="job-2", status=None, error="timeout_answer", at_ms=NOW_MS + 1))

    total = batch.totals["sub-1"]
    assert (total.last_at_ms, total.last_status, total.last_error) == (NOW_MS + 1, None, "timeout_answer")


def test_response_is_kept_only_if_it_is_no_success() -> None:
    """The text of a 2xx is not stored, that of any other response is."""
    batch = folded(outcome(), retry(1, response=b"try later", response_not_kept=3))

    assert [(row.response, row.response_not_kept) for row in batch.attempts] == [(None, 0), (b"try later", 3)]


def test_hourly_numbers_are_by_result_and_duration() -> None:
    """Each hour has one row a result: number, sum of durations, and a histogram whose bounds are inclusive."""
    batch = folded(
        outcome(duration_us=100_000),
        outcome(1, job_id="job-2", duration_us=100_001),
        retry(2, job_id="job-3", duration_us=40_000_000),
        outcome(3, job_id="job-4", at_ms=NOW_MS + HOUR_MS),
    )

    hour = NOW_MS // HOUR_MS * HOUR_MS
    rows = {(key.hour_ms, key.result): rollup for key, rollup in batch.rollups.items()}
    assert rows.keys() == {(hour, "delivered"), (hour, "retry"), (hour + HOUR_MS, "delivered")}
    assert (rows[hour, "delivered"].count, rows[hour, "delivered"].duration_us) == (2, 200_001)
    assert rows[hour, "delivered"].buckets == [1, 1, *[0] * (BUCKETS - 2)]
    assert rows[hour, "retry"].buckets == [*[0] * (BUCKETS - 1), 1]


def test_rows_older_than_the_retention_count_in_totals_only() -> None:
    """An outcome that is read after its retention adds to the totals, and to no other table."""
    long_ago = KEPT.begin_ms - 1
    batch = folded(outcome(recorded_at_ms=long_ago, at_ms=long_ago, appended_at_ms=long_ago))

    assert (batch.attempts, batch.deliveries, batch.rollups) == ([], [], {})
    assert batch.totals["sub-1"].delivered == 1


def test_times_of_a_wrong_clock_stay_within_the_days_to_come() -> None:
    """A time in the far future becomes the last one for which the ledger has rows."""
    future = NOW_MS + 400 * DAY_MS
    batch = folded(outcome(recorded_at_ms=future, at_ms=future, appended_at_ms=future))

    last = KEPT.end_ms - 1
    assert batch.attempts[0].recorded_at_ms == last
    assert batch.deliveries[0].appended_at_ms == batch.attempts[0].appended_at_ms == last
    assert [key.hour_ms for key in batch.rollups] == [last // HOUR_MS * HOUR_MS]


def test_attempts_have_the_time_of_their_delivery() -> None:
    """A job that was repeated may have another time: its attempts get that of the row by which they are found."""
    [known] = folded(outcome()).deliveries
    later = NOW_MS + HOUR_MS

    within = folded(outcome(), outcome(1, appended_at_ms=later))
    after = folded(outcome(1, appended_at_ms=later), known={"job-1": known})

    assert [row.appended_at_ms for row in within.attempts] == [known.appended_at_ms] * 2
    assert [row.appended_at_ms for row in after.attempts] == [known.appended_at_ms]
    assert [row.offset for row in within.attempts] == [0, 1]


def test_deliveries_of_a_batch_are_new_or_known() -> None:
    """A delivery that exists is changed, all others are added; each one is in the batch once."""
    [known] = folded(retry()).deliveries

    batch = folded(outcome(1, attempt=2), retry(2, job_id="job-2"), outcome(3, job_id="job-2"), known={"job-1": known})

    assert [(one.job_id, one.state, one.attempts) for one in batch.known_deliveries] == [("job-1", "delivered", 2)]
    assert [(one.job_id, one.state, one.attempts) for one in batch.deliveries] == [("job-2", "delivered", 2)]


def test_text_has_no_nul_characters() -> None:
    """PostgreSQL cannot store U+0000: it becomes U+FFFD."""
    [row] = folded(outcome(event_id="a\0b")).attempts

    assert row.event_id == "a\ufffdb"


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["retry", "delivered", "dead", "cancelled"])),
        max_size=30,
    ),
    st.integers(1, 5),
)
def test_any_split_into_batches_gives_the_same_totals(history: list[tuple[int, int, str]], size: int) -> None:
    """Batches of any size count each run's first end once, and every attempt."""
    make = {"retry": retry, "cancelled": cancelled}
    outcomes = [
        make.get(state, outcome)(offset, job_id=f"job-{job}", run=run, state=state)
        for offset, (job, run, state) in enumerate(history)
    ]
    firsts: dict[tuple[int, int], str] = {}
    for job, run, state in history:
        if state != "retry":
            firsts.setdefault((job, run), state)

    counted: Counter[str] = Counter()
    attempts = 0
    known: dict[str, Delivery] = {}
    for begin in range(0, len(outcomes), size):
        batch = folded(*outcomes[begin : begin + size], known=known)
        known |= {delivery.job_id: delivery for delivery in batch.deliveries}
        for total in batch.totals.values():
            counted.update(delivered=total.delivered, dead=total.dead, cancelled=total.cancelled)
            attempts += total.attempts

    assert +counted == Counter(firsts.values())
    assert attempts == sum(state != "cancelled" for _, _, state in history)
