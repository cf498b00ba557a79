"""A request, and what can come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from schemas.egress import Target
from schemas.failures import FailureKind


class ClientIdentity(Protocol):
    """A client certificate and its key, both in PEM. The same object each time: what is another is set anew."""

    @property
    def certificate(self) -> bytes:
        """The certificate, with what leads to its root."""
        ...

    @property
    def key(self) -> bytes:
        """The private key, without a password."""
        ...


@dataclass(slots=True)
class Request:
    """One POST. `headers` are all lines to be sent beside Host and Content-Length; `context` is the caller's own.

    `identity` is the client certificate to show where one is asked for.
    """

    target: Target
    headers: list[bytes]
    body: bytes
    timeout_ms: int
    context: Any  # mypyc knows no field of type `object`
    identity: ClientIdentity | None = None


@dataclass(frozen=True, slots=True)
class Responded:
    """Response headers arrived complete. `retry_after` is given with 429 and 503 only.

    It is the header's text, but for libcurl where it did not watch header lines: then its reading of it in seconds, as
    good but for what is 6 h or more: that counts as a day, as a later attempt is allowed and an earlier one is not.

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
WITHDRAWN: Final = Unanswered("withdrawn", "taken back before it was sent")
# Nor is this: too many requests wait for names; it may be tried again in a few seconds.
CROWDED: Final = Unanswered("withdrawn", "too many names are being looked up")


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
TOO_LARGE: Final = Unanswered("headers_too_large", f"more than {MAX_HEADERS // 1024} KiB of response headers")
# Who says with these statuses when to come again is heard.
WITH_RETRY_AFTER: Final = frozenset({429, 503})
_EMPTY: Final = {status: Responded(status, None, b"", False) for status in range(200, 600)}


def responded(status: int, body: bytes, *, cut: bool = False) -> Responded:
    """Return a response that does not say when to come again; most have no body, and are made once."""
    if not body and not cut:
        return _EMPTY.get(status) or Responded(status, None, b"", False)
    return Responded(status, None, body, cut)
