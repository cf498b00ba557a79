"""A schema registry with Confluent's REST API: the writer schemas of events in Confluent's wire format."""

from __future__ import annotations

import json
import warnings
from typing import Any, Final

from schemas.catalog.errors import Unavailable, UnreadableRecord

# The router waits for the answer, and asks again when there is none.
_TIMEOUT_S: Final = 2.0
_NOT_FOUND: Final = 404


class Registry:
    """Implements schemas.senders.writer_schemas.WriterSchemas. Schemas never change, so each is asked for once."""

    def __init__(self, url: str) -> None:
        with warnings.catch_warnings():
            from authlib.deprecate import (  # type: ignore[import-untyped]  # noqa: PLC0415  # no type information; see below
                AuthlibDeprecationWarning,
            )

            # The client imports authlib for OAuth, which is not used here, and authlib asks to move to httpx2: that is
            # the client's to do. authlib shows its warnings always, so this comes after authlib.deprecate's import.
            warnings.simplefilter("ignore", AuthlibDeprecationWarning)
            from confluent_kafka import schema_registry  # noqa: PLC0415  # 0.3 s that only those with a registry pay

        self._refusal = schema_registry.SchemaRegistryError
        self._client = schema_registry.SchemaRegistryClient({"url": url, "timeout": _TIMEOUT_S, "max.retries": 0})

    def get(self, schema_id: int) -> Any:
        """Return the Avro schema with this id; UnreadableRecord or Unavailable, as the Protocol says."""
        try:
            found = self._client.get_schema(schema_id)
        except self._refusal as error:
            if error.http_status_code == _NOT_FOUND:
                raise UnreadableRecord("unknown_schema", f"the schema registry has no schema {schema_id}") from error
            raise Unavailable(f"the schema registry refuses to give schema {schema_id}: {error}") from error
        except Exception as error:  # httpx's and the client's own errors of connections, timeouts and answers
            raise Unavailable(f"the schema registry does not answer: {type(error).__name__}: {error}") from error
        if found.schema_type not in {None, "AVRO"} or found.references or found.schema_str is None:
            raise UnreadableRecord(
                "unknown_schema", f"schema {schema_id} of the registry is not one Avro schema without references"
            )
        try:
            return json.loads(found.schema_str)
        except ValueError as error:
            raise UnreadableRecord("unknown_schema", f"schema {schema_id} of the registry is not JSON") from error

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
