"""A request, and what can come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from schemas.egress import Target

FailureKind: TypeAlias = Literal[
    "dns",  # the name has no address, or the DNS servers say that they cannot tell
    "dns_timeout",  # the DNS servers did not answer
    "blocked_address",  # the egress policy refuses the URL or an address of the name
    "refused",  # nobody listens at the port
    "connect",  # no connection for another reason: unreachable, no route
    "timeout_connect",  # no connection (TLS included) before the deadline
    "tls",  # certificate, protocol version, handshake
    "reset",  # the connection ended before the response headers did
    "timeout_answer",  # connected, but no complete response headers before the deadline
    "headers_too_large",  # more than 32 KiB of response headers, interim ones included
    "protocol",  # what came is not HTTP/1.1
    "withdrawn",  # the caller took it back while its host was looked up: nothing was sent
    "local",  # this process could not even try: no file descriptors, no memory, an unusable request
]


@dataclass(slots=True)
class Request:
    """One POST. `headers` are all lines to be sent beside Host and Content-Length; `context` is the caller's own."""

    target: Target
    headers: list[bytes]
    body: bytes
    timeout_ms: int
    context: object


@dataclass(frozen=True, slots=True)
class Responded:
    """Response headers arrived complete. `retry_after` is the header's text, given with 429 and 503 only.

    `body` is the first 5 KiB; `body_cut` says that the body did not arrive whole, or that it was longer than is read.
    """

    status: int
    retry_after: str | None
    body: bytes
    body_cut: bool


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No complete response headers arrived; `detail` is a sentence for people, of printable ASCII."""

    kind: FailureKind
    detail: str


Answer: TypeAlias = Responded | Unanswered
# Not the answer to an attempt: nothing was sent.
WITHDRAWN: Final = Unanswered("withdrawn", "taken back while its host was looked up")


@dataclass(slots=True)
class Answered:
    """A request that has come to its end; `started` is on the transport's monotonic clock, in seconds."""

    request: Request
    answer: Answer
    started: float
    duration_us: int


# Of a response: read up to here, kept up to there.
MAX_BODY_READ: Final = 64 * 1024
# What goes on record (1 KiB) and the longest secret (4 KiB), which is taken out of it before the cut.
MAX_BODY_KEPT: Final = 5 * 1024
MAX_HEADERS: Final = 32 * 1024
