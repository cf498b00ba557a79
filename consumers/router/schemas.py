"""Writer schemas for the router, whose loop must not block: helper threads ask the registry."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from consumers.kafka.threads import in_thread
from schemas.catalog.errors import Unavailable
from schemas.senders.writer_schemas import WriterSchemas

ASK_AGAIN_S: Final = 1.0


class BeingAsked(Unavailable):
    """The registry was asked and has not responded yet: call again in the next turn of the loop."""


class SchemasAside:
    """Implements schemas.senders.writer_schemas.WriterSchemas without waiting; `now_s` is a monotonic clock in seconds.

    `get` raises BeingAsked until there is an answer, and Unavailable where there was none: it is asked again after a
    second. `registry` may block.
    """

    def __init__(self, registry: WriterSchemas, now_s: Callable[[], float]) -> None:
        self._registry = registry
        self._now_s = now_s
        self._asked: dict[int, Future[Any]] = {}
        self._trouble: str | None = None
        self._not_before_s = 0.0

    def get(self, schema_id: int) -> Any:
        """Return a schema, or raise; UnreadableRecord where the registry has none with this id."""
        asked = self._asked.get(schema_id)
        if asked is None:
            self._wait_a_while()
            # Several partitions may wait, each for another one.
            self._asked[schema_id] = in_thread("registry", self._registry.get, schema_id)
            raise self._unknown()
        if not asked.done():
            raise self._unknown()
        del self._asked[schema_id]
        try:
            schema = asked.result()
        except Unavailable as error:
            self._trouble = str(error)
            self._not_before_s = self._now_s() + ASK_AGAIN_S
            raise
        self._trouble = None
        return schema

    def _wait_a_while(self) -> None:
        if self._trouble is not None and self._now_s() < self._not_before_s:
            raise Unavailable(self._trouble)

    def _unknown(self) -> Unavailable:
        """Return the error to raise while the registry is asked; after a failure it stays that failure."""
        return BeingAsked("the schema registry is being asked") if self._trouble is None else Unavailable(self._trouble)
