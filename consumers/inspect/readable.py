"""Any record of any topic in readable form: its kind and its fields, with secrets masked. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.avro.codec import MAGIC, PREFIX_LENGTH, DecodedRecord, RecordCodec
from schemas.avro.json_text import JsonText
from schemas.avro.json_writer import readable
from schemas.catalog.errors import SignpostError, UnreadableRecord
from schemas.input.terminal import printable
from schemas.records.delivery import event_id
from schemas.senders.event_codec import EventDecoder
from schemas.senders.header_values import header_id
from schemas.senders.sender import Sender
from schemas.senders.traits import id_headers
from schemas.senders.writer_schemas import CONFLUENT_MAGIC, WriterSchemas

MASK: Final = "***"
_OWN: Final = (
    "job",
    "outcome",
    "dead_letter",
    "subscription",
    "health",
    "operation",
    "source",
    "test_delivery",
    "api_key",
    "api_key_use",
)
_EMPTY: Final[tuple[Any, ...]] = ("", [], {})
# The number of bytes that a line shows of a value that is not text; JSON has all.
_HEX_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Readable:
    """The kind of a record (`job`, `event`, `text`, …) and its fields, most important first."""

    kind: str
    fields: dict[str, Any]


class RecordReader:
    """Decodes values by their fingerprints; `schemas` is the registry, if there is one (it may block)."""

    def __init__(self, senders: Mapping[str, Sender], schemas: WriterSchemas | None = None) -> None:
        self._codecs = {name: RecordCodec(name) for name in _OWN}
        self._names = {
            prefix: name for name, codec in self._codecs.items() for prefix in (codec.prefix, *codec.older_prefixes)
        }
        self._senders = senders
        self._decoders = {name: EventDecoder(sender, schemas) for name, sender in senders.items()}
        self._has_registry = schemas is not None
        self._event_prefixes = {
            event_type.prefix: name for name, sender in senders.items() for event_type in sender.all_types
        }
        self._renderers: dict[str, Callable[[DecodedRecord], dict[str, Any]]] = {
            "job": self._job,
            "outcome": self._outcome,
            "dead_letter": self._dead_letter,
            "subscription": _subscription,
            "health": _unmasked,
            "operation": _unmasked,
            "source": _unmasked,
            "test_delivery": _unmasked,
            "api_key": _api_key,
            "api_key_use": _unmasked,
        }

    def read(self, value: bytes | None, place: tuple[str, int, int] | None = None) -> Readable:
        """Return a value in readable form; no content raises.

        `place` (topic, partition, offset) is the source of the derived id of an event without an id.
        """
        if value is None:
            return Readable("tombstone", {})
        try:
            return self._own(value) or self._event(value, place) or _plain(value)
        except Exception as error:  # a library may raise anything on hostile bytes
            return Readable("unreadable", {"why": f"{type(error).__name__}: {error}", **_plain(value).fields})

    def _own(self, value: bytes) -> Readable | None:
        if value[:2] != MAGIC or value[:PREFIX_LENGTH] in self._event_prefixes:
            return None
        known = self._names.get(value[:PREFIX_LENGTH])
        for name, codec in self._codecs.items() if known is None else ((known, self._codecs[known]),):
            try:
                return Readable(name, self._renderers[name](codec.decode(value)))
            except UnreadableRecord as error:
                if error.reason != "unknown_schema":
                    return Readable("unreadable", {"why": f"{name}: {error}", **_plain(value).fields})
        return None

    def _event(self, value: bytes, place: tuple[str, int, int] | None) -> Readable | None:
        name = self._event_prefixes.get(value[:PREFIX_LENGTH])
        senders: Iterable[str] = ()
        if name:
            senders = (name,)
        elif self._has_registry and value[:1] == CONFLUENT_MAGIC:
            senders = self._decoders
        refused: Readable | None = None
        for sender in senders:
            try:
                event = self._decoders[sender].decode(value, lambda: event_id(*place) if place else "")
            except SignpostError as error:  # unreadable, or the registry does not respond
                refused = Readable("unreadable", {"why": str(error), **self._head(value, sender, place)})
                continue
            return Readable(
                "event",
                {
                    "event_type": event.event_type,
                    "event_id": event.event_id,
                    "header_id": self._header_id(sender, event.event_id),
                    "customer_id": event.customer_id,
                    "created_at": time_text(event.created_at_us // 1_000),
                    "sender": sender,
                    "data": event.data,
                },
            )
        return refused and Readable(refused.kind, {**refused.fields, **_plain(value).fields})

    def _head(self, value: bytes, sender: str, place: tuple[str, int, int] | None) -> dict[str, Any]:
        """Return the names of an invalid event, as far as its bytes contain them."""
        try:
            head = self._decoders[sender].head(value)
        except SignpostError:  # the registry has no such schema, or does not respond
            head = None
        if head is None:
            return {}
        id_ = head.event_id or (event_id(*place) if place else "")
        return {
            "event_type": head.event_type,
            "event_id": id_,
            "header_id": self._header_id(sender, id_),
            "customer_id": head.customer_id,
            "sender": sender,
        }

    def _header_id(self, sender: str, id_: str) -> str | None:
        """Return the form of an event id in the headers of its sender; None if it is the id itself, or is not sent."""
        known = self._senders.get(sender)
        sent = header_id(id_)
        if sent == id_ or known is None or not any(header.id_field == "event_id" for header in id_headers(known)):
            return None
        return sent

    def _job(self, record: DecodedRecord) -> dict[str, Any]:
        return {
            "event_type": record["event_type"],
            "event_id": record["event_id"],
            "header_id": self._header_id(record["sender"], record["event_id"]),
            "attempt": record["attempt"],
            "run": record["run"],
            "due_at": time_text(record["due_at_ms"]) if record["due_at_ms"] else None,
            "customer_id": record["customer_id"],
            "subscription_id": record["subscription_id"],
            "job_id": record["job_id"],
            "source": f"{record['source_topic']}:{record['source_partition']}:{record['source_offset']}",
            "subscription": f"{record['subscription_partition']}:{record['subscription_offset']}",
            "activation": record["activation"],
            "first_offset": record["first_offset"],
            "sender": record["sender"],
            "appended_at": time_text(record["appended_at_ms"]),
            "body": text_of(record["body"]),
        }

    def _outcome(self, record: DecodedRecord) -> dict[str, Any]:
        return {**_outcome(record), "header_id": self._header_id(record["sender"], record["event_id"])}

    def _dead_letter(self, record: DecodedRecord) -> dict[str, Any]:
        value = record["value"]
        place = (record["topic"], record["partition"], record["offset"])
        inner = self.read(value, place) if value is not None else None
        return {
            "reason": record["reason"],
            "detail": record["detail"],
            "source": f"{record['topic']}:{record['partition']}:{record['offset']}",
            "at": time_text(record["at_ms"]),
            "event_id": record["event_id"],
            "subscription_id": record["subscription_id"],
            "job_id": record["job_id"],
            "attempts": record["attempts"],
            "key": text_of(record["key"]),
            "headers": {header["name"]: text_of(header["value"]) for header in record["headers"]},
            "value": None if inner is None else {"kind": inner.kind, **inner.fields},
        }


def time_text(at_ms: int) -> str:
    """Return Unix ms as ISO 8601 in UTC, or the number itself if it is out of range."""
    second, millisecond = divmod(at_ms, 1_000)
    text = _second(second)
    return f"{text}.{millisecond:03}Z" if text else f"{at_ms} ms"


@lru_cache(maxsize=4_096)
def _second(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, UTC).isoformat()[:19]
    except (ValueError, OverflowError, OSError):
        return ""


def text_of(value: bytes | None) -> str | None:
    """Return bytes as text if they are UTF-8, otherwise in hexadecimal."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def response_text(response: bytes) -> tuple[str, int]:
    """Return the kept start of a response body as text, and how many bytes at its end are part of a character.

    Other bytes that are not UTF-8 are escaped, as in `caf\\xe9`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    text = decoder.decode(response)
    return text, len(decoder.getstate()[0])


def masked_url(url: str) -> str:
    """Return a URL without path, query and user info, which may hold secrets."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return MASK
    rest = f"/{MASK}" if parts.path not in {"", "/"} or parts.query else parts.path
    return f"{parts.scheme}://{parts.hostname}{port}{rest}"


def line(fields: Mapping[str, Any]) -> str:
    """Return fields as one line, `name=value`, without empty ones and without control characters."""
    # Text is checked first, as most values are text.
    return " ".join(
        [
            f"{name}={value if type(value) is str and _is_plain(value) else _shown(value)}"
            for name, value in fields.items()
            if value is not None and value not in _EMPTY
        ]
    )


def cut_hex(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields for people: the first bytes of a value in hexadecimal are enough."""
    value = fields.get("hex")
    if not isinstance(value, str) or len(value) <= 2 * _HEX_BYTES:
        return dict(fields)
    return {**fields, "hex": f"{value[: 2 * _HEX_BYTES]}…"}


def _is_plain(text: str) -> bool:
    return text.isprintable() and " " not in text and '"' not in text


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = printable(value)
        return text if _is_plain(text) else readable(text)
    if isinstance(value, dict | list | bool | JsonText):
        return printable(readable(value))
    return str(value)


def _outcome(record: DecodedRecord) -> dict[str, Any]:
    next_due = record["next_due_at_ms"]
    return {
        "state": record["state"],
        "reason": record["reason"],
        "status": record["status"],
        "error": record["error"],
        "attempt": record["attempt"],
        "run": record["run"],
        "duration_ms": record["duration_us"] / 1_000,
        "next_due": time_text(next_due) if next_due is not None else None,
        "host": record["host"],
        "event_type": record["event_type"],
        "event_id": record["event_id"],
        "customer_id": record["customer_id"],
        "subscription_id": record["subscription_id"],
        "job_id": record["job_id"],
        "sender": record["sender"],
        "at": time_text(record["at_ms"]),
        "source": f"{record['source_topic']}:{record['source_partition']}:{record['source_offset']}",
        "first": f"{record['partition']}:{record['first_offset']}",
        "appended_at": time_text(record["appended_at_ms"]),
        **response_fields(record),
    }


def response_fields(outcome: DecodedRecord) -> dict[str, Any]:
    """Return what is known of the response body of an outcome, and how many bytes of it were not kept."""
    text, part = response_text(outcome["response"])
    not_kept = outcome["response_not_kept"] + part
    return {"response": text, "response_not_kept": not_kept or None, "body_cut": outcome["body_cut"] or None}


# Fields of a subscription that are shown unmasked. All others, such as a client certificate or a field of a later
# version, are masked, so that no oversight shows a secret.
_UNMASKED: Final = (
    "id",
    "customer_id",
    "sender",
    "event_types",
    "paused",
    "activation",
    "set",
    "description",
    "request_id",
)
_OWN_SETTINGS: Final = ("schedule_s", "timeout_s", "max_in_flight", "rate_limit", "filters")


def _subscription(record: DecodedRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {name: record[name] for name in _UNMASKED}
    fields["url"] = masked_url(record["url"])
    fields["created_at"] = time_text(record["created_at_ms"])
    fields["updated_at"] = time_text(record["updated_at_ms"])
    fields["secrets"] = [
        {"id": secret["id"], "sealed": MASK, "created_at": time_text(secret["created_at_ms"])}
        for secret in record["secrets"]
    ]
    fields |= {name: record[name] for name in _OWN_SETTINGS if record[name] is not None}
    if record["headers"]:
        fields["headers"] = {header["name"]: MASK for header in record["headers"]}
    known = {*_UNMASKED, *_OWN_SETTINGS, "url", "created_at_ms", "updated_at_ms", "secrets", "headers"}
    return fields | {name: MASK for name, value in record.items() if name not in known and value}


def _api_key(record: DecodedRecord) -> dict[str, Any]:
    return _unmasked({**record, "sealing_key": record["sealing_key"].hex(), "hash": MASK})


def _unmasked(record: DecodedRecord) -> dict[str, Any]:
    """Return the fields of a record without secrets: without absent ones, and with readable times."""
    return {
        name.removesuffix("_ms"): time_text(value) if name.endswith("_ms") else value
        for name, value in record.items()
        if value not in (None, "")
    }


def _plain(value: bytes) -> Readable:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Readable("bytes", {"hex": value.hex(), "size": len(value)})
    if sum(not (character.isprintable() or character.isspace()) for character in text) > 0:
        return Readable("bytes", {"hex": value.hex(), "size": len(value)})
    return Readable("text", {"text": text})
