"""Every error that Signpost raises on purpose.

    SignpostError
    ├── InvalidInput            invalid input by a person; the message says what is wrong, where, and what to do
    │   ├── SettingsError       signpost.toml or the environment
    │   ├── SenderError         a sender's folder
    │   ├── EventError          an event to publish
    │   └── SubscriptionError   a subscription to write; `problems` has one sentence for each error
    │       ├── UnknownSubscription   there is no subscription with this id
    │       └── TooManySubscriptions  the customer has as many as the sender allows
    ├── UnreadableRecord        bytes on a topic that cannot be decoded; `reason` is one of UNREADABLE_REASONS
    ├── SealBroken              a sealed secret that none of the configured keys opens
    └── Unavailable             a dependency does not respond, or its configuration does not match
        ├── NoResponse          the brokers did not respond in time; a later try may succeed
        └── RestartRequired     the process has to restart to recover

Library errors are translated into one of these at the border, once.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

UnreadableReason: TypeAlias = Literal[
    "empty",
    "unknown_format",
    "unknown_schema",
    "truncated",
    "trailing_bytes",
    "invalid_value",
    "unknown_event_type",
    "event_type_mismatch",
    "no_customer",
    "too_large",
]
UNREADABLE_REASONS: Final[frozenset[str]] = frozenset(UnreadableReason.__args__)  # type: ignore[attr-defined]  # Literal's values


class SignpostError(Exception):
    """The root of all errors that Signpost raises on purpose."""


class InvalidInput(SignpostError):
    """A person gave invalid input. `hint` ends the message for operators: it names a setting. `what` is without it."""

    def __init__(self, what: str = "", *, hint: str = "") -> None:
        super().__init__(f"{what}{hint}")
        self.what = what


class SettingsError(InvalidInput):
    """A setting is unknown or its value cannot be used."""


class SenderError(InvalidInput):
    """A sender's folder is invalid."""


class EventError(InvalidInput):
    """An event is invalid and cannot be published."""


class SubscriptionError(InvalidInput):
    """A subscription is invalid; `problems` has one sentence for each error."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnknownSubscription(SubscriptionError):
    """There is no subscription with this id."""


class TooManySubscriptions(SubscriptionError):
    """The customer has as many subscriptions as the sender allows."""


class UnreadableRecord(SignpostError):
    """Bytes on a topic cannot be decoded; `reason` is from a closed list, `detail` is for people."""

    def __init__(self, reason: UnreadableReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SealBroken(SignpostError):
    """A sealed secret cannot be opened: the key is another one, or the bytes were moved from where they were sealed."""


class Unavailable(SignpostError):
    """A dependency does not respond, or its configuration does not match."""


class NoResponse(Unavailable):
    """The brokers did not respond in time. A later try may succeed."""


class RestartRequired(Unavailable):
    """The process cannot recover in place; a restart can."""
