"""The state folder of `signpost up`: settings that let every other command find what runs, and the files it keeps."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from deploy.config.sealing_key import create_key_file
from deploy.config.settings_sources import FILE_NAME, Loaded
from schemas.catalog.errors import Unavailable
from schemas.input.durations import milliseconds
from schemas.network.egress import ANY_PORT
from schemas.settings.kafka_properties import is_secret
from schemas.settings.settings import Source

UP_FILE: Final = "up.json"
_LOCK_FILE: Final = "up.lock"
_KEY_FILE: Final = "sealing.key"
_HEAD: Final = """\
# Written by `signpost up` at each start: it lets other commands find what runs here (--state, SIGNPOST_STATE).
# Settings of your own belong into the environment, a file given by --config, or ./signpost.toml.
"""
_LISTENING: Final = ("router_listen", "deliver_listen")  # up gives each role a port of its own


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep a second `signpost up` out of the folder; Unavailable if one is there already."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (state / _LOCK_FILE).open("w")
    except OSError as error:
        raise Unavailable(
            f"the state folder {state} cannot be used: {error.strerror}; give another by --state"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unavailable(
                f"another `signpost up` runs in {state}: stop it, or give another folder by --state"
            ) from error
        yield


def write_settings(state: Path, loaded: Loaded, bootstrap_servers: str, extra: Mapping[str, Any]) -> list[str]:
    """Write `signpost.toml`: the settings that hold but for defaults and secrets, and `extra`, which counts more.

    Endpoints on loopback are allowed only where the settings leave egress open (none of the three is set). Return
    the secrets that are not written, and where they come from: other commands need them from there as well.
    """
    settings = loaded.settings
    given = {key: getattr(settings, key) for key in loaded.origins if key in type(settings).model_fields}
    secret = [key for key, value in given.items() if _is_secret(key, value)]
    secret += [f"kafka.{name}" for name in settings.kafka if is_secret(name)]
    withheld = [f"{key} ({loaded.origin(key)})" for key in secret]
    kept = (item for item in given.items() if item[0] not in ("kafka", *_LISTENING) and not _is_secret(*item))
    values = dict(kept)
    if settings.sealing_key is None and settings.sealing_key_file is None:
        create_key_file(state / _KEY_FILE)
        values["sealing_key_file"] = _KEY_FILE
    elif settings.sealing_key_file is not None:
        values["sealing_key_file"] = settings.sealing_key_file.absolute()
    if settings.ca_bundle is not None:
        values["ca_bundle"] = settings.ca_bundle.absolute()
    if settings.senders:
        values["senders"] = [folder.absolute() for folder in settings.senders]
    if not any(loaded.origin(name) != "default" for name in ("allow_http", "allow_cidrs", "allow_ports")):
        values |= {"allow_http": True, "allow_cidrs": ["127.0.0.0/8", "::1/128"], "allow_ports": [ANY_PORT]}
    lines = [_HEAD]
    lines += [f"# Secret, and therefore not written here: {name}\n" for name in withheld]
    lines += [f"{key} = {_toml(value)}\n" for key, value in (values | dict(extra)).items()]
    kafka = {name: value for name, value in settings.kafka.items() if not is_secret(name)}
    kafka["bootstrap.servers"] = bootstrap_servers
    lines.append("\n[kafka]\n")
    lines += [f"{_toml(name)} = {_toml(value)}\n" for name, value in kafka.items()]
    _write(state / FILE_NAME, "".join(lines))
    return withheld


def _is_secret(key: str, value: Any) -> bool:
    return key == "sealing_key" or (key in ("schema_registry_url", "proxy") and "@" in str(value))


def _toml(value: Any) -> str:
    """Write a value of a setting as TOML has it."""
    match value:
        case bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)  # JSON's scalars are TOML's too
        case timedelta():
            return _toml(f"{milliseconds(value)}ms" if value.microseconds else f"{milliseconds(value) // 1_000}s")
        case datetime():
            return _toml(value.isoformat())
        case Source():
            return f"{{ topic = {_toml(value.topic)}, sender = {_toml(value.sender)} }}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:  # networks and paths
            return _toml(str(value))


def write_up(state: Path, bootstrap_servers: str, pids: Mapping[str, list[int]], addresses: Mapping[str, str]) -> None:
    """Write `up.json`: what runs, where, and with which process ids."""
    content = {"bootstrap_servers": bootstrap_servers, "pids": dict(pids), "addresses": dict(addresses)}
    _write(state / UP_FILE, json.dumps(content, indent=2) + "\n")


def addresses_of(state: Path, role: str) -> list[str]:
    """Return where the processes of a role serve their status, as `up.json` has it; none where nothing runs."""
    try:
        addresses = json.loads((state / UP_FILE).read_text(encoding="utf-8"))["addresses"]
        return [str(url) for name, url in addresses.items() if name.rpartition("-")[0] == role or name == role]
    except (OSError, ValueError, KeyError, AttributeError):
        return []


def pids_of(state: Path, role: str) -> list[int]:
    """Return the processes of a role, as `up.json` has them; none where nothing runs any more."""
    try:
        pids = json.loads((state / UP_FILE).read_text(encoding="utf-8"))["pids"][role]
        return [pid for pid in pids if isinstance(pid, int)] if any(map(_is_alive, pids)) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def remove_up(state: Path) -> None:
    """Remove `up.json`: nothing runs any more."""
    (state / UP_FILE).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, so that nobody reads half of it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
