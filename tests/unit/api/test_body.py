"""Bodies of requests: any bytes end in fields or in a documented refusal."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.api.body import MAX_BODY, MAX_LEVELS, parse_fields, read_body
from producers.api.refusals import Refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def refused(body: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_fields(body)
    return caught.value


def outcome(body: bytes) -> object:
    try:
        return parse_fields(body)
    except Refusal as refusal:
        return refusal


@given(st.binary() | st.text().map(str.encode) | JSON.map(json.dumps).map(str.encode))
def test_any_bytes_are_fields_or_a_refusal(body: bytes) -> None:
    """No bytes cause another exception, and a refusal can be written as JSON."""
    found = outcome(body)
    assert isinstance(found, dict | Refusal)
    if isinstance(found, Refusal):
        assert found.status == 400
        assert orjson.dumps(found.message)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"null", "expected a JSON object"),
        (b"[]", "expected a JSON object"),
        (b'"text"', "expected a JSON object"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": 1} x', "not JSON"),
        (b'{"a": NaN}', "NaN is not a number in JSON"),
        (b'{"a": -Infinity}', "-Infinity is not a number in JSON"),
        (b'{"a": 1, "a": 2}', "a key occurs twice"),
        (b'{"filters": {"a": 1, "a": 2}}', "a key occurs twice"),
        (b'{"a": "\xff"}', "not UTF-8: byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": "\x00"}', "not JSON"),
        (rb'{"a": "\ud800"}', "half of a surrogate pair"),
        (rb'{"a": {"b": [{"\udfff": 1}]}}', "half of a surrogate pair"),
        (rb'{"a": "\udc00\ud800"}', "half of a surrogate pair"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 50_000, "nested too deeply"),
    ],
)
def test_wrong_body_is_refused(body: bytes, reason: str) -> None:
    """The one problem of the refusal concerns the whole body and says what is wrong with it."""
    refusal = refused(body)
    assert (refusal.code, refusal.status) == ("validation_error", 400)
    (problem,) = refusal.problems
    assert (problem.path, problem.code) == ((), "invalid_json")
    assert reason in problem.message


@pytest.mark.parametrize("digits", ["1" * 5_000, "-0.0", "1e400", "1.10", "123456789012345678901234567890"])
def test_numbers_keep_all_digits(digits: str) -> None:
    """A number of any size is text, so that nothing rounds it and no length of it is an error."""
    fields = parse_fields(f'{{"filters": {{"a": {digits}}}}}'.encode())
    assert fields["filters"]["a"].text == digits


def test_surrogate_pair_is_one_character() -> None:
    """Both halves of a pair are text, and so is an escaped backslash before the letter u."""
    assert parse_fields(rb'{"a": "\ud83d\ude00", "b": "\\ud800"}') == {"a": "😀", "b": r"\ud800"}


def test_levels_are_counted_outside_of_strings() -> None:
    """A body of 32 levels is read, and brackets in a string are no levels."""
    deepest = b'{"a":' + b"[" * (MAX_LEVELS - 1) + b"]" * (MAX_LEVELS - 1) + b"}"
    assert "a" in parse_fields(deepest)
    assert refused(deepest.replace(b"[", b"[[", 1).replace(b"]", b"]]", 1)).code == "validation_error"
    assert parse_fields(b'{"a": "' + b"[" * 100 + b'"}') == {"a": "[" * 100}


def read(parts: list[dict[str, Any]], declared: int | None = None) -> bytes:
    """Read a body of these ASGI messages. After the last one the client is silent."""

    async def run() -> bytes:
        waiting = iter(parts)

        async def receive() -> dict[str, Any]:
            for part in waiting:
                return {"type": "http.request"} | part
            return await asyncio.Future()

        return await read_body(receive, declared, timeout_s=0.01)

    return asyncio.run(run())


def reading_refused(parts: list[dict[str, Any]], declared: int | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(parts, declared)
    return caught.value


def test_body_is_read_in_parts_up_to_the_limit() -> None:
    """A body of exactly 256 KiB is read; one more byte is refused, whether its length was declared or not."""
    half = {"body": b"a" * (MAX_BODY // 2), "more_body": True}
    assert len(read([half, half, {"body": b"", "more_body": False}])) == MAX_BODY
    assert read([{}]) == b""
    assert reading_refused([half, half, {"body": b"a", "more_body": True}]).status == 413
    assert reading_refused([], declared=MAX_BODY + 1).status == 413


def test_slow_body_is_cut_off() -> None:
    """A client that stops in the middle of its body gets 408 after the timeout, even if each part was quick."""
    refusal = reading_refused([{"body": b"{", "more_body": True}], declared=10)
    assert (refusal.status, refusal.code) == (408, "request_timeout")


def test_ended_connection_ends_the_reading() -> None:
    """A client that disconnects in the middle of its body is no error of the server."""
    assert reading_refused([{"body": b"{", "more_body": True}, {"type": "http.disconnect"}]).status == 408
