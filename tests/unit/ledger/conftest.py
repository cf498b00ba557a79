"""Real databases for the tests of the ledger: a file, and one PostgreSQL server for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.parts import need
from tests.support.postgres import PostgresServer, postgres_server
from tests.unit.ledger.database import Database


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    need("postgres")
    with postgres_server() as running:
        yield running


@pytest.fixture
def server_url(server: PostgresServer) -> str:
    return server.database(f"test_{uuid4().hex[:12]}")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    return Database(request.getfixturevalue("server_url"))
