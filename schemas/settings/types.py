"""Types of settings: the notations of sizes, durations, addresses, networks and times, and their error messages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, SecretStr

from schemas.catalog.errors import InvalidInput
from schemas.input.durations import parse_duration
from schemas.input.sizes import parse_size
from schemas.settings.urls import database_url, proxy_url, registry_url

KEY_BYTES: Final = 32
_LEVELS: Final = {"warn": "warning"}


def _size(value: Any) -> Any:
    return _readable(parse_size, value)


def _duration(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return timedelta(seconds=int(value))
    return _readable(parse_duration, value)


def _readable(parse: Callable[[str], object], value: Any) -> Any:
    """Parse text with errors as ValueError, which pydantic expects. Other types are left to pydantic."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


def _network(value: Any) -> Any:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(str(value))  # as text, because ip_network reads a number as an address
    except ValueError as error:
        raise ValueError(f"{error}; write a network such as 10.20.0.0/16 or fd00::/8") from error


def _start(value: Any) -> Any:
    if value in {"now", "earliest"}:
        return value
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        example = "2026-01-31T12:00:00Z"
        raise ValueError(f"write now, earliest, or a time with its offset, such as {example} (got '{value}')")
    return instant


def _log_level(value: Any) -> Any:
    """Accept any case, and the name that Python and librdkafka have for `warning` as well."""
    if not isinstance(value, str):
        return value
    level = value.strip().lower()
    return _LEVELS.get(level, level)


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"write host:port, such as 127.0.0.1:9464 (got {value!r}); port 0 is any free port")
    return value


def _dns_server(value: str) -> str:
    host, separator, port = value.rpartition(":")
    bare = value if not separator or (":" in host and not host.startswith("[")) else host
    try:
        ip_address(bare.strip("[]"))
    except ValueError as error:
        raise ValueError(f"write an IP address, with :port or without (got {value!r})") from error
    if bare is not value and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port (got {value!r})")
    return value


def _prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value):
        raise ValueError(f"write 1 to 100 letters, digits, dots, underscores or dashes (got {value!r})")
    return value


def _key(value: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode("".join(value.get_secret_value().split()), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("write 32 random bytes in base64, such as the output of `openssl rand -base64 32`")
    return value


Size: TypeAlias = Annotated[int, BeforeValidator(_size), Field(ge=1024, le=100 * 1024 * 1024)]
Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_duration)]
Address: TypeAlias = Annotated[str, AfterValidator(_address)]
DnsServer: TypeAlias = Annotated[str, AfterValidator(_dns_server)]
KeyName: TypeAlias = Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,64}$")]

LogLevel: TypeAlias = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_log_level)]
Network: TypeAlias = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]
Prefix: TypeAlias = Annotated[str, AfterValidator(_prefix)]
ProxyUrl: TypeAlias = Annotated[str, AfterValidator(proxy_url)]
SealingKey: TypeAlias = Annotated[SecretStr, AfterValidator(_key)]
StartAt: TypeAlias = Annotated[Literal["now", "earliest"] | AwareDatetime, BeforeValidator(_start)]
TopicName: TypeAlias = Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,249}$")]
RegistryUrl: TypeAlias = Annotated[str, AfterValidator(registry_url)]
DatabaseUrl: TypeAlias = Annotated[str, AfterValidator(database_url)]
