"""A receiver is who its certificate says, or it gets nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.delivery.transport import Answer, Responded, Transport, Unanswered
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.sending import answer_of, answers_of, local_transport, request_to

HOST = "hooks.example.com"
EMPTY = Responded(200, None, b"", False)
Made = Callable[..., tuple[Transport, str, HostileReceiver]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Made]:
    authority = Authority(tmp_path)
    dns = DnsServer(lambda _name, _times: ["127.0.0.1"], ttl=60)
    receivers, transports = [], []

    def make(
        host: str = HOST, *, expired: bool = False, trusted: bool = True
    ) -> tuple[Transport, str, HostileReceiver]:
        receiver = HostileReceiver(authority.server(host, expired=expired))
        transport = local_transport(dns_servers=[dns.address], roots=str(authority.roots) if trusted else None)
        receivers.append(receiver)
        transports.append(transport)
        return transport, f"https://{HOST}:{receiver.port}", receiver

    yield make
    for transport in transports:
        transport.close()
    for receiver in receivers:
        receiver.close()
    dns.close()


def is_tls_failure(answer: Answer) -> bool:
    """Whether a request ended in the handshake."""
    return isinstance(answer, Unanswered) and answer.kind == "tls"


def test_a_genuine_receiver_is_answered(make: Made) -> None:
    """A certificate of a trusted authority for the name of the URL is taken; the connection is used again."""
    transport, url, receiver = make()
    for body in (b"{}", b"x" * 250_000, b"{}"):
        assert answer_of(transport, request_to(f"{url}/ok", body=body)) == EMPTY
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "wrong", [{"host": "other.example.com"}, {"host": "example.com"}, {"expired": True}, {"trusted": False}], ids=str
)
def test_an_impostor_gets_nothing(make: Made, wrong: dict[str, bool]) -> None:
    """Another name, an expired certificate, an unknown authority: the request is not sent."""
    transport, url, receiver = make(**wrong)
    assert is_tls_failure(answer_of(transport, request_to(f"{url}/ok")))
    assert receiver.requests == []


def test_what_is_no_tls_is_a_tls_failure(make: Made) -> None:
    """A receiver that answers in the clear, and one that says nothing, fail as what they are."""
    transport, _, _ = make()
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as plain:
        urls = [f"https://{HOST}:{listener.getsockname()[1]}/" for listener in (silent, plain)]
        for url in urls:
            transport.start(request_to(url, timeout_ms=500, context=url))
        plain.settimeout(10)
        transport.work(0.1)
        transport.work(0.1)
        connection, _ = plain.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        answers = {each.request.context: each.answer for each in answers_of(transport)}
        connection.close()
    assert answers[urls[0]] == Unanswered("timeout_connect", "no complete connection within 0.5 s")
    assert is_tls_failure(answers[urls[1]])


@pytest.mark.parametrize("how", ["mid-headers", "no-chunk", "mid-body", "never"])
def test_half_answers_are_judged_as_without_tls(make: Made, how: str) -> None:
    """Complete headers are the answer over TLS too, and incomplete ones are none."""
    transport, url, _ = make()
    answer = answer_of(transport, request_to(f"{url}/{how}", timeout_ms=500))
    assert isinstance(answer, Responded) == (how in ("no-chunk", "mid-body"))
