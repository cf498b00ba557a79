"""Values of a subscription in the form that people write, in a file and on the command line.

The validation context of a file's models is Sources: they read some values from the environment and from other files.
Messages contain no value of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo

from deploy.config.secret_text import read_secret, without_bom
from deploy.config.yaml_document import BOOLEAN, NUMBERS, Unquoted
from schemas.avro.json_check import decimal_text
from schemas.catalog.errors import InvalidInput
from schemas.input.durations import parse_duration
from schemas.input.file_models import Duration, FileModel
from schemas.subscriptions.client_certificate import GivenCertificate, read_certificate
from schemas.subscriptions.filters import filters_text
from schemas.subscriptions.header_rules import GivenHeader

# On the command line: removes the subscription's own value, so that the sender's applies.
DEFAULT: Final = "default"
_BOOLEANS: Final = ("true", "false")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_FILE: Final = re.compile(r"/.*|.*\.[a-z]{1,8}")


class Sources(NamedTuple):
    """Sources of values that a file refers to. Relative paths start at `folder`."""

    folder: Path
    environment: Mapping[str, str]


def read_schedule(text: str) -> tuple[timedelta, ...] | None:
    """Parse `5s,1m`: the wait after each failed attempt. `none`: one attempt. `default` (None): as the sender."""
    if text == DEFAULT:
        return None
    return () if text == "none" else tuple(parse_duration(step.strip()) for step in text.split(","))


def _from_environment(variable: str, info: ValidationInfo[Sources]) -> str:
    value = without_bom(info.context.environment.get(variable, ""))
    return _required("environment variable", variable, _VARIABLE, value)


def _from_file(file: str, info: ValidationInfo[Sources]) -> str:
    """Return the text of a file without a byte order mark and without its last line break."""
    try:
        content = (info.context.folder / file).read_bytes()
    except (OSError, ValueError):
        content = b""
    try:
        text = read_secret(content, f"the file{_shown_name(file, _FILE)}")
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return _required("file", file, _FILE, text)


def _required(source: str, name: str, usual_name: re.Pattern[str], value: str) -> str:
    if not value:
        raise ValueError(f"the {source}{_shown_name(name, usual_name)} is missing or empty")
    return value


def _shown_name(name: str, usual_name: re.Pattern[str]) -> str:
    # A name of another form may be the secret itself, written here by mistake.
    return f" {name}" if usual_name.fullmatch(name) else " that it names"


def _list_of(items: str) -> BeforeValidator:
    """Accept a single text as a list of one."""

    def read(value: object) -> object:
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise ValueError(f"expected a list of {items}")
        return value

    return BeforeValidator(read)


def _number(value: object) -> float:
    if isinstance(value, Unquoted) and value.tag in NUMBERS:
        try:
            return float(value.text.replace("_", ""))
        except ValueError:  # 0x10, 1:30 and .inf are numbers to YAML
            pass
    raise ValueError("expected a number without quotes, such as 8")


def _whole_number(value: object) -> int:
    number = _number(value)
    if not number.is_integer():  # False for infinity as well
        raise ValueError("expected a whole number, such as 8")
    return int(number)


def _boolean(value: object) -> bool:
    text = value.text.lower() if isinstance(value, Unquoted) and value.tag == BOOLEAN else ""
    if text not in _BOOLEANS:
        raise ValueError("expected true or false, without quotes")
    return text == "true"


def _filters(value: object) -> str:
    """Return a mapping as the text of a JSON object."""
    if not isinstance(value, dict):
        raise ValueError("expected a mapping, such as {country: GB}")
    try:
        return filters_text(value, _scalar)
    except InvalidInput as error:
        raise ValueError(str(error)) from None


def _scalar(value: object) -> object:
    """Return a value of YAML as a value of JSON. Values with a form of YAML alone, such as `no`, need quotes."""
    if not isinstance(value, Unquoted):
        return value
    if value.tag == BOOLEAN and value.text.lower() in _BOOLEANS:
        return value.text.lower() == "true"
    if value.tag in NUMBERS:
        with suppress(ValueError):  # 0x10, 1_000 and .inf are numbers to YAML
            return decimal_text(value.text)
    raise InvalidInput("a value has no JSON form: write true, false, null or a number as in JSON, or put it in quotes")


EnvironmentText: TypeAlias = Annotated[str, AfterValidator(_from_environment)]
FileText: TypeAlias = Annotated[str, AfterValidator(_from_file)]
EventTypes: TypeAlias = Annotated[tuple[str, ...], _list_of("event types, such as [case.created, case.*]")]
Schedule: TypeAlias = Annotated[tuple[Duration, ...], _list_of("waits, such as [5s, 1m, 30m]")]
Number: TypeAlias = Annotated[float, PlainValidator(_number)]
WholeNumber: TypeAlias = Annotated[int, PlainValidator(_whole_number)]
Boolean: TypeAlias = Annotated[bool, PlainValidator(_boolean)]
Filters: TypeAlias = Annotated[str, PlainValidator(_filters)]


class _HeaderSource(FileModel):
    """`{env: VARIABLE}` or `{file: …}`."""

    env: EnvironmentText | None = None
    file: FileText | None = None


def _header_value(value: object, info: ValidationInfo[Sources]) -> object:
    if not isinstance(value, dict):
        return value
    source = _HeaderSource.model_validate(value, context=info.context)
    if (source.env is None) == (source.file is None):
        raise ValueError("write `env: VARIABLE` or `file: …`, but not both")
    return source.env or source.file


def _headers(value: object) -> object:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("write each as `Name: value`, or `Name: {env: VARIABLE}` or `{file: …}`")
    return value


def _changes(headers: dict[str, str]) -> Any:
    return tuple(GivenHeader(*header) for header in headers.items())


Headers: TypeAlias = Annotated[
    dict[str, Annotated[str, BeforeValidator(_header_value)]],
    BeforeValidator(_headers),
    AfterValidator(_changes),
]


class _CertificateSource(FileModel):
    """A certificate with its chain, and its key from a file or the environment."""

    certificate_file: FileText
    key_file: FileText | None = None
    key_env: EnvironmentText | None = None


def _certificate(value: Any, info: ValidationInfo[Sources]) -> GivenCertificate:
    source = _CertificateSource.model_validate(value, context=info.context)
    keys = [key for key in (source.key_file, source.key_env) if key is not None]
    if len(keys) != 1:
        raise ValueError("write certificate_file, and key_file or key_env")
    try:
        return read_certificate(source.certificate_file, keys[0])
    except InvalidInput as error:
        raise ValueError(str(error)) from None


Certificate: TypeAlias = Annotated[GivenCertificate, PlainValidator(_certificate)]
