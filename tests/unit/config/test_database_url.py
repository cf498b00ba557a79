"""The setting `database_url`."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.config.database import database_url_of
from schemas.catalog.errors import SettingsError
from tests.support.settings import load_settings


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////var/lib/signpost/ledger.db",
        "sqlite:///ledger.db",
        "postgresql://db/signpost",
        "postgresql://user:p%40ss@db.internal:5432/signpost?sslmode=require",
    ],
)
def test_urls_of_both_databases_are_accepted(url: str) -> None:
    """SQLite with a path, and PostgreSQL with libpq's parameters, are what the setting takes."""
    assert database_url_of(load_settings(database_url=url), None) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://db/signpost", "write postgresql://"),
        ("postgresql://db", "write postgresql://"),
        ("sqlite://", "write postgresql://"),
        ("sqlite:///a.db?mode=ro", "write postgresql://"),
        ("postgresql://db/ signpost", "contains a space"),
        ("postgresql://db/signpost?password=hunter2", "write the password before the host"),
    ],
)
def test_other_urls_are_refused_without_repeating_them(url: str, expected: str) -> None:
    """The error says what to write, and never shows the URL, which may contain a password."""
    with pytest.raises(SettingsError, match=expected) as refused:
        load_settings(database_url=url)
    assert "hunter2" not in str(refused.value)


def test_state_folder_has_the_default_database(tmp_path: Path) -> None:
    """Without the setting the database is ledger.db in the state folder; without both the error names both."""
    assert database_url_of(load_settings(), tmp_path) == f"sqlite:///{tmp_path}/ledger.db"
    with pytest.raises(SettingsError, match=r"database_url is not set: .* --state"):
        database_url_of(load_settings(), None)
