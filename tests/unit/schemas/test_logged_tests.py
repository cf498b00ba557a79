"""Records of test deliveries: they survive encoding, `signpost tail` shows them, and every failure has a short text."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from consumers.inspect.readable import RecordReader
from schemas.avro.codec import RecordCodec
from schemas.catalog.errors import UnreadableRecord
from schemas.catalog.failures import MEANINGS, SHORT
from schemas.records.logged_test import LoggedTest, decode_test, encode_test, log_id

DELIVERED = LoggedTest(
    at_ms=1_771_236_060_000,
    key_id="key_1",
    sender="onboarding",
    customer_id="acme",
    subscription_id="sub_1",
    host="hooks.acme.example",
    event_id="evt_1",
    status=200,
    error=None,
    duration_us=1_500,
)
FAILED = replace(DELIVERED, subscription_id=None, status=None, error="timeout_connect")


@pytest.mark.parametrize("test", [DELIVERED, FAILED])
def test_record_survives_encoding(test: LoggedTest) -> None:
    """A record with and without a response is the same after decoding, and has the fields of its schema in order."""
    assert decode_test(encode_test(test)) == test
    assert [field["name"] for field in RecordCodec("test_delivery").schema["fields"]] == [
        field.name for field in fields(LoggedTest)
    ]


@pytest.mark.parametrize("value", [None, b"", b"text", encode_test(DELIVERED)[:-1], encode_test(DELIVERED) + b"\0"])
def test_other_bytes_are_unreadable(value: bytes | None) -> None:
    """Bytes that are no record end in the one error of unreadable records."""
    with pytest.raises(UnreadableRecord):
        decode_test(value)


def test_log_ids_start_at_one() -> None:
    """A log id is a positive integer, although offsets start at 0."""
    assert [log_id(offset) for offset in (0, 1, 4_821)] == [1, 2, 4_822]


def test_tail_shows_the_record() -> None:
    """The kind and the fields of a record are readable, absent ones left out."""
    shown = RecordReader({}).read(encode_test(FAILED))
    assert shown.kind == "test_delivery"
    assert shown.fields["at"] == "2026-02-16T10:01:00.000Z"
    assert (shown.fields["error"], shown.fields["key_id"]) == ("timeout_connect", "key_1")
    assert not {"status", "subscription_id"} & shown.fields.keys()


def test_every_failure_has_a_short_text() -> None:
    """The text for customers is a few words, and names neither the proxy nor any part of our network."""
    assert SHORT.keys() == MEANINGS.keys()
    assert SHORT["timeout_connect"] == "connection timed out"
    for kind, text in SHORT.items():
        assert len(text) <= 40, kind
        assert not any(word in text.lower() for word in ("proxy", "internal", "private", "allow_")), kind
