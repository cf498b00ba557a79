"""Fields of a request to values of a draft. All problems of a request are reported together. Pure.

A field that is absent, or whose value is wrong, is KEEP; `null` is a wrong value of every field. Unknown fields are
ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from producers.api.refusals import ProblemCode, RequestProblem, invalid
from schemas.catalog.errors import InvalidInput
from schemas.input.suggestions import among, did_you_mean
from schemas.senders.sender import Sender
from schemas.subscriptions.filters import filters_text
from schemas.subscriptions.rules import KEEP, Bounds, Draft, Keep, UrlRules, faults

_T = TypeVar("_T")

_MAX_SHOWN: Final = 100  # characters of a value in a message
_MAX_LISTED: Final = 12  # names in a message
# More wrong items of a list are not reported: each costs a search for similar names.
_MAX_WRONG: Final = 20
# json gives numbers as JsonText.
_TYPES: Final = {str: "a string", bool: "a boolean", dict: "an object", list: "an array", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for webhooks of one sender. `bounds` limit settings that the APIs do not have."""

    sender: Sender
    urls: UrlRules
    bounds: Bounds


class Fields:
    """Reads the fields of one request."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._problems: list[RequestProblem] = []

    def text(self, name: str, *, required: bool = False) -> str | Keep:
        """Return a string."""
        return self._typed(name, str, required=required)

    def flag(self, name: str) -> bool | Keep:
        """Return a boolean."""
        return self._typed(name, bool)

    def url(self, name: str, rules: UrlRules, *, required: bool = False) -> str | Keep:
        """Return a URL that the egress rules allow, as it was given."""
        url = self.text(name, required=required)
        if url is KEEP:
            return url
        try:
            rules.check_url(url)
        except InvalidInput as error:
            self.refuse((name,), "invalid_url", _without_subject(error.what, "url"))
            return KEEP
        return url

    def name_of(self, name: str, known: Collection[str], *, required: bool = False) -> str | Keep:
        """Return one of the known names."""
        value = self.text(name, required=required)
        return value if value is KEEP or self._is_known(value, known, (name,)) else KEEP

    def names_of(self, name: str, known: Collection[str]) -> tuple[str, ...] | Keep:
        """Return a list of known names without repetitions, in the order of the request."""
        values = self._typed(name, list)
        if values is KEEP:
            return values
        wrong = len(self._problems)
        seen: dict[str, None] = {}
        for index, value in enumerate(values):
            if len(self._problems) - wrong == _MAX_WRONG:
                break
            if not isinstance(value, str):
                self.refuse((name, index), "invalid_type", _expected(str, value))
            elif self._is_known(value, known, (name, index)):
                seen[value] = None
        return tuple(seen) if len(self._problems) == wrong else KEEP

    def json_object(self, name: str) -> str | Keep:
        """Return an object as compact JSON text."""
        value = self._typed(name, dict)
        if value is KEEP:
            return value
        try:
            return filters_text(value)
        except InvalidInput as error:
            self.refuse((name,), "invalid_value", str(error))
            return KEEP

    def refuse_given(self, *names: str) -> None:
        """Refuse fields that a request may not contain."""
        for name in names:
            if name in self._given:
                self.refuse((name,), "invalid_value", "cannot be changed")

    def refuse(self, path: tuple[str | int, ...], code: ProblemCode, message: str) -> None:
        """Add a problem."""
        self._problems.append(RequestProblem(path, code, message))

    def check(self) -> None:
        """Raise the refusal with all problems, if there are any."""
        if self._problems:
            raise invalid(*self._problems)

    def check_draft(self, draft: Draft, rules: Rules, names: Iterable[str]) -> None:
        """Raise the refusal with all problems, including those of a draft in the fields `names`.

        Names and meaning of these fields are the same in the API and in a draft. Other fields of the draft are not
        from this request, or were checked when they were read.
        """
        checked = set(names)
        for fault in faults([draft], {rules.sender.name: rules.sender}, rules.urls, rules.bounds):
            name = str(fault.path[0])
            if name in checked:
                self.refuse((name, *fault.path[1:]), "invalid_value", _without_subject(fault.what, name))
        self.check()

    def _typed(self, name: str, kind: type[_T], *, required: bool = False) -> _T | Keep:
        if name not in self._given:
            if required:
                self.refuse((name,), "invalid_type", "is required")
            return KEEP
        value = self._given[name]
        if not isinstance(value, kind):
            self.refuse((name,), "invalid_type", _expected(kind, value))
            return KEEP
        return value

    def _is_known(self, value: str, known: Collection[str], path: tuple[str | int, ...]) -> bool:
        if value in known:
            return True
        shown = value[:_MAX_SHOWN]
        hint = did_you_mean(shown, known) or (among(known) if len(known) <= _MAX_LISTED else "")
        self.refuse(path, "invalid_enum_value", f"there is no {shown!r}{hint}")
        return False


def _expected(kind: type, value: object) -> str:
    return f"expected {_TYPES[kind]}, got {_TYPES.get(type(value), 'a number')}"


def _without_subject(what: str, subject: str) -> str:
    """Return the sentence of a rule without the name of the field: the answer names it already."""
    return what.removeprefix(subject).lstrip(": ")
