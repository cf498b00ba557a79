"""How subscriptions are shown: never a secret, never the value of a header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import typer

from producers.subscriptions.changes import Result
from schemas.catalog.errors import InvalidInput
from schemas.input.durations import format_duration
from schemas.input.terminal import printable
from schemas.records.health import Health
from schemas.subscriptions.client_certificate import certificate_warning, shown
from schemas.subscriptions.filters import NO_FILTERS, read_filters
from schemas.subscriptions.rules import Draft, Given
from schemas.subscriptions.secret_warnings import secret_warnings
from schemas.subscriptions.subscription import Subscription, host_of

_SIGNS: Final = {
    "created": "+",
    "changed": "~",
    "rotated": "~",
    "resealed": "~",
    "paused": "~",
    "resumed": "~",
    "deleted": "-",
    "unchanged": "=",
}


def state_of(subscription: Subscription, health: Health | None) -> str:
    """Return the state: paused, disabled (and why), failing or active."""
    if subscription.paused:
        return "paused"
    if health is None or health.activation < subscription.activation:
        return "active"
    return f"disabled ({health.reason})" if health.disabled_at_ms is not None else "failing"


def _health(subscription: Subscription, health: Health | None) -> dict[str, Any] | None:
    """Return the health of the endpoint, None if nothing is known since the subscription was last activated."""
    if health is None or health.activation < subscription.activation:
        return None
    return {
        "failing_since": _time(health.failing_since_ms),
        "disabled_at": None if health.disabled_at_ms is None else _time(health.disabled_at_ms),
        "reason": health.reason or None,
        "last_status": health.last_status,
        "last_error": health.last_error,
    }


def as_json(subscription: Subscription, health: Health | None) -> dict[str, Any]:
    """Return all fields except sealed ones; a setting that is null has the default of the sender, or of Signpost."""
    found = subscription.client_certificate
    about = None if found is None else shown(found.certificate)
    schedule = subscription.schedule_s
    return {
        "id": subscription.id,
        "sender": subscription.sender,
        "customer_id": subscription.customer_id,
        "url": subscription.url,
        "event_types": list(subscription.event_types),
        "filters": _filters(subscription.filters or NO_FILTERS),
        "state": state_of(subscription, health),
        "health": _health(subscription, health),
        "set": subscription.set,
        "description": subscription.description,
        "headers": [header.name for header in subscription.headers],
        "client_certificate": None if about is None else {"subject": about.subject, "until": _iso(about.until)},
        "schedule": None if schedule is None else [_duration(wait) for wait in schedule],
        "timeout": None if subscription.timeout_s is None else _duration(subscription.timeout_s),
        "max_in_flight": subscription.max_in_flight,
        "rate_limit": subscription.rate_limit,
        "created_at": _time(subscription.created_at_ms),
        "updated_at": _time(subscription.updated_at_ms),
        "secrets": [{"id": s.id, "created_at": _time(s.created_at_ms)} for s in subscription.secrets],
        "former_secrets": [
            {"id": s.id, "created_at": _time(s.created_at_ms), "until": _time(s.until_ms)}
            for s in subscription.former_secrets
        ],
    }


def _filters(text: str) -> orjson.Fragment | str:
    """Return the filters as JSON, with numbers as written; as text if they are unreadable."""
    try:
        return orjson.Fragment(read_filters(text))
    except InvalidInput:
        return text


def print_fields(subscription: Subscription, health: Health | None) -> None:
    """Print all fields except sealed ones, one line each."""
    fields = as_json(subscription, health)
    found = fields["health"]
    fields["health"] = (
        "no failures known"
        if found is None
        else ", ".join(f"{name} {value}".replace("_", " ", 1) for name, value in found.items() if value is not None)
    )
    fields["event_types"] = fields["event_types"] or ["none: it receives nothing"]
    fields["filters"] = subscription.filters or "none"
    fields["secrets"] = [f"{secret['id']} ({secret['created_at']})" for secret in fields["secrets"]] or [
        "none: requests are not signed"
    ]
    former = [f"{secret['id']} (until {secret['until']})" for secret in fields.pop("former_secrets")]
    if former:
        fields["former_secrets"] = former
    fields["headers"] = [f"{name}: ***" for name in fields["headers"]] or ["none"]
    certificate = fields["client_certificate"]
    fields["client_certificate"] = f"{certificate['subject']}, until {certificate['until']}" if certificate else "none"
    if fields["schedule"] == []:
        fields["schedule"] = "none: one attempt"
    for name, unset in (
        ("schedule", "the sender's default"),
        ("timeout", "the sender's default"),
        ("max_in_flight", "the setting max_in_flight_per_subscription"),
        ("rate_limit", "none"),
        ("set", "none"),
        ("description", "none"),
    ):
        fields[name] = unset if fields[name] in (None, "") else fields[name]
    for name, value in fields.items():
        typer.echo(printable(f"{name + ':':<19} {', '.join(value) if isinstance(value, list) else value}"))


def print_warnings(results: Iterable[Result]) -> None:
    """Warn about removed secrets, empty lists of event types, and client certificates that expire soon."""
    for result in results:
        for warning in _warnings(result):
            _warn(result.id, warning)


def print_secret_warnings(drafts: Iterable[Draft]) -> None:
    """Warn about given secrets that look as if a copy or a file added something to them."""
    for draft in drafts:
        if isinstance(draft.secret, Given):
            for warning in secret_warnings(draft.secret.secret):
                _warn(draft.id, warning)


def _warn(id_: str, warning: str) -> None:
    typer.echo(f"{typer.style('warning:', fg='yellow', bold=True)} subscription {id_}: {warning}", err=True)


def _warnings(result: Result) -> Iterator[str]:
    found = result.subscription
    if found is None:
        return
    if "secret" in result.changed and not found.secrets:
        yield "its secret is removed; from the next attempt on its requests are not signed"
    if not found.event_types and (result.effect == "created" or "event_types" in result.changed):
        yield "it has no event types and receives nothing"
    if found.client_certificate is not None:
        warning = certificate_warning(found.client_certificate.certificate, datetime.now(UTC))
        if warning is not None:
            yield warning


def _time(at_ms: int) -> str:
    return _iso(datetime.fromtimestamp(at_ms // 1000, UTC))


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _duration(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds))


def print_result(result: Result, *, dry_run: bool = False) -> None:
    """Print the effect of a change, and a generated secret, once."""
    what = _would(result.effect, dry_run=dry_run)
    where = f"  {result.subscription.customer_id}  {host_of(result.subscription)}" if result.subscription else ""
    is_created_paused = result.effect == "created" and result.subscription is not None and result.subscription.paused
    changed = ("paused",) if is_created_paused else result.changed
    fields = f" ({', '.join(changed)})" if changed else ""
    typer.echo(printable(f"{_SIGNS[result.effect]} {result.id}{where}  {what}{fields}"))
    if result.effect == "created" and result.subscription is not None and not result.subscription.secrets:
        requests = "would not be signed" if dry_run else "are not signed"
        typer.echo(f"    secret: none, so the requests {requests}")
    if result.secret is not None:
        shown = "would be generated" if dry_run else f"{result.secret}  (generated now, shown only once)"
        typer.echo(f"    secret: {shown}")


def print_sum(results: Iterable[Result], *, dry_run: bool) -> None:
    """Print how many subscriptions were created, changed and so on."""
    effects = [result.effect for result in results]
    parts = [f"{effects.count(effect)} {_would(effect, dry_run=dry_run)}" for effect in _SIGNS if effect in effects]
    sentence = ", ".join(parts) or "no changes"
    typer.echo(f"{sentence}{' (dry run: nothing was written)' if dry_run else ''}")


def _would(effect: str, *, dry_run: bool) -> str:
    return f"would be {effect}" if dry_run and effect != "unchanged" else effect


def count_of(number: int) -> str:
    """Return `1 subscription`, `2 subscriptions`."""
    return f"{number:,} subscription{'' if number == 1 else 's'}"
