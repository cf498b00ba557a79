"""The record of a response says how much of it was kept, and every tool shows it as text."""

from __future__ import annotations

import pytest

from consumers.delivery.http.types import MAX_BODY_KEPT, Response
from consumers.delivery.results.recorder import RESPONSE_KEPT, _kept
from consumers.inspect.readable import RecordReader, line
from schemas.avro.json_writer import readable
from tests.support.hostile import HostileReceiver
from tests.support.http_client import local_client, request_to, response_of
from tests.support.tools import job, outcome_value
from tests.unit.delivery.test_endpoint import SIGNED, endpoint

JAPANESE = "エラーが発生しました。".encode() * 60


@pytest.mark.parametrize("size", [0, 1, 1_023, 1_024, 1_025, 3_000, 5_119, 5_120])
@pytest.mark.parametrize("after", [0, 1, 60_000])
def test_kept_and_not_kept_bytes_add_up(size: int, after: int) -> None:
    """The kept bytes and the number beside them are all bytes that were received."""
    kept, not_kept = _kept(Response(200, None, b"x" * size, after > 60, after), endpoint(SIGNED))
    assert len(kept) == min(size, RESPONSE_KEPT)
    assert len(kept) + not_kept == size + after


def test_client_counts_what_it_does_not_keep() -> None:
    """A body of 5 KiB is kept completely, and of a longer one the rest is counted, in one read or in many."""
    receiver, client = HostileReceiver(), local_client()
    for path, least in (("ok-body", 0), ("endless-body", 59 * 1_024)):
        response = response_of(client, request_to(f"http://127.0.0.1:{receiver.port}/{path}"))
        assert isinstance(response, Response)
        assert response.not_kept >= least
        assert (response.not_kept == 0) == (least == 0)
        assert len(response.body) <= MAX_BODY_KEPT
    client.close()
    receiver.close()


@pytest.mark.parametrize("cut", range(1_018, 1_025))
def test_response_cut_within_a_character_is_text(cut: int) -> None:
    """The whole characters are shown as text, and the rest of the last one counts as not kept."""
    value = outcome_value(job(), response=JAPANESE[:cut], response_not_kept=len(JAPANESE) - cut)
    fields = RecordReader({}).read(value).fields
    assert JAPANESE.decode().startswith(fields["response"])
    assert len(fields["response"].encode()) + fields["response_not_kept"] == len(JAPANESE)
    assert "エラーが発生しました。" in line(fields)
    assert fields["response"] in readable(fields)


@pytest.mark.parametrize(
    ("response", "shown"),
    [
        ("déjà reçu".encode("latin-1"), "d\\xe9j\\xe0 re\\xe7u"),
        (b"\x1f\x8b\x08" + bytes(100), "\x1f\\x8b\x08" + "\0" * 100),
        (b"a\xf0\x9f", "a"),
        ("\u2028\x85😀".encode(), "\u2028\x85😀"),
        (b"", ""),
    ],
)
def test_response_of_any_bytes_is_shown(response: bytes, shown: str) -> None:
    """Bytes that are not UTF-8 are escaped one by one, and none are left out."""
    fields = RecordReader({}).read(outcome_value(job(), response=response)).fields
    assert fields["response"] == shown
    assert line(fields).isprintable()
    assert "response_not_kept" not in line(fields) or response == b"a\xf0\x9f"


def test_values_that_are_not_text_are_complete_in_json() -> None:
    """`--json` has all bytes of an unknown value in hexadecimal."""
    value = bytes(range(256)) * 40
    fields = RecordReader({}).read(value).fields
    assert bytes.fromhex(fields["hex"]) == value
