"""TOML text as a Document: tomllib parses the data, and a scan of the text finds the lines of keys."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from typing import Final

from schemas.catalog.errors import SenderError
from schemas.input.file_models import Document, KeyPath

_KEY: Final = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
# `[table]`, `[[element]]` or `key =`, each with one or several dotted keys.
_LINE: Final = re.compile(rf"\s*(\[{{0,2}})\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*(?:=|\]{{1,2}}\s*(?:#.*)?$)")
_MAX_SHOWN: Final = 100


def parse_toml(text: str, file: str) -> Document:
    """Parse the text of a file; SenderError names file and line."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise SenderError(f"{file}:{line[1] if line else text.count(chr(10)) + 1}: not TOML: {error}") from error
    except RecursionError:
        raise SenderError(f"{file}: not TOML: nested too deeply") from None
    lines = _lines(text)

    def line_of(path: KeyPath) -> int:
        while path not in lines:
            path = path[:-1]
        return lines[path]

    return Document(file, data, line_of, lambda value: repr(value)[:_MAX_SHOWN])


def _lines(text: str) -> dict[KeyPath, int]:
    """Return the line of each key and each table. All keys of an inline table are on its line."""
    lines: dict[KeyPath, int] = {(): 1}
    table: KeyPath = ()
    elements: Counter[KeyPath] = Counter()
    for number, line in enumerate(text.split("\n"), start=1):
        found = _LINE.match(line)
        if found is None:
            continue
        path: KeyPath = tuple(key.strip("\"'") for key in re.findall(_KEY, found[2]))
        if found[1] == "[[":  # one more element of an array
            elements[path] += 1
            path = (*path, elements[path] - 1)
        if found[1]:
            table = path
        else:
            path = table + path
        for end in range(1, len(path) + 1):
            lines.setdefault(path[:end], number)
    return lines
