"""Alembic runs this file for each command. The connection comes from `database.migrate`, which holds the lock."""

from __future__ import annotations

from alembic import context

from consumers.ledger.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
