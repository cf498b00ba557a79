"""Registration of writer schemas in a schema registry, and their ids for Confluent's wire format.

Subjects are those of TopicRecordNameStrategy, `<topic>-<full name of the record>`: a topic holds events of many types.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

import httpx

from schemas.avro.types import full_name
from schemas.catalog.errors import Unavailable

_TIMEOUT_S: Final = 10.0
_HEADERS: Final = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}


def subject_of(topic: str, schema: Any) -> str:
    """Return the subject of a record schema (as `json.load` returns it) on a topic."""
    return f"{topic}-{full_name(schema)}"


class SchemaIds:
    """Registers schemas at a registry with Confluent's REST API; `url` may contain user and password."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._ids: dict[str, int] = {}

    def id_of(self, topic: str, schema: Any) -> int:
        """Return the id of a schema, and register a new schema first; Unavailable if that fails."""
        subject = subject_of(topic, schema)
        if subject not in self._ids:
            self._ids[subject] = self._register(subject, schema)
        return self._ids[subject]

    def _register(self, subject: str, schema: Any) -> int:
        try:
            response = httpx.post(
                f"{self._url}/subjects/{quote(subject, safe='')}/versions",
                json={"schema": json.dumps(schema)},
                headers=_HEADERS,
                timeout=_TIMEOUT_S,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"the schema registry does not respond ({type(error).__name__}); see the setting schema_registry_url"
            ) from None  # the message may contain the URL with its password
        try:
            return int(response.json()["id"]) if response.is_success else self._refused(subject, response)
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"the schema registry responded with {response.status_code} without an id; check schema_registry_url"
            ) from error

    def _refused(self, subject: str, response: httpx.Response) -> int:
        reason = response.json().get("message", "")
        raise Unavailable(
            f"the schema registry rejected the subject {subject}: {response.status_code} {str(reason)[:500]}".rstrip()
        )
