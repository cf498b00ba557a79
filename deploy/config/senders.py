"""The senders of this installation: those that Signpost brings, and those of the setting `senders`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

from schemas.catalog.errors import InvalidInput, SenderError
from schemas.input.suggestions import did_you_mean
from schemas.senders.sender import Sender, load_sender, load_senders
from schemas.settings.settings import Settings

# It becomes part of a topic's name and a label of metrics.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_FILE: Final = "sender.toml"


def senders_of(settings: Settings) -> Mapping[str, Sender]:
    """Return all senders by name; SenderError names file, line and field of what is wrong in a folder.

    Folders are read once in the life of a process: what changes in them holds when it is started again.
    """
    return _load(settings.senders)


def sender_named(settings: Settings, name: str) -> Sender:
    """Return a loaded sender; InvalidInput names those that there are."""
    senders = senders_of(settings)
    if name not in senders:
        near = did_you_mean(name, senders) or f"; there are {', '.join(senders)}"
        raise InvalidInput(f"no sender is called {name[:100]!r}{near}")
    return senders[name]


def read_folder(folder: Path) -> Sender:
    """Read one sender's folder, whose name is the sender's."""
    check_name(folder.resolve().name, folder)
    return load_sender(folder if folder.name == folder.resolve().name else folder.resolve())


def check_name(name: str, folder: Path) -> None:
    """Refuse a name that a sender cannot have."""
    if not _NAME.fullmatch(name):
        raise SenderError(
            f"{folder}: the folder's name is the sender's: 1 to 63 small letters, digits, _ or -, neither of these "
            f"first (got {name[:100]!r})"
        )
    if name in load_senders():
        raise SenderError(f"{folder}: Signpost brings a sender {name}; give the folder another name")


@lru_cache(maxsize=16)
def _load(folders: Sequence[Path]) -> Mapping[str, Sender]:
    senders = dict(load_senders())
    for folder in (found for named in folders for found in _folders(named)):
        sender = read_folder(folder)
        if sender.name in senders:
            raise SenderError(f"{folder}: another folder of the setting senders is called {sender.name} as well")
        senders[sender.name] = sender
    return MappingProxyType(senders)


def _folders(named: Path) -> Iterator[Path]:
    """Return the sender's folders that a path of the setting stands for: itself, or all in it."""
    if (named / _FILE).is_file():
        yield named
        return
    if not named.is_dir():
        raise SenderError(f"{named}: there is no such folder; the setting senders names it")
    found = sorted(child for child in named.iterdir() if child.is_dir() and not child.name.startswith((".", "_")))
    if not found:
        raise SenderError(f"{named}: there is neither a {_FILE} nor a sender's folder in it")
    yield from found


def make_folder(folder: Path) -> Sender:
    """Make a folder for a new sender, with one event type to begin with; SenderError if there is something already."""
    check_name(folder.name, folder)
    if folder.exists():
        raise SenderError(f"{folder}: is there already; choose another name")
    with resources.as_file(resources.files("deploy") / "sender_template") as template:
        shutil.copytree(template, folder)
    title = folder.name.replace("-", " ").replace("_", " ").title()
    # Names of Avro have neither hyphens nor a digit in front.
    namespace = re.sub(r"^(?=\d)", "_", folder.name.replace("-", "_"))
    for file in (folder / _FILE, *(folder / "events").iterdir()):
        text = file.read_text(encoding="utf-8")
        text = text.replace("NAMESPACE", namespace).replace("NAME", folder.name).replace("TITLE", title)
        file.write_text(text, encoding="utf-8")
    return read_folder(folder)
