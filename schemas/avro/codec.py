"""Avro single-object encoding of Signpost's own records.

A value is `C3 01`, the little-endian CRC-64-AVRO fingerprint of the writer schema, and the record (Avro 1.12
specification, "Single object encoding"). `records/<name>.v<N>.avsc` is version N of a record. All versions can be read.
A record is written in the oldest version that can hold all its values. Old and new processes can therefore run
together in a rolling deploy until a record uses a field that only the newest version has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from io import BytesIO
from typing import Any, Final, NoReturn, TypeAlias

import fastavro
from fastavro import _read_py
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.catalog.errors import UnreadableRecord

MAGIC: Final = b"\xc3\x01"
PREFIX_LENGTH: Final = 10

DecodedRecord = dict[str, Any]
Read: TypeAlias = Callable[[BytesIO, Any, Any], Any]
"""Takes (stream, writer schema, reader schema or None) and returns the record."""

# fastavro's compiled reader recurses for each level of a value. A few KB of a recursive type overflow its stack
# (SIGSEGV). The reader in Python raises RecursionError at about 200 levels, but is ten times slower.
BOUNDED: Final[Read] = _read_py.schemaless_reader
COMPILED: Final[Read] = fastavro.schemaless_reader


def single_object_prefix(schema: Any) -> bytes:
    """Return the ten bytes before a record with the writer schema `schema` (as `json.load` returns it)."""
    digest = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return MAGIC + bytes.fromhex(digest)


def read_all(schema: Any, value: bytes, start: int, reader_schema: Any = None, read: Read = COMPILED) -> DecodedRecord:
    """Decode one record that fills `value` from `start` to its end; UnreadableRecord if it cannot be decoded.

    `read` has to be BOUNDED for a schema with a recursive type.
    """
    stream = BytesIO(value)
    stream.seek(start)
    try:
        record: DecodedRecord = read(stream, schema, reader_schema)
    except EOFError as error:
        raise UnreadableRecord("truncated", f"the record ends early, after {len(value)} bytes") from error
    except Exception as error:
        # fastavro raises IndexError, ValueError, UnicodeDecodeError, OverflowError, struct.error, … on hostile bytes.
        raise UnreadableRecord("invalid_value", f"{type(error).__name__}: {error}") from error
    if stream.tell() != len(value):
        raise UnreadableRecord("trailing_bytes", f"{len(value) - stream.tell()} bytes follow the record")
    return record


class RecordCodec:
    """Encodes and decodes one of Signpost's own records, such as `subscription` or `dead_letter`."""

    def __init__(self, name: str) -> None:
        self._name = name
        documents = _versions(name)
        self.schema: Any = fastavro.parse_schema(documents[-1])
        self.prefix = single_object_prefix(documents[-1])
        self._older = {single_object_prefix(older): fastavro.parse_schema(older) for older in documents[:-1]}
        # For each older version, oldest first: the fields that it lacks and their defaults, its prefix, its schema.
        self._added = [
            (added, prefix, self._older[prefix])
            for prefix, older in zip(self._older, documents, strict=False)
            if (added := _added(older, documents[-1])) is not None
        ]

    @property
    def older_prefixes(self) -> tuple[bytes, ...]:
        """The prefixes of all versions before the newest, oldest first."""
        return tuple(self._older)

    def encode(self, record: DecodedRecord) -> bytes:
        """Encode a record in the oldest version that can hold all its values."""
        prefix = self.prefix
        schema = self.schema
        for added, older_prefix, older in self._added:
            if all(_plain(record.get(name, default)) == default for name, default in added.items()):
                prefix = older_prefix
                schema = older
                break
        stream = BytesIO()
        stream.write(prefix)
        fastavro.schemaless_writer(stream, schema, record)
        return stream.getvalue()

    def decode(self, value: bytes | None) -> DecodedRecord:
        """Decode a record of any published version, as the newest one; UnreadableRecord if it is invalid."""
        if not value:
            raise UnreadableRecord("empty", f"a {self._name} record has no value")
        prefix = value[:PREFIX_LENGTH]
        if prefix == self.prefix:
            return read_all(self.schema, value, PREFIX_LENGTH)
        older = self._older.get(prefix)
        if older is None:
            self._refuse(value)
        return read_all(older, value, PREFIX_LENGTH, self.schema)

    def _refuse(self, value: bytes) -> NoReturn:
        if value[:2] != MAGIC:
            raise UnreadableRecord(
                "unknown_format", f"a {self._name} record begins with c301, this value with {value[:2].hex()}"
            )
        if len(value) < PREFIX_LENGTH:
            raise UnreadableRecord("truncated", f"{len(value)} bytes are too few for a {self._name} record")
        raise UnreadableRecord("unknown_schema", f"no version of {self._name} has the fingerprint {value[2:10].hex()}")


def _added(older: Any, newest: Any) -> DecodedRecord | None:
    """Return the fields that only the newest version has, with their defaults; None if other fields changed too."""
    before = {field["name"]: field["type"] for field in older["fields"]}
    now = {field["name"]: field["type"] for field in newest["fields"]}
    if any(now.get(name) != type_ for name, type_ in before.items()):
        return None
    return {field["name"]: field["default"] for field in newest["fields"] if field["name"] not in before}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _versions(name: str) -> list[Any]:
    """Return the schemas of `records/<name>.v1.avsc`, `.v2.avsc`, … in the order of their versions."""
    folder = resources.files("schemas") / "records"
    documents: list[Any] = []
    while (file := folder / f"{name}.v{len(documents) + 1}.avsc").is_file():
        documents.append(json.loads(file.read_text(encoding="utf-8")))
    return documents
