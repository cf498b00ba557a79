"""A hostile endpoint can only fail its own requests, within their deadline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.types import MAX_BODY_KEPT, Response, TransportError
from schemas.catalog.failures import FailureKind
from tests.support.hostile import HostileReceiver, hostile_process
from tests.support.http_client import completed_of, local_client, poll, request_to, response_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

DEADLINE_MS = 400
# For requests that end before their deadline, even on a busy machine.
IN_TIME_MS = 10_000
# How much later than its deadline a request may end here, as the machine may be busy.
SLACK_US = 1_500_000
EMPTY = Response(200, None, b"", False)
CUT = Response(200, None, b"", True)

COMPLETE: dict[str, Response] = {
    "ok": EMPTY,
    "ok-body": Response(200, None, b"hello", False),
    "ok-until-close": EMPTY,
    "ok-chunked-empty": EMPTY,
    "ok-after-interim": EMPTY,
    "no-content": Response(204, None, b"", False),
    "retry-after": Response(503, "86400", b"", False),
    "retry-after-twice": Response(503, "7", b"", False),
    "retry-after-of-200": EMPTY,
    "redirect": Response(302, None, b"", False),
    "mid-body": Response(200, None, b"hell", True),
    "mid-body-reset": CUT,
    "mid-chunk": Response(200, None, b"hell", True),
    "no-chunk": CUT,
    "no-chunk-reset": CUT,
    "no-chunk-hang": CUT,
    "no-body-hang": CUT,
    "until-close-hang": CUT,
    "bad-chunk": CUT,
    "endless-body": Response(200, None, b"x" * MAX_BODY_KEPT, True),
    "endless-chunks": Response(200, None, b"x" * MAX_BODY_KEPT, True),
    "endless-trailers": CUT,
    "gigabyte": Response(200, None, b"x" * MAX_BODY_KEPT, True),
    "two-equal-lengths": Response(200, None, b"hello", False),
    "listed-lengths": Response(200, None, b"hello", False),
    "length-and-chunks": Response(200, None, b"hello", False),
    "endless-length": Response(200, None, b"hello", False),
    "long-length": Response(200, None, b"hello", False),
    "negative-chunk": CUT,
    "endless-chunk": CUT,
    "chunk-too-long": Response(200, None, b"hel", True),
    "many-interim": EMPTY,
    "status-999": Response(999, None, b"", False),
    "two-answers": EMPTY,
    "folded": EMPTY,
    "bare-lines": EMPTY,
    "huge-location": Response(302, None, b"", False),
    "elsewhere": EMPTY,
    "unauthorised": Response(401, None, b"", False),
    "of-a-proxy": Response(407, None, b"", False),
    "almost-huge-headers": EMPTY,
    "no-colon": EMPTY,
}
FAILED: dict[str, set[FailureKind]] = {
    "never": {"timeout_answer"},
    "interim-only": {"timeout_answer"},
    "mid-headers-hang": {"timeout_answer"},
    "drip-headers": {"timeout_answer"},
    "drip-header-bytes": {"timeout_answer"},
    "close": {"reset"},
    "reset": {"reset"},
    "mid-status": {"reset"},
    "mid-headers": {"reset"},
    "mid-headers-length": {"reset"},
    "mid-headers-both": {"reset"},
    "mid-headers-reset": {"reset"},
    "mid-headers-after-interim": {"reset"},
    "huge-headers": {"headers_too_large"},
    "huge-line": {"headers_too_large"},
    "endless-headers": {"headers_too_large"},
    "endless-interim": {"headers_too_large"},
    "endless-large-interim": {"headers_too_large"},
    "gzip-transfer": {"protocol"},
    "old-http": {"protocol"},
    "banner": {"protocol"},
    "two-lengths": {"protocol"},
    "ansi": {"protocol"},
    "negative-length": {"protocol"},
    "ten-thousand-headers": {"headers_too_large"},
    "switch": {"protocol"},
    "status-99": {"protocol"},
    "nul-in-header": {"protocol"},
    "status-0": {"protocol"},
    "status-0200": {"protocol"},
    "status-minus": {"protocol"},
    "blank-first": {"protocol"},
    "http2-preface": {"protocol"},
    "http2-settings": {"protocol"},
    "http2-status": {"protocol"},
    "bare-returns": {"timeout_answer"},
    "plus-length": {"protocol"},
    "empty-length": {"protocol"},
    "not-chunked-last": {"protocol"},
    "huger-location": {"headers_too_large"},
}


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with hostile_process() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = local_client()
    yield client
    client.close()


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.decision("Z9")
@pytest.mark.parametrize("how", COMPLETE)
def test_complete_headers_are_the_response(client: HttpClient, hostile: str, how: str) -> None:
    """Complete headers are the response, whatever happens to the body."""
    deadline_ms = DEADLINE_MS if how.endswith("hang") else IN_TIME_MS
    assert response_of(client, request_to(f"{hostile}/{how}", timeout_ms=deadline_ms)) == COMPLETE[how]


@pytest.mark.decision("Z9")
@pytest.mark.parametrize("how", FAILED)
def test_without_complete_headers_there_is_no_response(client: HttpClient, hostile: str, how: str) -> None:
    """Headers that are incomplete, no HTTP/1.1 or larger than 32 KiB are a transport error of a known kind."""
    deadline_ms = DEADLINE_MS if "timeout_answer" in FAILED[how] else IN_TIME_MS
    error = response_of(client, request_to(f"{hostile}/{how}", timeout_ms=deadline_ms))
    assert isinstance(error, TransportError)
    assert error.kind in FAILED[how]
    assert error.detail.isprintable()
    assert error.detail.isascii()


def test_deadlines_hold_among_healthy_requests(client: HttpClient, hostile: str) -> None:
    """With all kinds of misbehaviour at once each request ends by its deadline, and healthy requests complete."""
    behaviours = [*COMPLETE, *FAILED] * 3
    requests = [request_to(f"{hostile}/{how}", timeout_ms=1_000, context=how) for how in behaviours]
    healthy = [request_to(f"{hostile}/ok", timeout_ms=20_000, context="healthy") for _ in range(100)]
    completed = completed_of(client, *requests, *healthy)
    assert len(completed) == len(requests) + len(healthy)
    assert {each.response for each in completed if each.request.context == "healthy"} == {EMPTY}
    for each in completed:
        if each.request.context != "healthy":
            assert each.duration_us < 1_000_000 + SLACK_US, each.request.context


def test_no_deadline_fires_early(client: HttpClient, hostile: str) -> None:
    """An endpoint has its whole timeout to respond."""
    completed = completed_of(client, *[request_to(f"{hostile}/never", timeout_ms=ms) for ms in (100, 350, 200)])
    assert [each.request.timeout_ms for each in completed] == [100, 200, 350]
    assert all(each.duration_us >= each.request.timeout_ms * 1_000 for each in completed)


FLOODS = [
    "endless-body",
    "gigabyte",
    "endless-chunks",
    "endless-headers",
    "endless-large-interim",
    "endless-trailers",
    "gzip-bomb",
    "ten-thousand-headers",
]


@pytest.mark.parametrize("how", [*FLOODS, "huge-headers"])
@pytest.mark.parametrize("trusted", [False, True], ids=["first contact", "after good responses"])
def test_memory_stays_flat(client: HttpClient, hostile: str, how: str, trusted: bool) -> None:
    """Endless responses fill no memory, even if the endpoint responded well before."""
    warm = [request_to(f"{hostile}/ok") for _ in range(60)]
    completed_of(client, *(warm if trusted else warm[:0]))
    completed_of(client, *[request_to(f"{hostile}/{how}", timeout_ms=5_000) for _ in range(20)])
    before = resident_bytes()
    for _ in range(3):
        if trusted:
            completed_of(client, request_to(f"{hostile}/ok"))
        completed_of(client, *[request_to(f"{hostile}/{how}", timeout_ms=5_000) for _ in range(60)])
    assert resident_bytes() - before < 32 * 1024 * 1024


def test_compressed_bodies_stay_compressed(client: HttpClient, hostile: str) -> None:
    """A gzip bomb is not decompressed; at most 64 KiB of it are read."""
    response = response_of(client, request_to(f"{hostile}/gzip-bomb"))
    assert isinstance(response, Response)
    assert (response.body[:2], len(response.body)) == (b"\x1f\x8b", MAX_BODY_KEPT)


@pytest.mark.decision("Z5")
def test_redirects_are_not_followed(client: HttpClient) -> None:
    """A redirect is the response; no request goes to its location."""
    receiver = HostileReceiver()
    response = response_of(client, request_to(f"http://127.0.0.1:{receiver.port}/redirect"))
    assert response == Response(302, None, b"", False)
    assert len(receiver.requests) == 1
    receiver.close()


def test_sockets_are_read_before_deadlines_are_checked() -> None:
    """A response that arrived before the deadline counts, even if the process stalled past the deadline."""
    now = [1_000.0]
    receiver = HostileReceiver()
    receiver.gate.clear()
    client = local_client(monotonic=lambda: now[0])
    for how in ("ok", "ok-body", "no-chunk-hang", "never"):
        client.start(request_to(f"http://127.0.0.1:{receiver.port}/{how}", timeout_ms=1_000, context=how))
    wait_until(lambda: poll(client, 0) == [] and len(receiver.requests) == 4, what="all requests have arrived")
    receiver.gate.set()
    wait_until(lambda: receiver.answered == 4, what="all responses are in the sockets, unread")
    now[0] += 3_600
    results = {each.request.context: each.response for each in completed_of(client)}
    never = TransportError("timeout_answer", "no complete response headers within 1 s")
    hello = Response(200, None, b"hello", False)
    assert results == {"ok": EMPTY, "ok-body": hello, "no-chunk-hang": CUT, "never": never}
    client.close()
    receiver.close()
