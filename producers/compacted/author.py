"""The author of a change, for its audit record on `operations`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change: `key:<id of the API key>` with the id of the request, or `cli:<user>` for a command."""

    name: str
    request_id: str | None = None
