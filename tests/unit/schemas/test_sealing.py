"""Secrets as they are on a topic."""

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
def test_what_was_sealed_opens(secret):
    """Any text comes out as it went in."""
    sealer = Sealer([KEY])
    assert sealer.open(sealer.seal(secret, **PLACE), **PLACE) == secret


def test_sealed_bytes_show_neither_the_secret_nor_that_two_are_equal():
    """The same secret sealed twice gives different bytes, and none of them holds it."""
    sealer = Sealer([KEY])
    first, second = sealer.seal(CANARY, **PLACE), sealer.seal(CANARY, **PLACE)
    assert first != second
    assert CANARY.encode() not in first
    assert CANARY not in repr(sealer)


@pytest.mark.parametrize("part", ["topic", "subscription_id", "secret_id"])
def test_a_secret_opens_only_where_it_was_sealed(part):
    """Sealed bytes that were copied to another topic, subscription or secret do not open."""
    sealed = Sealer([KEY]).seal(CANARY, **PLACE)
    with pytest.raises(SealBroken, match="moved from another"):
        Sealer([KEY]).open(sealed, **{**PLACE, part: "another"})


def test_parts_of_a_place_do_not_run_into_each_other():
    """`ab` + `c` is another place than `a` + `bc`."""
    sealer = Sealer([KEY])
    sealed = sealer.seal(CANARY, topic="t", subscription_id="ab", secret_id="c")
    with pytest.raises(SealBroken):
        sealer.open(sealed, topic="t", subscription_id="a", secret_id="bc")


def test_a_key_is_replaced_by_a_new_first_one():
    """The first key seals and all open, so that old secrets open until they are sealed anew."""
    old, both = Sealer([OTHER]), Sealer([KEY, OTHER])
    assert both.open(old.seal(CANARY, **PLACE), **PLACE) == CANARY
    sealed = both.seal(CANARY, **PLACE)
    assert Sealer([KEY]).open(sealed, **PLACE) == CANARY
    assert not old.has_key_of(sealed)


def test_the_wrong_key_is_named_and_not_shown():
    """The error names the two keys by ids that tell nothing about them, and says what to do."""
    with pytest.raises(SealBroken, match=r"sealed with the key .* configured: .* sealing_key") as caught:
        Sealer([OTHER]).open(Sealer([KEY]).seal(CANARY, **PLACE), **PLACE)
    assert KEY.hex()[:8] not in str(caught.value)
    assert CANARY not in str(caught.value)


@given(st.binary(max_size=80))
def test_hostile_bytes_end_in_one_error(sealed):
    """Bytes that nobody sealed are SealBroken, whatever they are."""
    with pytest.raises(SealBroken):
        Sealer([KEY]).open(sealed, **PLACE)


@given(st.integers(0, 60), st.integers(1, 255))
def test_no_byte_can_be_changed(position, change):
    """One changed byte anywhere, and the secret does not open."""
    sealed = bytearray(Sealer([KEY]).seal(CANARY, **PLACE))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(SealBroken):
        Sealer([KEY]).open(bytes(sealed), **PLACE)


def test_a_key_is_base64_of_32_bytes():
    """A key is read as `openssl rand -base64 32` prints it, with the line's end."""
    assert load_sealing_key(base64.b64encode(KEY).decode() + "\n") == KEY


@pytest.mark.parametrize("text", ["", "canary", base64.b64encode(KEY[:16]).decode(), "canary-" * 9])
def test_a_key_that_is_none_is_refused_and_not_repeated(text):
    """The error says how a key is made, and does not show what was given."""
    with pytest.raises(InvalidInput, match="openssl rand -base64 32") as caught:
        load_sealing_key(text)
    assert not text or text not in str(caught.value)
