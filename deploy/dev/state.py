"""The state folder of `signpost up`: its files, and the settings by which other commands find what runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from deploy.config.sealing_key import create_key_file
from deploy.config.settings_sources import FILE_NAME, Loaded
from deploy.dev.addresses import accepts
from deploy.dev.kafka import previous_address
from schemas.catalog.errors import Unavailable
from schemas.input.durations import milliseconds
from schemas.network.egress import ANY_PORT
from schemas.settings.kafka_properties import is_secret
from schemas.settings.settings import EventSource, NamedKey

UP_FILE: Final = "up.json"
BROKER_FOLDER: Final = "broker"
_LOCK_FILE: Final = "up.lock"
_KEY_FILE: Final = "sealing.key"
_HEAD: Final = """\
# Written by `signpost up` at each start: other commands find this installation by it (--state, SIGNPOST_STATE).
# Put your own settings into the environment, a file given by --config, or ./signpost.toml.
"""


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Lock the folder against a second `signpost up`; Unavailable if one runs already."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (state / _LOCK_FILE).open("w")
    except OSError as error:
        raise Unavailable(
            f"the state folder {state} cannot be used: {error.strerror}; choose another with --state"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unavailable(
                f"another `signpost up` runs in {state}: stop it, or choose another folder with --state"
            ) from error
        yield


def is_locked(state: Path) -> bool:
    """Return whether a `signpost up` runs in the folder."""
    try:
        with (state / _LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def check_up_runs(loaded: Loaded) -> None:
    """Unavailable if the broker of these settings is the one that a `signpost up` started, and that does not run.

    A client would only find that nothing listens, after ten seconds. A broker that was started by hand with the data of
    `signpost up` has the same address: then something listens.
    """
    origin = Path(loaded.origin("kafka.bootstrap.servers"))
    state = origin.parent
    servers = loaded.settings.bootstrap_servers
    if servers is None or origin.name != FILE_NAME or servers != previous_address(state / BROKER_FOLDER):
        return
    if is_locked(state) or accepts(servers):
        return
    raise Unavailable(
        f"`signpost up` is not running in {state}, and its broker at {servers} runs only with "
        f"it: start both with `signpost up --state {shlex.quote(str(state))}`; the data is kept"
    )


def write_settings(state: Path, loaded: Loaded, bootstrap_servers: str, extra: Mapping[str, Any]) -> list[str]:
    """Write `signpost.toml`: the current settings without defaults and secrets, overridden by `extra`.

    Endpoints on loopback are allowed only if none of the three egress settings is set. Returns the secrets that are not
    written, with their origins: other commands need them from there as well.
    """
    settings = loaded.settings
    values_set = {key: getattr(settings, key) for key in loaded.origins if key in type(settings).model_fields}
    secret = [key for key, value in values_set.items() if _is_secret(key, value)]
    secret += [f"kafka.{name}" for name in settings.kafka if is_secret(name)]
    withheld = [f"{key} ({loaded.origin(key)})" for key in secret]
    values = {key: value for key, value in values_set.items() if key != "kafka" and not _is_secret(key, value)}
    if not settings.has_sealing_key:
        create_key_file(state / _KEY_FILE)
        values["sealing_key_file"] = _KEY_FILE
    elif settings.sealing_key_file is not None:
        values["sealing_key_file"] = settings.sealing_key_file.absolute()
    elif settings.sealing_keys and "sealing_keys" in values:
        values["sealing_keys"] = [
            named.model_copy(update={"file": named.file.absolute()}) for named in settings.sealing_keys if named.file
        ]
    if settings.ca_bundle is not None:
        values["ca_bundle"] = settings.ca_bundle.absolute()
    if settings.senders:
        values["senders"] = [folder.absolute() for folder in settings.senders]
    if not any(loaded.origin(name) != "default" for name in ("allow_http", "allow_cidrs", "allow_ports")):
        values |= {"allow_http": True, "allow_cidrs": ["127.0.0.0/8", "::1/128"], "allow_ports": [ANY_PORT]}
    lines = [_HEAD]
    lines += [f"# Not written here because it is secret: {name}\n" for name in withheld]
    lines += [f"{key} = {_toml(value)}\n" for key, value in (values | dict(extra)).items()]
    kafka = {name: value for name, value in settings.kafka.items() if not is_secret(name)}
    kafka["bootstrap.servers"] = bootstrap_servers
    lines.append("\n[kafka]\n")
    lines += [f"{_toml(name)} = {_toml(value)}\n" for name, value in kafka.items()]
    _write(state / FILE_NAME, "".join(lines))
    return withheld


def _is_secret(key: str, value: Any) -> bool:
    if key == "sealing_keys":
        return any(named.key is not None for named in value)
    return key == "sealing_key" or (key in ("schema_registry_url", "proxy", "database_url") and "@" in str(value))


def _toml(value: Any) -> str:
    """Return the value of a setting in TOML."""
    match value:
        case bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)  # JSON's scalars are valid TOML
        case timedelta():
            return _toml(f"{milliseconds(value)}ms" if value.microseconds else f"{milliseconds(value) // 1_000}s")
        case datetime():
            return _toml(value.isoformat())
        case EventSource() | NamedKey():
            fields = value.model_dump(exclude_none=True)
            return f"{{ {', '.join(f'{name} = {_toml(field)}' for name, field in fields.items())} }}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:  # networks and paths
            return _toml(str(value))


def write_up(state: Path, bootstrap_servers: str, pids: Mapping[str, list[int]], addresses: Mapping[str, str]) -> None:
    """Write `up.json`: the running processes, their addresses and process ids."""
    content = {"bootstrap_servers": bootstrap_servers, "pids": dict(pids), "addresses": dict(addresses)}
    _write(state / UP_FILE, json.dumps(content, indent=2) + "\n")


def addresses_of(state: Path, role: str) -> list[str]:
    """Return the status URLs of a role's processes from `up.json`; none if nothing runs."""
    try:
        addresses = json.loads((state / UP_FILE).read_text(encoding="utf-8"))["addresses"]
        return [str(url) for name, url in addresses.items() if name.rpartition("-")[0] == role or name == role]
    except (OSError, ValueError, KeyError, AttributeError):
        return []


def pids_of(state: Path, role: str) -> list[int]:
    """Return the process ids of a role from `up.json`; none if no process is alive."""
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
    """Remove `up.json`."""
    (state / UP_FILE).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Replace a file atomically."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
