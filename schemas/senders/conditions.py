"""Conditions that are checked when an event is published. Events on a topic are delivered without this check.

A field is a path in `data`: `status`, `globalWatchlist.caseReviewStatus`, `caseDetails[].entityReviewStatus` for each
element of an array. A missing array has no elements; any other field has to be present.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import Field, StrictBool, model_validator

from schemas.input.file_models import FileModel

_PATH: Final = r"^[^.\[\]]+(\[\])?(\.[^.\[\]]+(\[\])?)*$"
_ABSENT: Final = object()


class Condition(FileModel):
    """One of `[[conditions]]`: the allowed values of a field, for some event types or for all."""

    field: str = Field(pattern=_PATH)
    event_types: tuple[str, ...] | None = None
    one_of: tuple[str, ...] | None = Field(default=None, min_length=1)
    not_empty: StrictBool = False

    @model_validator(mode="after")
    def _has_a_rule(self) -> Condition:
        if self.one_of is None and not self.not_empty:
            raise ValueError("a condition needs one_of, or not_empty = true")
        return self

    def problems(self, event_type: str, data: Any) -> Iterator[str]:
        """Yield a sentence for each value that violates the condition, with field, expected and found value."""
        if self.event_types is not None and event_type not in self.event_types:
            return
        for path, value in _found(data, self.field.split("."), "data"):
            if self.one_of is not None and value not in self.one_of:
                expected = " or ".join(json.dumps(choice, ensure_ascii=False) for choice in self.one_of)
                yield f"{path}: expected {expected} for {event_type}, found {_shown(value)}"
            elif self.not_empty and not (isinstance(value, str) and value):
                yield f"{path}: expected a string of one character or more, found {_shown(value)}"


def _found(value: Any, path: list[str], place: str) -> Iterator[tuple[str, Any]]:
    if not path:
        yield place, value
        return
    each = path[0].endswith("[]")
    name = path[0].removesuffix("[]")
    inner = value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    if not each:
        yield from _found(inner, path[1:], f"{place}.{name}")
    elif isinstance(inner, list):
        for index, item in enumerate(inner):
            yield from _found(item, path[1:], f"{place}.{name}[{index}]")


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return re.sub(r"[\ud800-\udfff]", "?", text[:60])
