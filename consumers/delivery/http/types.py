"""Requests, responses, transport errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from schemas.catalog.failures import FailureKind
from schemas.network.egress import Target


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A client certificate, followed by its intermediates, and its private key without a password; both in PEM.

    A TLS context loads an identity once while it gets the same object.
    """

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class Request:
    """One POST. `headers` are all header lines except Host and Content-Length.

    `context` is anything that the caller attaches. `identity` is the client certificate for endpoints that request one.
    """

    target: Target
    headers: list[bytes]
    body: bytes
    timeout_ms: int
    context: Any
    identity: ClientIdentity | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response with complete headers. `retry_after` is the text of the header, kept for 429 and 503 only.

    `body` is its first 5 KiB, and `not_kept` the number of bytes that were received after it. `body_cut`: the body is
    incomplete, or longer than the client reads.
    """

    status: int
    retry_after: str | None
    body: bytes
    body_cut: bool
    not_kept: int = field(default=0, compare=False)  # it depends on how much a read returned


@dataclass(frozen=True, slots=True)
class TransportError:
    """A request that ended without complete response headers. `detail` is for people, in printable ASCII."""

    kind: FailureKind
    detail: str


ResponseOrError: TypeAlias = Response | TransportError
# Not an outcome of an attempt: the caller cancelled the request, and nothing was sent.
CANCELLED: Final = TransportError("cancelled", "cancelled before it was sent")
# Not an outcome of an attempt: too many requests wait for DNS. The request may be started again in a few seconds.
RESOLVER_QUEUE_FULL: Final = TransportError("cancelled", "too many names are being looked up")


@dataclass(slots=True)
class CompletedRequest:
    """A request that has ended. `started` is monotonic, in seconds."""

    request: Request
    response: ResponseOrError
    started: float
    duration_us: int


@dataclass(slots=True)
class PollResult:
    """What `HttpClient.poll` returns: requests that have ended, and requests that the caller has to confirm."""

    completed: list[CompletedRequest]
    to_confirm: list[Request]


# Bytes of a response body that are read, and that are kept: what is recorded (1 KiB) plus the longest secret (4 KiB),
# because secrets are masked before the body is cut.
MAX_BODY_READ: Final = 64 * 1024
MAX_BODY_KEPT: Final = 5 * 1024
MAX_HEADERS: Final = 32 * 1024
TOO_LARGE: Final = TransportError("headers_too_large", f"more than {MAX_HEADERS // 1024} KiB of response headers")
# 429 Too Many Requests and 503 Service Unavailable: the only statuses with which Retry-After is honoured (RFC 9110,
# 10.2.3; RFC 6585, 4).
OVERLOADED_STATUSES: Final = frozenset({429, 503})
_WITHOUT_BODY: Final = {status: Response(status, None, b"", False) for status in range(200, 600)}


def response_without_retry_after(status: int, body: bytes, *, cut: bool = False, not_kept: int = 0) -> Response:
    """Return a response. Most have no body: these are shared objects, made once for each status."""
    if not body and not cut:
        return _WITHOUT_BODY.get(status) or Response(status, None, b"", False)
    return Response(status, None, body, cut, not_kept)
