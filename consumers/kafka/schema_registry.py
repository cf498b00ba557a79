"""Client of a schema registry with Confluent's REST API: writer schemas of events in Confluent's wire format."""

from __future__ import annotations

import json
import warnings
from typing import Any, Final

from schemas.catalog.errors import Unavailable, UnreadableRecord

# The router waits for the response, and repeats the request if there is none.
_TIMEOUT_S: Final = 2.0
_NOT_FOUND: Final = 404


class SchemaRegistry:
    """Implements schemas.senders.writer_schemas.WriterSchemas. Schemas never change, so each is requested once."""

    def __init__(self, url: str) -> None:
        with warnings.catch_warnings():
            from authlib.deprecate import (  # type: ignore[import-untyped]  # noqa: PLC0415  # no type information; see below
                AuthlibDeprecationWarning,
            )

            # The client imports authlib for OAuth, which is not used here. authlib warns that httpx2 replaces httpx,
            # which only the client can change. The import of authlib.deprecate enables its warnings, so the filter
            # comes after.
            warnings.simplefilter("ignore", AuthlibDeprecationWarning)
            from confluent_kafka import schema_registry  # noqa: PLC0415  # 0.3 s, only with a registry

        self._error = schema_registry.SchemaRegistryError
        self._client = schema_registry.SchemaRegistryClient({"url": url, "timeout": _TIMEOUT_S, "max.retries": 0})

    def get(self, schema_id: int) -> Any:
        """Return the Avro schema with this id; raises UnreadableRecord or Unavailable as WriterSchemas does."""
        try:
            found = self._client.get_schema(schema_id)
        except self._error as error:
            if error.http_status_code == _NOT_FOUND:
                raise UnreadableRecord("unknown_schema", f"the schema registry has no schema {schema_id}") from error
            raise Unavailable(f"the schema registry does not return schema {schema_id}: {error}") from error
        except Exception as error:  # httpx's and the client's own errors of connections, timeouts and responses
            raise Unavailable(f"the schema registry does not respond: {type(error).__name__}: {error}") from error
        if found.schema_type not in {None, "AVRO"} or found.references or found.schema_str is None:
            raise UnreadableRecord(
                "unknown_schema", f"schema {schema_id} of the registry must be one Avro schema without references"
            )
        try:
            return json.loads(found.schema_str)
        except ValueError as error:
            raise UnreadableRecord("unknown_schema", f"schema {schema_id} of the registry is not JSON") from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
