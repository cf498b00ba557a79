"""Code that verifies requests, in four languages: a template per scheme, filled in from the sender."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import resources
from typing import Final

from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex

# By the language of a code block: the name for people, with the oldest version.
LANGUAGES: Final[Mapping[str, str]] = {
    "python": "Python 3.10 or later",
    "typescript": "TypeScript (Node.js)",
    "go": "Go 1.20 or later",
    "java": "Java 17 or later",
}
FILES: Final[Mapping[str, str]] = {
    "python": "webhooks.py",
    "typescript": "webhooks.ts",
    "go": "webhooks.go",
    "java": "Webhooks.java",
}


def verification_code(sender: Sender, language: str) -> str:
    """Return the code in one of LANGUAGES as a complete file."""
    suffix = FILES[language].rpartition(".")[2]
    template = resources.files("deploy.reference") / "verification" / f"{sender.signature.scheme}.{suffix}.tmpl"
    text = template.read_text(encoding="utf-8")
    if isinstance(sender.signature, HmacSha256Hex):
        # The literal of a printable ASCII string is the same in all four languages.
        values = {"HEADER": json.dumps(sender.signature.header), "PREFIX": json.dumps(sender.signature.prefix)}
        return _filled(text, values, ())
    return _filled(text, {}, sender.signature.versions)


def _filled(template: str, values: Mapping[str, str], flags: Collection[str]) -> str:
    """Fill in `@@NAME@@`, and keep the lines of `@if flag … @else … @end` according to the flags."""
    lines = []
    shown = True
    for line in template.splitlines():
        word, _, flag = line.partition(" ")
        if word == "@if":
            shown = flag in flags
        elif word == "@else":
            shown = not shown
        elif word == "@end":
            shown = True
        elif shown:
            lines.append(line)
    text = "\n".join(lines) + "\n"
    for name, value in values.items():
        text = text.replace(f"@@{name}@@", value)
    return text
