"""Published versions of a record: what an older process can read, and what it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import fastavro
import pytest

from consumers.inspect.readable import RecordReader
from schemas.avro.codec import PREFIX_LENGTH, read_all, single_object_prefix
from schemas.subscriptions.subscription import (
    ClientCertificate,
    FormerSecret,
    SealedHeader,
    SealedSecret,
    Subscription,
    decode_subscription,
    encode_subscription,
)

PLAIN = Subscription(
    id="sub_1",
    sender="zenoo",
    customer_id="acme",
    url="https://hooks.acme.example/",
    event_types=("case.*",),
    secrets=(SealedSecret("sec_1", b"sealed", 1_000),),
    paused=False,
    activation=1_000,
    set=None,
    description="",
    created_at_ms=1_000,
    updated_at_ms=1_000,
    request_id="req_1",
)
FULL = replace(
    PLAIN,
    former_secrets=(FormerSecret("sec_0", b"sealed", 500, 9_000),),
    headers=(SealedHeader("Authorization", "hdr_1", b"sealed"),),
    client_certificate=ClientCertificate("-----BEGIN", "crt_1", b"sealed"),
    schedule_s=(5, 60),
    timeout_s=10,
    max_in_flight=4,
    rate_limit=0.5,
)


def schema(version: int) -> object:
    """A published version of the subscription's record."""
    file = resources.files("schemas") / "records" / f"subscription.v{version}.avsc"
    return json.loads(file.read_text())


def test_what_uses_nothing_new_is_readable_by_an_older_process():
    """A record without any of the fields of the second version is written in the first, and comes back as it was."""
    value = encode_subscription(PLAIN)
    assert value.startswith(single_object_prefix(schema(1)))
    assert read_all(fastavro.parse_schema(schema(1)), value, PREFIX_LENGTH)["id"] == "sub_1"
    assert decode_subscription(value) == PLAIN


@pytest.mark.parametrize(
    "field", ["former_secrets", "headers", "client_certificate", "schedule_s", "timeout_s", "rate_limit"]
)
def test_what_uses_a_new_field_is_never_written_without_it(field):
    """One field of the second version is enough for a record to be written in it, and nothing of it is lost."""
    changed = replace(PLAIN, **{field: getattr(FULL, field)})
    value = encode_subscription(changed)
    assert value.startswith(single_object_prefix(schema(2)))
    assert decode_subscription(value) == changed


def test_an_empty_schedule_is_not_the_sender_s():
    """No retries at all is something else than the sender's schedule, and survives the way to the topic and back."""
    assert decode_subscription(encode_subscription(replace(PLAIN, schedule_s=()))).schedule_s == ()


def test_all_fields_come_back():
    """A record with everything in it comes back as it was."""
    assert decode_subscription(encode_subscription(FULL)) == FULL


def test_a_record_is_shown_without_what_is_sealed():
    """People see settings and names of headers; values, certificate and former secrets are masked."""
    full = replace(
        FULL, secrets=(SealedSecret("sec_1", b"canary", 1_000),), headers=(SealedHeader("X-A", "h", b"canary"),)
    )
    fields = RecordReader({}).read(encode_subscription(full)).fields
    assert (fields["schedule_s"], fields["timeout_s"], fields["rate_limit"]) == ([5, 60], 10, 0.5)
    assert (fields["headers"], fields["client_certificate"], fields["former_secrets"]) == ({"X-A": "***"}, "***", "***")
    assert "canary" not in str(fields)
