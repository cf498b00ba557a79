"""Every error that Signpost raises on purpose.

    SignpostError
    ├── InvalidInput          what a person gave is wrong: the message says what, where and what to do
    │   ├── SettingsError     signpost.toml or the environment
    │   ├── SenderError       a sender's folder
    │   ├── EventError        an event that was to be published
    │   └── SubscriptionError a subscription that was to be written; `problems` holds all of them
    ├── UnreadableRecord      bytes on a topic that cannot be understood; `reason` is one of UNREADABLE_REASONS
    ├── SealBroken            a sealed secret that cannot be opened with the keys at hand
    └── Unavailable           something that Signpost needs does not answer, or is not as it must be
        └── RestartRequired         a fresh start of the process mends it

Errors of libraries are translated into one of these once, where they enter.
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
    """The root: catch this to catch whatever Signpost raises on purpose."""


class InvalidInput(SignpostError):
    """What a person gave is wrong."""


class SettingsError(InvalidInput):
    """A setting is unknown or its value cannot be used."""


class SenderError(InvalidInput):
    """A sender's folder is not one."""


class EventError(InvalidInput):
    """An event cannot be published as it is."""


class SubscriptionError(InvalidInput):
    """One or more things are wrong with a subscription; `problems` has a sentence for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnreadableRecord(SignpostError):
    """Bytes on a topic that cannot be understood; `reason` is from a closed list, `detail` is for people."""

    def __init__(self, reason: UnreadableReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SealBroken(SignpostError):
    """A sealed secret cannot be opened: wrong key, or moved from where it was sealed."""


class Unavailable(SignpostError):
    """Something that Signpost needs does not answer, or is not as it must be."""


class RestartRequired(Unavailable):
    """The process cannot go on as it is, and a fresh start of it can."""
