"""What a subscription record means to delivery: where its requests go and how they are signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consumers.table import read_subscription
from consumers.table_state import Interpret
from schemas.egress import EgressPolicy, Target
from schemas.errors import InvalidInput, UnreadableRecord
from schemas.sealing import Sealer
from schemas.sender import Sender


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A subscription, ready to send: `target` is where, or a sentence that says why nothing may go there."""

    subscription_id: str
    sender: Sender
    target: Target | str
    host: str
    # As the receiver knows them, to be kept out of what is recorded.
    secrets: tuple[bytes, ...] = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    paused: bool
    activation: int


def endpoints_of(
    senders: Mapping[str, Sender], policy: EgressPolicy, sealer: Sealer, topic: str
) -> Interpret[Endpoint]:
    """Return how records of `subscriptions` are read: UnreadableRecord or SealBroken makes one unusable."""

    def interpret(_partition: int, _offset: int, key: str, value: bytes) -> Endpoint:
        subscription = read_subscription(key, value)
        sender = senders.get(subscription.sender)
        if sender is None:
            raise UnreadableRecord("invalid_value", f"subscription {key}: no sender {subscription.sender!r} is loaded")
        target: Target | str
        try:
            target = policy.check_url(subscription.url)
            host = target.host
        except InvalidInput as error:
            target, host = str(error), ""
        secrets = [
            sealer.open(secret.sealed, topic=topic, subscription_id=subscription.id, secret_id=secret.id)
            for secret in subscription.secrets
        ]
        return Endpoint(
            subscription_id=subscription.id,
            sender=sender,
            target=target,
            host=host,
            secrets=tuple(secret.encode() for secret in secrets),
            keys=tuple(sender.signing_key(secret) for secret in secrets),
            paused=subscription.paused,
            activation=subscription.activation,
        )

    return interpret
