"""JSON of any depth, size and spelling is read, checked and written without a lost digit."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro.json_check import MAX_LEVELS, any_text, object_text
from schemas.avro.json_parser import _DeepParser, parse
from schemas.avro.json_text import JsonText
from schemas.avro.json_tokens import levels_of, minified
from schemas.avro.json_writer import NoJsonForm, _Writer, compact, readable

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)
DEEP = 50_000


def result_of(parsing: Callable[[], Any]) -> Any:
    """Return the parsed value, or the error without its place."""
    try:
        return parsing()
    except ValueError as error:
        return type(error), str(error).split(":")[0]


def nested(levels: int, innermost: str = "") -> str:
    return "[" * levels + innermost + "]" * levels


@given(VALUES, st.booleans())
def test_parser_without_recursion_agrees_with_json(value: Any, is_ascii: bool) -> None:
    """The parser for deep text returns what json returns, for compact and for indented text."""
    for text in (json.dumps(value, ensure_ascii=is_ascii), json.dumps(value, indent=1)):
        assert _DeepParser(text, dict).parse() == value


@given(VALUES, st.data())
def test_parser_without_recursion_refuses_what_json_refuses(value: Any, data: st.DataObject) -> None:
    """Damaged text has the same error at the same place in both parsers."""
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    text = text[:at] + data.draw(st.sampled_from(list('[]{},:"01-.e\\ nt'))) + text[at + 1 :]
    assert result_of(lambda: _DeepParser(text, dict).parse()) == result_of(lambda: json.loads(text))


@given(VALUES)
def test_writer_without_recursion_agrees_with_json(value: Any) -> None:
    """The writer for deep values and long integers writes what json writes."""
    assert _Writer(value).text() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert _Writer(value, indent="  ").text() == json.dumps(value, ensure_ascii=False, indent=2)


def test_deep_text_is_parsed_and_written() -> None:
    """A text of 50,000 levels with a number beyond a double comes back unchanged, with repeated keys refused."""
    text = nested(DEEP, '{"a":1e400}')
    assert compact(parse(text)) == text
    assert readable(parse(text)) == text
    assert levels_of(text) == DEEP + 1

    def refuse(_: list[tuple[str, Any]]) -> Any:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        parse(text, refuse)


@pytest.mark.parametrize(
    "number", ["1e400", "-0.0", "1.10", "18528528433540659662000", "1" * 6_000, "1E+999", "0.1" + "0" * 400]
)
def test_digits_stay_as_they_are(number: str) -> None:
    """A number of any size and spelling is read, checked and shown with the same digits."""
    text = f'{{"a":[{number},"{number}"]}}'
    assert compact(parse(text)) == text
    assert object_text(text).text == text
    assert readable({"data": JsonText(text), "more": 2**70}) == f'{{"data":{text},"more":{2**70}}}'
    json.loads(readable({"data": JsonText(text)}, indent=True), parse_float=Decimal, parse_int=Decimal)


@pytest.mark.parametrize(
    "wrong", ["01", "1.", "1.5.3", "1e5e5", "--1", "-", "1e", "+1", ".5", "NaN", "Infinity", "1e9-1"]
)
@pytest.mark.parametrize("beside", ["", "1e400,"])
def test_what_looks_like_a_number_is_refused(wrong: str, beside: str) -> None:
    """Text that is not a number is refused, also beside a number that only the slow check accepts."""
    with pytest.raises(ValueError, match=r"not JSON|not a number in JSON"):
        any_text(f"[{beside}{wrong}]")


@pytest.mark.parametrize("innermost", ["", "1e400", '"]"'])
def test_depth_limit_is_exact(innermost: str) -> None:
    """1,024 levels are accepted and 1,025 are refused with both numbers, whatever is inside."""
    any_text(nested(MAX_LEVELS, innermost))
    with pytest.raises(ValueError, match=r"it has 1,025 levels of arrays and objects, and at most 1,024 are allowed"):
        any_text(nested(MAX_LEVELS + 1, innermost))


def test_minified_text_is_one_line_with_the_same_values() -> None:
    """Spaces between values and needless escapes go; keys twice, digits and spaces in strings stay."""
    text = '{ "a" :\r\n [1.10,\t"x  \\u00e9\\/\\n\u2028"], "a": {"": "\\""} }'
    assert minified(text) == '{"a":[1.10,"x  é/\\n\u2028"],"a":{"":"\\""}}'


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"a": [1, {"b": "\ud83d x"}]}, ".a[1].b", "half of a surrogate pair"),
        ({"a": {"\udc00": 1}}, ".a.\\udc00", "half of a surrogate pair"),
        ([float("nan"), None], "[0]", "NaN is not a number in JSON"),
        ({"a": {1: 2}, "b": 2**70}, ".a.1", "expected keys that are strings"),
        ({"a": [b""]}, ".a[0]", "bytes has no JSON form"),
    ],
)
def test_value_without_json_form_is_named(value: Any, path: str, why: str) -> None:
    """The error has the path of the value; the text for people shows something all the same."""
    with pytest.raises(NoJsonForm, match=why) as error:
        compact(value)
    assert error.value.path == path
    assert readable(value)


def test_value_that_contains_itself_is_refused() -> None:
    """A value without an end is an error with a short path."""
    value: dict[str, Any] = {}
    value["a"] = value
    with pytest.raises(NoJsonForm, match="it contains itself") as error:
        compact(value)
    assert len(error.value.path) < 200
