"""What a response means, classified once: admission, retry policy, health, records and metrics all use the result.

Pure. The rules by status: 2xx is a delivery; 410 means never again; 429 and 503 say that the endpoint is overloaded and
may carry Retry-After; any other status, redirects included, is a rejection. Without a response the failure's kind says
whether the endpoint timed out, could not be reached, or had no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from consumers.delivery.http.types import Response, ResponseOrError, TransportError
from consumers.delivery.retry_after import wait_ms
from schemas.catalog.failures import OURS, FailureKind

# Too many requests, and unavailable: with these an endpoint may send Retry-After (RFC 9110, 10.2.3).
OVERLOADED_STATUSES: Final = frozenset({429, 503})
# Failures that say nothing about the endpoint: our own, and addresses that our policy refuses.
_UNRELATED: Final = OURS | {"blocked_url", "blocked_address"}


class ResponseKind(Enum):
    """What a response says about its endpoint."""

    DELIVERED = "delivered"  # 2xx
    GONE = "gone"  # 410
    REJECTED = "rejected"  # any other status
    OVERLOADED = "overloaded"  # 429, 503
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNRELATED = "unrelated"  # no fault of the endpoint


@dataclass(frozen=True, slots=True)
class Classified:
    """A response or a client error in the terms that decisions need.

    `label` is `status_503`, or the kind of the failure; `status` or `error` is set, never both. `retry_after_ms` is how
    long the endpoint asks for no requests, 0 where it does not.
    """

    kind: ResponseKind
    label: str
    status: int | None
    error: FailureKind | None
    retry_after_ms: int = 0


DELIVERED: Final = ResponseKind.DELIVERED  # read for each job: a member of an Enum costs 50 ns more (Python 3.11)
# Nearly every response is one of these, so they are made once.
_DELIVERIES: Final = {
    status: Classified(ResponseKind.DELIVERED, f"status_{status}", status, None) for status in range(200, 300)
}


def classify(response: ResponseOrError, now_ms: int) -> Classified:
    """Classify what came of a request; `now_ms` (Unix ms) is what a date in Retry-After is compared with."""
    if isinstance(response, TransportError):
        return Classified(_kind_of_failure(response.kind), response.kind, None, response.kind)
    status = response.status
    delivery = _DELIVERIES.get(status)
    if delivery is not None:
        return delivery
    if status in OVERLOADED_STATUSES:
        retry_after_ms = _retry_after_ms(response, now_ms)
        return Classified(ResponseKind.OVERLOADED, f"status_{status}", status, None, retry_after_ms)
    kind = ResponseKind.GONE if status == 410 else ResponseKind.REJECTED
    return Classified(kind, f"status_{status}", status, None)


def _kind_of_failure(kind: FailureKind) -> ResponseKind:
    if kind in _UNRELATED:
        return ResponseKind.UNRELATED
    return ResponseKind.TIMEOUT if "timeout" in kind else ResponseKind.UNREACHABLE


def _retry_after_ms(response: Response, now_ms: int) -> int:
    return 0 if response.retry_after is None else wait_ms(response.retry_after, now_ms) or 0
