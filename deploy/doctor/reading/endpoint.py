"""Reads an endpoint: connects as a delivery does. Sends a test event only with `--send-test`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.connection_probe import ProbeResult
from consumers.delivery.http.types import TransportError
from consumers.delivery.inline_deliveries import InlineDelivery, InlineResult
from deploy.config.egress import egress_policy_of
from deploy.config.senders import senders_of
from deploy.roles.http_client import connection_probe_of
from deploy.roles.inline_deliveries import inline_deliveries_of, log_of_tests
from producers.api.onboarding.requests import TEST_TYPE, body_of_test
from schemas.catalog.errors import InvalidInput
from schemas.senders.sender import Sender
from schemas.settings.settings import Settings
from schemas.subscriptions.subscription import Subscription

BodyOfTest: TypeAlias = Callable[[Sender, str, str, float], bytes]
# The senders whose documents have a test event. It gets sender, event id, customer and time.
TEST_EVENTS: Final[Mapping[str, BodyOfTest]] = {"onboarding": body_of_test}
# Stands in place of the id of an API key in the record of the test delivery.
_CALLER: Final = "doctor"
_CONNECT_MS: Final = 10_000
# One request needs few files: a low limit of open files must not prevent it.
_FEW: Final = {"max_connections": 16, "max_in_flight": 16}


def check_can_test(sender: str) -> None:
    """InvalidInput if the documents of a sender have no test event."""
    if sender not in TEST_EVENTS:
        raise InvalidInput(
            f"--send-test: the sender {sender} documents no test event (only {', '.join(TEST_EVENTS)} does); "
            "omit the option to check only the connection"
        )


def probe_endpoint(settings: Settings, endpoint: Endpoint) -> ProbeResult:
    """Connect to an endpoint, as far as the end of its TLS handshake, and disconnect."""
    target = endpoint.target
    if isinstance(target, str):
        return TransportError("blocked_url", target)
    probe = connection_probe_of(settings, egress_policy_of(settings))
    try:
        return probe.connect(target, endpoint.client_certificate, min(endpoint.timeout_ms, _CONNECT_MS))
    finally:
        probe.close()


def send_test(settings: Settings, subscription: Subscription) -> InlineResult:
    """Send a signed test event and wait for the response; its record is on the topic `tests`.

    Unavailable: nothing was sent, or the record was not written.
    """
    settings = settings.model_copy(update=_FEW)
    sender = senders_of(settings)[subscription.sender]
    event_id = str(uuid.uuid4())
    log = log_of_tests(settings)
    try:
        deliveries = inline_deliveries_of(settings, log)
        try:
            delivery = InlineDelivery(
                sender=sender.name,
                customer_id=subscription.customer_id,
                key_id=_CALLER,
                url=subscription.url,
                event_id=event_id,
                body=TEST_EVENTS[sender.name](sender, event_id, subscription.customer_id, time.time()),
                subscription=subscription,
                event_type=TEST_TYPE,
            )
            return deliveries.send(delivery).result()
        finally:
            deliveries.close()
    finally:
        log.close()
