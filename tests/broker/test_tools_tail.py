"""`signpost tail`: any topic, decoded, one line per record."""

from __future__ import annotations

import json

import pytest

from consumers.inspect.readable import RecordReader
from consumers.inspect.scan import Scanner
from consumers.inspect.tail import Tail, follow
from schemas.records.delivery import DeadLetter, DeadLetterCodec, event_id
from schemas.senders.sender import load_senders
from schemas.subscriptions.subscription import SealedSecret
from tests.support.installation import Installation, event, subscription, value_of
from tests.support.tools import Commands, job, job_value, outcome_value
from tests.support.topics import read_topic

CANARY = "canary-of-this-test"


def test_own_records_are_shown_field_by_field(here: Installation, signpost: Commands) -> None:
    """Jobs, outcomes and dead letters are decoded by their fingerprints and shown with all fields."""
    here.produce(here.names.outcomes, outcome_value(job(), state="retry", status=503, reason="status_503"), b"sub-1")
    here.produce(f"{here.names.prefix}jobs.5m", job_value(job(attempt=3)), b"sub-1")
    letter = DeadLetter(
        reason="exhausted",
        detail="attempt 6 was the last",
        topic="t",
        partition=0,
        offset=7,
        at_ms=0,
        key=b"sub-1",
        value=job_value(job(2)),
        job_id="job-2",
    )
    here.produce(here.names.dead, DeadLetterCodec().encode(letter), b"sub-1")
    outcome = signpost("tail", "outcomes").out
    assert "sub-1 outcome state=retry reason=status_503 status=503 attempt=1" in outcome
    assert "event_id=evt_1" in outcome
    assert "job event_type=case.created event_id=evt_1 attempt=3" in signpost("tail", "jobs.5m").out
    dead = signpost("tail", "dead").out
    assert 'dead_letter reason=exhausted detail="attempt 6 was the last" source=t:0:7' in dead
    assert "evt_2" in dead


def test_events_are_shown_by_their_senders_schemas(here: Installation, signpost: Commands) -> None:
    """An event's line has its type, id, customer and data; --json has one object per line."""
    here.publish([event("evt_1"), event("evt_2", "beta")])
    result = signpost("tail", "zenoo.events", "--grep", "beta")
    (line,) = result.out.splitlines()
    assert "event event_type=case.created event_id=evt_2 customer_id=beta" in line
    assert "Acme Ltd" in line
    objects = [json.loads(line) for line in signpost("tail", here.events_topic, "--json").out.splitlines()]
    assert {one["value"]["event_id"] for one in objects} == {"evt_1", "evt_2"}
    assert objects[0]["value"]["data"]["case_token"] == "cas_1"


@pytest.mark.promise(6)
def test_no_secret_is_shown(here: Installation, signpost: Commands) -> None:
    """Neither a subscription's sealed secret nor the path of its URL is shown, as text or as JSON."""
    secrets = (SealedSecret("sec_1", CANARY.encode(), 0),)
    here.subscribe(subscription("sub-1", url=f"https://user@example.com/{CANARY}?{CANARY}", secrets=secrets))
    here.write_subscription("sub-2", None, "acme")
    for options in ((), ("--json",), ("--grep", "sub-1")):
        result = signpost("tail", "subscriptions", *options)
        assert "sec_1" in result.out
        assert "***" in result.out
        assert CANARY not in result.out
        assert CANARY.encode().hex() not in result.out
    assert signpost("tail", "subscriptions", "--grep", CANARY).out == ""
    assert "sub-2 tombstone" in signpost("tail", "subscriptions").out


def test_other_values_are_text_or_hex(here: Installation, signpost: Commands) -> None:
    """Unknown values are shown as text or in hexadecimal; nothing moves the cursor of a terminal."""
    for value in (b"plain text\n\tof two lines", b"\xff\x00\x01", b"\xc3\x01" + bytes(9), b"\x1b[31mred", b""):
        here.produce(here.names.dead, value, b"k\x1b[2J")
    result = signpost("tail", "dead")
    assert result.code == 0
    assert len(result.out.splitlines()) == 5
    assert "hex=ff0001" in result.out
    assert "\x1b" not in result.out


def test_newest_lines_are_in_order_of_time(here: Installation, signpost: Commands) -> None:
    """-n shows the newest records of all partitions together, 10 by default; --since shows all."""
    for number in range(30):
        here.produce(here.names.outcomes, outcome_value(job(number)), f"sub-{number}".encode())
    ids = [f"event_id=evt_{number} " for number in range(30)]
    for options, count in (((), 10), (("-n", "3"), 3), (("--since", "1h"), 30), (("--since", "2000-01-01"), 30)):
        lines = signpost("tail", "outcomes", *options).out.splitlines()
        assert len(lines) == count
        if "--since" not in options:
            # Two records may have the same millisecond.
            assert sorted(line.split()[0] for line in lines) == [line.split()[0] for line in lines]
            assert sum(any(one in line for line in lines) for one in ids[-count:]) >= count - 1
    assert signpost("tail", "outcomes", "--since", "2099-01-01").out == ""


@pytest.mark.parametrize("text", ["evt_7 ", "state=delivered", "12.5", "delivered", "hooks.acme.example"])
def test_grep_finds_what_a_line_shows(here: Installation, signpost: Commands, text: str) -> None:
    """Text of a line is found, even if the record's bytes encode it differently; nothing else is."""
    here.produce(here.names.outcomes, outcome_value(job(7)), b"sub-1")
    assert len(signpost("tail", "outcomes", "--grep", text).out.splitlines()) == 1
    assert "contains 'elsewhere'" in signpost("tail", "outcomes", "--grep", "elsewhere").err


def test_event_without_an_id_is_found_by_its_derived_id(here: Installation, signpost: Commands) -> None:
    """The id derived from an event's offset is shown and found, although the record has none."""
    here.publish([event("")])
    (record,) = read_topic(here.bootstrap_servers, here.events_topic)
    partition = record.partition()
    assert partition is not None
    derived = event_id(here.events_topic, partition, 0)
    assert f"event_id={derived}" in signpost("tail", "zenoo.events", "--grep", derived).out


def test_dead_event_is_found_by_its_derived_id(here: Installation, signpost: Commands) -> None:
    """The derived id of an event in a dead letter is shown and found; an invalid event shows its names."""
    value = value_of(event("", ""))
    letter = DeadLetter(
        reason="no_customer", detail="", topic=here.events_topic, partition=1, offset=3, at_ms=0, key=None, value=value
    )
    here.produce(here.names.dead, DeadLetterCodec().encode(letter), b"k")
    derived = event_id(here.events_topic, 1, 3)
    assert derived in signpost("tail", "dead", "--grep", derived[:12]).out
    here.produce(here.events_topic, value_of(event("evt_1", "")), b"k")
    assert "unreadable why=" in signpost("tail", "zenoo.events", "--grep", "event_id=evt_1").out


def test_follow_shows_new_records(here: Installation) -> None:
    """Records appended after the start of `--follow` are shown if they match."""
    name = here.names.outcomes
    ranges = Scanner(here.settings.kafka_properties(), here.admin).ranges_of([name])
    here.produce(name, outcome_value(job(1)), b"sub-1")
    here.produce(name, outcome_value(job(2)), b"sub-1")
    tail = Tail(RecordReader(load_senders()), load_senders(), "evt_2")
    following = follow(here.settings.kafka_properties(), ranges, tail.accepts)
    seen = next(message for message in following if message is not None)
    assert "event_id=evt_2" in tail.line(seen)
    following.close()


def test_empty_and_missing_topics_get_a_sentence(here: Installation, signpost: Commands) -> None:
    """An empty topic is reported as empty; for a missing one the existing topics are named."""
    result = signpost("tail", "outcomes")
    assert (result.code, result.out) == (0, "")
    assert result.err == f"{here.names.outcomes} is empty\n"
    missing = signpost("tail", "outcome")
    assert missing.code == 2
    assert "there is no topic outcome" in missing.err
    assert "outcomes" in missing.err


@pytest.mark.parametrize("since", ["yesterday", "10", "-5m", "99999999999d"])
def test_invalid_since_is_refused(signpost: Commands, since: str) -> None:
    """The error shows the accepted forms of --since."""
    result = signpost("tail", "outcomes", f"--since={since}")
    assert result.code == 2
    assert "--since" in result.err
