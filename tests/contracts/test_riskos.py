"""RiskOS webhooks: bodies, headers, keys, and events refused when published."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.catalog.errors import EventError, UnreadableRecord
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from tests.contracts.senders import SENDERS, SIGNPOST, WHSEC, examples, reader
from tests.support.attempts import headers_of

RISKOS = SENDERS["riskos"]
EXAMPLES = {example.name: example for example in examples() if example.sender == "riskos"}
TYPE = "case_management_notification_case_closure"


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    """Return an example with another value at a path. None removes the key."""
    document = EXAMPLES[name].document
    *parents, last = path.split(".")
    inner: Any = document
    for part in parents:
        inner = inner[int(part)] if part.isdigit() else inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return document


def sent(document: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a document after the trip through Avro."""
    event = reader("riskos").event(document)
    body: dict[str, Any] = json.loads(RISKOS.render(EventDecoder(RISKOS).decode(encode_event(RISKOS, event), str)))
    return body


@pytest.mark.decision("R19")
def test_only_type_has_the_long_name() -> None:
    """The only event type is the long name, which is the value in requests."""
    assert list(RISKOS.event_types) == [TYPE]


@pytest.mark.decision("R12", "R13", "R14")
@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("data.globalWatchlist.caseReviewStatus", "Match", f'expected "match" or "no match" for {TYPE}, found "Match"'),
        (
            "data.globalWatchlist.caseReviewStatus",
            "no_match",
            f'expected "match" or "no match" for {TYPE}, found "no_match"',
        ),
        (
            "data.globalWatchlist.caseDetails.0.entityReviewStatus",
            "MATCH",
            f'caseDetails[0].entityReviewStatus: expected "match" or "no match" for {TYPE}, found "MATCH"',
        ),
        ("data.environment_name", "production", f'expected "Production" or "Sandbox" for {TYPE}, found "production"'),
        ("data.reviewer_id", "", 'data.reviewer_id: expected a string of one character or more, found ""'),
        ("data.eval_id", None, "data.eval_id: expected a string, found nothing"),
        ("data.globalWatchlist.caseDetails.0.sourceList", "x", 'sourceList: expected an array, found "x"'),
    ],
)
def test_other_spellings_are_refused_when_published(path: str, value: Any, problem: str) -> None:
    """The error names the field and both values."""
    with pytest.raises(EventError) as refusal:
        reader("riskos").event(changed("match", path, value))
    assert problem in str(refusal.value)
    assert path.partition(".0")[0] in str(refusal.value)


@pytest.mark.decision("R12", "R13")
def test_other_spellings_on_the_topic_are_delivered_unchanged() -> None:
    """Conditions are checked only when events are published."""
    event = EXAMPLES["no_match"].event()
    assert isinstance(event.data, dict)
    event = replace(event, data=event.data | {"environment_name": "staging"})
    body = json.loads(RISKOS.render(EventDecoder(RISKOS).decode(encode_event(RISKOS, event), str)))
    assert body["data"]["environment_name"] == "staging"


@pytest.mark.decision("R1", "R3")
@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("match", "data.id", None),
        ("match", "data.id", "own-1"),
        ("match", "data.globalWatchlist.caseDetails", []),
        ("match", "data.globalWatchlist.caseDetails", None),
        ("match", "data.globalWatchlist.caseDetails.0.entityReviewStatus", "no match"),
    ],
)
def test_absent_and_empty_are_distinguished(name: str, path: str, value: Any) -> None:
    """An absent key stays absent. An empty array is sent."""
    document = changed(name, path, value)
    assert sent(document) == document


@pytest.mark.decision("R3")
def test_null_does_not_count_as_absent() -> None:
    """The contract has no null: the error asks the publisher to leave the key out."""
    document = EXAMPLES["match"].document
    document["data"]["id"] = None
    with pytest.raises(EventError, match=r"data.id: null is not allowed; omit the key"):
        reader("riskos").event(document)


@pytest.mark.decision("R2", "R17")
def test_further_keys_follow_the_known_ones() -> None:
    """Per-source dispositioning, other lists and keys of any name are sent unchanged."""
    document = EXAMPLES["match"].document
    more = {"sources": [{"name": "é", "score": 1.5}], "more": None, "big": 10**30}
    document["data"] |= {"adverseMedia": {"caseReviewStatus": 7}, **more}
    document["data"]["globalWatchlist"] |= more
    document["data"]["globalWatchlist"]["caseDetails"][0] |= more
    body = sent(document)
    assert body == document
    assert list(body["data"]) == list(document["data"])
    assert list(body["data"]["globalWatchlist"]["caseDetails"][0])[-3:] == list(more)


def test_further_key_cannot_repeat_a_known_one() -> None:
    """A record whose further keys repeat a known key is unreadable: its body would have a key twice."""
    event = EXAMPLES["match"].event()
    value = encode_event(RISKOS, replace(event, data={**_data(event), "worklow2": 1}))
    with pytest.raises(UnreadableRecord) as error:
        EventDecoder(RISKOS).decode(value.replace(b"worklow2", b"workflow"), str)
    assert error.value.reason == "invalid_value"


def _data(event: Event) -> dict[str, Any]:
    assert isinstance(event.data, dict)
    return event.data


@pytest.mark.decision("R16")
def test_kafka_key_is_the_evaluation() -> None:
    """The key is the id of the evaluation, so a case that is closed again has the same key."""
    assert RISKOS.key_of(EXAMPLES["match"].event()) == "8c41de39-7b1e-4e6f-bcea-dd4275b8d41b"


@pytest.mark.decision("R4", "R20")
def test_headers_are_its_own_two_and_those_of_the_signature() -> None:
    """The headers are Content-Type and User-Agent, and with a secret the three webhook-* headers."""
    own = {"Content-Type": "application/json", "User-Agent": SIGNPOST}
    assert headers_of(RISKOS, b"{}") == own
    assert [*own, "webhook-id", "webhook-timestamp", "webhook-signature"] == list(headers_of(RISKOS, b"{}", WHSEC))


@pytest.mark.decision("R8", "R9", "R11", "R18")
def test_schedule_timeout_and_limits_are_those_of_the_contract() -> None:
    """Nine waits, a timeout of 30 s, any number of subscriptions, and bodies of up to 256 KiB."""
    waits_s = [int(wait.total_seconds()) for wait in RISKOS.schedule]
    assert waits_s == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert (RISKOS.timeout.total_seconds(), RISKOS.max_subscriptions, RISKOS.max_body) == (30, None, 262_144)


@pytest.mark.decision("R15")
def test_case_that_is_closed_again_is_another_event() -> None:
    """Two closures of one evaluation are two events with their own ids and bodies, and the same key."""
    first = EXAMPLES["match"].event()
    second = replace(first, event_id="evt_2", created_at_us=first.created_at_us + 1_000)
    assert RISKOS.key_of(first) == RISKOS.key_of(second)
    assert RISKOS.render(first) != RISKOS.render(second)
