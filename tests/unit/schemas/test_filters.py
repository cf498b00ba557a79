"""Filters of a subscription: any JSON object, stored and returned."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog.errors import InvalidInput
from schemas.subscriptions.filters import MAX_DEPTH, MAX_FILTERS, are_equal, filters_text, read_filters

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_any_object_is_kept(filters: dict[str, Any]) -> None:
    """An object is kept in every spelling of its JSON text, and as an object."""
    for text in (json.dumps(filters), json.dumps(filters, indent=2, ensure_ascii=False)):
        assert json.loads(read_filters(text)) == filters
        assert read_filters(read_filters(text)) == read_filters(text) == filters_text(filters)


def test_numbers_stay_as_written() -> None:
    """No number loses a digit, and the text has no spaces."""
    text = '{"n":[1,1.10,-0,1e400,123456789012345678901234567890],"s":"é"}'
    assert read_filters(text.replace(",", ", ").replace("é", "\\u00e9")) == text
    assert filters_text({"n": [10**30, 1.5, Decimal("1.10")]}) == f'{{"n":[{10**30},1.5,1.10]}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not JSON: Expecting value"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ('"x"', "expected a JSON object"),
        ("{a: 1}", "not JSON: "),
        ("{} {}", "not JSON: Extra data"),
        ('{"a": NaN}', "NaN is not a number in JSON"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ('{"a": "\udc80"}', "half of a surrogate pair"),
        ('{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH, "nested too deeply"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        (f'{{"a": "{"x" * MAX_FILTERS}"}}', "too large; at most 16384 characters"),
    ],
)
def test_anything_else_is_refused(text: str, expected: str) -> None:
    """Text that is no JSON object, is ambiguous, or is too large or too deep gives one error with the reason."""
    with pytest.raises(InvalidInput, match=expected):
        read_filters(text)


def test_object_that_repeats_itself_is_too_large() -> None:
    """An object that contains itself, or a list many times, is refused at once."""
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    many: list[Any] = [1]
    for _ in range(20):
        many = [many] * 10
    for filters, expected in ((loop, "nested too deeply"), ({"many": many}, "too large")):
        with pytest.raises(InvalidInput, match=expected):
            filters_text(filters)


def test_only_the_order_of_keys_has_no_meaning() -> None:
    """Texts are equal if they differ in the order of keys; another type or spelling of a value is another object."""
    assert are_equal('{"a":1,"b":{"c":2,"d":3}}', '{"b":{"d":3,"c":2},"a":1}')
    for other in ('{"a":true}', '{"a":1.0}', '{"a":"1"}', '{"a":[1]}', "{}", '{"a":1,"b":null}', "not JSON"):
        assert not are_equal('{"a":1}', other)
