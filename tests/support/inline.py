"""Test deliveries for tests: an onboarding subscription with sealed values, and requests to deliver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from consumers.delivery.endpoint import endpoint_builder
from consumers.delivery.http.client import HttpClient
from consumers.delivery.inline_deliveries import InlineDeliveries, InlineDelivery
from consumers.kafka.append_log import AppendLog
from schemas.senders.sender import load_senders
from schemas.subscriptions.sealing import Sealer, header_place, key_place
from schemas.subscriptions.subscription import (
    ClientCertificate,
    FormerSecret,
    SealedHeader,
    SealedSecret,
    Subscription,
)
from tests.support.http_client import LOCAL, local_client
from tests.support.subscriptions import KEY

NOW_MS: Final = 1_771_236_060_000
BODY: Final = b'{"event_id":"evt_1","event_type":"test"}'
TOPIC: Final = "signpost.subscriptions"


def delivery_to(url: str, **fields: Any) -> InlineDelivery:
    """Return an unsigned test delivery of the customer acme."""
    given: dict[str, Any] = {
        "sender": "onboarding",
        "customer_id": "acme",
        "key_id": "key_1",
        "event_id": "evt_1",
        "body": BODY,
    }
    return InlineDelivery(url=url, **(given | fields))


def sealed_subscription(
    url: str,
    *secrets: str,
    former: tuple[tuple[str, int], ...] = (),
    headers: tuple[tuple[str, str], ...] = (),
    identity: tuple[bytes, bytes] | None = None,
    topic: str = TOPIC,
    key: bytes = KEY,
) -> Subscription:
    """Return an onboarding subscription. `former`: secrets with their end in Unix ms. `identity`: certificate, key."""
    sealer = Sealer([key])

    def seal(text: str, place: str) -> bytes:
        return sealer.seal(text, topic=topic, subscription_id="sub_1", secret_id=place)

    certificate = None
    if identity is not None:
        certificate = ClientCertificate(identity[0].decode(), "crt_1", seal(identity[1].decode(), key_place("crt_1")))
    return Subscription(
        id="sub_1",
        sender="onboarding",
        customer_id="acme",
        url=url,
        event_types=("all",),
        secrets=tuple(SealedSecret(f"sec_{n}", seal(text, f"sec_{n}"), 0) for n, text in enumerate(secrets)),
        former_secrets=tuple(
            FormerSecret(f"old_{n}", seal(text, f"old_{n}"), 0, until) for n, (text, until) in enumerate(former)
        ),
        headers=tuple(
            SealedHeader(name, f"hdr_{n}", seal(value, header_place(name, f"hdr_{n}")))
            for n, (name, value) in enumerate(headers)
        ),
        client_certificate=certificate,
        paused=False,
        activation=1,
        set=None,
        description="",
        created_at_ms=0,
        updated_at_ms=0,
        request_id="test",
    )


@contextmanager
def local_deliveries(
    log: AppendLog,
    *,
    client: HttpClient | None = None,
    timeout: timedelta = timedelta(seconds=30),
    wait_s: float = 0.0,
    **options: Any,
) -> Iterator[InlineDeliveries]:
    """Yield test deliveries to this machine with the timeout of the sender; close them at the end."""
    senders = {name: replace(sender, timeout=timeout) for name, sender in load_senders().items()}
    deliveries = InlineDeliveries(
        client=client or local_client(),
        log=log,
        senders=senders,
        policy=LOCAL,
        endpoint_of=endpoint_builder(senders, LOCAL, Sealer([KEY]), TOPIC, 1),
        **({"clock": lambda: NOW_MS} | options),
    )
    try:
        yield deliveries
    finally:
        deliveries.close(wait_s)
