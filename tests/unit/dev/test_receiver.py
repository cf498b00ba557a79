"""The test receiver records requests and behaves as configured."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Drip, Endless, Hang, Truncated, always, by_path, fail_first, in_turn
from schemas.catalog.errors import Unavailable
from tests.support.waiting import wait_until


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=0.5) as client:
        yield client


def event(number: int) -> bytes:
    return b'{"event_id":"evt_%d","event_type":"case.created"}' % number


def test_requests_are_recorded_unchanged(receiver: Receiver, client: httpx.Client) -> None:
    """Method, path, headers in order and spelling, body and arrival time are recorded."""
    before = time.time()
    client.post(f"{receiver.url}hooks?a=b", content=event(1), headers=[("X-Zenoo-Signature", "s"), ("x-lower", "l")])

    [received] = receiver.wait_for(1, 5)

    assert (received.method, received.path, received.body) == ("POST", "/hooks?a=b", event(1))
    assert [pair for pair in received.headers if pair[0].lower().startswith("x-")] == [
        ("X-Zenoo-Signature", "s"),
        ("x-lower", "l"),
    ]
    assert before <= received.arrived_at <= time.time()
    assert (received.event_id, received.header("X-LOWER")) == ("evt_1", "l")


def test_connection_is_kept_for_many_requests(receiver: Receiver, client: httpx.Client) -> None:
    """All requests of a client use one connection."""
    for number in range(20):
        assert client.post(receiver.url, content=event(number)).status_code == 200

    assert {received.connection for received in receiver.wait_for(20, 5)} == {1}


def test_first_attempts_of_each_event_fail(receiver: Receiver, client: httpx.Client) -> None:
    """`fail_first` counts per event id and path, not over all requests."""
    receiver.behave = fail_first(2, CannedResponse(503), CannedResponse(204))

    codes = [client.post(receiver.url, content=event(number)).status_code for number in (1, 2, 1, 1, 2, 2)]
    other = client.post(f"{receiver.url}other", content=event(1)).status_code

    assert codes == [503, 503, 503, 204, 503, 204]
    assert other == 503


def test_replies_are_sent_in_turn_and_by_path(receiver: Receiver, client: httpx.Client) -> None:
    """Each path may have its own behaviour, and each attempt its own response."""
    turns = in_turn([CannedResponse(500), CannedResponse(429, headers=(("Retry-After", "7"),)), CannedResponse(200)])
    receiver.behave = by_path({"/turns": turns}, otherwise=always(CannedResponse(404, body=b"nobody")))

    responses = [client.post(f"{receiver.url}turns", content=event(1)) for _ in range(4)]

    assert [response.status_code for response in responses] == [500, 429, 200, 200]
    assert responses[1].headers["Retry-After"] == "7"
    assert client.get(receiver.url).text == "nobody"


def test_delayed_response_blocks_no_other_connection(receiver: Receiver, client: httpx.Client) -> None:
    """The delay is kept, and other connections get responses meanwhile."""
    slow = always(CannedResponse(delay=timedelta(seconds=0.3)))
    receiver.behave = by_path({"/slow": slow}, otherwise=always(CannedResponse()))
    with httpx.Client(trust_env=False, timeout=5) as patient:
        started = time.monotonic()
        assert patient.post(f"{receiver.url}slow", content=event(1)).status_code == 200
        assert time.monotonic() - started >= 0.3
    assert client.post(receiver.url, content=event(2)).status_code == 200


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Hang(), httpx.ReadTimeout),
        (Drip(interval=timedelta(seconds=1)), httpx.ReadTimeout),
        (Truncated(), httpx.RemoteProtocolError),
        (Truncated(CannedResponse(body=b"x" * 1000), after=500), httpx.RemoteProtocolError),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, type) else "",
)
def test_misbehaving_endpoint_never_completes_its_response(
    receiver: Receiver, client: httpx.Client, reply: Hang | Drip | Truncated, error: type[Exception]
) -> None:
    """A request to an endpoint that hangs, drips or closes midway is recorded; its response is never complete."""
    receiver.behave = always(reply)

    with pytest.raises(error):
        client.post(receiver.url, content=event(1))

    assert len(receiver.wait_for(1, 5)) == 1
    client.close()
    wait_until(lambda: receiver.open_connections == 0, 5, "the connection is closed")


def test_endless_body_lasts_until_the_client_closes(receiver: Receiver, client: httpx.Client) -> None:
    """The head is complete and the body endless: the endpoint sends while the client reads."""
    receiver.behave = always(Endless(headers=(("X-A", "b"),)))
    read = 0
    with client.stream("POST", receiver.url, content=event(1)) as response:
        assert (response.status_code, response.headers["X-A"]) == (200, "b")
        for chunk in response.iter_raw():
            read += len(chunk)
            if read > 3_000_000:
                break

    wait_until(lambda: receiver.open_connections == 0, 5, "the connection is closed")


def test_pipelined_requests_are_answered_in_order(receiver: Receiver) -> None:
    """A slow response is not overtaken by the next one on its connection."""
    slow = always(CannedResponse(201, delay=timedelta(seconds=0.1)))
    receiver.behave = by_path({"/slow": slow}, always(CannedResponse(202)))
    with socket.create_connection((receiver.host, receiver.port), timeout=5) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\n\r\nGET /fast HTTP/1.1\r\nConnection: close\r\n\r\n")
        response = b"".join(iter(lambda: connection.recv(4096), b""))

    assert response.index(b"HTTP/1.1 201") < response.index(b"HTTP/1.1 202")


def test_malformed_request_gets_400_and_is_not_recorded(receiver: Receiver) -> None:
    """Bytes that are not HTTP get a 400, and the connection closes."""
    with socket.create_connection((receiver.host, receiver.port), timeout=5) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        response = b"".join(iter(lambda: connection.recv(4096), b""))

    assert response.startswith(b"HTTP/1.1 400 ")
    assert receiver.requests == []


def test_verification_result_is_recorded() -> None:
    """The result of `verify` is recorded with the request, and behaviour can depend on it."""

    def refuse_if_forged(received: object) -> CannedResponse:
        return CannedResponse(401) if getattr(received, "problem", None) else CannedResponse()

    def check(received: object) -> str | None:
        return None if getattr(received, "body", b"") == event(1) else "forged"

    with Receiver(refuse_if_forged, verify=check) as receiver, httpx.Client(trust_env=False) as client:
        codes = [client.post(receiver.url, content=event(number)).status_code for number in (1, 2)]

    assert codes == [200, 401]
    assert [received.problem for received in receiver.requests] == [None, "forged"]


def test_receiver_can_close_and_restart(receiver: Receiver, client: httpx.Client) -> None:
    """A closed receiver refuses connections, and another one can take its port."""
    client.post(receiver.url, content=event(1))
    receiver.close()
    with pytest.raises(httpx.TransportError):
        client.post(receiver.url, content=event(2))

    with Receiver(port=receiver.port) as restarted:
        assert client.post(restarted.url, content=event(2)).status_code == 200


def test_receiver_listens_after_dropping_connections(receiver: Receiver, client: httpx.Client) -> None:
    """A receiver that drops its connections accepts new ones."""
    client.post(receiver.url, content=event(1))
    receiver.drop_connections()
    wait_until(lambda: receiver.open_connections == 0, 5, "the connection is closed")

    assert client.post(receiver.url, content=event(2)).status_code == 200
    assert [received.connection for received in receiver.requests] == [1, 2]


def test_port_in_use_is_named(receiver: Receiver) -> None:
    """A second receiver on the same port gets an error with the address."""
    with pytest.raises(Unavailable, match=f"cannot listen at 127.0.0.1:{receiver.port}"):
        Receiver(port=receiver.port)


def test_wait_timeout_reports_the_count(receiver: Receiver, client: httpx.Client) -> None:
    """A test that waits for too many requests fails with the number received."""
    client.post(receiver.url, content=event(1))

    with pytest.raises(AssertionError, match="1 of 2 requests"):
        receiver.wait_for(2, 0.2)
