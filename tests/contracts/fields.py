"""The fields that the contracts document, read from their tables in data/fields/<sender>.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.contracts.senders import DATA

FOLDER: Final = DATA / "fields"
TYPES: Final = ("string", "integer", "boolean", "object", "array", "null")
# Shapes that the contracts describe in sentences, by the word or field that they explain: {"id": string, …}.
_SENTENCES: Final = {
    "fact": r"A fact is `(\{.*?\})`\. Predicates",
    "person": r'"Person" is the object `(\{.*?\})`',
    "error": r"`error` is `(\{.*?\})`",
    "_risk": r"`\*_risk` fields are objects `(\{.*?\})`",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A documented field. `path` ends with its name; `[]` stands for each element of an array.

    `types` are its JSON types, none if it can have any.
    """

    path: tuple[str, ...]
    types: frozenset[str]
    optional: bool = False
    required: bool = False
    meaning: str = ""

    def __str__(self) -> str:
        return ".".join(self.path).replace(".[]", "[]")


def text_of(sender: str) -> str:
    """Return the tables of a contract."""
    return (FOLDER / f"{sender}.md").read_text(encoding="utf-8")


def payload_fields(sender: str) -> Mapping[tuple[str, ...], list[Field]]:
    """Return the fields of the payloads of a contract, by the event types that a section is about."""
    text = text_of(sender)
    shapes = {name: found[1] for name, pattern in _SENTENCES.items() if (found := re.search(pattern, text, re.DOTALL))}
    found: dict[tuple[str, ...], list[Field]] = {}
    for section in re.split(r"^(?=### )", text, flags=re.MULTILINE)[1:]:
        head = section.splitlines()[0].partition(":")[0].partition("(")[0]
        rows = table(section)
        if rows and "Field" in rows[0]:
            names = tuple(re.findall(r"`([^`]+)`", head))
            found[names] = [field for row in rows for field in _fields(row, shapes)]
    return found


def section_of(sender: str, heading: str) -> str:
    """Return the section of a contract whose heading begins with a text."""
    (found,) = re.findall(rf"^## {re.escape(heading)}.*?(?=^## |\Z)", text_of(sender), re.DOTALL | re.MULTILINE)
    return str(found)


def table(section: str) -> list[dict[str, str]]:
    """Return the rows of the first table of a section, by the texts of its head."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]] if cells else []


def _fields(row: Mapping[str, str], shapes: Mapping[str, str]) -> Iterator[Field]:
    kind = row["Type"]
    for name in re.findall(r"`([^`]+)`", row["Field"]):
        path = tuple(name.replace("[]", ".[]").split("."))
        yield from expanded(path, kind, shapes, optional="**optional**" in kind)


def expanded(path: tuple[str, ...], kind: str, shapes: Mapping[str, str], *, optional: bool = False) -> Iterator[Field]:
    """Yield a field and the fields inside of it, as the text of its type describes them."""
    nullable = frozenset({"null"} if kind.endswith("or null") else ())
    shape = re.search(r"\{.*\}", kind)
    word = next((word for word in shapes if word in kind or path[-1] == word or path[-1].endswith(word)), None)
    inside = shape[0] if shape else shapes.get(word or "")
    if kind.startswith("array of "):
        item = (*path, "[]")
        yield Field(path, frozenset({"array"}) | nullable, optional)
        inner = kind.removeprefix("array of ")
        plain = next((one for one in TYPES if inner.startswith(one)), "object")
        yield Field(item, frozenset({plain}))
        yield from _inside(item, inside, shapes)
        return
    first = "object" if word == "person" else next((one for one in TYPES if kind.startswith(one)), None)
    yield Field(path, frozenset() if first is None else frozenset({first}) | nullable, optional)
    yield from _inside(path, inside, shapes)


def _inside(path: tuple[str, ...], shape: str | None, shapes: Mapping[str, str]) -> Iterator[Field]:
    if shape is None:
        return
    # {"name": string, "url": string or null}: the names of types become texts.
    text = re.sub(r", \.\.\.", "", shape.replace("\n", " "))
    text = re.sub(r"([:\[] ?)([a-z][a-z ]*)(?=[,}\]])", r'\1"\2"', text)
    for name, kind in json.loads(text).items():
        if isinstance(kind, list):
            yield Field((*path, name), frozenset({"array"}))
            yield Field((*path, name, "[]"), frozenset({"object"}))
            for inner, inner_kind in kind[0].items():
                yield from expanded((*path, name, "[]", inner), inner_kind, {})
        else:
            yield from expanded((*path, name), kind, {})


def riskos_fields() -> list[Field]:
    """Return the fields of the body of riskos, whose tables have full paths and say which fields are always present."""
    found = []
    for section in re.split(r"^(?=## )", text_of("riskos"), flags=re.MULTILINE):
        for row in table(section):
            if "Always present" not in row:
                continue
            name = (
                row["Field"].strip("`").removesuffix("[]").replace("...", "data.globalWatchlist.").replace("[n]", ".[]")
            )
            kind = row["JSON type"]
            first = next(one for one in TYPES if kind.startswith(one))
            always = row["Always present"]
            found.append(
                Field(
                    tuple(name.split(".")),
                    frozenset({first}),
                    optional="no" in always.split()[0] or "only" in always,
                    required=always in {"yes", "in both samples; no row of its own"},
                    meaning=row["Meaning"],
                )
            )
    return found


def schema_at(schema: Mapping[str, Any], root: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Return the part of a JSON Schema that describes a field; None if the schema does not name the field."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if not path:
        return schema
    inner = schema.get("items") if path[0] == "[]" else schema.get("properties", {}).get(path[0])
    if inner is None:
        branches = [schema_at(branch, root, path) for branch in schema.get("anyOf", ())]
        return next((branch for branch in branches if branch is not None), None)
    return schema_at(inner, root, path[1:])


def types_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    """Return the JSON types that a schema names, none if it allows any."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        return frozenset().union(*(types_of(branch, root) for branch in schema["anyOf"]))
    if isinstance(schema.get("const"), str):
        return frozenset({"string"})
    types = schema.get("type", ())
    return frozenset({types} if isinstance(types, str) else types)


def missing_in(value: Any, fields: list[Field]) -> set[str]:
    """Return the fields that are not optional and that an object of a value lacks, although it has the place for it."""
    found = set()
    for field in fields:
        holders = list(_at(value, field.path[:-1]))
        if field.path[-1] == "[]":
            continue
        if not field.optional and any(isinstance(one, dict) and field.path[-1] not in one for one in holders):
            found.add(str(field))
    return found


def seen_in(value: Any, fields: list[Field]) -> set[str]:
    """Return the fields that a value has, null or not."""
    return {str(field) for field in fields if any(True for _ in _at(value, field.path))}


def _at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield the values at a path."""
    if not path:
        yield value
    elif path[0] == "[]":
        for item in value if isinstance(value, list) else ():
            yield from _at(item, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])
