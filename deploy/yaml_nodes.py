"""Nodes of a YAML file as fields of text, numbers and lists, with each problem by its line.

Messages repeat neither a value of a secret nor a line of the file, which may hold one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import yaml

from schemas.near import nearest

T = TypeVar("T")
U = TypeVar("U")

_STR: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# A tag may be anything that somebody writes after a `!`.
_KINDS: Final = {f"tag:yaml.org,2002:{kind}": kind for kind in ("bool", "float", "int", "null", "timestamp")}
_LOOKS_LIKE: Final = {"env": re.compile(r"[A-Z_][A-Z0-9_]*"), "file": re.compile(r"/.*|.*\.[a-z]{1,8}")}


class Problem(NamedTuple):
    """What is wrong, and on which line, counted from 1."""

    line: int
    what: str


class NodeReader:
    """Reads nodes of one file and keeps what is wrong; files that it names are beside it, if they are relative."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path = path
        self._environment = environment
        self.problems: list[Problem] = []

    def note(self, node: yaml.Node, problem: str) -> None:
        """Keep a problem."""
        self.problems.append(Problem(line_of(node), problem))

    def fields(self, node: yaml.MappingNode, name: str, known: Sequence[str]) -> dict[str, yaml.Node]:
        """Return the fields of a mapping; those that are not known are noted.

        A field that is misspelt stands for the one that it is near to, if that is not there: so it is not told to be
        missing as well, and what is wrong with its value is told at once.
        """
        fields: dict[str, yaml.Node] = {}
        meant: dict[str, yaml.Node] = {}
        for key, value in node.value:
            field = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            if field in known:
                if field in fields:
                    self.note(key, f"{name}{field} is there twice")
                fields[field] = value
                continue
            near = nearest(field, known)
            hint = f"; did you mean {near}?" if near else f"; known: {', '.join(known)}"
            self.note(key, f"{name}{field[:100]!r} is not a field{hint}")
            if near is not None:
                meant[near] = value
        return meant | fields

    def text(self, node: yaml.Node, name: str) -> str:
        """Return the text of a node; empty, and noted, if it is something else."""
        if isinstance(node, yaml.ScalarNode) and node.tag == _STR:
            return str(node.value)
        kind = "list or mapping"
        if isinstance(node, yaml.ScalarNode):
            kind = _KINDS.get(node.tag, "value with a tag")
        self.note(node, f"{name}: write text, in quotes if it looks like something else (this is a {kind})")
        return ""

    def texts(self, node: yaml.Node, name: str, example: str) -> tuple[str, ...]:
        """Return the texts of a list, or one text as a list of one."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.text(item, name) for item in node.value)
        if isinstance(node, yaml.ScalarNode) and node.tag == _STR:
            return (str(node.value),)
        self.note(node, f"{name}: write a list {example}")
        return ()

    def number(self, node: yaml.Node, name: str) -> float | None:
        """Return a number; None, and noted, if it is something else."""
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS:
            try:
                return float(str(node.value).replace("_", ""))
            except (ValueError, OverflowError):  # 0x10, 1:30, .inf: numbers to YAML
                pass
        self.note(node, f"{name}: write a number, such as 8")
        return None

    def from_environment(self, node: yaml.Node, name: str, variable: str) -> str | None:
        """Return the value of a variable; None, and noted, if it is not there."""
        value = self._environment.get(variable) if variable else None
        return self._found(node, name, "env", given=variable, value=value)

    def from_file(self, node: yaml.Node, name: str, file: str) -> str | None:
        """Return the text of a file without the end of its last line; None, and noted, if it is not there."""
        try:
            text = (self._path.parent / file).read_text(encoding="utf-8") if file else ""
        except (OSError, UnicodeDecodeError, ValueError):
            text = ""
        return self._found(node, name, "file", given=file, value=text.removesuffix("\n").removesuffix("\r"))

    def _found(self, node: yaml.Node, name: str, kind: str, *, given: str, value: str | None) -> str | None:
        if value:
            return value
        # What is no name may be the secret itself, by mistake.
        named = f" {given}" if _LOOKS_LIKE[kind].fullmatch(given) else " that it names"
        what = "environment variable" if kind == "env" else "file"
        self.note(node, f"{name}: the {what}{named} is not there or empty")
        return None


class Fields:
    """The fields of one mapping, each under its full name in messages; `bad` are those that could not be read."""

    def __init__(self, reader: NodeReader, name: str, nodes: Mapping[str, yaml.Node]) -> None:
        self._reader = reader
        self._name = name
        self.nodes = nodes
        self.bad: set[str] = set()

    def read(self, field: str, reading: Callable[[yaml.Node, str], T], unsaid: U) -> T | U:
        """Return the value of a field, `unsaid` where it is not there."""
        if field not in self.nodes:
            return unsaid
        before = len(self._reader.problems)
        value = reading(self.nodes[field], f"{self._name}{field}")
        if len(self._reader.problems) > before:
            self.bad.add(field)
        return value


def line_of(node: yaml.Node) -> int:
    """Return the line on which a node begins, counted from 1."""
    return int(node.start_mark.line) + 1


def is_null(node: yaml.Node) -> bool:
    """Tell whether a field was written without a value, or with null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL
