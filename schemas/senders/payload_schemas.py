"""JSON Schemas of payloads: `payloads/<event_type>.schema.json` in a sender's folder, `any.schema.json` for `*`.

They describe payloads that are JSON text in Avro. An Avro record describes its fields itself. Only documents for
receivers use these files: no event is checked against them, and no role reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeAlias

from schemas.catalog.errors import SenderError
from schemas.events.event import ANY
from schemas.input.suggestions import did_you_mean
from schemas.senders.json_schema import schema_problems
from schemas.senders.sender import Sender

Schema: TypeAlias = dict[str, Any]

_FOLDER: Final = "payloads"
_ENDING: Final = ".schema.json"


def payload_schemas(sender: Sender) -> Mapping[str, Schema]:
    """Return the schemas by event type, `*` included; SenderError has a line for each error in the files."""
    folder = sender.folder / _FOLDER
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    files = [file for file in files if not file.name.startswith(".")]
    known = {file_name(event_type.name): event_type for event_type in sender.all_types}
    found: dict[str, Schema] = {}
    problems: list[str] = []
    for file in files:
        event_type = known.get(file.name)
        if event_type is None:
            problems.append(f"{file}: no event type has this file{did_you_mean(file.name, known)}")
        elif event_type.data_fields is not None:
            problems.append(f"{file}: the Avro record of {event_type.name} describes its fields; remove this file")
        else:
            schema = _read(file, problems)
            problems += (f"{file}: {problem}" for problem in schema_problems(schema))
            found[event_type.name] = schema
    if problems:
        raise SenderError("\n".join(problems))
    return found


def file_name(event_type: str) -> str:
    """Return the name of the file of an event type, without characters that file names cannot have."""
    return f"{'any' if event_type == ANY else event_type}{_ENDING}"


def _read(file: Traversable, problems: list[str]) -> Schema:
    """Return the schema in a file; add a problem, and return an empty schema, if it cannot be read."""
    try:
        schema = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        problems.append(f"{file}:{error.lineno}: not JSON: {error}")
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{file}: cannot be read: {error}")
    else:
        if isinstance(schema, dict) and schema.get("type") == "object":
            return schema
        problems.append(f'{file}: a payload is an object: expected {{"type": "object", …}}')
    return {"type": "object"}
