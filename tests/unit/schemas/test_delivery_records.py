"""Jobs and outcomes in Avro: the fast codecs agree with the general codec."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro.codec import RecordCodec
from schemas.catalog.errors import UnreadableRecord
from schemas.records.delivery import Job, JobCodec, Outcome, OutcomeCodec, State
from schemas.records.job_record import first_head, job_fields
from schemas.records.outcome_record import STATES, outcome_fields

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
HEAD = {"job_id", "subscription_id", "subscription_partition", "subscription_offset", "activation", "run", "attempt"}
HEAD |= {"due_at_ms", "first_offset"}
JOB = RecordCodec("job")
OUTCOME = RecordCodec("outcome")
TYPES = {"string": TEXT, "int": INT, "long": LONG, "bytes": st.binary(max_size=200)}
ATTEMPT = st.integers(1, 2**31 - 1)
JOBS = st.builds(Job, **{field["name"]: TYPES[field["type"]] for field in JOB.schema["fields"]} | {"attempt": ATTEMPT})
# Jobs as the router makes them, which the fast reader supports.
SHORT = st.text("abc-é", max_size=20)
USUAL = st.builds(
    Job,
    **{
        field["name"]: (TYPES | {"string": SHORT, "long": st.integers(-(2**61), 2**61)})[field["type"]]
        for field in JOB.schema["fields"]
    }
    | {"job_id": st.uuids().map(str), "attempt": ATTEMPT},
)
OUTCOMES = st.builds(
    Outcome,
    job=JOBS,
    state=st.sampled_from(get_args(State)),
    reason=TEXT,
    status=st.none() | INT,
    error=st.none() | TEXT,
    host=TEXT,
    at_ms=LONG,
    duration_us=LONG,
    next_due_at_ms=st.none() | LONG,
    response=st.binary(max_size=1_024),
    body_cut=st.booleans(),
    partition=INT,
    first_offset=LONG,
    response_not_kept=st.just(0) | LONG,
)
# Outcomes as delivery makes them, which the fast reader supports.
USUAL_LONG = st.integers(-(2**61), 2**61)
USUAL_OUTCOMES = st.builds(
    Outcome,
    job=st.builds(replace, USUAL, run=st.integers(0, 63), attempt=st.integers(1, 63)),
    state=st.sampled_from(get_args(State)),
    reason=SHORT,
    status=st.none() | st.integers(100, 599),
    error=st.none() | SHORT,
    host=SHORT,
    at_ms=USUAL_LONG,
    duration_us=USUAL_LONG,
    next_due_at_ms=st.none() | USUAL_LONG,
    response=st.binary(max_size=1_024),
    body_cut=st.booleans(),
    partition=INT,
    first_offset=USUAL_LONG,
    response_not_kept=st.just(0) | st.integers(1, 2**61),
)


def record_of(job: Job) -> dict[str, Any]:
    """Return a job as the record of its schema."""
    return {field.name: getattr(job, field.name) for field in fields(Job)}


@given(JOBS | USUAL)
def test_job_survives_encoding(job: Job) -> None:
    """A job that is encoded in two parts or as one record decodes to the same job."""
    codec, record = JobCodec(), record_of(job)
    tail = codec.tail(**{name: value for name, value in record.items() if name not in HEAD})
    value = codec.encode(tail, **{name: record[name] for name in HEAD})
    assert value == JOB.encode(record)
    assert codec.decode(value) == job


@given(JOBS | USUAL, ATTEMPT, LONG, LONG)
def test_job_moved_to_a_delay_topic_keeps_its_fields(job: Job, attempt: int, due_at_ms: int, first: int) -> None:
    """Only the attempt, the due time and the first offset change."""
    moved = JobCodec().moved(job, JOB.encode(record_of(job)), attempt=attempt, due_at_ms=due_at_ms, first_offset=first)
    assert moved == JOB.encode(record_of(replace(job, attempt=attempt, due_at_ms=due_at_ms, first_offset=first)))


@given(USUAL)
def test_cached_head_of_first_attempts_gives_the_same_record(job: Job) -> None:
    """The head that the router caches for a subscription gives the same bytes as the encoding of each field."""
    job = replace(job, run=0, attempt=1, due_at_ms=0, first_offset=-1)
    record, codec = record_of(job), JobCodec()
    tail = codec.tail(**{name: value for name, value in record.items() if name not in HEAD})
    head = first_head(job.subscription_id, job.subscription_partition, job.subscription_offset, job.activation)
    assert codec.join(job.job_id, head, tail) == JOB.encode(record)


@given(JOBS | USUAL | USUAL, st.data())
def test_fast_reader_agrees_with_general_reader_on_hostile_bytes(job: Job, data: st.DataObject) -> None:
    """A job record that was cut, changed or extended gives the same job or error in both readers."""
    value = bytearray(JOB.encode(record_of(job)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(10, len(value)))
        value[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=12))
    read = JobCodec().decode
    try:
        expected = Job(**JOB.decode(bytes(value)))
    except UnreadableRecord as error:
        with pytest.raises(UnreadableRecord, match=f"^{re.escape(str(error))}$"):
            read(bytes(value))
    else:
        if expected.attempt > 0:
            assert read(bytes(value)) == expected
            return
        with pytest.raises(UnreadableRecord, match=r"^invalid_value: attempt: "):
            read(bytes(value))


@given(JOBS | USUAL, st.integers(-(2**31), 0))
def test_attempt_below_one_is_unreadable(job: Job, attempt: int) -> None:
    """An attempt below 1 has no place in a schedule: the job is unreadable."""
    with pytest.raises(UnreadableRecord, match=r"^invalid_value: attempt: "):
        JobCodec().decode(JOB.encode(record_of(replace(job, attempt=attempt))))


@given(USUAL)
def test_router_jobs_take_the_fast_reader(job: Job) -> None:
    """A job as the router makes it is decoded without the general reader."""
    assert Job(*job_fields(JOB.encode(record_of(job)))) == job


@pytest.mark.parametrize("before", [b"\x00\x00", b"\x48" + b"f" * 36 + b"\x00"], ids=["no uuid", "usual"])
def test_endless_number_is_unreadable_at_once(before: bytes) -> None:
    """A long of a million bytes is refused before it is computed."""
    with pytest.raises(UnreadableRecord):
        JobCodec().decode(JOB.prefix + before + b"\xff" * 1_000_000)


@given(OUTCOMES)
def test_outcome_encoding_matches_its_schema(outcome: Outcome) -> None:
    """Any outcome encodes to the bytes that the general codec writes for its record."""
    own = [field.name for field in fields(Outcome) if field.name != "job"]
    of_job = {field["name"] for field in OUTCOME.schema["fields"]} - set(own)
    record = {name: getattr(outcome.job, name) for name in of_job} | {name: getattr(outcome, name) for name in own}
    assert OutcomeCodec().encode(outcome) == OUTCOME.encode(record)


def test_completely_kept_response_uses_the_first_version() -> None:
    """Only an outcome whose response was not kept completely needs version 2; both versions are read alike."""
    given: dict[str, Any] = {"state": "retry", "reason": "r", "status": 500, "error": None, "host": "h", "at_ms": 0}
    given |= {"duration_us": 0, "next_due_at_ms": None, "response": b"x", "body_cut": False, "partition": 0}
    job = Job("j", "s", 0, 0, 0, 0, 1, 0, 0, "standard", "a.b", "e", "c", "t", 0, 0, 0, b"{}")
    complete, cut = (
        OutcomeCodec().encode(Outcome(job, **given, first_offset=0, response_not_kept=size)) for size in (0, 7)
    )
    assert [complete[:10], cut[:10]] == [*OUTCOME.older_prefixes, OUTCOME.prefix]
    assert [OutcomeCodec().decode(value)["response_not_kept"] for value in (complete, cut)] == [0, 7]
    assert [OutcomeCodec().decode_fields(value)[-1] for value in (complete, cut)] == [0, 7]
    for wrong in (None, b"", b"nonsense", complete[:-1]):
        with pytest.raises(UnreadableRecord):
            OutcomeCodec().decode_fields(wrong)


@given(OUTCOMES | USUAL_OUTCOMES | USUAL_OUTCOMES, st.data())
def test_fast_outcome_reader_agrees_with_general_reader_on_hostile_bytes(outcome: Outcome, data: st.DataObject) -> None:
    """An outcome record that was cut, changed or extended gives the same fields or error in both readers."""
    value = bytearray(OutcomeCodec().encode(outcome))
    for _ in range(data.draw(st.integers(0, 4))):
        position = data.draw(st.integers(10, len(value)))
        value[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=12))
    try:
        expected = tuple(OUTCOME.decode(bytes(value)).values())
    except UnreadableRecord as error:
        with pytest.raises(UnreadableRecord, match=f"^{re.escape(str(error))}$"):
            OutcomeCodec().decode_fields(bytes(value))
    else:
        assert OutcomeCodec().decode_fields(bytes(value)) == expected


@given(USUAL_OUTCOMES)
def test_outcomes_of_delivery_take_the_fast_reader(outcome: Outcome) -> None:
    """An outcome as delivery makes it is decoded without the general reader."""
    value = OutcomeCodec().encode(outcome)
    found = outcome_fields(value, is_first_version=value[:10] != OUTCOME.prefix)
    assert found == tuple(OUTCOME.decode(value).values())


def test_states_have_the_order_of_the_schema() -> None:
    """The fast reader and the schema number the states alike."""
    [symbols] = [field["type"]["symbols"] for field in OUTCOME.schema["fields"] if field["name"] == "state"]
    assert get_args(State) == STATES == tuple(symbols)
