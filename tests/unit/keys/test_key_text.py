"""The text form of API keys."""

from __future__ import annotations

import re
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.keys.text import LENGTH, KeyText, generate_key, id_in, parse_key

pytestmark = pytest.mark.promise(6)

# What a secret scanner is given; docs/security.md names the same pattern.
SCANNED = re.compile(r"spk_[a-z2-7]{16}_[A-Za-z0-9_-]{48}")
BYTES = st.integers(0, 255)
KEYS = st.builds(lambda random: generate_key(lambda n: bytes(random[:n])), st.lists(BYTES, min_size=32, max_size=32))


@given(KEYS)
def test_key_survives_its_text_form(key):
    """Any generated key is recognised from its text, which scanners find and which has one length."""
    text = key.text()
    assert SCANNED.fullmatch(text)
    assert len(text) == LENGTH
    assert parse_key(text) == key
    assert id_in(text) == id_in(key.id) == key.id


@given(st.text(max_size=100))
def test_other_text_is_no_key(text):
    """Text of any form is no key, and raises nothing."""
    assert parse_key(text) is None


@given(KEYS, st.integers(0, LENGTH - 1), st.characters())
def test_changed_text_is_no_key(key, place, character):
    """A key with one other character is not a key: the checksum covers prefix, id and secret."""
    text = key.text()
    changed = text[:place] + character + text[place + 1 :]
    assert (parse_key(changed) is None) == (changed != text)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "=",
        lambda text: text + "\n",
        lambda text: f" {text}",
        lambda text: f"Bearer {text}",
        lambda text: text.upper(),
        lambda text: text.replace("spk_", "sk_"),
        lambda text: text + text,
        lambda text: text + "A" * 10_000_000,
        lambda text: text[:20],
        lambda text: "\uff53" + text[1:],
    ],
)
def test_text_around_a_key_is_refused(change):
    """A key with something before or after it, in capitals or cut, is not a key, whatever its length."""
    numbers = count()
    text = generate_key(lambda n: bytes(next(numbers) % 256 for _ in range(n))).text()
    assert parse_key(change(text)) is None


def test_secret_part_is_in_no_representation():
    """The representation of a key shows its id only."""
    key = KeyText("a" * 16, bytes(range(32)))
    assert repr(key) == f"KeyText(id='{'a' * 16}')"


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("a" * 16, "a" * 16),
        ("spk_" + "a" * 16, "a" * 16),
        (f"spk_{'a' * 16}_cut", "a" * 16),
        ("A" * 16, None),
        ("a" * 15, None),
        ("", None),
        ("spk_", None),
        ("a" * 16 + "_" * 100, None),
    ],
)
def test_id_of_a_part_of_a_key(text, id_):
    """Who finds a part of a key can name it by that part if it has the whole id."""
    assert id_in(text) == id_
