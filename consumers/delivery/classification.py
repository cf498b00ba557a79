"""Classifies a response or transport error, once. Admission, retry policy, health, records and metrics use the result.

Pure. By status: 2xx is a delivery; 410 means that the endpoint is gone; 429 and 503 mean that it is overloaded, and may
carry Retry-After; any other status, redirects included, is a rejection. A transport error means that the endpoint timed
out, that it was unreachable, or that the failure is unrelated to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from consumers.delivery.http.types import OVERLOADED_STATUSES, Response, ResponseOrError, TransportError
from consumers.delivery.retry_after import wait_ms
from schemas.catalog.failures import OURS, FailureKind

# Failures that the endpoint did not cause: our own, and addresses that the egress policy refuses.
_UNRELATED: Final = OURS | {"blocked_url", "blocked_address"}


class ResponseKind(Enum):
    """What a response or transport error means for its endpoint."""

    DELIVERED = "delivered"  # 2xx
    GONE = "gone"  # 410
    REJECTED = "rejected"  # any other status
    OVERLOADED = "overloaded"  # 429, 503
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNRELATED = "unrelated"  # not caused by the endpoint


@dataclass(frozen=True, slots=True)
class Classified:
    """A response or transport error, as the rest of delivery uses it.

    `label` is the status, such as `status_503`, or the kind of the failure. Either `status` or `error` is set.
    `retry_after_ms` is the wait that Retry-After asks for; 0: none.
    """

    kind: ResponseKind
    label: str
    status: int | None
    error: FailureKind | None
    retry_after_ms: int = 0


# Bound here: reading an enum member from its class is slow in Python 3.11.
DELIVERED: Final = ResponseKind.DELIVERED
# Nearly every response is one of these, so they are made once.
_DELIVERIES: Final = {
    status: Classified(ResponseKind.DELIVERED, f"status_{status}", status, None) for status in range(200, 300)
}


def classify(response: ResponseOrError, now_ms: int) -> Classified:
    """Classify the end of a request. A date in Retry-After counts from `now_ms` (Unix ms)."""
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
    if response.retry_after is None:
        return 0
    return wait_ms(response.retry_after, now_ms) or 0
