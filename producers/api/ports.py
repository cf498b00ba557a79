"""What the API needs from the rest of Signpost. deploy/roles composes the implementations.

All of them belong to one event loop. Methods that are not `async` answer from memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from producers.subscriptions.changes import Command, Effect, Result
from schemas.catalog.errors import Unavailable
from schemas.subscriptions.subscription import Subscription

FlavourName: TypeAlias = Literal["onboarding", "diligent"]
OperationName: TypeAlias = Literal["create", "list", "get", "update", "delete", "test", "none"]
"""`none`: no operation has this path and method."""
WriteResult: TypeAlias = Effect | Literal["refused", "unavailable"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of an API key. Without `sender` and `customer_id` it is an operator's key, for all customers."""

    key_id: str
    sender: str | None
    customer_id: str | None
    may_write: bool


@dataclass(frozen=True, slots=True)
class DeliveryTotals:
    """The deliveries of one subscription so far.

    `delivered` and `dead` count runs of jobs that ended so; cancelled ones do not count. `last_at_ms` is the time of
    the latest attempt of any event, and `last_status` its HTTP status (None: there was no HTTP response).
    """

    delivered: int = 0
    dead: int = 0
    last_at_ms: int | None = None
    last_status: int | None = None


class LedgerAway(Unavailable):
    """The ledger's database does not respond. The message is for the log and contains no secret."""


class NotReady(Unavailable):
    """The process has not read its topics yet, or not lately. The message is for the log."""


class NotDone(Unavailable):
    """A request was refused before anything was changed or sent. The message is for the log."""


@dataclass(frozen=True, slots=True)
class TestDelivery:
    """A test event for a URL. `subscription` is the one whose secret signs; without it the request is not signed."""

    __test__ = False  # not a test of pytest

    sender: str
    customer_id: str
    key_id: str
    url: str = field(repr=False)
    event_id: str
    subscription: Subscription | None
    body: bytes = field(repr=False)
    request_id: str


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of a test delivery. Without an HTTP answer `status` is None and `reason` a short text for people."""

    __test__ = False

    log_id: int
    status: int | None
    reason: str = ""


class Keys(Protocol):
    """The API keys."""

    def authenticate(self, key: str) -> Caller | None:
        """Return the owner of a valid key; None if it is unknown, malformed, revoked or expired. Constant time.

        NotReady: no key can be checked now.
        """
        ...

    def may_request(self, caller: Caller) -> float:
        """Count a request; return 0.0, or the seconds after which the caller may try again."""
        ...


class Subscriptions(Protocol):
    """The table that follows the compacted topic, and the health of endpoints."""

    def of_customer(self, sender: str, customer_id: str) -> Sequence[Subscription]:
        """Return the subscriptions of a customer, in any order."""
        ...

    def find(self, id_: str) -> Subscription | None:
        """Return a subscription of any customer."""
        ...

    async def find_latest(self, id_: str) -> Subscription | None:
        """Return a subscription after the table has read everything that was acknowledged before this call.

        NotReady: the brokers do not respond.
        """
        ...

    def is_disabled(self, subscription: Subscription) -> bool:
        """Return whether delivery has disabled the present activation of a subscription."""
        ...

    def disabled_activation(self, id_: str) -> int | None:
        """Return the activation that delivery has disabled, for the command that enables it again."""
        ...


class Changes(Protocol):
    """The writer of subscriptions."""

    async def write(self, command: Command, by: Caller, request_id: str) -> Result:
        """Execute a command. When it returns, `Subscriptions` has the change and no process uses the old record.

        SubscriptionError: the command is not possible. NotDone: nothing was written. Unavailable: the change is not
        confirmed; it may be written.
        """
        ...


class DeliveryLog(Protocol):
    """The ledger."""

    async def totals(self, ids: Sequence[str]) -> Mapping[str, DeliveryTotals]:
        """Return the totals of these subscriptions, without those that never had an attempt; LedgerAway."""
        ...


class TestDeliveries(Protocol):
    """The guarded HTTP client, and the log of test deliveries."""

    async def send(self, delivery: TestDelivery) -> TestResult:
        """Make one attempt; NotDone if none was made, Unavailable if it cannot be logged."""
        ...


class SuccessSampler(Protocol):
    """Decides which successful requests have a log line."""

    @property
    def omitted(self) -> int:
        """Number of lines that were left out."""
        ...

    def admits(self, now_ms: int) -> bool:
        """Return whether to write the line of a success at `now_ms`; count it if not."""
        ...

    def take_omitted(self) -> int:
        """Return how many lines were left out since the last call."""
        ...


class ApiMetrics(Protocol):
    """The metrics of the API."""

    def on_request(self, flavour: FlavourName, operation: OperationName, status: int, duration_s: float) -> None:
        """Count an answered request."""
        ...

    def set_lines_omitted(self, lines: int) -> None:
        """Set the number of log lines of successful requests that sampling has left out."""
        ...

    def on_write(self, result: WriteResult) -> None:
        """Count a command for the writer."""
        ...
