"""The queries of the ledger, as SQLAlchemy statements for SQLite and PostgreSQL.

Each query names an id and, except for the totals, a period of time: it reads an index, and only the partitions of that
period. A test reads the plan of each one. No query counts rows.

Each form of a statement is built once: building one for four states takes longer than executing it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias, get_args

from sqlalchemy import BigInteger, Integer, Select, and_, bindparam, select, tuple_, union_all
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.sql.selectable import CompoundSelect
from sqlalchemy.types import TypeEngine

from consumers.ledger.records import storable
from consumers.ledger.rows import DAY_MS, Delivery
from consumers.ledger.tables import ATTEMPTS, DELIVERIES, ROLLUPS, TEXT, TOTALS
from schemas.records.delivery import State

MAX_PAGE: Final = 500
MAX_ATTEMPTS: Final = 1_000
_STATES: Final[tuple[State, ...]] = get_args(State)
# Times beyond these bounds are no times of rows. All databases can compare numbers within them.
_MAX_MS: Final = 1 << 53
_IDS: Final = ("subscription_id", "customer_id", "sender", "event_id")
_LIMIT: Final = bindparam("limit", type_=Integer())

Statement: TypeAlias = Select[Any] | CompoundSelect[Any]


class Query(NamedTuple):
    """A statement, and the values of its parameters."""

    statement: Statement
    values: Mapping[str, Any]


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
    return Query(_totals(), {"ids": [_text(one) for one in ids]})


@cache
def _totals() -> Statement:
    return select(TOTALS).where(TOTALS.c.subscription_id.in_(bindparam("ids", type_=TEXT, expanding=True)))


def deliveries_of(
    scope: DeliveryScope, period: Period, states: Collection[State] | None, after: Cursor | None, limit: int
) -> Query:
    """Select deliveries whose events were appended within a period, newest first."""
    values = {**_values_of(scope), "limit": limit}
    if after is not None:
        period = Period(period.since_ms, min(period.until_ms, after.appended_at_ms + 1))
        values |= {"after_ms": _time(after.appended_at_ms), "after_id": _text(after.job_id)}
    wanted = None if states is None else tuple(one for one in _STATES if one in states)
    return Query(_deliveries(frozenset(values), wanted), {**values, **_bounds(period)})


@cache
def _deliveries(names: frozenset[str], states: tuple[State, ...] | None) -> Statement:
    """Return the statement for a list with the named parameters.

    An index has the deliveries of one state in order of time. A list of several states is the union of the newest ones
    of each. So a rare state is found as quickly as a common one.
    """
    table = DELIVERIES
    columns: dict[str, ColumnElement[str]] = {name: table.c[name] for name in _IDS if name in names}
    if "event_id" in names:
        # `|| ''` excludes the index by customer. Without statistics the planner would choose it, and read them all.
        columns |= {name: column.concat("") for name, column in columns.items() if name != "event_id"}
    conditions = [column == _parameter(name, TEXT) for name, column in columns.items()]
    conditions.append(_within(table.c.appended_at_ms))
    if "after_ms" in names:
        after = tuple_(_parameter("after_ms", BigInteger()), _parameter("after_id", TEXT))
        conditions.append(tuple_(table.c.appended_at_ms, table.c.job_id) < after)
    if "event_id" in names:
        return _newest(conditions if states is None else [*conditions, table.c.state.in_(states)])
    branches = [_newest([*conditions, table.c.state == one]) for one in (_STATES if states is None else states)]
    if len(branches) == 1:
        return branches[0]
    union = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
    return select(union).order_by(union.c.appended_at_ms.desc(), union.c.job_id.desc()).limit(_LIMIT)


def delivery_of(job_id: str, period: Period) -> Query:
    """Select the delivery of a job whose event was appended within a period."""
    return Query(_delivery(), {"job_id": _text(job_id), **_bounds(period)})


@cache
def _delivery() -> Statement:
    table = DELIVERIES
    found = select(table).where(table.c.job_id == _parameter("job_id", TEXT), _within(table.c.appended_at_ms))
    return found.order_by(table.c.appended_at_ms.desc()).limit(1)


def attempts_of(delivery: Delivery, until_ms: int) -> Query:
    """Select the attempts of a delivery that were recorded before a time, newest first.

    Attempts are recorded after the event was appended. The day before covers clocks that differ.
    """
    first_ms = (
        delivery.appended_at_ms if delivery.last_at_ms is None else min(delivery.appended_at_ms, delivery.last_at_ms)
    )
    values = {"job_id": delivery.job_id, "appended_at_ms": delivery.appended_at_ms}
    return Query(_attempts(), {**values, **_bounds(Period(first_ms - DAY_MS, until_ms))})


@cache
def _attempts() -> Statement:
    table = ATTEMPTS
    found = select(table).where(
        table.c.appended_at_ms == _parameter("appended_at_ms", BigInteger()),
        table.c.job_id == _parameter("job_id", TEXT),
        _within(table.c.recorded_at_ms),
    )
    return found.order_by(table.c.recorded_at_ms.desc(), table.c.offset.desc()).limit(MAX_ATTEMPTS)


def hours_of(subscription_id: str, period: Period) -> Query:
    """Select the numbers of the hours that begin within a period, oldest first."""
    return Query(_hours(), {"subscription_id": _text(subscription_id), **_bounds(period)})


@cache
def _hours() -> Statement:
    table = ROLLUPS
    of_subscription = table.c.subscription_id == _parameter("subscription_id", TEXT)
    found = select(table).where(of_subscription, _within(table.c.hour_ms))
    return found.order_by(table.c.hour_ms, table.c.result)


def _newest(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    found = select(DELIVERIES).where(*conditions)
    return found.order_by(DELIVERIES.c.appended_at_ms.desc(), DELIVERIES.c.job_id.desc()).limit(_LIMIT)


def _values_of(scope: DeliveryScope) -> dict[str, Any]:
    match scope:
        case OfSubscription(subscription_id):
            return {"subscription_id": _text(subscription_id)}
        case OfCustomer(sender, customer_id):
            return {"sender": _text(sender), "customer_id": _text(customer_id)}
        case OfEvent(event_id, customer):
            return {"event_id": _text(event_id), **({} if customer is None else _values_of(customer))}


def _within(column: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(column >= _parameter("since_ms", BigInteger()), column < _parameter("until_ms", BigInteger()))


def _bounds(period: Period) -> dict[str, int]:
    return {"since_ms": _time(period.since_ms), "until_ms": _time(period.until_ms)}


def _parameter(name: str, type_: TypeEngine[Any]) -> BindParameter[Any]:
    return bindparam(name, type_=type_)


def _time(at_ms: int) -> int:
    return max(-_MAX_MS, min(at_ms, _MAX_MS))


def _text(text: str) -> str:
    """Return the text as the ledger stores it. Text of a request may contain what no database can."""
    return storable(text.encode("utf-8", "replace").decode())
