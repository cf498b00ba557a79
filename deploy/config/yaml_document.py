"""YAML text as a Document: lists, mappings and text, with the line of each key.

YAML guesses types: `no` is a boolean, `1:30` a number, `2026-01-01` a date. These are not converted but kept as written
(`Unquoted`). Messages contain no value of a file, because it may be a secret.
"""

from __future__ import annotations

import re
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
NUMBERS: Final = (f"{_TAG}int", f"{_TAG}float")
# For messages. Other tags can be any text after a `!`.
_TYPES: Final = {
    f"{_TAG}bool": "a boolean",
    f"{_TAG}float": "a decimal number",
    f"{_TAG}int": "a number",
    f"{_TAG}merge": "a merge key",
    f"{_TAG}timestamp": "a date",
    f"{_TAG}map": "a mapping",
    f"{_TAG}seq": "a list",
}


@dataclass(frozen=True, slots=True)
class Unquoted:
    """A value that YAML does not read as text, as written."""

    tag: str
    text: str = field(repr=False)


def read_yaml(path: Path) -> tuple[Document, list[Problem]]:
    """Read a file; return it with the problems of its keys. SubscriptionError if it is not YAML."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SubscriptionError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SubscriptionError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        converter = _Converter()
        data = None if root is None else converter.plain(root, ())
    except yaml.YAMLError as error:
        raise SubscriptionError(_not_yaml(path, error)) from None
    except RecursionError:
        raise SubscriptionError(f"{path}: not YAML: nested too deeply") from None
    return Document(str(path), data, lambda key_path: _line_of(root, key_path), _shown), converter.problems


class _Converter:
    """Converts nodes to plain data. An alias becomes the same object as its anchor, so that aliases cannot multiply."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._converted: dict[int, Any] = {}

    def plain(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._converted:
            return self._converted[id(node)]
        if isinstance(node, yaml.SequenceNode):
            items: list[Any] = []
            self._converted[id(node)] = items
            for number, item in enumerate(node.value):
                items.append(self.plain(item, (*path, number)))
            return items
        found: dict[str, Any] = {}
        self._converted[id(node)] = found
        for key, value in node.value:
            name = _scalar(key) if isinstance(key, yaml.ScalarNode) else Unquoted(key.tag, "")
            line = key.start_mark.line + 1
            if not isinstance(name, str):
                what = f"a key must be text, in quotes if YAML reads it as another type (found {_shown(name)})"
                self.problems.append(Problem(line, path, what))
            elif name in found:
                self.problems.append(Problem(line, (*path, name), "duplicate key"))
            else:
                found[name] = self.plain(value, (*path, name))
        return found


def _scalar(node: yaml.ScalarNode) -> str | Unquoted | None:
    if node.tag == _STR:
        return str(node.value)
    return None if node.tag == _NULL else Unquoted(node.tag, str(node.value))


def _shown(value: object) -> str:
    """Return the type of a value, without its content."""
    if isinstance(value, Unquoted):
        return _TYPES.get(value.tag, "a value with a tag")
    names: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "null"}
    return names.get(type(value), "")


def _line_of(root: yaml.Node | None, path: KeyPath) -> int:
    """Return the line of the key or list item at a path, from 1."""
    node = root
    line = root.start_mark.line if root is not None else 0
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode) and (found := [pair for pair in node.value if pair[0].value == part]):
            key, node = found[0]
            line = key.start_mark.line
        else:
            break
    return line + 1


def _not_yaml(path: Path, error: yaml.YAMLError) -> str:
    """Return the position and kind of the YAML error, without content of the file."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{path}: not YAML: it contains characters that YAML does not allow"
    where = f"{path}:{error.problem_mark.line + 1}"
    if "alias" in f"{error.context} {error.problem}":
        return f"{where}: not YAML: * and & have a special meaning at the start of a value; put it in quotes"
    problem = re.sub(r"'([^']*)'", _without_content, error.problem or "")
    return f"{where}: not YAML: {problem}"


def _without_content(quoted: re.Match[str]) -> str:
    """Keep quoted signs and token names of YAML's messages, but remove quoted content of the file."""
    inside = quoted[1]
    return quoted[0] if len(inside) < 2 or inside.startswith("<") else "'…'"
