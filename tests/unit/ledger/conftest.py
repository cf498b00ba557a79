"""Real databases with the tables of the ledger: each test that takes one runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.unit.ledger.database import Database


@pytest.fixture
def database(database_url: str) -> Database:
    return Database(database_url)
