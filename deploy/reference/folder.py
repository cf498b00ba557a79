"""The documents of senders as files: `<folder>/<sender>/guide.md`, `asyncapi.yaml`, `schemas/<type>.schema.json`.

A sender with a REST API also has `openapi.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from deploy.reference.asyncapi import as_yaml, asyncapi
from deploy.reference.examples import examples_of, sample_headers
from deploy.reference.guide import guide
from deploy.reference.headers import headers_of
from deploy.reference.markdown import plain, table
from deploy.reference.openapi.document import has_api, openapi
from deploy.reference.payloads import as_text, body_schema, notes_of
from schemas.events.event_type import EventType
from schemas.senders.payload_schemas import file_name, payload_schemas
from schemas.senders.sender import Sender


def documents_of(sender: Sender, topic: str, version: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a sender as path in its folder and text. `topic` is the topic of its events.

    SenderError and EventError name an invalid file for documents in the sender's folder.
    """
    payloads = payload_schemas(sender)
    examples = examples_of(sender)
    headers = headers_of(sender, sample_headers(sender))
    schemas = {event_type.name: _schema_file(event_type) for event_type in sender.all_types}
    notes = notes_of(sender, payloads, examples)
    yield "guide.md", guide(sender, headers, examples, notes, schemas)
    document = asyncapi(
        sender,
        topic=topic,
        headers=headers,
        examples=examples,
        notes=notes,
        schema_file=lambda event_type: f"./{_schema_file(event_type)}",
        version=version,
    )
    yield "asyncapi.yaml", as_yaml(document)
    if has_api(sender):
        yield "openapi.json", as_text(openapi(sender, version=version))
    for event_type in sender.all_types:
        name = event_type.name
        yield schemas[name], as_text(body_schema(sender, event_type, payloads.get(name), examples.get(name, ())))


def check_documents(sender: Sender) -> None:
    """SenderError or EventError if a file of the sender's folder for documents is invalid."""
    payload_schemas(sender)
    examples_of(sender)


def write_documents(folder: Path, senders: Iterable[Sender], topic_of: Callable[[str], str], version: str) -> int:
    """Write the documents of senders and a page that lists them; return the number of files."""
    rows = []
    count = 1
    for sender in senders:
        for path, text in documents_of(sender, topic_of(sender.name), version):
            file = folder / sender.name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            count += 1
        named = len(sender.event_types)
        types = f"{named} event type{'' if named == 1 else 's'}" if sender.any_type is None else "any event type"
        links = [f"[AsyncAPI]({sender.name}/asyncapi.yaml)"]
        links += [f"[OpenAPI]({sender.name}/openapi.json)"] if has_api(sender) else []
        rows.append((plain(sender.title), types, f"[guide]({sender.name}/guide.md)", ", ".join(links)))
    heads = ("Product", "Event types", "For receivers", "For machines")
    (folder / "README.md").write_text(f"# Webhooks, for receivers\n\n{table(heads, rows)}", encoding="utf-8")
    return count


def _schema_file(event_type: EventType) -> str:
    return f"schemas/{file_name(event_type.name)}"
