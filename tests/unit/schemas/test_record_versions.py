"""Published versions of the subscription record, and what an older process can read."""

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
FILTERED = replace(PLAIN, filters='{"country":"GB"}')


def schema(version: int) -> object:
    """Return a published version of the subscription's schema."""
    file = resources.files("schemas") / "records" / f"subscription.v{version}.avsc"
    return json.loads(file.read_text())


def test_record_without_new_fields_is_readable_by_older_processes():
    """A record without fields of version 2 is written in version 1 and survives encoding."""
    value = encode_subscription(PLAIN)
    assert value.startswith(single_object_prefix(schema(1)))
    assert read_all(fastavro.parse_schema(schema(1)), value, PREFIX_LENGTH)["id"] == "sub_1"
    assert decode_subscription(value) == PLAIN


@pytest.mark.parametrize(
    "field", ["former_secrets", "headers", "client_certificate", "schedule_s", "timeout_s", "rate_limit"]
)
def test_record_with_a_new_field_uses_the_new_version(field):
    """A single field of version 2 makes the record use version 2, and no field is lost."""
    changed = replace(PLAIN, **{field: getattr(FULL, field)})
    value = encode_subscription(changed)
    assert value.startswith(single_object_prefix(schema(2)))
    assert decode_subscription(value) == changed


@pytest.mark.parametrize("base", [PLAIN, FULL])
def test_record_with_filters_uses_version_3(base):
    """Filters make the record use version 3. Without them, every record is readable by older processes."""
    value = encode_subscription(replace(base, filters=FILTERED.filters))
    assert value.startswith(single_object_prefix(schema(3)))
    assert decode_subscription(value) == replace(base, filters=FILTERED.filters)
    assert not encode_subscription(base).startswith(single_object_prefix(schema(3)))


@pytest.mark.parametrize("changes", [{"event_types": ()}, {"secrets": ()}, {"paused": True}])
def test_older_processes_read_empty_lists_and_pauses(changes):
    """A subscription without event types or secret, or created paused, is a record of version 1."""
    value = encode_subscription(replace(PLAIN, **changes))
    assert value.startswith(single_object_prefix(schema(1)))
    assert decode_subscription(value) == replace(PLAIN, **changes)


def test_empty_schedule_survives_encoding():
    """An empty schedule means no retries: it differs from the sender's schedule."""
    assert decode_subscription(encode_subscription(replace(PLAIN, schedule_s=()))).schedule_s == ()


def test_all_fields_survive_encoding():
    """A record with every field set decodes to the same subscription."""
    everything = replace(FULL, filters=FILTERED.filters)
    assert decode_subscription(encode_subscription(everything)) == everything


def test_displayed_record_masks_sealed_values():
    """Settings and header names are shown; header values, certificate and former secrets are masked."""
    full = replace(
        FULL, secrets=(SealedSecret("sec_1", b"canary", 1_000),), headers=(SealedHeader("X-A", "h", b"canary"),)
    )
    fields = RecordReader({}).read(encode_subscription(full)).fields
    assert (fields["schedule_s"], fields["timeout_s"], fields["rate_limit"]) == ([5, 60], 10, 0.5)
    assert (fields["headers"], fields["client_certificate"], fields["former_secrets"]) == ({"X-A": "***"}, "***", "***")
    assert "canary" not in str(fields)
    assert RecordReader({}).read(encode_subscription(FILTERED)).fields["filters"] == FILTERED.filters
