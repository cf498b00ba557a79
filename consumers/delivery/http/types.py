"""Requests, and what comes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from schemas.catalog.failures import FailureKind
from schemas.network.egress import Target


class ClientIdentity(Protocol):
    """A client certificate and its key, both in PEM. Identities are compared by `is`: reuse the object."""

    @property
    def certificate(self) -> bytes:
        """The certificate, followed by its intermediates."""
        ...

    @property
    def key(self) -> bytes:
        """The private key, without a password."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """One POST. `headers` are all header lines except Host and Content-Length; `context` belongs to the caller.

    `identity` is the client certificate for endpoints that ask for one.
    """

    target: Target
    headers: list[bytes]
    body: bytes
    timeout_ms: int
    context: Any  # mypyc knows no field of type `object`
    identity: ClientIdentity | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Complete response headers arrived. `retry_after` is the header's text, with 429 and 503 only.

    `body` is the first 5 KiB; `body_cut` is true if the body is incomplete or longer than the client reads.
    """

    status: int
    retry_after: str | None
    body: bytes
    body_cut: bool


@dataclass(frozen=True, slots=True)
class TransportError:
    """No complete response headers arrived; `detail` is a sentence for people, in printable ASCII."""

    kind: FailureKind
    detail: str


ResponseOrError: TypeAlias = Response | TransportError
# No outcome of an attempt: the caller withdrew the request, nothing was sent.
CANCELLED: Final = TransportError("cancelled", "withdrawn before it was sent")
# No outcome of an attempt either: too many requests wait for names; the request may be tried again in a few seconds.
RESOLVER_QUEUE_FULL: Final = TransportError("cancelled", "too many names are being looked up")


@dataclass(slots=True)
class CompletedRequest:
    """A request that has ended; `started` is on the client's monotonic clock, in seconds."""

    request: Request
    response: ResponseOrError
    started: float
    duration_us: int


@dataclass(slots=True)
class WorkResult:
    """What `HttpClient.work` returns: requests that have ended, and requests that are sent once they are confirmed."""

    completed: list[CompletedRequest]
    to_confirm: list[Request]


# Bytes of a response body that are read, and that are kept: what goes on record (1 KiB) and the longest secret (4 KiB),
# which is removed from the body before the cut.
MAX_BODY_READ: Final = 64 * 1024
MAX_BODY_KEPT: Final = 5 * 1024
MAX_HEADERS: Final = 32 * 1024
TOO_LARGE: Final = TransportError("headers_too_large", f"more than {MAX_HEADERS // 1024} KiB of response headers")
# Retry-After counts with these statuses only.
WITH_RETRY_AFTER: Final = frozenset({429, 503})
_WITHOUT_BODY: Final = {status: Response(status, None, b"", False) for status in range(200, 600)}


def response_without_retry_after(status: int, body: bytes, *, cut: bool = False) -> Response:
    """Return a response; most responses have no body, and these are shared objects."""
    if not body and not cut:
        return _WITHOUT_BODY.get(status) or Response(status, None, b"", False)
    return Response(status, None, body, cut)
