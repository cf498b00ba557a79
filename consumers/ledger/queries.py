"""The queries of the ledger, as SQLAlchemy statements for SQLite and PostgreSQL.

Each query names an id and, except for the totals, a period of time: it reads an index, and only the partitions of that
period. A test reads the plan of each one. No query counts rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, get_args

from sqlalchemy import Select, and_, select, tuple_, union_all
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import CompoundSelect

from consumers.ledger.records import storable
from consumers.ledger.rows import DAY_MS, Delivery
from consumers.ledger.tables import ATTEMPTS, DELIVERIES, ROLLUPS, TOTALS
from schemas.records.delivery import State

MAX_PAGE: Final = 500
MAX_ATTEMPTS: Final = 1_000
_STATES: Final[tuple[State, ...]] = get_args(State)
# Times beyond these bounds are no times of rows. All databases can compare numbers within them.
_MAX_MS: Final = 1 << 53

Query: TypeAlias = Select[Any] | CompoundSelect[Any]


class Period(NamedTuple):
    """Times from `since_ms` up to, not including, `until_ms`, in Unix ms."""

    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class OfSubscription:
    """The deliveries of a subscription."""

    subscription_id: str


@dataclass(frozen=True, slots=True)
class OfCustomer:
    """The deliveries of a sender's customer."""

    sender: str
    customer_id: str


@dataclass(frozen=True, slots=True)
class OfEvent:
    """The deliveries of an event; with a customer, only those of that customer."""

    event_id: str
    customer: OfCustomer | None = None


DeliveryScope: TypeAlias = OfSubscription | OfCustomer | OfEvent


class Cursor(NamedTuple):
    """The place of a delivery in the order of a list. The next page begins after it."""

    appended_at_ms: int
    job_id: str


def totals_of(ids: Collection[str]) -> Query:
    """Select the totals of subscriptions."""
    return select(TOTALS).where(TOTALS.c.subscription_id.in_([_text(one) for one in ids]))


def deliveries_of(
    scope: DeliveryScope, period: Period, states: Sequence[State] | None, after: Cursor | None, limit: int
) -> Query:
    """Select deliveries whose events were appended within a period, newest first.

    An index has the deliveries of one state in order of time. A list of several states is the union of the newest ones
    of each. So a rare state is found as quickly as a common one.
    """
    wanted = [one for one in _STATES if states is None or one in states]
    if isinstance(scope, OfEvent):
        few = DELIVERIES.c.state.in_(wanted) if states is not None else None
        return _newest(_scoped(scope), few, period, after, limit)
    branches = [_newest(_scoped(scope), DELIVERIES.c.state == one, period, after, limit) for one in wanted]
    if len(branches) == 1:
        return branches[0]
    union = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
    return select(union).order_by(union.c.appended_at_ms.desc(), union.c.job_id.desc()).limit(limit)


def delivery_of(job_id: str, period: Period) -> Query:
    """Select the delivery of a job whose event was appended within a period."""
    table = DELIVERIES
    found = select(table).where(table.c.job_id == _text(job_id), _within(table.c.appended_at_ms, period))
    return found.order_by(table.c.appended_at_ms.desc()).limit(1)


def attempts_of(delivery: Delivery, until_ms: int) -> Query:
    """Select the attempts of a delivery that were recorded before a time, newest first.

    Attempts are recorded after the event was appended. The day before covers clocks that differ.
    """
    first_ms = (
        delivery.appended_at_ms if delivery.last_at_ms is None else min(delivery.appended_at_ms, delivery.last_at_ms)
    )
    period = Period(first_ms - DAY_MS, until_ms)
    table = ATTEMPTS
    found = select(table).where(table.c.job_id == delivery.job_id, _within(table.c.recorded_at_ms, period))
    return found.order_by(table.c.recorded_at_ms.desc(), table.c.offset.desc()).limit(MAX_ATTEMPTS)


def hours_of(subscription_id: str, period: Period) -> Query:
    """Select the numbers of the hours that begin within a period, oldest first."""
    table = ROLLUPS
    found = select(table).where(table.c.subscription_id == _text(subscription_id), _within(table.c.hour_ms, period))
    return found.order_by(table.c.hour_ms, table.c.result)


def _newest(
    scope: ColumnElement[bool], state: ColumnElement[bool] | None, period: Period, after: Cursor | None, limit: int
) -> Select[Any]:
    appended_at_ms, job_id = DELIVERIES.c.appended_at_ms, DELIVERIES.c.job_id
    conditions = [scope] if state is None else [scope, state]
    if after is not None:
        period = Period(period.since_ms, min(period.until_ms, after.appended_at_ms + 1))
        conditions.append(tuple_(appended_at_ms, job_id) < (_time(after.appended_at_ms), _text(after.job_id)))
    found = select(DELIVERIES).where(*conditions, _within(appended_at_ms, period))
    return found.order_by(appended_at_ms.desc(), job_id.desc()).limit(limit)


def _scoped(scope: DeliveryScope) -> ColumnElement[bool]:
    columns = DELIVERIES.c
    match scope:
        case OfSubscription(subscription_id):
            return columns.subscription_id == _text(subscription_id)
        case OfCustomer(sender, customer_id):
            return and_(columns.sender == _text(sender), columns.customer_id == _text(customer_id))
        case OfEvent(event_id, customer):
            found = columns.event_id == _text(event_id)
            return found if customer is None else and_(found, _scoped(customer))


def _within(column: ColumnElement[int], period: Period) -> ColumnElement[bool]:
    return and_(column >= _time(period.since_ms), column < _time(period.until_ms))


def _time(at_ms: int) -> int:
    return max(-_MAX_MS, min(at_ms, _MAX_MS))


def _text(text: str) -> str:
    """Return the text as the ledger stores it. Text of a request may contain what no database can."""
    return storable(text.encode("utf-8", "replace").decode())
