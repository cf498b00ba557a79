"""The keys that seal webhook secrets: from the settings or files. Creates key files."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Final

from schemas.catalog.errors import InvalidInput, SettingsError
from schemas.settings.settings import NamedKey, Settings
from schemas.subscriptions.sealing import Sealer, load_sealing_key

_OTHERS: Final = 0o077
_WHAT_TO_DO: Final = (
    "set SIGNPOST_SEALING_KEY to 32 random bytes in base64, sealing_key_file to a file with them, or sealing_keys to "
    "several keys, the same for all processes"
)


def sealer_of(settings: Settings) -> Sealer:
    """Return the sealer of secrets; SettingsError if no usable key is set."""
    keys = sealing_keys_of(settings)
    return Sealer([key for _, key in keys], [name for name, _ in keys if name])


def sealing_keys_of(settings: Settings) -> list[tuple[str, bytes]]:
    """Return (name, key) of each sealing key, the current one first; SettingsError if no usable key is set.

    A single key has no name.
    """
    if settings.sealing_key is not None:
        return [("", load_sealing_key(settings.sealing_key.get_secret_value()))]
    if settings.sealing_key_file is not None:
        return [("", read_key_file(settings.sealing_key_file))]
    if not settings.sealing_keys:
        raise SettingsError(f"no sealing key is set: {_WHAT_TO_DO}")
    keys = {named.id: _key_of(named) for named in settings.sealing_keys}
    for id_, key in keys.items():
        if same := next((other for other in keys if other != id_ and keys[other] == key), None):
            raise SettingsError(f"sealing_keys: {id_} and {same} are the same key; remove one of them")
    return list(keys.items())


def _key_of(named: NamedKey) -> bytes:
    if named.file is not None:
        return read_key_file(named.file, f"sealing_keys: {named.id}: file")
    assert named.key is not None  # a rule of the setting
    return load_sealing_key(named.key.get_secret_value())


def read_key_file(path: Path, setting: str = "sealing_key_file") -> bytes:
    """Read a key file; SettingsError if it is missing, is not a key, or can be read by other users."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8-sig", errors="replace")  # some editors begin a file with a BOM
    except OSError as error:
        raise SettingsError(f"{setting} {path}: cannot be read: {error.strerror}; {_WHAT_TO_DO}") from error
    if mode & _OTHERS:
        raise SettingsError(f"{setting} {path}: other users can read it; run chmod 600 {path}")
    try:
        return load_sealing_key(text)
    except InvalidInput as error:
        raise SettingsError(f"{setting} {path}: {error}") from None


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
