"""The key that seals webhook secrets: from the settings, from a file, or made and kept in one."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Final

from schemas.catalog.errors import SettingsError
from schemas.settings.settings import Settings
from schemas.subscriptions.sealing import Sealer, load_sealing_key

_OTHERS: Final = 0o077
_WHAT_TO_DO: Final = (
    "set SIGNPOST_SEALING_KEY to 32 random bytes in base64, or sealing_key_file to a file that holds them, "
    "the same for all processes"
)


def sealer_of(settings: Settings) -> Sealer:
    """Return what seals and opens secrets; SettingsError where no usable key is set."""
    if settings.sealing_key is not None:
        return Sealer([load_sealing_key(settings.sealing_key.get_secret_value())])
    if settings.sealing_key_file is not None:
        return Sealer([read_key_file(settings.sealing_key_file)])
    raise SettingsError(f"no sealing key is set, and secrets are kept sealed only: {_WHAT_TO_DO}")


def read_key_file(path: Path) -> bytes:
    """Read a key file; SettingsError if there is none, it holds no key, or others than its owner may read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"sealing_key_file {path}: cannot be read: {error}; {_WHAT_TO_DO}") from error
    if mode & _OTHERS:
        raise SettingsError(f"sealing_key_file {path}: others may read it; chmod 600 {path}")
    return load_sealing_key(text.strip())


def create_key_file(path: Path) -> None:
    """Make a key file, readable by its owner only; one that exists is kept, also if two make it at once."""
    mine = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(mine)  # complete or not there at all, and never over another's
    except FileExistsError:
        pass
    finally:
        mine.unlink()
