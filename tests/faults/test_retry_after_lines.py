"""The client returns Retry-After as the endpoint wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.types import Response
from tests.support.hostile import hostile_process
from tests.support.http_client import completed_of, local_client, request_to, response_of

pytestmark = pytest.mark.promise(3)


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with hostile_process() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = local_client()
    yield client
    client.close()


@pytest.mark.parametrize(
    "said", ["120", "0", "-5", "86400", "9999999999", "soon", "", "1.5", "Wed, 21 Oct 2099 07:28:00 GMT"]
)
def test_the_text_of_retry_after_is_returned(client: HttpClient, hostile: str, said: str) -> None:
    """The text of Retry-After is returned as it is, whatever it is; others interpret it."""
    answer = response_of(client, request_to(f"{hostile}/retry-after-of?{quote(said)}"))
    assert answer == Response(429, said, b"", False)


def test_retry_after_of_a_known_endpoint_is_returned(client: HttpClient, hostile: str) -> None:
    """Retry-After of an endpoint that has responded well before is returned in the same way."""
    completed_of(client, *[request_to(f"{hostile}/ok") for _ in range(20)])
    for said in ("120", "0", "21600", "9999999999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
        response = response_of(client, request_to(f"{hostile}/retry-after-of?{quote(said)}"))
        assert response == Response(429, said, b"", False)
