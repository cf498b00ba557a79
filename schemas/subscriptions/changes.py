"""A change of some fields of a subscription. All other fields stay. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from schemas.catalog.errors import SubscriptionError
from schemas.subscriptions.client_certificate import GivenCertificate
from schemas.subscriptions.header_rules import GivenHeader
from schemas.subscriptions.rules import KEEP, Draft, Keep, SecretSource
from schemas.subscriptions.subscription import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Fields to change. A header is added, or replaces the header with its name.

    `paused`: True acts like a pause, False like a resume, together with the other changes.
    """

    url: str | Keep = field(default=KEEP, repr=False)
    event_types: tuple[str, ...] | Keep = KEEP
    secret: SecretSource = None
    paused: bool | Keep = KEEP
    filters: str | Keep = KEEP
    description: str | Keep = KEEP
    headers: tuple[GivenHeader, ...] = ()
    without_headers: tuple[str, ...] = ()
    client_certificate: GivenCertificate | Keep | None = KEEP
    schedule: tuple[timedelta, ...] | Keep | None = KEEP
    timeout: timedelta | Keep | None = KEEP
    max_in_flight: int | Keep | None = KEEP
    rate_limit: float | Keep | None = KEEP

    def of(self, current: Subscription) -> Draft:
        """Return the changed subscription as a draft; SubscriptionError if a header to remove does not exist."""
        return Draft(
            id=current.id,
            sender=current.sender,
            customer_id=current.customer_id,
            url=current.url if self.url is KEEP else self.url,
            event_types=self.event_types,
            secret=self.secret,
            paused=self.paused,
            filters=self.filters,
            set=current.set,
            description=current.description if self.description is KEEP else self.description,
            headers=self._headers(current),
            client_certificate=self.client_certificate,
            schedule=self.schedule,
            timeout=self.timeout,
            max_in_flight=self.max_in_flight,
            rate_limit=self.rate_limit,
        )

    def _headers(self, current: Subscription) -> tuple[GivenHeader, ...] | Keep:
        if not self.headers and not self.without_headers:
            return KEEP
        removed = {name.lower() for name in self.without_headers}
        present = [header.name for header in current.headers]
        if missing := removed - {name.lower() for name in present}:
            known = f"it has {', '.join(present)}" if present else "it has none"
            raise SubscriptionError(f"subscription {current.id}: headers: there is no {min(missing)!r}; {known}")
        replaced = {header.name.lower() for header in self.headers}
        kept = (GivenHeader(name, None) for name in present if name.lower() not in removed | replaced)
        return (*kept, *self.headers)
