"""Types that admission control shares with its callers: limits, tasks, reasons, traffic classes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from consumers.delivery.classification import ResponseKind

if TYPE_CHECKING:
    from consumers.delivery.admission.endpoint_state import EndpointState


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Limits of a process, from its settings. `max_in_flight` of a subscription replaces `per_subscription`."""

    per_subscription: int
    per_host: int
    per_process: int
    max_endpoint_wait_ms: int


class EndpointLimits(Protocol):
    """The fields of an endpoint that admission control reads."""

    @property
    def subscription_id(self) -> str:
        """Id of the subscription."""
        ...

    @property
    def host(self) -> str:
        """Host that receives the requests."""
        ...

    @property
    def max_in_flight(self) -> int | None:
        """Maximum concurrent requests; None: `AdmissionLimits.per_subscription`."""
        ...

    @property
    def rate_limit(self) -> float | None:
        """Maximum requests per second; None: no limit."""
        ...


class AdmittedTask:
    """Base class of tasks. Only admission control writes these fields.

    `endpoint_state` is set while the task waits or runs, `permit` while it holds a permit of the bulkhead. `limited`:
    a limit of its endpoint or host, or the quota of slow endpoints, kept it from starting. A process without a permit
    for a responsive endpoint is no such limit.
    """

    __slots__ = ("endpoint_state", "limited", "permit")

    def __init__(self) -> None:
        self.endpoint_state: EndpointState | None = None
        self.limited = False
        self.permit: int | None = None


# Kinds that are responses of the endpoint.
RESPONSES: Final = (ResponseKind.DELIVERED, ResponseKind.GONE, ResponseKind.REJECTED, ResponseKind.OVERLOADED)


class LimitReason(Enum):
    """Why a task cannot start now. The values are labels of metrics and reasons of deferrals."""

    IN_FLIGHT = "in_flight_limit"
    RATE = "rate_limit"
    HOST = "host_limit"
    PROCESS = "process_limit"  # the bulkhead: its capacity, or the quota of the traffic class
    CIRCUIT_OPEN = "circuit_open"
    THROTTLED = "retry_after"
    NO_RESPONSE = "no_response"


class TrafficClass(IntEnum):
    """How an endpoint has responded lately. The class decides its quota in the bulkhead.

    All values but RESPONSIVE are negative, because they serve as permits as well (see bulkhead.py).
    """

    RESPONSIVE = 0
    SLOW = -1
    NEW = -2  # no response yet
    OVERDUE = -3  # was responsive; one of its requests is overdue
    UNVERIFIED = -4  # no response yet, during a mass failure, with no request in flight
    IDLE = -5  # was responsive, but has not responded since a mass failure began; no request in flight


# Bound here: reading an enum member from its class is slow in Python 3.11.
RESPONSIVE: Final = TrafficClass.RESPONSIVE
