"""Models of files that people write. Every error has a line number.

A file is parsed into plain data (a Document) and validated by a FileModel. pydantic reports an error with the path of
its key. `Document.problems` maps that path to a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from schemas.catalog.errors import InvalidInput
from schemas.input.durations import parse_duration
from schemas.input.suggestions import nearest

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys of mappings and indexes of lists, from the top of a file to a value."""

UNKNOWN_KEY: Final = "unknown_key"
_MAX_SHOWN: Final = 100
_SENTENCES: Final = {
    "missing": "the key is missing",
    "string_type": "expected text in quotes",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected keys with values",
    "model_attributes_type": "expected keys with values",
}
# These errors concern a key, not its value.
_OF_KEYS: Final = frozenset({"missing", UNKNOWN_KEY})


class Problem(NamedTuple):
    """One error in a file, and its place; lines count from 1."""

    line: int
    path: KeyPath
    what: str


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    `line_of` returns the line of a path, or of its nearest ancestor in the file. `shown` formats a value for an error
    message; it returns "" for a value that messages must not contain.
    """

    file: str
    data: Any
    line_of: Callable[[KeyPath], int]
    shown: Callable[[object], str]

    def problems(self, error: ValidationError, base: KeyPath = ()) -> list[Problem]:
        """Return the errors that pydantic found in the value at `base`."""
        value = self.data
        for part in base:
            value = value[part]
        found = [(base + _path_of(one, value), _sentence(one, self.shown)) for one in error.errors(include_url=False)]
        return [Problem(self.line_of(path), path, what) for path, what in found]

    def place(self, path: KeyPath) -> str:
        """Return `file:line: path`."""
        return f"{self.file}:{self.line_of(path)}: {dotted(path)}"


class FileModel(BaseModel):
    """A mapping with fixed keys in a file. The error for an unknown key suggests the most similar known key."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # Keys that nothing would act on, each with the reason. Without them such a key could be taken for a misspelt one.
    without_effect: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            raise ValueError(f"expected the keys {', '.join(cls.model_fields)}")
        unknown = [key for key in data if key not in cls.model_fields]
        if not unknown or cls.model_config.get("extra") == "allow":
            return handler(data)
        errors = [_unknown_key(key, cls.model_fields, cls.without_effect) for key in unknown]
        misspelt = cls.misspelt(data)
        known = {key: value for key, value in data.items() if key in cls.model_fields}
        try:
            handler(known | {name: data[written] for name, written in misspelt.items()})
        except ValidationError as error:
            errors += [_as_written(one, misspelt) for one in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(cls.__name__, errors)

    @classmethod
    def misspelt(cls, data: Mapping[str, Any]) -> dict[str, str]:
        """Return the absent keys that are misspelt in `data`, each with its spelling in the file.

        The value of a misspelt key is validated as the value of the intended key, which then does not count as missing.
        """
        found: dict[str, str] = {}
        for key in data:
            known = key in cls.model_fields or key in cls.without_effect
            intended = None if known else nearest(key, cls.model_fields)
            if intended is not None and intended not in data:
                found.setdefault(intended, key)
        return found


def dotted(path: KeyPath) -> str:
    """Return a path in the notation of messages: `headers.X-Region`."""
    return ".".join(text if (text := str(part)[:_MAX_SHOWN]).isprintable() else ascii(text) for part in path)


def _unknown_key(key: str, known: Mapping[str, object], without_effect: Mapping[str, str]) -> InitErrorDetails:
    if key in without_effect:
        hint = f"{without_effect[key]}: remove it"
    else:
        suggestion = nearest(key, known)
        hint = f"known: {', '.join(known)}" if suggestion is None else f"did you mean {suggestion}?"
    return InitErrorDetails(type=PydanticCustomError(UNKNOWN_KEY, f"unknown key; {hint}"), loc=(key,), input=None)


def _as_written(error: ErrorDetails, misspelt: Mapping[str, str]) -> InitErrorDetails:
    """Return an error with the spelling of the key in the file."""
    return InitErrorDetails(
        type=PydanticCustomError(error["type"], error["msg"], error.get("ctx")),
        loc=(*(misspelt.get(str(part), part) for part in error["loc"][:1]), *error["loc"][1:]),
        input=error["input"],
    )


def _path_of(error: ErrorDetails, data: Any) -> KeyPath:
    """Return the path of an error without the parts that only pydantic knows: `[key]`, the tag of a union."""
    path: list[str | int] = []
    for part in error["loc"]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(part)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    elif error["type"].startswith("union_tag"):
        path.append(error["ctx"]["discriminator"].strip("'"))
    return tuple(path)


def _sentence(error: ErrorDetails, shown: Callable[[object], str]) -> str:
    kind = error["type"]
    if kind == "union_tag_invalid":
        return f"{error['ctx']['tag']!r} is not one of {error['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return _SENTENCES["missing"]
    what = _SENTENCES.get(kind, error["msg"].removeprefix("Value error, "))
    if kind in _OF_KEYS or (kind == "value_error" and isinstance(error["input"], dict | list)):
        return what
    found = shown(error["input"])
    return f"{what} (found {found})" if found and found not in what else what


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError('expected a duration in quotes, such as "30s"')
    try:
        return parse_duration(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None


Duration = Annotated[timedelta, BeforeValidator(_duration)]
