"""Sealed secrets, as stored on a topic."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog.errors import InvalidInput, SealBroken
from schemas.subscriptions.sealing import Sealer, load_sealing_key

pytestmark = pytest.mark.promise(6)

KEY, OTHER = bytes(range(32)), bytes(32)
PLACE = {"topic": "signpost.subscriptions", "subscription_id": "sub_1", "secret_id": "sec_1"}
CANARY = "canary-of-this-test"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_sealed_secret_opens(secret):
    """Any text is the same after sealing and opening."""
    sealer = Sealer([KEY])
    assert sealer.open(sealer.seal(secret, **PLACE), **PLACE) == secret


def test_sealed_bytes_reveal_nothing():
    """Sealing the same secret twice gives different bytes, and none of them contain the secret."""
    sealer = Sealer([KEY])
    first, second = sealer.seal(CANARY, **PLACE), sealer.seal(CANARY, **PLACE)
    assert first != second
    assert CANARY.encode() not in first
    assert CANARY not in repr(sealer)


@pytest.mark.parametrize("part", ["topic", "subscription_id", "secret_id"])
def test_secret_opens_only_in_its_place(part):
    """Sealed bytes that were copied to another topic, subscription or secret do not open."""
    sealed = Sealer([KEY]).seal(CANARY, **PLACE)
    with pytest.raises(SealBroken, match="moved from another"):
        Sealer([KEY]).open(sealed, **{**PLACE, part: "another"})


def test_parts_of_a_place_are_separated():
    """`ab` + `c` is another place than `a` + `bc`."""
    sealer = Sealer([KEY])
    sealed = sealer.seal(CANARY, topic="t", subscription_id="ab", secret_id="c")
    with pytest.raises(SealBroken):
        sealer.open(sealed, topic="t", subscription_id="a", secret_id="bc")


def test_sealing_key_can_be_rotated():
    """The first key seals and all keys open, so that old secrets open until they are sealed with the new key."""
    old, both = Sealer([OTHER]), Sealer([KEY, OTHER])
    assert both.open(old.seal(CANARY, **PLACE), **PLACE) == CANARY
    sealed = both.seal(CANARY, **PLACE)
    assert Sealer([KEY]).open(sealed, **PLACE) == CANARY
    assert not old.has_key_of(sealed)


def test_wrong_key_is_named_but_not_revealed():
    """The error names both keys by opaque ids and says what to do."""
    with pytest.raises(SealBroken, match=r"sealed with the key .* configured: .* sealing_key") as caught:
        Sealer([OTHER]).open(Sealer([KEY]).seal(CANARY, **PLACE), **PLACE)
    assert KEY.hex()[:8] not in str(caught.value)
    assert CANARY not in str(caught.value)


@given(st.binary(max_size=80))
def test_hostile_bytes_end_in_one_error(sealed):
    """Bytes that were never sealed give SealBroken."""
    with pytest.raises(SealBroken):
        Sealer([KEY]).open(sealed, **PLACE)


@given(st.integers(0, 60), st.integers(1, 255))
def test_changed_byte_breaks_the_seal(position, change):
    """A secret with one changed byte does not open."""
    sealed = bytearray(Sealer([KEY]).seal(CANARY, **PLACE))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(SealBroken):
        Sealer([KEY]).open(bytes(sealed), **PLACE)


def test_key_is_base64_of_32_bytes():
    """A key is read as `openssl rand -base64 32` prints it, with the final line break."""
    assert load_sealing_key(base64.b64encode(KEY).decode() + "\n") == KEY


def test_byte_order_mark_is_no_part_of_a_key():
    """Editors write a byte order mark at the start of a file."""
    assert load_sealing_key(f"\ufeff{base64.b64encode(KEY).decode()}\r\n") == KEY


@pytest.mark.parametrize("text", ["", "canary", base64.b64encode(KEY[:16]).decode(), "canary-" * 9])
def test_invalid_key_is_refused_and_not_repeated(text):
    """The error names the command that makes a key and does not repeat the input."""
    with pytest.raises(InvalidInput, match="openssl rand -base64 32") as caught:
        load_sealing_key(text)
    assert not text or text not in str(caught.value)
