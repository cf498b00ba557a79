"""What a subscription record means to delivery: where its requests go and how they are signed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from consumers.delivery.delay_topics import Schedule
from consumers.subscriptions.state import Interpret
from consumers.subscriptions.table import read_subscription
from schemas.catalog.errors import InvalidInput, UnreadableRecord
from schemas.input.durations import milliseconds
from schemas.network.egress import EgressPolicy, Target
from schemas.senders.sender import Sender
from schemas.senders.signing import SigningKey
from schemas.subscriptions.header_rules import is_sendable
from schemas.subscriptions.rules import RATES
from schemas.subscriptions.sealing import Sealer, header_place, key_place
from schemas.subscriptions.subscription import Subscription

# `Basic dXNlcjpwYXNz`: an endpoint that tells what it got may tell the part behind the scheme alone.
_CREDENTIALS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*[ ]+(\S.*)")
# What is shorter keeps no secret, and would be taken out of every second answer: `X-Region: eu`.
_SHORTEST_MASKED: Final = 6
# Of a wait: a hundred years, which sums with any time of ours.
_LONGEST_S: Final = 36_500 * 86_400


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """What the process shows to an endpoint that asks who calls (mTLS), both in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A subscription, ready to send: `target` is where, or a sentence that says why nothing may go there."""

    subscription_id: str
    customer_id: str
    sender: Sender
    target: Target | str
    host: str
    # As the receiver knows them, values of headers among them, to be kept out of what is recorded.
    secrets: tuple[bytes, ...] = field(repr=False)
    keys: tuple[SigningKey, ...] = field(repr=False)
    # Keys of secrets that a rotation replaced, and when each ends, in Unix ms; newest first.
    former_keys: tuple[tuple[int, SigningKey], ...] = field(repr=False)
    paused: bool
    activation: int
    # `Name: value`, sent with every attempt.
    header_lines: tuple[bytes, ...] = field(repr=False)
    schedule: Schedule
    timeout_ms: int
    max_in_flight: int | None
    rate_limit: float | None  # requests a second
    client_certificate: ClientIdentity | None = field(repr=False)

    def keys_at(self, now_ms: int) -> tuple[SigningKey, ...]:
        """Return the keys that sign now, newest first."""
        if not self.former_keys:
            return self.keys
        return (*self.keys, *(key for until_ms, key in self.former_keys if now_ms < until_ms))


def endpoints_of(
    senders: Mapping[str, Sender], policy: EgressPolicy, sealer: Sealer, topic: str, speedup: float
) -> Interpret[Endpoint]:
    """Return how records of `subscriptions` are read: UnreadableRecord or SealBroken makes one unusable.

    `speedup` divides the waits of schedules.
    """
    schedules = {name: Schedule.of(sender.schedule, speedup) for name, sender in senders.items()}
    timeouts_ms = {name: milliseconds(sender.timeout) for name, sender in senders.items()}

    def interpret(_partition: int, _offset: int, key: str, value: bytes) -> Endpoint:
        subscription = read_subscription(key, value)
        _check_numbers(subscription)
        sender = senders.get(subscription.sender)
        if sender is None:
            raise UnreadableRecord("invalid_value", f"subscription {key}: no sender {subscription.sender!r} is loaded")
        target: Target | str
        try:
            target = policy.check_url(subscription.url)
            host = target.host
        except InvalidInput as error:
            target, host = str(error), ""
        opened = _Opened(subscription, sealer, topic)
        waits, timeout_s = subscription.schedule_s, subscription.timeout_s
        return Endpoint(
            subscription_id=subscription.id,
            customer_id=subscription.customer_id,
            sender=sender,
            target=target,
            host=host,
            # The longer text first: it may hold a shorter one.
            secrets=tuple(sorted({s.encode() for m in opened.masked() for s in _as_told(m)}, key=len)[::-1]),
            keys=tuple(sender.signing_key(secret) for secret in opened.secrets),
            former_keys=tuple((until_ms, sender.signing_key(secret)) for until_ms, secret in opened.former),
            paused=subscription.paused,
            activation=subscription.activation,
            header_lines=tuple(f"{name}: {value}".encode() for name, value in opened.headers),
            schedule=schedules[sender.name] if waits is None else _schedule_of(waits, speedup),
            timeout_ms=timeouts_ms[sender.name] if timeout_s is None else milliseconds(timedelta(seconds=timeout_s)),
            max_in_flight=subscription.max_in_flight,
            rate_limit=subscription.rate_limit,
            client_certificate=opened.client_certificate,
        )

    return interpret


def _schedule_of(waits_s: Sequence[int], speedup: float) -> Schedule:
    return Schedule.of([timedelta(seconds=wait_s) for wait_s in waits_s], speedup)


def _check_numbers(subscription: Subscription) -> None:
    """Refuse numbers that nobody can count with, or wait for: rules are kept by those who write, not by the topic."""
    rate = subscription.rate_limit
    for name, is_good in (
        ("schedule_s", all(0 <= wait_s <= _LONGEST_S for wait_s in subscription.schedule_s or ())),
        ("timeout_s", subscription.timeout_s is None or subscription.timeout_s > 0),
        ("max_in_flight", subscription.max_in_flight is None or subscription.max_in_flight > 0),
        ("rate_limit", rate is None or RATES[0] <= rate <= RATES[1]),  # what is no number is not between
    ):
        if not is_good:
            raise UnreadableRecord("invalid_value", f"subscription {subscription.id}: {name} is out of bounds")


def _as_told(text: str) -> Iterator[str]:
    """Return a text as an endpoint echoes it: as it is, or within JSON, where `/` may be escaped or not."""
    escaped = json.dumps(text)[1:-1]
    yield from (text, escaped, escaped.replace("/", "\\/"), json.dumps(text, ensure_ascii=False)[1:-1])


class _Opened:
    """All that is sealed in a record; SealBroken if any of it cannot be opened."""

    def __init__(self, subscription: Subscription, sealer: Sealer, topic: str) -> None:
        def opened(sealed: bytes, place: str) -> str:
            return sealer.open(sealed, topic=topic, subscription_id=subscription.id, secret_id=place)

        self.secrets = [opened(secret.sealed, secret.id) for secret in subscription.secrets]
        self.former = [(secret.until_ms, opened(secret.sealed, secret.id)) for secret in subscription.former_secrets]
        self.headers = [
            (header.name, opened(header.sealed, header_place(header.name, header.id)))
            for header in subscription.headers
        ]
        if not all(is_sendable(name, value) for name, value in self.headers):
            # Rules are kept by those who write; what somebody else wrote never comes into a request.
            raise UnreadableRecord("invalid_value", f"subscription {subscription.id}: a header that may not be sent")
        shown = subscription.client_certificate
        self.client_certificate = (
            None
            if shown is None
            else ClientIdentity(shown.certificate.encode(), opened(shown.sealed, key_place(shown.id)).encode())
        )

    def masked(self) -> Iterator[str]:
        """Return what an endpoint might tell: its secrets, and of its headers the values and credentials."""
        yield from self.secrets
        for _, secret in self.former:
            yield secret
        for _, value in self.headers:
            parts = _CREDENTIALS.fullmatch(value)
            for text in (value, parts[1]) if parts else (value,):
                if len(text) >= _SHORTEST_MASKED:
                    yield text
