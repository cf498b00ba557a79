"""What somebody may wish of a subscription, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeAlias

from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import Draft
from schemas.subscriptions.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Apply:
    """Make it so, whether the subscription is there or not."""

    draft: Draft

    @property
    def id(self) -> str:
        """Id of the subscription."""
        return self.draft.id


@dataclass(frozen=True, slots=True)
class Change:
    """Change some fields of what is there."""

    id: str
    changes: Changes


@dataclass(frozen=True, slots=True)
class Rotate:
    """Sign with a new secret (None: one that is made); the present one signs beside it for as long as is said."""

    id: str
    secret: str | None = field(default=None, repr=False)
    keep: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing until it is resumed; what waits is cancelled."""

    id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Send what is published from now on; `disabled_activation` is the one for which its endpoint was disabled."""

    id: str
    disabled_activation: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove it; what waits is cancelled."""

    id: str


Wish: TypeAlias = Apply | Change | Rotate | Pause | Resume | Delete
Effect: TypeAlias = Literal["created", "changed", "paused", "resumed", "rotated", "deleted", "unchanged"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that cannot be read: it can be written again or deleted, nothing else."""

    reason: str


Current: TypeAlias = Subscription | Unreadable | None


@dataclass(frozen=True, slots=True)
class Order:
    """A wish with all that must be the same however often it is tried; the secret is used if one is needed."""

    wish: Wish
    request_id: str
    secret_id: str
    made_secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What a wish did: the record as it is now, what changed of it, and the secret where one was made."""

    id: str
    effect: Effect
    subscription: Subscription | None
    changed: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
