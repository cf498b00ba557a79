"""YAML text as a Document: lists, mappings and text, with the line of each key.

YAML guesses types: `no` is a boolean, `1:30` a number, `2026-01-01` a date. These are not converted but kept as written
(`Unquoted`). Messages contain no value of a file, because it may be a secret.

`<<: *name` merges the keys of another mapping, or of several (`<<: [*a, *b]`, the first has precedence). A key that the
mapping has itself has precedence over merged ones. A merged key keeps the line on which it is written.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from schemas.catalog.errors import SubscriptionError
from schemas.input.file_models import Document, KeyPath, Problem

_TAG: Final = "tag:yaml.org,2002:"
_STR: Final = f"{_TAG}str"
_NULL: Final = f"{_TAG}null"
BOOLEAN: Final = f"{_TAG}bool"
_MERGE: Final = f"{_TAG}merge"
NUMBERS: Final = (f"{_TAG}int", f"{_TAG}float")
# For messages. Other tags can be any text after a `!`.
_TYPES: Final = {
    f"{_TAG}bool": "a boolean",
    f"{_TAG}float": "a decimal number",
    f"{_TAG}int": "a number",
    _MERGE: "a merge key",
    f"{_TAG}timestamp": "a date",
    f"{_TAG}map": "a mapping",
    f"{_TAG}seq": "a list",
}
_MERGE_KEY: Final = "<<"
_STDIN: Final = "-"
# The parser of libyaml is ten times faster than Python's. Its composer is not used: deep nesting overflows its stack.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Final[Any] = yaml.SafeLoader("")


@dataclass(frozen=True, slots=True)
class Unquoted:
    """A value that YAML does not read as text, as written."""

    tag: str
    text: str = field(repr=False)


def read_yaml(path: Path, keys: Collection[str]) -> tuple[Document, list[Problem]]:
    """Read a file (`-`: standard input); return it with the problems of its keys. SubscriptionError if it is not YAML.

    `keys` are the known keys at the top. Any other key there is left out if an alias refers to an anchor below it: then
    it only holds values for other places.
    """
    is_stdin = str(path) == _STDIN
    name = "standard input" if is_stdin else str(path)
    try:
        text = (sys.stdin.buffer.read() if is_stdin else path.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise SubscriptionError(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SubscriptionError(f"{name}: not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        builder = _Builder(text)
        data = builder.document()
    except yaml.YAMLError as error:
        raise SubscriptionError(_not_yaml(name, error)) from None
    except RecursionError:
        raise SubscriptionError(f"{name}: not YAML: nested too deeply") from None
    if isinstance(data, dict):
        for key in [key for key in data if key not in keys and builder.holds_shared_values(key)]:
            del data[key]
    return Document(name, data, lambda key_path: builder.line_of(data, key_path), _shown), builder.problems


class _Builder:
    """Builds plain data from the events of the parser, and keeps the line of each key and list item.

    An alias becomes the same object as its anchor, so that aliases cannot multiply.
    """

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._next: Any = _LOADER(text).get_event
        self._anchors: dict[str, Any] = {}
        self._used: set[str] = set()
        # The names of all anchors below each key at the top.
        self._names: dict[str | int, set[str]] = {}
        # The lines of a list or mapping by its id. The object is kept with them, so that its id stays unique.
        self._lines: dict[int, tuple[Any, dict[Any, int]]] = {}
        self._first = 1

    def document(self) -> Any:
        """Return the data of the only document; None if there is none."""
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        event = self._next()
        self._first = _line(event)
        data = self._value(event, ())
        self._next()  # the end of the document
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise _error("expected a single document", event)
        return data

    def holds_shared_values(self, key: str) -> bool:
        """Return whether an alias refers to an anchor below this key at the top."""
        return not self._used.isdisjoint(self._names.get(key, ()))

    def line_of(self, data: Any, path: KeyPath) -> int:
        """Return the line of the key or list item at a path, from 1."""
        line = self._first
        for part in path:
            lines = self._lines[id(data)][1] if isinstance(data, dict | list) else {}
            if part not in lines:
                break
            line, data = lines[part], data[part]
        return line

    def _value(self, event: Any, path: KeyPath) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            value: Any = _scalar(event)
            self._name(event, value, path)
            return value
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _error("found undefined alias", event)
            self._used.add(event.anchor)
            return self._anchors[event.anchor]
        is_list = isinstance(event, yaml.SequenceStartEvent)
        value = [] if is_list else {}
        self._lines[id(value)] = value, {}
        self._name(event, value, path)
        fill = self._fill_list if is_list else self._fill_mapping
        fill(value, self._lines[id(value)][1], path)
        return value

    def _name(self, event: Any, value: Any, path: KeyPath) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = value
            self._names.setdefault(path[0] if path else "", set()).add(event.anchor)

    def _fill_list(self, items: list[Any], lines: dict[Any, int], path: KeyPath) -> None:
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            lines[len(items)] = _line(event)
            items.append(self._value(event, (*path, len(items))))

    def _fill_mapping(self, found: dict[str, Any], lines: dict[Any, int], path: KeyPath) -> None:
        merged: list[dict[str, Any]] | None = None
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = _line(event)
            key = self._value(event, path)
            is_merge = isinstance(key, Unquoted) and key.tag == _MERGE
            name = _MERGE_KEY if is_merge else key
            value = self._value(self._next(), (*path, name) if isinstance(name, str) else path)
            if not isinstance(name, str):
                what = f"a key must be text, in quotes if YAML reads it as another type (found {_shown(key)})"
                self.problems.append(Problem(line, path, what))
            elif name in found or (is_merge and merged is not None):
                again = "; write `<<: [*a, *b]` to merge several mappings" if is_merge else ""
                self.problems.append(Problem(line, (*path, name), f"duplicate key{again}"))
            elif is_merge:
                merged = self._merged(value, line, path)
            else:
                lines[name] = line
                found[name] = value
        for source in merged or ():
            for name in source.keys() - found.keys():
                found[name] = source[name]
                lines[name] = self._lines[id(source)][1][name]

    def _merged(self, value: Any, line: int, path: KeyPath) -> list[dict[str, Any]]:
        """Return the mappings that a merge key names."""
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            what = f"expected a mapping, such as *name, or a list of mappings (found {_shown(value) or 'text'})"
            self.problems.append(Problem(line, (*path, _MERGE_KEY), what))
            return []
        return sources


def _error(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: Any) -> str | Unquoted | None:
    tag = event.tag
    if tag is None or tag == "!":
        tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
    if tag == _STR:
        return str(event.value)
    return None if tag == _NULL else Unquoted(tag, str(event.value))


def _shown(value: object) -> str:
    """Return the type of a value, without its content."""
    if isinstance(value, Unquoted):
        return _TYPES.get(value.tag, "a value with a tag")
    names: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "null"}
    return names.get(type(value), "")


def _not_yaml(name: str, error: yaml.YAMLError) -> str:
    """Return the position and kind of the YAML error, without content of the file."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{name}: not YAML: it contains characters that YAML does not allow"
    where = f"{name}:{error.problem_mark.line + 1}"
    if "alias" in f"{error.context} {error.problem}":
        return f"{where}: not YAML: * and & have a special meaning at the start of a value; put it in quotes"
    problem = re.sub(r"'([^']*)'", _without_content, error.problem or "")
    return f"{where}: not YAML: {problem}"


def _without_content(quoted: re.Match[str]) -> str:
    """Keep quoted signs and token names of YAML's messages, but remove quoted content of the file."""
    inside = quoted[1]
    return quoted[0] if len(inside) < 2 or inside.startswith("<") else "'…'"
