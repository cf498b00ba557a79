"""Add the id of the API key to operations: API keys have audit records too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column, which is null in all present rows."""
    op.add_column("operations", sa.Column("key_id", TEXT, nullable=True))
