"""What a receiver says of when to come again, as the transport hands it on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from consumers.delivery.transport import Responded, Transport
from tests.support.hostile import hostile_process
from tests.support.sending import answer_of, answers_of, local_transport, request_to

pytestmark = pytest.mark.promise(3)


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with hostile_process() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=["own sockets", "libcurl"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    transport = local_transport(libcurl=request.param == "libcurl")
    yield transport
    transport.close()


@pytest.fixture
def libcurl() -> Iterator[Transport]:
    transport = local_transport(libcurl=True)
    yield transport
    transport.close()


@pytest.mark.parametrize(
    "said", ["120", "0", "-5", "86400", "9999999999", "soon", "", "1.5", "Wed, 21 Oct 2099 07:28:00 GMT"]
)
def test_the_text_of_retry_after_is_handed_on(transport: Transport, hostile: str, said: str) -> None:
    """Whatever a receiver that is not known yet says in Retry-After is handed on as it is, to be judged elsewhere."""
    answer = answer_of(transport, request_to(f"{hostile}/retry-after-of?{quote(said)}"))
    assert answer == Responded(429, said, b"", False)


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("120", 120, 120),
        ("21599", 21_599, 21_599),
        ("21600", 86_400, 86_400),
        ("86400", 86_400, 86_400),
        ("9999999999", 86_400, 86_400),
        ("%a, %d %b %Y %H:%M:%S GMT", 3_500, 3_600),
        ("%A, %d-%b-%y %H:%M:%S GMT", 3_500, 3_600),
        ("%a %b %e %H:%M:%S %Y", 3_500, 3_600),
    ],
)
def test_retry_after_counts_without_its_text(
    libcurl: Transport, hostile: str, said: str, least: int, most: int
) -> None:
    """libcurl tells a wait, as seconds or any date, of a receiver that is known; six hours or more count as a day."""
    answers_of(libcurl, *[request_to(f"{hostile}/ok") for _ in range(20)])
    text = quote((datetime.now(UTC) + timedelta(hours=1)).strftime(said))
    answer = answer_of(libcurl, request_to(f"{hostile}/retry-after-of?{text}"))
    assert isinstance(answer, Responded)
    assert least <= int(answer.retry_after or 0) <= most


@pytest.mark.parametrize("said", ["0", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_that_says_nothing_is_none(libcurl: Transport, hostile: str, said: str) -> None:
    """Of the same receiver, no wait, a date that has passed and nonsense are no Retry-After."""
    answers_of(libcurl, *[request_to(f"{hostile}/ok") for _ in range(20)])
    assert answer_of(libcurl, request_to(f"{hostile}/retry-after-of?{quote(said)}")) == Responded(429, None, b"", False)


def test_own_sockets_know_what_retry_after_says(hostile: str) -> None:
    """A receiver that has answered well before is taken at its word as any other."""
    with contextlib.closing(local_transport()) as transport:
        answers_of(transport, *[request_to(f"{hostile}/ok") for _ in range(20)])
        for said in ("120", "9999999999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
            answer = answer_of(transport, request_to(f"{hostile}/retry-after-of?{quote(said)}"))
            assert answer == Responded(429, said, b"", False)
