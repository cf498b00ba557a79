"""What a wish about a subscription does to its record. Pure.

A wish is decided twice: against what was read first, so that all that is wrong with a whole file is said before
anything is written, and again by the one hand that holds the partition.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, assert_never

from schemas.errors import InvalidInput, SubscriptionError
from schemas.rules import Draft, Given
from schemas.sealing import Sealer
from schemas.sender import Sender
from schemas.subscription import SealedSecret, Subscription


@dataclass(frozen=True, slots=True)
class Apply:
    """Make it so, whether the subscription is there or not."""

    draft: Draft

    @property
    def id(self) -> str:
        """Id of the subscription."""
        return self.draft.id


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing until it is resumed; what waits is cancelled."""

    id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Send what is published from now on."""

    id: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove it; what waits is cancelled."""

    id: str


Wish: TypeAlias = Apply | Pause | Resume | Delete
Effect: TypeAlias = Literal["created", "changed", "paused", "resumed", "deleted", "unchanged"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that cannot be read: it can be written anew or deleted, nothing else."""

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


class Decider:
    """Decides orders for one topic; `sealer` is needed only where a secret is given or made."""

    def __init__(self, topic: str, senders: Mapping[str, Sender], sealer: Sealer | None) -> None:
        self._topic = topic
        self._senders = senders
        self._sealer = sealer

    def decide(self, order: Order, current: Current, now_ms: int) -> Result:
        """Return what the order does to `current`.

        SubscriptionError if it cannot be done, SealBroken if a secret has to be compared that cannot be opened.
        """
        match order.wish:
            case Apply(draft):
                if isinstance(current, Subscription):
                    return self._change(order, draft, current, now_ms)
                return self._create(order, draft, now_ms)
            case Delete(id_):
                if current is None:
                    raise SubscriptionError(f"subscription {id_}: does not exist")
                return Result(id_, "deleted", None)
            case Pause(id_):
                return _set_paused(order, _readable(id_, current), now_ms, paused=True)
            case Resume(id_):
                return _set_paused(order, _readable(id_, current), now_ms, paused=False)
            case _ as never:
                assert_never(never)

    def _create(self, order: Order, draft: Draft, now_ms: int) -> Result:
        secrets, made = self._secrets(order, draft, None, now_ms)
        subscription = Subscription(
            id=draft.id,
            sender=draft.sender,
            customer_id=draft.customer_id,
            url=draft.url,
            event_types=draft.event_types,
            secrets=secrets,
            paused=False,
            # Jobs of a deleted subscription are not to be sent by a later one with its id, so that activations never
            # begin again: they are at least the time.
            activation=now_ms,
            set=draft.set,
            description=draft.description,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            request_id=order.request_id,
        )
        return Result(draft.id, "created", subscription, secret=made)

    def _change(self, order: Order, draft: Draft, current: Subscription, now_ms: int) -> Result:
        _check_identity(draft, current)
        secrets, made = self._secrets(order, draft, current, now_ms)
        changed = tuple(
            name
            for name, differs in (
                ("url", draft.url != current.url),
                ("event_types", set(draft.event_types) != set(current.event_types)),
                ("secret", secrets != current.secrets),
                ("description", draft.description != current.description),
            )
            if differs
        )
        if not changed:
            return Result(draft.id, "unchanged", current)
        subscription = replace(
            current,
            url=draft.url,
            event_types=draft.event_types,
            secrets=secrets,
            description=draft.description,
            updated_at_ms=now_ms,
            request_id=order.request_id,
        )
        return Result(draft.id, "changed", subscription, changed, made)

    def _secrets(
        self, order: Order, draft: Draft, current: Subscription | None, now_ms: int
    ) -> tuple[tuple[SealedSecret, ...], str | None]:
        """Return the secrets to hold, and the one that was made, if one was."""
        present = current.secrets if current is not None else ()
        if isinstance(draft.secret, Given):
            if present and self._opens_to(present[0], draft):
                return present, None
            return (self._seal(order, draft, draft.secret.secret, now_ms),), None
        if present or (draft.secret is None and not self._senders[draft.sender].needs_secret):
            return present, None
        if order.made_secret is None:
            raise ValueError("an order that may need a secret has one")
        return (self._seal(order, draft, order.made_secret, now_ms),), order.made_secret

    def _seal(self, order: Order, draft: Draft, secret: str, now_ms: int) -> SealedSecret:
        sealed = self._keys(draft.id).seal(
            secret, topic=self._topic, subscription_id=draft.id, secret_id=order.secret_id
        )
        return SealedSecret(order.secret_id, sealed, now_ms)

    def _opens_to(self, present: SealedSecret, draft: Draft) -> bool:
        secret = self._keys(draft.id).open(
            present.sealed, topic=self._topic, subscription_id=draft.id, secret_id=present.id
        )
        return isinstance(draft.secret, Given) and hmac.compare_digest(secret.encode(), draft.secret.secret.encode())

    def _keys(self, id_: str) -> Sealer:
        if self._sealer is None:
            raise InvalidInput(
                f"subscription {id_}: its secret cannot be sealed without a key; set SIGNPOST_SEALING_KEY (32 bytes in "
                "base64) or sealing_key_file, the same for the writers and for delivery"
            )
        return self._sealer


def is_own(order: Order, current: Current) -> bool:
    """Tell whether a record shows that the order was done before: it is its own, or holds the secret it made."""
    return isinstance(current, Subscription) and (
        current.request_id == order.request_id or any(secret.id == order.secret_id for secret in current.secrets)
    )


def _set_paused(order: Order, current: Subscription, now_ms: int, *, paused: bool) -> Result:
    if current.paused == paused:
        return Result(current.id, "unchanged", current)
    # What waited when it was paused has a lower activation than what is matched from now on.
    activation = current.activation if paused else max(current.activation + 1, now_ms)
    subscription = replace(
        current, paused=paused, activation=activation, updated_at_ms=now_ms, request_id=order.request_id
    )
    return Result(current.id, "paused" if paused else "resumed", subscription)


def _readable(id_: str, current: Current) -> Subscription:
    if current is None:
        raise SubscriptionError(f"subscription {id_}: does not exist")
    if isinstance(current, Unreadable):
        raise SubscriptionError(
            f"subscription {id_}: its record cannot be read ({current.reason}); apply it anew or delete it"
        )
    return current


def _check_identity(draft: Draft, current: Subscription) -> None:
    problems = [
        f"subscription {draft.id}: {name} never changes (it is {present}, not {wanted}); choose another id, or delete "
        "the subscription first"
        for name, present, wanted in (
            ("sender", current.sender, draft.sender),
            ("customer_id", current.customer_id, draft.customer_id),
        )
        if present != wanted
    ]
    if problems:
        raise SubscriptionError(*problems)
