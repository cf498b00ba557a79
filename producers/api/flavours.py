"""What makes a flavour of the API: its paths and operations, where the key is, and the form of an error. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from producers.api.ports import Caller, FlavourName, OperationName
from producers.api.refusals import Refusal

ReadFields: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: status, JSON bytes (none with 204), and headers beyond those of every answer."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Call:
    """A request that passed the gateway: who makes it, for which customer, and about which webhook.

    `webhook_id` is the id in the path as it was sent. `read_fields` reads and parses the body; Refusal. An operation
    sets `subscription_id` for the log once it knows that the subscription is the customer's.
    """

    caller: Caller
    customer_id: str
    request_id: str
    webhook_id: str
    read_fields: ReadFields
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """What a path and a method do. A key that may only read cannot use one that `writes`."""

    name: OperationName
    run: Callable[[Call], Awaitable[Answer]]
    writes: bool = False


# Path templates, and the operations of each by method.
Routes: TypeAlias = Mapping[str, Mapping[str, ApiOperation]]


@dataclass(frozen=True, slots=True)
class Flavour:
    """A documented API. `key_in` returns the key in the values of the header `key_header`, if there is one.

    `paths` is a sentence about its paths, for clients that use another one.
    """

    name: FlavourName
    key_header: bytes
    key_in: Callable[[bytes], bytes | None]
    challenge: str
    paths: str
    error_body: Callable[[Refusal, str], bytes]


NO_OPERATIONS: Final[Mapping[str, ApiOperation]] = {}
