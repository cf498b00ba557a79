"""The runbooks of docs/operations.md: a section for each alert, with commands that tests run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

_PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"
_CHAPTER: Final = "Alerts"


class Runbook(NamedTuple):
    """A section: its alert, the titles of its parts, and the commands of its code blocks."""

    alert: str
    parts: tuple[str, ...]
    commands: tuple[str, ...]


def sections() -> list[Runbook]:
    """Return the sections of the chapter about alerts, in their order."""
    text = _PAGE.read_text(encoding="utf-8")
    chapter = text.partition(f"\n## {_CHAPTER}\n")[2].partition("\n## ")[0]
    return [_section(part) for part in chapter.split("\n### ")[1:]]


def _section(text: str) -> Runbook:
    title, _, body = text.partition("\n")
    blocks = re.findall(r"^```console\n(.*?)^```", body, re.DOTALL | re.MULTILINE)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return Runbook(title.strip(), tuple(re.findall(r"^\*\*(.+?)\.\*\*", body, re.MULTILINE)), tuple(commands))
