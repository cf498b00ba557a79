"""Validation rules of subscriptions, applied before they are written. Pure. All errors are reported together.

A sentence names the subscription and the field. It never contains a secret, or the path or query of a URL.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypeAlias

from schemas.catalog.errors import InvalidInput, SubscriptionError
from schemas.input.durations import format_duration
from schemas.input.file_models import KeyPath
from schemas.input.suggestions import among, did_you_mean
from schemas.records.topics import FIRST, delays_of
from schemas.senders.sender import Sender
from schemas.subscriptions.client_certificate import GivenCertificate, certificate_problems
from schemas.subscriptions.filters import NO_FILTERS, read_filters
from schemas.subscriptions.header_rules import GivenHeader, header_problems
from schemas.subscriptions.secret_warnings import form_of
from schemas.subscriptions.subscription import EVERY_TYPE

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
MAX_CUSTOMER_ID: Final = 256
MAX_DESCRIPTION: Final = 1024
MAX_SECRET: Final = 4096
MAX_ATTEMPTS: Final = 50
MOST_IN_FLIGHT: Final = 10_000
RATES: Final = (0.001, 100_000.0)  # requests a second
_MAX_LISTED: Final = 12  # names in a message


@dataclass(frozen=True, slots=True)
class Given:
    """A secret given by the customer."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Generate:
    """Generate a secret if the subscription has none."""


@dataclass(frozen=True, slots=True)
class NoSecret:
    """Have no secret: requests are not signed, from the next attempt on. The present secret is removed."""


SecretSource: TypeAlias = Given | Generate | NoSecret | None
"""None: the present secret stays, and a new subscription gets one if its sender needs it."""


class Keep(Enum):
    """Instead of a value: the present value stays, and a new subscription gets no value of its own."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The requested state of a subscription. A setting of None means the default of the sender, or of Signpost.

    `filters` is the text of a JSON object; `{}` means none. A new subscription without `event_types` gets the default
    types of its sender, and without `paused` it is active.
    """

    id: str
    sender: str
    customer_id: str
    url: str = field(repr=False)
    event_types: tuple[str, ...] | Keep = KEEP
    secret: SecretSource = None
    paused: bool | Keep = KEEP
    filters: str | Keep = KEEP
    set: str | None = None
    description: str = ""
    headers: tuple[GivenHeader, ...] | Keep = KEEP
    client_certificate: GivenCertificate | Keep | None = KEEP
    schedule: tuple[timedelta, ...] | Keep | None = KEEP
    timeout: timedelta | Keep | None = KEEP
    max_in_flight: int | Keep | None = KEEP
    rate_limit: float | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class Bounds:
    """The longest allowed timeout, which depends on `drain_timeout`, and the current time."""

    timeout: timedelta
    now: datetime


class UrlRules(Protocol):
    """The check of URLs; schemas.network.egress.EgressPolicy implements it."""

    def check_url(self, url: str) -> object:
        """Raise InvalidInput with one sentence if the URL is not allowed."""
        ...


class Fault(NamedTuple):
    """An error in a draft; `number` is the index of the draft in the checked sequence.

    `path` is a field, followed by the name of a header or the index of a list item where it is known.
    """

    number: int
    id: str
    path: KeyPath
    what: str

    def __str__(self) -> str:
        return f"subscription {self.id}: {self.what}"


# A path in a draft, and the error there.
_Problem: TypeAlias = tuple[KeyPath, str]


def check(drafts: Sequence[Draft], senders: Mapping[str, Sender], urls: UrlRules, bounds: Bounds) -> None:
    """Check drafts that are written together; SubscriptionError has one sentence per error."""
    if found := faults(drafts, senders, urls, bounds):
        raise SubscriptionError(*map(str, found))


def faults(drafts: Sequence[Draft], senders: Mapping[str, Sender], urls: UrlRules, bounds: Bounds) -> list[Fault]:
    """Return all errors in drafts that are written together, in the order of the drafts."""
    delay_topics = delays_of(sender.schedule for sender in senders.values())
    found = [
        Fault(number, draft.id, path, what)
        for number, draft in enumerate(drafts)
        for path, what in (*_problems(draft, senders, urls), *_setting_problems(draft, delay_topics, bounds))
    ]
    last = {draft.id: number for number, draft in enumerate(drafts)}
    for id_, count in Counter(draft.id for draft in drafts).items():
        if count > 1:
            what = f"the id occurs {count} times; each subscription needs its own"
            found.append(Fault(last[id_], id_, ("id",), what))
    return found


def _problems(draft: Draft, senders: Mapping[str, Sender], urls: UrlRules) -> Iterator[_Problem]:
    if not _ID.fullmatch(draft.id):
        yield ("id",), f"id must be 1 to 128 letters, digits, _ or - (got {draft.id[:200]!r})"
    yield from _text_problems("customer_id", draft.customer_id, MAX_CUSTOMER_ID, required=True)
    yield from _text_problems("description", draft.description, MAX_DESCRIPTION)
    if draft.set is not None:
        yield from _text_problems("set", draft.set, MAX_CUSTOMER_ID, required=True)
    try:
        urls.check_url(draft.url)
    except InvalidInput as error:
        yield ("url",), str(error)
    sender = senders.get(draft.sender)
    if sender is None:
        known = did_you_mean(draft.sender, senders) or among(senders)
        yield ("sender",), f"sender {draft.sender[:200]!r} is not known{known}"
    else:
        yield from sender_problems(draft, sender)
    if isinstance(draft.secret, Given):
        yield from ((("secret",), what) for what in _secret_problems(draft.secret.secret, sender))
    if draft.headers is not KEEP:
        for name, what in header_problems(draft.headers, sender):
            yield ("headers",) if name is None else ("headers", name), what


def sender_problems(draft: Draft, sender: Sender) -> Iterator[_Problem]:
    """Yield the errors by the rules of the sender for subscriptions: event types, no secret, filters."""
    if draft.event_types is not KEEP:
        yield from _event_type_problems(draft.event_types, sender)
    if isinstance(draft.secret, NoSecret) and sender.needs_secret:
        yield ("secret",), f"secret: sender {sender.name} signs every request; a subscription needs a secret"
    if isinstance(draft.filters, str):
        try:
            has_filters = read_filters(draft.filters) != NO_FILTERS
        except InvalidInput as error:
            yield ("filters",), f"filters: {error}"
        else:
            if has_filters and not sender.has_filters:
                yield ("filters",), f"filters: subscriptions of sender {sender.name} have no filters"


def _text_problems(name: str, text: str, most: int, *, required: bool = False) -> Iterator[_Problem]:
    if required and not text:
        yield (name,), f"{name} is empty"
    elif len(text) > most:
        yield (name,), f"{name} has {len(text)} characters; at most {most} are allowed"
    elif text != text.strip() or (text and not text.isprintable()):
        yield (name,), f"{name} must not begin or end with a space, and must not contain control characters"


def _event_type_problems(patterns: Sequence[str], sender: Sender) -> Iterator[_Problem]:
    is_single = sender.type_count == "exactly_one"
    single = f"a subscription of sender {sender.name} takes exactly one event type, or {sender.every_type!r}"
    if is_single and len(patterns) != 1:
        yield ("event_types",), f"event_types: {single} (got {len(patterns)})"
    elif not patterns and sender.type_count == "at_least_one":
        yield ("event_types",), "event_types is empty; name at least one, or '*' for all"
    groups = sorted({f"{name.rpartition('.')[0]}.*" for name in sender.subscribable if "." in name})
    for pattern, count in Counter(patterns).items():
        path = ("event_types", patterns.index(pattern))
        if count > 1:
            yield path, f"event_types: {pattern[:200]!r} occurs {count} times"
        if is_single and len(patterns) == 1 and pattern.endswith("*"):
            yield path, f"event_types: {pattern[:200]!r} is not an event type; {single}"
        elif pattern not in EVERY_TYPE and not sender.takes(pattern):
            known = _known_types(pattern, sender, [] if is_single else groups)
            yield path, f"event_types: sender {sender.name} has no {pattern[:200]!r}{known}"


def _known_types(pattern: str, sender: Sender, groups: Sequence[str]) -> str:
    """Return the most similar event type or group; if there is none, the groups, or all types of a small sender."""
    similar = did_you_mean(pattern, [*sender.subscribable, *groups])
    names = groups or sender.subscribable
    if not similar and len(names) > _MAX_LISTED:
        return f"; `signpost senders show {sender.name}` lists its types"
    return similar or among([sender.every_type, *names])


def _secret_problems(secret: str, sender: Sender | None) -> Iterator[str]:
    """Any text that is not empty is a valid secret, unless the sender has stricter rules."""
    if not secret:
        without = "" if sender is None or sender.needs_secret else ", or `secret: none` for unsigned requests"
        yield f"secret is empty; give one, or `secret: generate`{without}"
    elif len(secret) > MAX_SECRET:
        yield f"secret has {len(secret)} characters; at most {MAX_SECRET} are allowed"
    elif sender is not None:
        try:
            sender.signing_key(secret)
        except InvalidInput as error:
            yield f"secret: {error}{form_of(secret)}"


def _setting_problems(draft: Draft, delay_topics: Iterable[timedelta], bounds: Bounds) -> Iterator[_Problem]:
    if isinstance(draft.client_certificate, GivenCertificate):
        found = certificate_problems(draft.client_certificate.certificate, bounds.now)
        yield from ((("client_certificate",), what) for what in found)
    if isinstance(draft.schedule, tuple):
        yield from _schedule_problems(draft.schedule, [delay for delay in delay_topics if delay != FIRST])
    timeout = draft.timeout
    most = draft.max_in_flight
    rate = draft.rate_limit
    if isinstance(timeout, timedelta):
        if timeout < timedelta(seconds=1) or timeout.microseconds:
            yield ("timeout",), "timeout must be one second or more, in whole seconds"
        elif timeout > bounds.timeout:
            longest = format_duration(bounds.timeout)
            what = f"timeout {format_duration(timeout)} is longer than {longest}, the maximum with this drain_timeout"
            yield ("timeout",), what
    if isinstance(most, int) and not 1 <= most <= MOST_IN_FLIGHT:
        yield ("max_in_flight",), f"max_in_flight must be from 1 to {MOST_IN_FLIGHT} (got {most})"
    if isinstance(rate, float | int) and not (math.isfinite(rate) and RATES[0] <= rate <= RATES[1]):
        what = f"rate_limit must be from {RATES[0]:g} to {RATES[1]:,.0f} requests a second (got {rate:g})"
        yield ("rate_limit",), what


def _schedule_problems(schedule: Sequence[timedelta], delay_topics: Sequence[timedelta]) -> Iterator[_Problem]:
    if len(schedule) >= MAX_ATTEMPTS:
        yield ("schedule",), f"schedule has {len(schedule)} delays; at most {MAX_ATTEMPTS - 1} are allowed"
    for wait in dict.fromkeys(wait for wait in schedule if wait not in delay_topics):
        shown = format_duration(wait) if wait % timedelta(seconds=1) == timedelta(0) else str(wait)
        what = f"schedule: there is no delay topic for {shown}{among(format_duration(delay) for delay in delay_topics)}"
        yield ("schedule", schedule.index(wait)), what
