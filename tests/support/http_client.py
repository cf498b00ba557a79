"""An HTTP client for tests, and requests for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_network

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.options import ClientOptions, trusted_roots
from consumers.delivery.http.resolver import Resolver
from consumers.delivery.http.types import CompletedRequest, Request, ResponseOrError
from schemas.network.egress import ANY_PORT, EgressPolicy

LOCAL = EgressPolicy(True, (ip_network("127.0.0.0/8"), ip_network("::1/128")), frozenset({ANY_PORT}))
HEADERS = [b"Content-Type: application/json", b"User-Agent: Signpost/test", b"X-Signature: abc"]


def local_client(
    *,
    policy: EgressPolicy = LOCAL,
    dns_servers: Iterable[str] = (),
    roots: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> HttpClient:
    """Return a client that may connect to this machine."""
    options = ClientOptions(roots=roots or trusted_roots())
    resolver = Resolver(policy, dns_servers, monotonic=monotonic)
    return HttpClient(policy, resolver, options=options, monotonic=monotonic)


def request_to(url: str, *, timeout_ms: int = 5_000, body: bytes = b"{}", context: object = None) -> Request:
    """Return a request like those of delivery."""
    return Request(LOCAL.check_url(url), list(HEADERS), body, timeout_ms, context)


def poll(client: HttpClient, timeout_s: float) -> list[CompletedRequest]:
    """Poll a client; confirm its requests, and return the completed ones."""
    result = client.poll(timeout_s)
    for request in result.to_confirm:
        client.confirm(request)
    return result.completed


def completed_of(client: HttpClient, *requests: Request, deadline_s: float = 20.0) -> list[CompletedRequest]:
    """Start requests and poll until nothing is in flight; AssertionError after the deadline."""
    for request in requests:
        client.start(request)
    ends_at = time.monotonic() + deadline_s
    completed: list[CompletedRequest] = []
    while client.is_busy:
        completed += poll(client, 0.1)
        assert time.monotonic() < ends_at, f"some of {len(requests)} requests are still open"
    return completed


def response_of(client: HttpClient, request: Request) -> ResponseOrError:
    """Start a request and return its response or error."""
    (completed,) = completed_of(client, request)
    return completed.response
