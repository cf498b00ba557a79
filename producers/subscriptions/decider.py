"""What a wish about a subscription does to its record. Pure.

A wish is decided twice: against what was read first, so that all that is wrong with a whole file is said before
anything is written, and again by the one hand that holds the partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, assert_never

from producers.subscriptions.changes import (
    Apply,
    Change,
    Current,
    Delete,
    Order,
    Pause,
    Result,
    Resume,
    Rotate,
    Unreadable,
)
from producers.subscriptions.sealed_fields import SealedFields, sealed_in, setting_fields
from schemas.catalog.errors import SubscriptionError
from schemas.input.durations import milliseconds
from schemas.senders.sender import Sender
from schemas.senders.traits import signs_with_all
from schemas.subscriptions.rules import Draft, Given
from schemas.subscriptions.sealing import Sealer
from schemas.subscriptions.subscription import FormerSecret, SealedSecret, Subscription

# A rotation that is done again and again, each before the last has ended, keeps so many.
MAX_FORMER: Final = 4


class Decider:
    """Decides orders for one topic; `sealer` is needed only where a secret is given or made."""

    def __init__(self, topic: str, senders: Mapping[str, Sender], sealer: Sealer | None) -> None:
        self._senders = senders
        self._fields = SealedFields(topic, sealer)

    def decide(self, order: Order, current: Current, now_ms: int) -> Result:
        """Return what the order does to `current`.

        SubscriptionError if it cannot be done, SealBroken if a secret has to be compared that cannot be opened.
        """
        wish = order.wish
        if isinstance(wish, Apply) and not isinstance(current, Subscription):
            return self._create(order, wish.draft, now_ms)
        if isinstance(wish, Delete) and current is not None:
            return Result(wish.id, "deleted", None)
        there = _readable(wish.id, current)
        match wish:
            case Apply(draft):
                result = self._change(order, draft, there, now_ms)
            case Change(changes=changes):
                result = self._change(order, changes.of(there), there, now_ms)
            case Rotate():
                result = self._rotate(order, wish, there, now_ms)
            case Pause():
                result = _set_paused(order, there, now_ms, paused=True)
            case Resume(disabled_activation=disabled):
                enables = disabled is not None and disabled >= there.activation
                result = _set_paused(order, there, now_ms, paused=False, force=enables)
            case Delete():
                raise AssertionError("a record that is there was deleted above")
            case _ as never:
                assert_never(never)
        return result

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
            headers=self._fields.headers(draft, (), order.request_id),
            client_certificate=self._fields.client_certificate(draft, None, order.request_id),
            **setting_fields(draft),
        )
        return Result(draft.id, "created", subscription, secret=made)

    def _change(self, order: Order, draft: Draft, current: Subscription, now_ms: int) -> Result:
        _check_identity(draft, current)
        secrets, made = self._secrets(order, draft, current, now_ms)
        is_same_secret = secrets == current.secrets
        wanted = replace(
            current,
            url=draft.url,
            # Their order says nothing.
            event_types=current.event_types
            if set(draft.event_types) == set(current.event_types)
            else draft.event_types,
            secrets=secrets,
            # A secret that takes the place of another outside a rotation ends all that were before it.
            former_secrets=_valid(current, now_ms) if is_same_secret else (),
            description=draft.description,
            headers=self._fields.headers(draft, current.headers, order.request_id),
            client_certificate=self._fields.client_certificate(draft, current.client_certificate, order.request_id),
            **setting_fields(draft),
        )
        changed = tuple(name for name, field in _CHANGING.items() if getattr(wanted, field) != getattr(current, field))
        if not changed:
            return Result(draft.id, "unchanged", current)
        return Result(draft.id, "changed", _written(wanted, order, now_ms), changed, made)

    def _rotate(self, order: Order, wish: Rotate, current: Subscription, now_ms: int) -> Result:
        sender = self._senders.get(current.sender)
        if sender is None:
            raise SubscriptionError(f"subscription {wish.id}: its sender {current.sender} is not loaded")
        if wish.keep and not signs_with_all(sender):
            raise SubscriptionError(
                f"subscription {wish.id}: requests of sender {sender.name} carry one signature, of the newest secret: "
                "the present one cannot be kept beside it; give the receiver the new one first, then rotate to it"
            )
        if wish.secret is not None and current.secrets and self._fields.is_secret(current, wish.secret):
            return Result(wish.id, "unchanged", current)
        until_ms = now_ms + milliseconds(wish.keep)
        former = [FormerSecret(s.id, s.sealed, s.created_at_ms, until_ms) for s in current.secrets] if wish.keep else []
        made = wish.secret if wish.secret is not None else _made(order)
        wanted = replace(
            current,
            secrets=(SealedSecret(order.secret_id, self._fields.secret(wish.id, made, order.secret_id), now_ms),),
            former_secrets=(*former, *(_valid(current, now_ms) if wish.keep else ()))[:MAX_FORMER],
        )
        shown = made if wish.secret is None else None
        return Result(wish.id, "rotated", _written(wanted, order, now_ms), ("secret",), shown)

    def _secrets(
        self, order: Order, draft: Draft, current: Subscription | None, now_ms: int
    ) -> tuple[tuple[SealedSecret, ...], str | None]:
        """Return the secrets to hold, and the one that was made, if one was."""
        present = current.secrets if current is not None else ()
        if isinstance(draft.secret, Given):
            if current is not None and present and self._fields.is_secret(current, draft.secret.secret):
                return present, None
            given, made = draft.secret.secret, None
        elif present or (draft.secret is None and not self._senders[draft.sender].needs_secret):
            return present, None
        else:
            given = made = _made(order)
        sealed = self._fields.secret(draft.id, given, order.secret_id)
        return (SealedSecret(order.secret_id, sealed, now_ms),), made


# What is said of a change: name of the field, and where it is in the record.
_CHANGING: Final = {
    "url": "url",
    "event_types": "event_types",
    "secret": "secrets",
    "description": "description",
    "headers": "headers",
    "client_certificate": "client_certificate",
    "schedule": "schedule_s",
    "timeout": "timeout_s",
    "max_in_flight": "max_in_flight",
    "rate_limit": "rate_limit",
}


def _made(order: Order) -> str:
    if order.made_secret is None:
        raise ValueError("an order that may need a secret has one")
    return order.made_secret


def _valid(current: Subscription, now_ms: int) -> tuple[FormerSecret, ...]:
    return tuple(secret for secret in current.former_secrets if now_ms < secret.until_ms)


def _written(wanted: Subscription, order: Order, now_ms: int) -> Subscription:
    return replace(wanted, updated_at_ms=now_ms, request_id=order.request_id)


def is_own(order: Order, current: Current) -> bool:
    """Tell whether a record shows that the order was done before: it is its own, or holds the secret it made."""
    return isinstance(current, Subscription) and (
        current.request_id == order.request_id or any(each.id == order.secret_id for each in sealed_in(current))
    )


def is_sealed_by(order: Order, subscription: Subscription) -> bool:
    """Tell whether the order seals anything that is in the record."""
    made = (order.secret_id, f"hdr_{order.request_id}", f"crt_{order.request_id}")
    return any(each.id in made for each in sealed_in(subscription))


def _set_paused(order: Order, current: Subscription, now_ms: int, *, paused: bool, force: bool = False) -> Result:
    if current.paused == paused and not force:
        return Result(current.id, "unchanged", current)
    # What waited when it was paused has a lower activation than what is matched from now on.
    activation = current.activation if paused else max(current.activation + 1, now_ms)
    subscription = replace(current, paused=paused, activation=activation)
    return Result(current.id, "paused" if paused else "resumed", _written(subscription, order, now_ms))


def _readable(id_: str, current: Current) -> Subscription:
    if current is None:
        raise SubscriptionError(f"subscription {id_}: does not exist")
    if isinstance(current, Unreadable):
        raise SubscriptionError(
            f"subscription {id_}: its record cannot be read ({current.reason}); apply it again or delete it"
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
