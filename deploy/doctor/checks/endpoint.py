"""Checks of one subscription and its endpoint: state, connection, certificate, response to a test event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509

from consumers.delivery.http.connection_probe import ProbeResult
from consumers.delivery.http.types import TransportError
from consumers.delivery.inline_deliveries import InlineResult
from deploy.doctor.findings import Finding, NotObserved, Observed, error, warning
from schemas.catalog.failures import MEANINGS
from schemas.catalog.statuses import STATUSES, status_name
from schemas.records.health import Health
from schemas.subscriptions.client_certificate import certificate_warning
from schemas.subscriptions.subscription import Subscription

# Programs usually renew a certificate when a third of its lifetime is left, people two weeks before its end.
_SHARE_LEFT: Final = 5
_DAYS_LEFT: Final = timedelta(days=14)
_GONE: Final = 410


def check_state(subscription: Subscription, health: Health | None, now: datetime) -> list[Finding]:
    """Return the findings about the state of a subscription; `health` is that of its endpoint, if anything is known."""
    id_ = subscription.id
    findings = []
    if subscription.paused:
        what = "the subscription is paused: nothing is sent"
        do = f"run `signpost subscriptions resume {id_}`: events that are published from then on are sent"
        findings.append(warning("endpoint", "subscription_paused", id_, what, do))
    if not subscription.event_types:
        what = "the subscription has no event types: it receives nothing"
        do = f"run `signpost subscriptions update {id_} --event-type …`"
        findings.append(warning("endpoint", "subscription_without_events", id_, what, do))
    if health is not None and health.activation >= subscription.activation:
        findings.append(_of_health(subscription, health))
    certificate = subscription.client_certificate
    sentence = None if certificate is None else certificate_warning(certificate.certificate, now)
    if sentence is not None:
        do = "ask the customer for a new one, and set it with `signpost subscriptions update`"
        findings.append(warning("endpoint", "client_certificate_expires", id_, sentence, do))
    return findings


def check_connection(id_: str, host: str, probed: Observed[ProbeResult] | NotObserved, now: datetime) -> list[Finding]:
    """Return the findings about a connection to the endpoint."""
    where = f"{id_} ({host})"
    if isinstance(probed, NotObserved):
        return [error("endpoint", "unreachable", where, probed.reason, MEANINGS["unreachable"].to_do)]
    found = probed.value
    if isinstance(found, TransportError):
        meaning = MEANINGS[found.kind]
        return [error("endpoint", found.kind, where, f"{meaning.what} ({found.detail})", meaning.to_do)]
    return [] if found.certificate is None else _check_certificate(where, found.certificate, now)


def check_response(id_: str, host: str, result: Observed[InlineResult] | NotObserved) -> list[Finding]:
    """Return the finding about the response to a test event, if it was not a 2xx."""
    where = f"{id_} ({host})"
    if isinstance(result, NotObserved):
        do = "remove this cause, then run the command again"
        return [error("endpoint", "test_event_not_sent", where, result.reason, do)]
    status = result.value.status
    if status is None:
        what = f"no response to the test event: {result.value.reason} (log id {result.value.log_id})"
        return [error("endpoint", "test_event_refused", where, what, "the customer checks their endpoint")]
    if 200 <= status < 300:
        return []
    what = f"the endpoint responded to the test event with {status} (log id {result.value.log_id})"
    return [error("endpoint", "test_event_refused", where, what, _advice(status, None))]


def _of_health(subscription: Subscription, health: Health) -> Finding:
    since = datetime.fromtimestamp(health.failing_since_ms // 1_000, UTC).isoformat().replace("+00:00", "Z")
    last = health.last_status or health.last_error or "unknown"
    what = f"no attempt has succeeded since {since} (last: {last})"
    advice = _advice(health.last_status, health.last_error)
    if health.disabled_at_ms is None:
        return warning("endpoint", "endpoint_failing", subscription.id, what, advice)
    what = f"the subscription is disabled ({health.reason}), and nothing is sent: {what}"
    do = f"{advice}; then `signpost subscriptions resume {subscription.id}`"
    return error("endpoint", "endpoint_disabled", subscription.id, what, do)


def _advice(status: int | None, failure: str | None) -> str:
    """Return what to do about the end of an attempt."""
    if status == _GONE:
        return "ask the customer whether the endpoint has another URL"
    if status is not None:
        return STATUSES[status_name(status)].to_do
    known = next((meaning for kind, meaning in MEANINGS.items() if kind == failure), None)
    return "ask the customer" if known is None else known.to_do


def _check_certificate(where: str, der: bytes, now: datetime) -> list[Finding]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        until = certificate.not_valid_after_utc
        lifetime = until - certificate.not_valid_before_utc
    except ValueError:  # this parser is stricter than that of TLS, which has accepted the certificate
        return []
    if until - now >= min(_DAYS_LEFT, lifetime / _SHARE_LEFT):
        return []
    what = f"the endpoint's certificate expires at {until.isoformat().replace('+00:00', 'Z')}"
    do = "the customer renews the certificate; an automatic renewal is late or has failed"
    return [warning("endpoint", "certificate_expires", where, what, do)]
