"""The senders of this installation: built-in ones, and those in the folders of the setting `senders`."""

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

# The name becomes part of a topic's name and a label of metrics.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_FILE: Final = "sender.toml"


def senders_of(settings: Settings) -> Mapping[str, Sender]:
    """Return all senders by name; SenderError names file, line and field of a mistake in a folder.

    A process reads the folders once. Changes take effect after a restart.
    """
    return _load(settings.senders)


def sender_named(settings: Settings, name: str) -> Sender:
    """Return a loaded sender; InvalidInput lists the names or suggests one."""
    senders = senders_of(settings)
    if name not in senders:
        suggestions = did_you_mean(name, senders) or f"; there are {', '.join(senders)}"
        raise InvalidInput(f"no sender is called {name[:100]!r}{suggestions}")
    return senders[name]


def read_folder(folder: Path) -> Sender:
    """Read a sender's folder; its name is the sender's name."""
    check_name(folder.resolve().name, folder)
    return load_sender(folder if folder.name == folder.resolve().name else folder.resolve())


def check_name(name: str, folder: Path) -> None:
    """SenderError if a sender cannot have this name."""
    if not _NAME.fullmatch(name):
        raise SenderError(
            f"{folder}: the folder's name is the sender's name: 1 to 63 lower-case letters, digits, _ or -, and it "
            f"starts with a letter or digit (got {name[:100]!r})"
        )
    if name in load_senders():
        raise SenderError(f"{folder}: Signpost has a built-in sender {name}; give the folder another name")


@lru_cache(maxsize=16)
def _load(folders: Sequence[Path]) -> Mapping[str, Sender]:
    senders = dict(load_senders())
    for folder in (sender_folder for path in folders for sender_folder in _folders(path)):
        sender = read_folder(folder)
        if sender.name in senders:
            raise SenderError(f"{folder}: another folder of the setting senders is also called {sender.name}")
        senders[sender.name] = sender
    return MappingProxyType(senders)


def _folders(path: Path) -> Iterator[Path]:
    """Yield the sender folders of a path in the setting: the path itself, or all folders in it."""
    if (path / _FILE).is_file():
        yield path
        return
    if not path.is_dir():
        raise SenderError(f"{path}: there is no such folder; the setting senders names it")
    folders = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith((".", "_")))
    if not folders:
        raise SenderError(f"{path}: contains neither a {_FILE} nor a sender's folder")
    yield from folders


def make_folder(folder: Path) -> Sender:
    """Create the folder of a new sender with one event type; SenderError if the path exists."""
    check_name(folder.name, folder)
    if folder.exists():
        raise SenderError(f"{folder}: already exists; choose another name")
    with resources.as_file(resources.files("deploy") / "sender_template") as template:
        shutil.copytree(template, folder)
    title = folder.name.replace("-", " ").replace("_", " ").title()
    # Avro names contain no hyphens and do not start with a digit.
    namespace = re.sub(r"^(?=\d)", "_", folder.name.replace("-", "_"))
    for file in (folder / _FILE, *(folder / "events").iterdir()):
        text = file.read_text(encoding="utf-8-sig")
        text = text.replace("NAMESPACE", namespace).replace("NAME", folder.name).replace("TITLE", title)
        file.write_text(text, encoding="utf-8")
    return read_folder(folder)
