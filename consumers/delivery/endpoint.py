"""The endpoint of a subscription: where its requests go, how they are signed, and its own limits.

An endpoint is decoded from a subscription record. Its secrets are unsealed and stay in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from consumers.delivery.delay_topics import Schedule
from consumers.delivery.http.types import ClientIdentity
from consumers.subscriptions.state import Interpret
from consumers.subscriptions.table import read_subscription
from schemas.catalog.errors import InvalidInput, UnreadableRecord
from schemas.input.durations import milliseconds
from schemas.network.egress import EgressPolicy, Target
from schemas.records.trace_context import TRACEPARENT
from schemas.senders.sender import Sender
from schemas.senders.signing import SigningKey
from schemas.subscriptions.header_rules import is_sendable
from schemas.subscriptions.rules import RATES
from schemas.subscriptions.sealing import Sealer, header_place, key_place
from schemas.subscriptions.subscription import Subscription

# `Basic dXNlcjpwYXNz`: an endpoint may echo only the part after the scheme.
_CREDENTIALS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*[ ]+(\S.*)")
# Shorter values are not masked: `X-Region: eu` is not secret, and `eu` would be removed from every second response.
_MIN_MASKED: Final = 6
# A hundred years: a wait may be at most this long, so that times remain representable.
_MAX_WAIT_S: Final = 36_500 * 86_400


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A subscription, decoded for sending. `target` is where requests go, or the reason why none may go there.

    Endpoints are compared by identity (`is`): another record of the subscription is another endpoint.
    """

    subscription_id: str
    customer_id: str
    sender: Sender
    target: Target | str
    host: str
    # Signing secrets and header values, as an endpoint may echo them: they are masked in records of responses.
    secrets: tuple[bytes, ...] = field(repr=False)
    keys: tuple[SigningKey, ...] = field(repr=False)
    # Keys that a rotation replaced, newest first, each with the Unix ms at which it expires.
    former_keys: tuple[tuple[int, SigningKey], ...] = field(repr=False)
    paused: bool
    activation: int
    # `Name: value` of the subscription's own headers.
    header_lines: tuple[bytes, ...] = field(repr=False)
    schedule: Schedule
    timeout_ms: int
    max_in_flight: int | None
    rate_limit: float | None  # requests per second
    client_certificate: ClientIdentity | None = field(repr=False)
    sends_trace_context: bool  # requests may have a header `traceparent`

    def keys_at(self, now_ms: int) -> tuple[SigningKey, ...]:
        """Return the keys that sign at `now_ms` (Unix ms), newest first."""
        if not self.former_keys:
            return self.keys
        return (*self.keys, *(key for until_ms, key in self.former_keys if now_ms < until_ms))


def endpoints_of(
    senders: Mapping[str, Sender], policy: EgressPolicy, sealer: Sealer, topic: str, speedup: float
) -> Interpret[Endpoint]:
    """Return the function that decodes a record of the topic `subscriptions`.

    It raises UnreadableRecord or SealBroken if the record is unusable. `speedup` divides the waits of schedules.
    """
    endpoint_of = endpoint_builder(senders, policy, sealer, topic, speedup)

    def decode(_partition: int, _offset: int, key: str, value: bytes) -> Endpoint:
        return endpoint_of(read_subscription(key, value))

    return decode


def endpoint_builder(
    senders: Mapping[str, Sender], policy: EgressPolicy, sealer: Sealer, topic: str, speedup: float
) -> Callable[[Subscription], Endpoint]:
    """Return the function that makes the endpoint of a subscription; arguments and errors as of `endpoints_of`."""
    schedules = {name: Schedule.of(sender.schedule, speedup) for name, sender in senders.items()}
    timeouts_ms = {name: milliseconds(sender.timeout) for name, sender in senders.items()}

    def build(subscription: Subscription) -> Endpoint:
        _check_bounds(subscription)
        sender = senders.get(subscription.sender)
        if sender is None:
            detail = f"subscription {subscription.id}: no sender {subscription.sender!r} is loaded"
            raise UnreadableRecord("invalid_value", detail)
        target = _check_url(policy, subscription.url)
        unsealed = _Unsealed(subscription, sealer, topic)
        schedule = _own_schedule(subscription, speedup)
        timeout_ms = _own_timeout_ms(subscription)
        return Endpoint(
            subscription_id=subscription.id,
            customer_id=subscription.customer_id,
            sender=sender,
            target=target,
            host=target.host if isinstance(target, Target) else "",
            secrets=_echoes(unsealed.masked()),
            keys=tuple(sender.signing_key(secret) for secret in unsealed.secrets),
            former_keys=tuple((until_ms, sender.signing_key(secret)) for until_ms, secret in unsealed.former),
            paused=subscription.paused,
            activation=subscription.activation,
            header_lines=tuple(f"{name}: {value}".encode() for name, value in unsealed.headers),
            schedule=schedules[sender.name] if schedule is None else schedule,
            timeout_ms=timeouts_ms[sender.name] if timeout_ms is None else timeout_ms,
            max_in_flight=subscription.max_in_flight,
            rate_limit=subscription.rate_limit,
            client_certificate=unsealed.client_certificate,
            # A header that the subscription sets itself has precedence.
            sends_trace_context=sender.trace_context
            and all(name.lower() != TRACEPARENT for name, _ in unsealed.headers),
        )

    return build


def _check_url(policy: EgressPolicy, url: str) -> Target | str:
    """Return the target of a URL, or why no request may go there."""
    try:
        return policy.check_url(url)
    except InvalidInput as error:
        return str(error)


def _own_schedule(subscription: Subscription, speedup: float) -> Schedule | None:
    if subscription.schedule_s is None:
        return None
    return Schedule.of([timedelta(seconds=wait_s) for wait_s in subscription.schedule_s], speedup)


def _own_timeout_ms(subscription: Subscription) -> int | None:
    if subscription.timeout_s is None:
        return None
    return milliseconds(timedelta(seconds=subscription.timeout_s))


def _check_bounds(subscription: Subscription) -> None:
    """Raise UnreadableRecord for numbers out of bounds. The writer checks them, but others can write to the topic."""
    rate = subscription.rate_limit
    for name, is_good in (
        ("schedule_s", all(0 <= wait_s <= _MAX_WAIT_S for wait_s in subscription.schedule_s or ())),
        ("timeout_s", subscription.timeout_s is None or subscription.timeout_s > 0),
        ("max_in_flight", subscription.max_in_flight is None or subscription.max_in_flight > 0),
        ("rate_limit", rate is None or RATES[0] <= rate <= RATES[1]),  # false for NaN
    ):
        if not is_good:
            raise UnreadableRecord("invalid_value", f"subscription {subscription.id}: {name} is out of bounds")


def _echoes(texts: Iterable[str]) -> tuple[bytes, ...]:
    """Return the forms in which an endpoint may echo these texts, longest first: a longer one may contain a shorter."""
    forms = {form.encode() for text in texts for form in _forms(text)}
    return tuple(sorted(forms, key=len, reverse=True))


def _forms(text: str) -> Iterator[str]:
    """Yield a text as it is, and as it is escaped within JSON, where `/` may be escaped as well."""
    escaped = json.dumps(text)[1:-1]
    yield text
    yield escaped
    yield escaped.replace("/", "\\/")
    yield json.dumps(text, ensure_ascii=False)[1:-1]


class _Unsealed:
    """The sealed values of a record, unsealed; SealBroken if one of them cannot be opened."""

    def __init__(self, subscription: Subscription, sealer: Sealer, topic: str) -> None:
        def unseal(sealed: bytes, place: str) -> str:
            return sealer.open(sealed, topic=topic, subscription_id=subscription.id, secret_id=place)

        self.secrets = [unseal(secret.sealed, secret.id) for secret in subscription.secrets]
        self.former = [(secret.until_ms, unseal(secret.sealed, secret.id)) for secret in subscription.former_secrets]
        self.headers = [
            (header.name, unseal(header.sealed, header_place(header.name, header.id)))
            for header in subscription.headers
        ]
        if not all(is_sendable(name, value) for name, value in self.headers):
            # The writer checks headers, but other programs can write to the topic.
            raise UnreadableRecord("invalid_value", f"subscription {subscription.id}: a header that may not be sent")
        self.client_certificate: ClientIdentity | None = None
        certificate = subscription.client_certificate
        if certificate is not None:
            key = unseal(certificate.sealed, key_place(certificate.id))
            self.client_certificate = ClientIdentity(certificate.certificate.encode(), key.encode())

    def masked(self) -> Iterator[str]:
        """Yield the texts to mask: secrets, header values, and the credentials after the scheme of a header value."""
        yield from self.secrets
        for _, secret in self.former:
            yield secret
        for _, value in self.headers:
            parts = _CREDENTIALS.fullmatch(value)
            for text in (value, parts[1]) if parts else (value,):
                if len(text) >= _MIN_MASKED:
                    yield text
