"""Headers of consumed records."""

from __future__ import annotations

from typing import Any, Protocol


class HasHeaders(Protocol):
    """A consumed record; confluent_kafka.Message implements it."""

    def headers(self) -> Any: ...  # noqa: D102  # the name is that of the client


def headers_of(record: HasHeaders) -> tuple[tuple[str, bytes | None], ...]:
    """Return the headers of a record, none if the client cannot return them."""
    try:
        return tuple(record.headers() or ())
    except Exception:  # the client cannot return a name that is not UTF-8, and may raise anything
        return ()
