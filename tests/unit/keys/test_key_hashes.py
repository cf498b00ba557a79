"""Keyed hashes of API keys, and their records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.inspect.readable import RecordReader
from schemas.catalog.errors import InvalidInput, UnreadableRecord
from schemas.keys.hashing import KeyHasher
from schemas.keys.text import KeyText
from schemas.records.api_key import (
    ApiKey,
    decode_api_key,
    decode_api_key_use,
    encode_api_key,
    encode_api_key_use,
)
from schemas.subscriptions.sealing import Sealer, sealing_key_id

pytestmark = pytest.mark.promise(6)

TOPIC = "signpost.api-keys"
FIRST, SECOND = bytes(range(32)), bytes(32)
GIVEN = KeyText("a" * 16, bytes(range(100, 132)))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def api_key(hasher: KeyHasher, given: KeyText = GIVEN, **fields: object) -> ApiKey:
    """Return the record of a key."""
    values = {
        "sender": "onboarding",
        "customer_id": "acme",
        "scope": "write",
        "description": "",
        "created_at_ms": 1_000,
        "expires_at_ms": None,
        "revoked_at_ms": None,
    } | fields
    key = ApiKey(id=given.id, sealing_key=hasher.current, hash=b"", **values)  # type: ignore[arg-type]  # of a test
    return replace(key, hash=hasher.hash(key, given.secret))


@given(TEXTS, TEXTS, st.none() | st.integers(0, 2**62), TEXTS)
def test_key_matches_its_own_secret_only(sender, customer_id, expires_at_ms, description):
    """A key of any fields survives encoding and matches its secret, and no other one."""
    hasher = KeyHasher(TOPIC, [FIRST])
    key = api_key(hasher, sender=sender, customer_id=customer_id, expires_at_ms=expires_at_ms, description=description)
    read = decode_api_key(key.id, encode_api_key(key))
    assert read == key
    assert hasher.matches(read, GIVEN)
    assert not hasher.matches(read, replace(GIVEN, secret=bytes(32)))
    assert not hasher.matches(None, GIVEN)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "b" * 16},
        {"sender": "diligent"},
        {"sender": None, "customer_id": None},
        {"sender": "onboardingac", "customer_id": "me"},
        {"sender": "", "customer_id": ""},
        {"customer_id": "globex"},
        {"scope": "read"},
        {"created_at_ms": 1_001},
        {"expires_at_ms": 9_000_000},
        {"hash": b""},
        {"hash": bytes(32)},
        {"sealing_key": b""},
        {"sealing_key": sealing_key_id(SECOND)},
    ],
)
def test_changed_record_matches_nothing(changes):
    """A writer of the topic without the sealing key can change a record, but its secret does not fit any more."""
    hasher = KeyHasher(TOPIC, [FIRST, SECOND])
    key = api_key(hasher)
    assert hasher.matches(key, GIVEN)
    assert not hasher.matches(replace(key, **changes), GIVEN)


def test_topics_and_sealing_keys_are_separated():
    """The same secret has another hash under another sealing key and on another topic."""
    hashes = [api_key(KeyHasher(topic, [key])).hash for topic in (TOPIC, "other") for key in (FIRST, SECOND)]
    assert len(set(hashes)) == 4


def test_revocation_and_description_need_no_secret():
    """The fields that change later are not part of the hash."""
    hasher = KeyHasher(TOPIC, [FIRST])
    assert hasher.matches(replace(api_key(hasher), revoked_at_ms=5, description="new"), GIVEN)


def test_older_sealing_keys_recognise_their_keys():
    """After a new sealing key is put first, keys of the old one still match, until that one is removed."""
    old = api_key(KeyHasher(TOPIC, [SECOND]))
    both, new = KeyHasher(TOPIC, [FIRST, SECOND]), KeyHasher(TOPIC, [FIRST])
    assert both.matches(old, GIVEN)
    assert both.has_key_of(old)
    assert old.sealing_key != both.current
    assert not new.matches(old, GIVEN)
    assert not new.has_key_of(old)
    assert api_key(both).hash == api_key(new).hash


def test_hash_reveals_no_sealing_key():
    """The key of the hash differs from the sealing key: what seals secrets computes no hash of an API key."""
    hasher = KeyHasher(TOPIC, [FIRST])
    value = encode_api_key(api_key(hasher))
    assert FIRST not in value
    assert GIVEN.secret not in value
    assert "hash" not in repr(api_key(hasher))
    assert Sealer([FIRST]).has_key_of(b"\x01" + hasher.current)


def test_sealing_key_is_required():
    """Without a sealing key there is no keyed hash."""
    with pytest.raises(InvalidInput):
        KeyHasher(TOPIC, [])


@pytest.mark.parametrize(
    ("revoked_at_ms", "expires_at_ms", "state"),
    [
        (None, None, "active"),
        (None, 1_001, "active"),
        (None, 1_000, "expired"),
        (5, None, "revoked"),
        (5, 10, "revoked"),
    ],
)
def test_state_of_a_key(revoked_at_ms, expires_at_ms, state):
    """A key is active until the millisecond in which it expires, or is revoked."""
    key = api_key(KeyHasher(TOPIC, [FIRST]), revoked_at_ms=revoked_at_ms, expires_at_ms=expires_at_ms)
    assert key.state(1_000) == state


@pytest.mark.parametrize(
    "fields", [{"sender": None}, {"customer_id": None}, {"scope": "admin"}, {"scope": ""}, {"id": "b" * 16}]
)
def test_records_that_say_less_are_unreadable(fields):
    """A key with a sender but no customer, or with another scope or id, is unreadable: it is for nobody."""
    key = replace(api_key(KeyHasher(TOPIC, [FIRST])), **fields)
    with pytest.raises(UnreadableRecord):
        decode_api_key("a" * 16, encode_api_key(key))


@given(st.binary(max_size=200))
def test_hostile_records_are_unreadable(value):
    """Any bytes on the topics are read or unreadable, and nothing else is raised."""
    for read in (lambda: decode_api_key("a" * 16, value), lambda: decode_api_key_use(value)):
        with pytest.raises(UnreadableRecord):
            read()


def test_last_use_survives_encoding():
    """The record of a last use holds its time."""
    assert decode_api_key_use(encode_api_key_use("a" * 16, 1_771_236_060_000)) == 1_771_236_060_000


def test_hash_is_masked_for_people():
    """`signpost tail` shows the fields of a key without its hash, and last uses as times."""
    reader = RecordReader({})
    key = api_key(KeyHasher(TOPIC, [FIRST]))
    shown = reader.read(encode_api_key(key))
    assert shown.kind == "api_key"
    assert (shown.fields["id"], shown.fields["hash"]) == (key.id, "***")
    assert shown.fields["sealing_key"] == key.sealing_key.hex()
    assert reader.read(encode_api_key_use(key.id, 1_000)).fields == {
        "key_id": key.id,
        "last_used_at": "1970-01-01T00:00:01.000Z",
    }
