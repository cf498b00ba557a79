"""Recorded response bodies hold no secret, even if the endpoint echoes its request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.types import Response
from consumers.delivery.results.recorder import RESPONSE_KEPT, redacted
from tests.support.hostile import HostileReceiver
from tests.support.http_client import completed_of, local_client, request_to
from tests.unit.delivery.test_endpoint import SIGNED, endpoint, header

pytestmark = pytest.mark.promise(6)

TOKEN = "tok-7f3a9c51e8b24d60"
KEY = "key-" + "0123456789abcdef" * 240  # nearly as long as a value may be
# A part of a secret of this length is not found by chance.
PART = 6


@pytest.fixture(scope="module")
def echoing() -> Endpoint:
    """An endpoint with two secret headers and a signing secret."""
    return endpoint(replace(SIGNED, headers=(header("Authorization", f"Bearer {TOKEN}"), header("X-Key", KEY))))


def parts_in(kept: bytes) -> list[str]:
    """Return the prefixes of secrets, of PART characters or more, that a recorded body holds."""
    return [secret[:PART] for secret in (TOKEN, KEY, "the secret") if secret[:PART].encode() in kept]


def test_echoed_headers_are_masked(echoing: Endpoint) -> None:
    """No prefix of a value remains, wherever the echo is cut: at the recorded 1 KiB, or at the 5 KiB that are kept."""
    receiver, client = HostileReceiver(), local_client()
    pads = [*range(0, 1_200, 50), *range(990, 1_060), *range(4_900, 5_130, 3)]
    requests = [request_to(f"http://127.0.0.1:{receiver.port}/echo?{pad}", timeout_ms=20_000) for pad in pads]
    for request in requests:
        request.headers[:0] = echoing.header_lines
    kept = []
    for each in completed_of(client, *requests):
        assert isinstance(each.response, Response)
        kept.append(redacted(each.response, echoing))  # the result is visible only in topics
    client.close()
    receiver.close()
    assert len(kept) == len(pads)
    assert [parts_in(each) for each in kept if parts_in(each)] == []
    assert max(map(len, kept)) == RESPONSE_KEPT
    assert sum(b"Authorization: ***" in each and b"X-Key: ***" in each for each in kept) > 10


@pytest.mark.parametrize("secret", [TOKEN, KEY, "the secret"], ids=["short", "long", "signing"])
def test_repeated_secret_is_masked_everywhere(echoing: Endpoint, secret: str) -> None:
    """A body that repeats a secret, cut anywhere, holds no prefix of it afterwards."""
    full = (secret.encode() + b" ") * (12_000 // len(secret))
    for start in range(0, len(secret) + 2, max(1, len(secret) // 100)):
        for cut in (True, False):
            body = full[start : start + 5_120]
            kept = redacted(Response(200, None, body, cut), echoing)
            assert parts_in(kept) == [], start
