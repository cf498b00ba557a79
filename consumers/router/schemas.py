"""Writer schemas for the router. Its loop must not block, so helper threads send the requests to the registry."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from consumers.kafka.threads import in_thread
from schemas.catalog.errors import Unavailable
from schemas.senders.writer_schemas import WriterSchemas

RETRY_S: Final = 1.0


class SchemaPending(Unavailable):
    """The registry has not responded yet: call again in the next turn of the loop."""


class BackgroundSchemas:
    """Implements schemas.senders.writer_schemas.WriterSchemas without waiting; `now_s` is a monotonic clock in seconds.

    `get` raises SchemaPending until there is a response, and Unavailable after an error. The request is repeated after
    a second. `registry` may block.
    """

    def __init__(self, registry: WriterSchemas, now_s: Callable[[], float]) -> None:
        self._registry = registry
        self._now_s = now_s
        self._requests: dict[int, Future[Any]] = {}
        self._error: str | None = None  # of the last response
        self._not_before_s = 0.0

    def get(self, schema_id: int) -> Any:
        """Return a schema, or raise; UnreadableRecord if the registry has none with this id."""
        request = self._requests.get(schema_id)
        if request is None:
            if self._error is not None and self._now_s() < self._not_before_s:
                raise Unavailable(self._error)
            # Several partitions may wait at the same time, each for another schema.
            self._requests[schema_id] = in_thread("registry", self._registry.get, schema_id)
            raise self._pending()
        if not request.done():
            raise self._pending()
        del self._requests[schema_id]
        try:
            schema = request.result()
        except Unavailable as error:
            self._error = str(error)
            self._not_before_s = self._now_s() + RETRY_S
            raise
        self._error = None
        return schema

    def _pending(self) -> Unavailable:
        """Return the error to raise during a request; after a failure it stays that failure."""
        if self._error is None:
            return SchemaPending("the schema registry has not responded yet")
        return Unavailable(self._error)
