"""Create all tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BUCKETS = 7
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create all tables and their indexes."""
    _create_records()
    _create_deliveries()
    _create_numbers()


def _create_records() -> None:
    _create(
        "attempts",
        "recorded_at_ms",
        _big("recorded_at_ms"),
        _number("partition"),
        _big("offset"),
        _text("job_id"),
        _number("run"),
        _number("attempt"),
        *map(_text, ("subscription_id", "customer_id", "sender", "event_type", "event_id", "state", "reason")),
        _number("status", nullable=True),
        _text("error", nullable=True),
        _text("host"),
        _big("at_ms"),
        _big("duration_us"),
        _big("next_due_at_ms", nullable=True),
        sa.Column("response", sa.LargeBinary, nullable=True),
        _big("response_not_kept"),
        _number("job_partition"),
        _big("job_offset"),
        _big("appended_at_ms"),
    )
    op.create_index("attempts_by_delivery", "attempts", ["appended_at_ms", "job_id"])
    _create(
        "dead_letters",
        "recorded_at_ms",
        *_place(),
        _text("reason"),
        _text("detail"),
        _text("source_topic"),
        _number("source_partition"),
        _big("source_offset"),
        *(_text(name, nullable=True) for name in ("job_id", "subscription_id", "event_id")),
        _number("attempts"),
    )
    _create(
        "operations",
        "recorded_at_ms",
        *_place(),
        _text("kind"),
        *(_text(name, nullable=True) for name in ("subscription_id", "customer_id", "sender")),
        _big("since_ms", nullable=True),
        _text("reason"),
        _number("status", nullable=True),
        _text("error", nullable=True),
        _text("source_topic", nullable=True),
        _number("source_partition", nullable=True),
        _big("from_offset", nullable=True),
        _big("to_offset", nullable=True),
        _text("actor", nullable=True),
        _text("request_id", nullable=True),
        _text("changed"),
    )


def _create_deliveries() -> None:
    _create(
        "deliveries",
        "appended_at_ms",
        _text("job_id"),
        _big("appended_at_ms"),
        *map(_text, ("subscription_id", "customer_id", "sender", "event_type", "event_id")),
        _number("run"),
        _text("state"),
        _text("reason"),
        _number("attempts"),
        *_last_attempt(),
        _big("next_due_at_ms", nullable=True),
        _big("ended_runs"),
        sa.PrimaryKeyConstraint("job_id", "appended_at_ms"),
    )
    op.create_index("deliveries_by_subscription", "deliveries", ["subscription_id", "state", "appended_at_ms"])
    op.create_index("deliveries_by_customer", "deliveries", ["customer_id", "sender", "state", "appended_at_ms"])
    op.create_index("deliveries_by_event", "deliveries", ["event_id"])


def _create_numbers() -> None:
    _create(
        "rollups",
        "hour_ms",
        _text("subscription_id"),
        _big("hour_ms"),
        _text("result"),
        _big("count"),
        _big("duration_us"),
        *(_big(f"bucket_{number}") for number in range(BUCKETS)),
        sa.PrimaryKeyConstraint("subscription_id", "hour_ms", "result"),
    )
    _create(
        "totals",
        None,
        *map(_text, ("subscription_id", "customer_id", "sender")),
        *map(_big, ("delivered", "dead", "cancelled", "attempts")),
        *_last_attempt(),
        sa.PrimaryKeyConstraint("subscription_id"),
    )
    _create(
        "positions",
        None,
        _text("topic"),
        _number("partition"),
        _big("next_offset"),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )


def _create(name: str, partition_by: str | None, *items: Any) -> None:
    options: dict[str, Any] = {"postgresql_partition_by": f"RANGE ({partition_by})"} if partition_by else {}
    op.create_table(name, *items, **options)


def _place() -> tuple[sa.Column[Any], ...]:
    return _big("recorded_at_ms"), _number("partition"), _big("offset"), _big("at_ms")


def _last_attempt() -> tuple[sa.Column[Any], ...]:
    return _big("last_at_ms", nullable=True), _number("last_status", nullable=True), _text("last_error", nullable=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)
