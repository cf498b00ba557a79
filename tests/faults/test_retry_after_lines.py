"""The HTTP client returns Retry-After as the endpoint wrote it."""

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
    "text", ["120", "0", "-5", "86400", "9999999999", "soon", "", "1.5", "Wed, 21 Oct 2099 07:28:00 GMT"]
)
def test_text_of_retry_after_is_returned_unchanged(client: HttpClient, hostile: str, text: str) -> None:
    """The client returns the text of Retry-After unchanged and does not interpret it."""
    response = response_of(client, request_to(f"{hostile}/retry-after-of?{quote(text)}"))
    assert response == Response(429, text, b"", False)


def test_retry_after_of_known_endpoint_is_returned_unchanged(client: HttpClient, hostile: str) -> None:
    """The same holds for an endpoint that responded well before."""
    completed_of(client, *[request_to(f"{hostile}/ok") for _ in range(20)])
    for text in ("120", "0", "21600", "9999999999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
        response = response_of(client, request_to(f"{hostile}/retry-after-of?{quote(text)}"))
        assert response == Response(429, text, b"", False)
