"""Commands for subscriptions, and their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeAlias

from producers.compacted.author import Author
from producers.compacted.log import Unreadable
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import Draft, NoSecret
from schemas.subscriptions.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Apply:
    """Create or change a subscription, so that it matches the draft."""

    draft: Draft

    @property
    def id(self) -> str:
        """Id of the subscription."""
        return self.draft.id


@dataclass(frozen=True, slots=True)
class Change:
    """Change some fields of an existing subscription.

    `disabled_activation`: the activation that was disabled, if any. `paused=False` enables it, as `Resume` does.
    `touches`: the record gets a new time of update even if all fields have these values already.
    """

    id: str
    changes: Changes
    disabled_activation: int | None = None
    touches: bool = False


@dataclass(frozen=True, slots=True)
class Rotate:
    """Sign with a new secret (None: a generated one), or not at all. The present secret also signs during `keep`."""

    id: str
    secret: str | NoSecret | None = field(default=None, repr=False)
    keep: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing until the subscription is resumed; waiting jobs are cancelled."""

    id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Send events that are published from now on; `disabled_activation`: the activation that was disabled, if any."""

    id: str
    disabled_activation: int | None = None


@dataclass(frozen=True, slots=True)
class Reseal:
    """Seal secrets, header values and the client key with the present sealing key; nothing else changes."""

    id: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the subscription; waiting jobs are cancelled."""

    id: str


Command: TypeAlias = Apply | Change | Rotate | Pause | Resume | Reseal | Delete


@dataclass(frozen=True, slots=True)
class AuthoredCommand:
    """A command of an author."""

    command: Command
    author: Author


Effect: TypeAlias = Literal["created", "changed", "paused", "resumed", "rotated", "resealed", "deleted", "unchanged"]


Current: TypeAlias = Subscription | Unreadable | None


@dataclass(frozen=True, slots=True)
class PlannedCommand:
    """A command with the ids and the secret that stay the same in all tries; the secret is used only if needed."""

    command: Command
    request_id: str
    secret_id: str
    made_secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a command: the new record, the changed fields, and the secret if one was generated."""

    id: str
    effect: Effect
    subscription: Subscription | None
    changed: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
