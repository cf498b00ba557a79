"""How requests end, and what keeps jobs from starting."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Result(Enum):
    """How a request ended, as far as pacing is concerned."""

    DELIVERED = "delivered"
    ANSWERED = "answered"  # with another status
    OVERLOADED = "overloaded"  # 429, 503
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NOTHING = "nothing"  # says nothing of the endpoint


DELIVERED: Final = Result.DELIVERED  # of each job: see QUICK
ANSWERS: Final = (DELIVERED, Result.ANSWERED, Result.OVERLOADED)


class Reason(Enum):
    """What keeps a job from starting."""

    IN_FLIGHT = "in_flight_limit"
    RATE = "rate_limit"
    HOST = "host_limit"
    PROCESS = "process_limit"  # places of the process, or the share of them that slow endpoints may hold
    FAILING = "circuit_open"
    TOLD_TO_WAIT = "retry_after"
    NO_ANSWER = "no_answer"
