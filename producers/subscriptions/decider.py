"""The effect of a command on the record of a subscription. Pure.

Each command is decided twice. First against the records that were read at the start, so that all errors of a file are
reported before anything is written. Then again by the writer that has exclusive access to the partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Final, assert_never

from producers.compacted.log import Unreadable
from producers.subscriptions.changes import (
    Apply,
    Change,
    Current,
    Delete,
    Pause,
    PlannedCommand,
    Reseal,
    Result,
    Resume,
    Rotate,
)
from producers.subscriptions.sealed_fields import SealedFields, sealed_in, setting_fields
from schemas.catalog.errors import SealBroken, SubscriptionError, UnknownSubscription
from schemas.input.durations import milliseconds
from schemas.senders.sender import Sender
from schemas.senders.traits import signs_with_all
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.filters import NO_FILTERS, are_equal, read_filters
from schemas.subscriptions.rules import KEEP, Draft, Given, NoSecret, sender_problems
from schemas.subscriptions.sealing import Sealer
from schemas.subscriptions.subscription import FormerSecret, SealedSecret, Subscription

# The maximum number of former secrets, for rotations that start before the previous one has ended.
MAX_FORMER: Final = 4


class Decider:
    """Decides commands for one topic; `sealer` is needed only if a secret is given or generated."""

    def __init__(self, topic: str, senders: Mapping[str, Sender], sealer: Sealer | None) -> None:
        self._senders = senders
        self._fields = SealedFields(topic, sealer)

    def decide(self, planned_command: PlannedCommand, current: Current, now_ms: int) -> Result:
        """Return the effect of a command on `current`.

        SubscriptionError: the command is not possible, or the sender's rules for subscriptions forbid it. SealBroken: a
        secret to compare with cannot be opened.
        """
        command = planned_command.command
        if isinstance(command, Apply) and not isinstance(current, Subscription):
            return self._create(planned_command, command.draft, now_ms)
        if isinstance(command, Delete) and current is not None:
            return Result(command.id, "deleted", None)
        present = existing(command.id, current)
        match command:
            case Apply(draft):
                result = self._change(planned_command, draft, present, now_ms)
            case Change():
                result = self._change_fields(planned_command, command, present, now_ms)
            case Rotate():
                result = self._rotate(planned_command, command, present, now_ms)
            case Pause():
                result = _set_paused(planned_command, present, now_ms, paused=True)
            case Resume(disabled_activation=disabled):
                enables = _is_disabled(present, disabled)
                result = _set_paused(planned_command, present, now_ms, paused=False, force=enables)
            case Reseal():
                result = self._reseal(planned_command, present, now_ms)
            case Delete():
                raise AssertionError("the deletion of an existing record is handled above")
            case _ as never:
                assert_never(never)
        return result

    def _create(self, planned_command: PlannedCommand, draft: Draft, now_ms: int) -> Result:
        sender = self._checked(draft)
        secrets, made = self._secrets(planned_command, draft, None, now_ms)
        subscription = Subscription(
            id=draft.id,
            sender=draft.sender,
            customer_id=draft.customer_id,
            url=draft.url,
            event_types=sender.default_types if draft.event_types is KEEP else draft.event_types,
            secrets=secrets,
            paused=draft.paused is True,
            # A recreated subscription must not send the jobs of a deleted one with its id. Activations therefore never
            # start from zero: they are at least the current time.
            activation=now_ms,
            set=draft.set,
            description=draft.description,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            request_id=planned_command.request_id,
            headers=self._fields.headers(draft, (), planned_command.request_id),
            client_certificate=self._fields.client_certificate(draft, None, planned_command.request_id),
            filters=_filters(draft, None),
            **setting_fields(draft),
        )
        return Result(draft.id, "created", subscription, secret=made)

    def _change(
        self,
        planned_command: PlannedCommand,
        draft: Draft,
        current: Subscription,
        now_ms: int,
        *,
        enables: bool = False,
        is_ordered: bool = False,
    ) -> Result:
        _check_identity(draft, current)
        self._checked(draft)
        secrets, made = self._secrets(planned_command, draft, current, now_ms)
        is_same_secret = secrets == current.secrets
        paused = current.paused if draft.paused is KEEP else draft.paused
        is_resumed = enables or (current.paused and not paused)
        wanted = replace(
            current,
            url=draft.url,
            event_types=_event_types(draft, current, is_ordered=is_ordered),
            paused=paused,
            activation=_next_activation(current, now_ms) if is_resumed else current.activation,
            secrets=secrets,
            # A new secret outside of a rotation ends all former ones.
            former_secrets=_valid(current, now_ms) if is_same_secret else (),
            description=draft.description,
            headers=self._fields.headers(draft, current.headers, planned_command.request_id),
            client_certificate=self._fields.client_certificate(
                draft, current.client_certificate, planned_command.request_id
            ),
            filters=_filters(draft, current.filters),
            **setting_fields(draft),
        )
        changed = tuple(name for name, part in _CHANGING.items() if part(wanted) != part(current))
        if not changed:
            return Result(draft.id, "unchanged", current)
        return Result(draft.id, "changed", _written(wanted, planned_command, now_ms), changed, made)

    def _change_fields(
        self, planned_command: PlannedCommand, command: Change, current: Subscription, now_ms: int
    ) -> Result:
        changes = command.changes
        enables = changes.paused is False and _is_disabled(current, command.disabled_activation)
        result = self._change(planned_command, changes.of(current), current, now_ms, enables=enables, is_ordered=True)
        if command.touches and result.effect == "unchanged":
            return Result(command.id, "changed", _written(current, planned_command, now_ms), ("updated_at",))
        return result

    def _rotate(self, planned_command: PlannedCommand, command: Rotate, current: Subscription, now_ms: int) -> Result:
        sender = self._senders.get(current.sender)
        if sender is None:
            raise _not_loaded(command.id, current.sender)
        if isinstance(command.secret, NoSecret):
            return self._remove_secret(planned_command, command, current, now_ms)
        if command.keep and not signs_with_all(sender):
            raise SubscriptionError(
                f"subscription {command.id}: requests of sender {sender.name} have one signature, of the newest "
                "secret, so the present secret cannot be kept; give the new secret to the receiver first, then rotate "
                "to it"
            )
        if command.secret is not None and current.secrets and self._fields.is_secret(current, command.secret):
            return Result(command.id, "unchanged", current)
        until_ms = now_ms + milliseconds(command.keep)
        former = (
            [FormerSecret(s.id, s.sealed, s.created_at_ms, until_ms) for s in current.secrets] if command.keep else []
        )
        made = command.secret if command.secret is not None else _made(planned_command)
        wanted = replace(
            current,
            secrets=(
                SealedSecret(
                    planned_command.secret_id, self._fields.secret(command.id, made, planned_command.secret_id), now_ms
                ),
            ),
            former_secrets=(*former, *(_valid(current, now_ms) if command.keep else ()))[:MAX_FORMER],
        )
        shown = made if command.secret is None else None
        return Result(command.id, "rotated", _written(wanted, planned_command, now_ms), ("secret",), shown)

    def _remove_secret(
        self, planned_command: PlannedCommand, command: Rotate, current: Subscription, now_ms: int
    ) -> Result:
        if command.keep:
            raise SubscriptionError(
                f"subscription {command.id}: without a secret, requests are not signed from the next attempt on; the "
                "present secret cannot be kept"
            )
        result = self._change(planned_command, Changes(secret=NoSecret()).of(current), current, now_ms)
        return replace(result, effect="rotated") if result.effect == "changed" else result

    def _checked(self, draft: Draft) -> Sender:
        """Return the sender of a draft; SubscriptionError if its rules for subscriptions forbid the draft."""
        sender = self._senders.get(draft.sender)
        if sender is None:
            raise _not_loaded(draft.id, draft.sender)
        if problems := [f"subscription {draft.id}: {what}" for _, what in sender_problems(draft, sender)]:
            raise SubscriptionError(*problems)
        return sender

    def _reseal(self, planned_command: PlannedCommand, current: Subscription, now_ms: int) -> Result:
        try:
            wanted = self._fields.resealed(current)
        except SealBroken as error:
            raise SubscriptionError(str(error)) from error  # one of several problems
        if wanted == current:
            return Result(current.id, "unchanged", current)
        return Result(current.id, "resealed", _written(wanted, planned_command, now_ms))

    def _secrets(
        self, planned_command: PlannedCommand, draft: Draft, current: Subscription | None, now_ms: int
    ) -> tuple[tuple[SealedSecret, ...], str | None]:
        """Return the secrets of the record, and the generated one, if any."""
        present = current.secrets if current is not None else ()
        if isinstance(draft.secret, NoSecret):
            return (), None
        if isinstance(draft.secret, Given):
            if current is not None and present and self._fields.is_secret(current, draft.secret.secret):
                return present, None
            given = draft.secret.secret
            made = None
        elif present or (draft.secret is None and not self._senders[draft.sender].needs_secret):
            return present, None
        else:
            made = _made(planned_command)
            given = made
        sealed = self._fields.secret(draft.id, given, planned_command.secret_id)
        return (SealedSecret(planned_command.secret_id, sealed, now_ms),), made


# The names of changed fields in results, and the parts of the record.
_CHANGING: Final = {
    "url": attrgetter("url"),
    "event_types": attrgetter("event_types"),
    "secret": attrgetter("secrets"),
    "paused": attrgetter("paused", "activation"),
    "filters": attrgetter("filters"),
    "description": attrgetter("description"),
    "headers": attrgetter("headers"),
    "client_certificate": attrgetter("client_certificate"),
    "schedule": attrgetter("schedule_s"),
    "timeout": attrgetter("timeout_s"),
    "max_in_flight": attrgetter("max_in_flight"),
    "rate_limit": attrgetter("rate_limit"),
}


def _event_types(draft: Draft, current: Subscription, *, is_ordered: bool) -> tuple[str, ...]:
    """Return the event types of a changed subscription.

    Their order has no meaning for deliveries. A file in another order changes nothing; a change of the list itself is
    kept as it was given, because the APIs show it.
    """
    if draft.event_types is KEEP:
        return current.event_types
    if not is_ordered and set(draft.event_types) == set(current.event_types):
        return current.event_types
    return draft.event_types


def _filters(draft: Draft, current: str | None) -> str | None:
    """Return the filters for the record; None stands for an empty object, which older versions can hold."""
    if draft.filters is KEEP:
        return current
    wanted = read_filters(draft.filters)
    if current is not None and are_equal(wanted, current):
        return current
    return None if wanted == NO_FILTERS else wanted


def _made(planned_command: PlannedCommand) -> str:
    if planned_command.made_secret is None:
        raise ValueError("a command that may need a secret has a generated one")
    return planned_command.made_secret


def _valid(current: Subscription, now_ms: int) -> tuple[FormerSecret, ...]:
    return tuple(secret for secret in current.former_secrets if now_ms < secret.until_ms)


def _written(wanted: Subscription, planned_command: PlannedCommand, now_ms: int) -> Subscription:
    return replace(wanted, updated_at_ms=now_ms, request_id=planned_command.request_id)


def _is_disabled(current: Subscription, disabled_activation: int | None) -> bool:
    return disabled_activation is not None and disabled_activation >= current.activation


def _next_activation(current: Subscription, now_ms: int) -> int:
    """Return a higher activation, so that jobs from now on differ from earlier ones."""
    return max(current.activation + 1, now_ms)


def _not_loaded(id_: str, sender: str) -> SubscriptionError:
    return SubscriptionError(f"subscription {id_}: its sender {sender} is not loaded")


def is_own(planned_command: PlannedCommand, current: Current) -> bool:
    """Return whether a command already wrote a record: it has the request id or the secret id of the command."""
    return isinstance(current, Subscription) and (
        current.request_id == planned_command.request_id
        or any(each.id == planned_command.secret_id for each in sealed_in(current))
    )


def is_sealed_by(planned_command: PlannedCommand, subscription: Subscription) -> bool:
    """Return whether the command sealed anything in the record."""
    made = (planned_command.secret_id, f"hdr_{planned_command.request_id}", f"crt_{planned_command.request_id}")
    return any(each.id in made for each in sealed_in(subscription))


def _set_paused(
    planned_command: PlannedCommand, current: Subscription, now_ms: int, *, paused: bool, force: bool = False
) -> Result:
    if current.paused == paused and not force:
        return Result(current.id, "unchanged", current)
    activation = current.activation if paused else _next_activation(current, now_ms)
    subscription = replace(current, paused=paused, activation=activation)
    return Result(current.id, "paused" if paused else "resumed", _written(subscription, planned_command, now_ms))


def existing(id_: str, current: Current) -> Subscription:
    """Return a readable subscription; SubscriptionError if it does not exist, or its record cannot be read."""
    if current is None:
        raise UnknownSubscription(f"subscription {id_}: does not exist")
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
