"""Settings for tests, merged as commands merge them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.config.settings_sources import load
from schemas.settings.settings import Settings


def load_settings(state: Path | None = None, file: Path | None = None, **overrides: Any) -> Settings:
    """Return the merged settings without their origins; SettingsError says what is wrong, where, and what to do."""
    return load(state, file, **overrides).settings
