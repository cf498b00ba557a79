"""The state folder of `signpost up`: settings that let every other command find what runs, and the files it keeps."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from deploy.sealing_key import create_key_file
from deploy.settings import FILE_NAME, Loaded
from schemas.egress import ANY_PORT
from schemas.errors import Unavailable

UP_FILE: Final = "up.json"
_LOCK_FILE: Final = "up.lock"
_KEY_FILE: Final = "sealing.key"
_HEAD: Final = """\
# Written by `signpost up` at each start: it lets other commands find what runs here (--state, SIGNPOST_STATE).
# Settings of your own belong into the environment, a file given by --config, or ./signpost.toml.
"""


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep a second `signpost up` out of the folder; Unavailable if one is there already."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unavailable(
                f"another `signpost up` runs in {state}: stop it, or give another folder by --state"
            ) from error
        yield


def write_settings(state: Path, loaded: Loaded, bootstrap_servers: str, extra: Mapping[str, Any]) -> None:
    """Write `signpost.toml`: what differs on this machine from the settings that hold, and `extra`.

    Endpoints on loopback are allowed only where the settings leave egress open (none of the three is set).
    """
    settings = loaded.settings
    lines = [_HEAD]
    values = dict(extra)
    if settings.sealing_key is None and settings.sealing_key_file is None:
        create_key_file(state / _KEY_FILE)
        values["sealing_key_file"] = _KEY_FILE
    if not any(loaded.origin(name) != "default" for name in ("allow_http", "allow_cidrs", "allow_ports")):
        values |= {"allow_http": True, "allow_cidrs": ["127.0.0.0/8", "::1/128"], "allow_ports": [ANY_PORT]}
    # JSON's booleans, numbers, strings and lists of them are TOML's too.
    lines += [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    lines.append(f'\n[kafka]\n"bootstrap.servers" = {json.dumps(bootstrap_servers)}\n')
    _write(state / FILE_NAME, "".join(lines))


def write_up(state: Path, bootstrap_servers: str, pids: Mapping[str, list[int]], addresses: Mapping[str, str]) -> None:
    """Write `up.json`: what runs, where, and with which process ids."""
    content = {"bootstrap_servers": bootstrap_servers, "pids": dict(pids), "addresses": dict(addresses)}
    _write(state / UP_FILE, json.dumps(content, indent=2) + "\n")


def remove_up(state: Path) -> None:
    """Remove `up.json`: nothing runs any more."""
    (state / UP_FILE).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, so that nobody reads half of it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
