"""Client of a schema registry with Confluent's REST API: writer schemas of events in Confluent's wire format.

A response is final (a schema, or that there is none) or not: the registry is down, refuses the request, or responds
with something else. Only final responses are remembered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard
from urllib.parse import quote

from schemas.avro.references import with_definitions
from schemas.catalog.errors import Unavailable, UnreadableRecord

REMEMBERED_S: Final = 60.0
# For commands that read many records.
FAIL_FAST_S: Final = 30.0
_TIMEOUT_S: Final = 10.0
_HEADERS: Final = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
_OK: Final = 200
_NOT_FOUND: Final = 404
_REFUSALS: Final = (401, 403)
# The registry's own codes for a subject, a version or a schema that it does not have. An unknown path has 404.
_ERROR_CODES: Final = range(40_401, 40_500)
# Ids are positive 32-bit integers in every registry, so a larger one is no id.
_MAX_ID: Final = 2**31 - 1
# Bounded, because ids come from values.
_MAX_REMEMBERED: Final = 10_000
_MAX_SCHEMAS: Final = 1_000
_MAX_REFERENCES: Final = 1_000
_TYPE_NAMES: Final = {"JSON": "a JSON Schema", "PROTOBUF": "a Protobuf schema"}


@dataclass(frozen=True, slots=True)
class RegistryWorks:
    """The registry lists its subjects. `date` is the header Date of its response, empty if there is none."""

    date: str


@dataclass(frozen=True, slots=True)
class RegistryRefuses:
    """The registry, or a proxy in front of it, refuses the credentials of the URL, or their absence."""

    response: str


@dataclass(frozen=True, slots=True)
class NoRegistry:
    """Something at the URL responds, but not as a schema registry does."""

    response: str


RegistryState: TypeAlias = RegistryWorks | RegistryRefuses | NoRegistry


class Refusals:
    """Ids without a usable schema, each remembered for a minute: somebody may register a schema meanwhile."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._refused: dict[int, tuple[float, UnreadableRecord]] = {}

    def check(self, schema_id: int) -> None:
        """Raise the remembered UnreadableRecord of an id, if there is one."""
        until_s, error = self._refused.get(schema_id, (0.0, None))
        if error is None:
            return
        if self._now_s() < until_s:
            # A copy, because an exception that is raised again and again collects tracebacks.
            raise UnreadableRecord(error.reason, error.detail)
        self._refused.pop(schema_id, None)

    def add(self, schema_id: int, error: UnreadableRecord) -> None:
        """Remember the response for an id."""
        if len(self._refused) >= _MAX_REMEMBERED:
            self._refused.clear()
        self._refused[schema_id] = (self._now_s() + REMEMBERED_S, error)


class _InvalidResponse(Unavailable):
    """The registry responds, but not with the schema asked for. Other schemas may be fine."""


class SchemaRegistry:
    """Implements schemas.senders.writer_schemas.WriterSchemas; several threads may use it.

    For `fail_fast_s` after an error, `get` repeats the error without a request: a command that reads many records must
    not wait for a registry that is down at each of them. An invalid response concerns only the schema asked for.
    """

    def __init__(self, url: str, *, fail_fast_s: float = 0.0, now_s: Callable[[], float] = time.monotonic) -> None:
        import httpx  # noqa: PLC0415  # 0.1 s, only with a registry

        self._url = url.rstrip("/")
        self._client = httpx.Client(timeout=_TIMEOUT_S, headers=_HEADERS)
        self._errors = (httpx.HTTPError, httpx.InvalidURL)
        self._fail_fast_s = fail_fast_s
        self._now_s = now_s
        self._schemas: dict[int, Any] = {}
        self._refusals = Refusals(now_s)
        # When requests go on, and why they stopped: by schema, and None for all.
        self._failures: dict[int | None, tuple[float, str]] = {}

    def get(self, schema_id: int) -> Any:
        """Return the Avro schema with this id; raises UnreadableRecord or Unavailable as WriterSchemas does."""
        found = self._schemas.get(schema_id)
        if found is not None:
            return found
        self._refusals.check(schema_id)
        for failed in (None, schema_id):
            not_before_s, why = self._failures.get(failed, (0.0, ""))
            if why and self._now_s() < not_before_s:
                raise Unavailable(why)
        try:
            found = self._request(schema_id)
        except UnreadableRecord as error:
            self._refusals.add(schema_id, error)
            raise
        except Unavailable as error:
            if self._fail_fast_s:
                if len(self._failures) >= _MAX_REMEMBERED:
                    self._failures.clear()
                failed = schema_id if isinstance(error, _InvalidResponse) else None
                self._failures[failed] = (self._now_s() + self._fail_fast_s, str(error))
            raise
        if len(self._schemas) >= _MAX_SCHEMAS:
            self._schemas.clear()
        self._schemas[schema_id] = found
        return found

    def state(self) -> RegistryState:
        """Request the list of subjects and return what responds; Unavailable if nothing does."""
        response = self._response("subjects")
        text = f"{response.status_code} {_cut(response.text)}".rstrip()
        if response.status_code in _REFUSALS:
            return RegistryRefuses(text)
        if response.status_code != _OK or not isinstance(_json_of(response), list):
            return NoRegistry(text)
        return RegistryWorks(response.headers.get("Date", ""))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, schema_id: int) -> Any:
        what = f"schema {schema_id}"
        if schema_id > _MAX_ID:
            raise _unknown(f"{schema_id} is too large for a schema id")
        response = self._get(f"schemas/ids/{schema_id}", what)
        if response is None:
            raise _unknown(f"the schema registry has no {what}")
        schema = _avro(response, what)
        referenced = self._referenced(response, what)
        if not referenced:
            return schema
        try:
            return with_definitions(schema, referenced)
        except Exception as error:  # anything can be registered
            raise _unknown(f"{what} of the registry is not an Avro schema: {type(error).__name__}: {error}") from error

    def _referenced(self, response: dict[str, Any], what: str) -> list[Any]:
        """Return the schemas that a schema refers to, directly or through others."""
        schemas: list[Any] = []
        seen: set[tuple[str, int]] = set()
        pending = _references_of(response, what)
        while pending:
            subject, version = pending.pop()
            if (subject, version) in seen:
                continue
            if len(seen) == _MAX_REFERENCES:
                raise _unknown(f"{what} of the registry refers to more than {_MAX_REFERENCES} schemas")
            seen.add((subject, version))
            name = f"version {version} of subject {subject}"
            # A deleted version can still be read, and old events need it.
            found = self._get(f"subjects/{quote(subject, safe='')}/versions/{version}?deleted=true", name)
            if found is None:
                raise _unknown(f"{what} of the registry refers to {name}, which the registry does not have")
            schemas.append(_avro(found, f"{name}, to which {what} refers,"))
            pending += _references_of(found, name)
        return schemas

    def _get(self, path: str, what: str) -> dict[str, Any] | None:
        """Return a response with a schema; None if the registry does not have it."""
        status, body, content = self._fetch(path)
        if status == _OK:
            if isinstance(body, dict) and isinstance(body.get("schema"), str):
                return body
            raise _InvalidResponse(
                f"the schema registry returns no schema for {what}, but {_cut(content)}; {_CHECK_URL}"
            )
        error_code = body.get("error_code") if isinstance(body, dict) else None
        if status == _NOT_FOUND and self._means_none(error_code, bool(content) and not isinstance(body, dict)):
            return None
        message = body.get("message", "") if isinstance(body, dict) else content
        raise Unavailable(f"the schema registry does not return {what}: {status} {_cut(message)}".rstrip())

    def _means_none(self, error_code: Any, is_page: bool) -> bool:
        """Return whether a 404 is the registry's: a wrong URL and a proxy without the registry respond with 404 too."""
        if error_code in _ERROR_CODES:
            return True
        if error_code is None and not is_page:
            return True
        status, subjects, _ = self._fetch("subjects")
        return status == _OK and isinstance(subjects, list)

    def _fetch(self, path: str) -> tuple[int, Any, str]:
        """Return status, JSON (None if there is none) and text of a response."""
        response = self._response(path)
        return response.status_code, _json_of(response), response.text

    def _response(self, path: str) -> Any:
        try:
            return self._client.get(f"{self._url}/{path}")
        except self._errors as error:
            # Its message may contain the URL with its password.
            raise Unavailable(f"the schema registry does not respond ({type(error).__name__}); {_CHECK_URL}") from None


_CHECK_URL: Final = "see the setting schema_registry_url"


def _avro(response: dict[str, Any], what: str) -> Any:
    """Return the Avro schema of a response; UnreadableRecord if it is of another type."""
    kind = response.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise _unknown(f"{what} of the registry is {_TYPE_NAMES.get(kind, kind)}, and events need an Avro schema")
    try:
        return json.loads(response["schema"])
    except (ValueError, RecursionError) as error:
        raise _unknown(f"{what} of the registry is not JSON: {error}") from error


def _references_of(response: dict[str, Any], what: str) -> list[tuple[str, int]]:
    """Return subject and version of each reference."""
    references = response.get("references") or []
    if not isinstance(references, list) or not all(_is_reference(one) for one in references):
        raise _InvalidResponse(f"the schema registry returns invalid references of {what}: {_cut(str(references))}")
    return [(one["subject"], one["version"]) for one in references]


def _is_reference(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and isinstance(value.get("subject"), str) and isinstance(value.get("version"), int)


def _unknown(detail: str) -> UnreadableRecord:
    return UnreadableRecord("unknown_schema", detail)


def _json_of(response: Any) -> Any:
    """Return the JSON of a response; None if it has none."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _cut(text: Any) -> str:
    return " ".join(str(text).split())[:200]
