"""Writer schemas for the router. Its loop must not block, so helper threads send the requests to the registry."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from consumers.kafka.schema_registry import Refusals
from consumers.kafka.threads import in_thread
from schemas.catalog.errors import Unavailable, UnreadableRecord
from schemas.senders.writer_schemas import WriterSchemas

RETRY_S: Final = 1.0
# A registry that takes longer to respond is reported like one that is down.
SLOW_S: Final = 1.0
# Only records that wait keep their ids here, one for each partition. Partitions that were revoked leave some behind.
_MAX_WANTED: Final = 1_000


class SchemaPending(Unavailable):
    """The registry has not responded yet: call again in the next turn of the loop."""


@dataclass(slots=True)
class _Wanted:
    """A schema that is not known yet. `error` is the last one; it stays while the request is repeated."""

    request: Future[Any] | None = None
    error: str | None = None
    requested_at_s: float = 0.0
    not_before_s: float = 0.0


class BackgroundSchemas:
    """Implements schemas.senders.writer_schemas.WriterSchemas without waiting; `now_s` is a monotonic clock in seconds.

    `get` raises SchemaPending until there is a response, and Unavailable after an error or a second without a response.
    The request is repeated a second after an error. `registry` may block.
    """

    def __init__(self, registry: WriterSchemas, now_s: Callable[[], float]) -> None:
        self._registry = registry
        self._now_s = now_s
        self._wanted: dict[int, _Wanted] = {}
        self._refusals = Refusals(now_s)

    def get(self, schema_id: int) -> Any:
        """Return a schema, or raise; UnreadableRecord if the registry has none with this id."""
        self._refusals.check(schema_id)
        wanted = self._wanted.get(schema_id)
        if wanted is None:
            if len(self._wanted) >= _MAX_WANTED:
                self._wanted.clear()
            wanted = self._wanted[schema_id] = _Wanted()
        now_s = self._now_s()
        if wanted.request is None:
            # Several partitions may wait at the same time, each for another schema.
            if now_s >= wanted.not_before_s:
                wanted.requested_at_s = now_s
                wanted.request = self._start(schema_id, wanted)
            raise _pending(wanted)
        if not wanted.request.done():
            if now_s - wanted.requested_at_s >= SLOW_S and wanted.error is None:
                wanted.error = f"the schema registry does not respond to the request for schema {schema_id}"
            raise _pending(wanted)
        return self._response(schema_id, wanted, wanted.request)

    def _start(self, schema_id: int, wanted: _Wanted) -> Future[Any]:
        try:
            return in_thread("registry", self._registry.get, schema_id)
        except RuntimeError as error:  # no more threads
            wanted.error = str(error)
            wanted.not_before_s = self._now_s() + RETRY_S
            raise Unavailable(wanted.error) from error

    def _response(self, schema_id: int, wanted: _Wanted, request: Future[Any]) -> Any:
        wanted.request = None
        try:
            schema = request.result()
        except UnreadableRecord as error:
            del self._wanted[schema_id]
            self._refusals.add(schema_id, error)
            raise
        except Exception as error:  # a library may raise anything, which is no reason to drop the event
            wanted.error = str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"
            wanted.not_before_s = self._now_s() + RETRY_S
            raise Unavailable(wanted.error) from error
        del self._wanted[schema_id]
        return schema


def _pending(wanted: _Wanted) -> Unavailable:
    if wanted.error is None:
        return SchemaPending("the schema registry has not responded yet")
    return Unavailable(wanted.error)
