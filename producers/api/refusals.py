"""Every way in which the API refuses a request: its code, its status, and the problems of its fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal, TypeAlias

from producers.api.ports import LedgerAway, NotDone, NotReady
from schemas.catalog.errors import Unavailable

Code: TypeAlias = Literal[
    "validation_error",
    "authentication_failed",
    "permission_denied",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "body_too_large",
    "rate_limited",
    "internal_error",
    "unavailable",
]
ProblemCode: TypeAlias = Literal[
    "invalid_json", "invalid_type", "invalid_url", "invalid_value", "invalid_enum_value", "too_many"
]

STATUSES: Final[Mapping[Code, int]] = {
    "validation_error": 400,
    "authentication_failed": 401,
    "permission_denied": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "body_too_large": 413,
    "rate_limited": 429,
    "internal_error": 500,
    "unavailable": 503,
}


@dataclass(frozen=True, slots=True)
class RequestProblem:
    """An error in a request. `path` leads to the field, in the names of the API; it is empty for the whole body."""

    path: tuple[str | int, ...]
    code: ProblemCode
    message: str


class Refusal(Exception):
    """A request is refused. The message is for the customer; it contains no secret, and of a URL at most its host."""

    def __init__(
        self,
        code: Code,
        message: str,
        problems: Sequence[RequestProblem] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.code: Final = code
        self.status: Final = STATUSES[code]
        self.message: Final = message
        self.problems: Final = tuple(problems)
        self.headers: Final = tuple(headers)


def invalid(*problems: RequestProblem) -> Refusal:
    """Return the refusal of a request with these errors."""
    fields = dict.fromkeys(str(problem.path[0]) if problem.path else "body" for problem in problems)
    return Refusal("validation_error", f"the request is invalid: {', '.join(fields)}", problems)


def invalid_body(message: str) -> Refusal:
    """Return the refusal of a body that is no JSON object."""
    return invalid(RequestProblem((), "invalid_json", message))


def unauthenticated(challenge: str) -> Refusal:
    """Return the refusal of a request without a valid key of this flavour. Nothing says which part is wrong."""
    return Refusal(
        "authentication_failed", "the API key is missing or not valid", headers=(("WWW-Authenticate", challenge),)
    )


def read_only() -> Refusal:
    """Return the refusal of a change with a key that may only read."""
    return Refusal("permission_denied", "this API key may only read")


def unknown_webhook() -> Refusal:
    """Return the refusal for a webhook that does not exist, or that another customer owns."""
    return Refusal("not_found", "there is no webhook with this id")


def unknown_path(paths: str) -> Refusal:
    """Return the refusal of a path that the API does not have; `paths` describes its paths."""
    return Refusal("not_found", f"there is nothing at this path; {paths}")


def wrong_method(allowed: Sequence[str]) -> Refusal:
    """Return the refusal of a method that the path does not have."""
    methods = ", ".join(allowed)
    return Refusal(
        "method_not_allowed",
        f"this path does not have this method; it has {methods}",
        headers=(("Allow", methods),),
    )


def too_large(most: int) -> Refusal:
    """Return the refusal of a body of too many bytes."""
    return Refusal("body_too_large", f"the body is too large; at most {most} bytes are allowed")


def too_slow(seconds: float) -> Refusal:
    """Return the refusal of a body that did not arrive in time."""
    return Refusal("request_timeout", f"the body did not arrive within {seconds:g} s")


def interrupted() -> Refusal:
    """Return the refusal of a body whose client closed the connection. Nobody reads it."""
    return Refusal("request_timeout", "the connection ended before the body")


def too_often(wait_s: float) -> Refusal:
    """Return the refusal of a request above the rate limit of its key."""
    seconds = max(1, ceil(wait_s))
    return Refusal(
        "rate_limited",
        f"too many requests with this API key; try again in {seconds} s",
        headers=(("Retry-After", str(seconds)),),
    )


def overloaded(most: int) -> Refusal:
    """Return the refusal of a request beyond those that a process serves at the same time."""
    return Refusal(
        "unavailable",
        f"{most:,} requests are under way in this process; try again later",
        headers=(("Retry-After", "1"),),
    )


def refusal_of(error: Exception) -> Refusal:
    """Return the refusal for any error of an operation. Of unexpected errors it says nothing."""
    match error:
        case Refusal():
            return error
        case LedgerAway():
            return Refusal("unavailable", "delivery statistics are not available at the moment; try again later")
        case NotReady():
            return Refusal("unavailable", "the API cannot reach its data at the moment; try again later")
        case NotDone():
            return Refusal("unavailable", "too many requests are under way, and nothing was done; try again later")
        case Unavailable():
            return Refusal(
                "unavailable",
                "the request is not confirmed and may or may not have taken effect; check before you try again",
            )
        case _:
            return Refusal("internal_error", "Internal server error")
