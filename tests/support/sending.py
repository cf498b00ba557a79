"""A transport for tests, and requests for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_network

from consumers.delivery.connections import Connections, trusted_roots
from consumers.delivery.resolver import Resolver
from consumers.delivery.transport import Answer, Answered, Request, Transport
from schemas.egress import ANY_PORT, EgressPolicy

LOCAL = EgressPolicy(True, (ip_network("127.0.0.0/8"), ip_network("::1/128")), frozenset({ANY_PORT}))
HEADERS = [b"Content-Type: application/json", b"User-Agent: Signpost/test", b"X-Signature: abc"]


def local_transport(
    *,
    policy: EgressPolicy = LOCAL,
    dns_servers: Iterable[str] = (),
    roots: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    libcurl: bool = False,
) -> Transport:
    """A transport that may reach this machine; with libcurl it would speak HTTP/2 over TLS."""
    connections = Connections(roots=roots or trusted_roots(), http2=libcurl)
    resolver = Resolver(policy, dns_servers, monotonic=monotonic)
    return Transport(policy, resolver, connections=connections, monotonic=monotonic)


def request_to(url: str, *, timeout_ms: int = 5_000, body: bytes = b"{}", context: object = None) -> Request:
    """A request as delivery makes it."""
    return Request(LOCAL.check_url(url), list(HEADERS), body, timeout_ms, context)


def answers_of(transport: Transport, *requests: Request, deadline_s: float = 20.0) -> list[Answered]:
    """Start requests and work until nothing is in flight; AssertionError after the deadline."""
    for request in requests:
        transport.start(request)
    ends_at = time.monotonic() + deadline_s
    answered: list[Answered] = []
    while transport.is_busy:
        answered += transport.work(0.1)
        assert time.monotonic() < ends_at, f"some of {len(requests)} requests are still open"
    return answered


def answer_of(transport: Transport, request: Request) -> Answer:
    """Start a request and return what came of it."""
    (answered,) = answers_of(transport, request)
    return answered.answer
