"""The database of the ledger: the setting, or a file in the state folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from schemas.catalog.errors import SettingsError
from schemas.settings.settings import Settings

LEDGER_FILE: Final = "ledger.db"


def database_url_of(settings: Settings, state: Path | None) -> str:
    """Return the URL of the database; SettingsError if neither a setting nor a state folder names it."""
    if settings.database_url is not None:
        return settings.database_url
    if state is None:
        raise SettingsError(
            "database_url is not set: write postgresql://user:password@host/name or sqlite:////path/of/file.db, or "
            f"give a state folder with --state, which then has {LEDGER_FILE}"
        )
    return f"sqlite:///{(state / LEDGER_FILE).absolute()}"
