"""The key that seals webhook secrets: from the settings or a file. Creates key files."""

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
    "set SIGNPOST_SEALING_KEY to 32 random bytes in base64, or sealing_key_file to a file with them, "
    "the same for all processes"
)


def sealer_of(settings: Settings) -> Sealer:
    """Return the sealer of secrets; SettingsError if no usable key is set."""
    if settings.sealing_key is not None:
        return Sealer([load_sealing_key(settings.sealing_key.get_secret_value())])
    if settings.sealing_key_file is not None:
        return Sealer([read_key_file(settings.sealing_key_file)])
    raise SettingsError(f"no sealing key is set: {_WHAT_TO_DO}")


def read_key_file(path: Path) -> bytes:
    """Read a key file; SettingsError if it is missing, is not a key, or can be read by other users."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"sealing_key_file {path}: cannot be read: {error}; {_WHAT_TO_DO}") from error
    if mode & _OTHERS:
        raise SettingsError(f"sealing_key_file {path}: other users can read it; run chmod 600 {path}")
    return load_sealing_key(text.strip())


def create_key_file(path: Path) -> None:
    """Create a key file that only its owner can read. An existing file is kept, also if two processes create it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(temporary)  # atomic, and fails if the file exists
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
