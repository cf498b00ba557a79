"""Sources of settings, highest precedence first: overrides, the environment, files, defaults.

Files are TOML. Up to three are read, highest precedence first: the one given by `--config`, `signpost.toml` in the
state folder, `signpost.toml` in the current folder. Kafka properties are merged one by one. Unknown settings are
refused, so that a misspelt name does not leave a default in place unnoticed.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException, Producer
from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from deploy.config.secret_text import without_bom
from schemas.catalog.errors import SettingsError
from schemas.input.suggestions import did_you_mean
from schemas.settings.kafka_properties import check_property, property_of_variable
from schemas.settings.settings import SEALING_KEYS, Settings, flatten_properties, problems_of

FILE_NAME: Final = "signpost.toml"
PREFIX: Final = "SIGNPOST_"
KAFKA_PREFIX: Final = "SIGNPOST_KAFKA_"
STATE_VARIABLE: Final = "SIGNPOST_STATE"
CONFIG_VARIABLE: Final = "SIGNPOST_CONFIG"
DEFAULT: Final = "default"
# Variables of Signpost that are not settings: where settings are, the build, the tests.
_OTHER_VARIABLES: Final = (STATE_VARIABLE, CONFIG_VARIABLE, "SIGNPOST_MYPYC", "SIGNPOST_TEST_REQUIRE")
# Examples of settings that are lists. A variable has them as JSON.
_LISTS: Final = {
    "senders": '["senders/orders"]',
    "sources": '[{"topic": "cases", "sender": "zenoo"}]',
    "allow_cidrs": '["10.0.0.0/8"]',
    "allow_ports": "[8080]",
    "dns_servers": '["10.0.0.53"]',
    "sealing_keys": '[{"id": "2026", "file": "2026.key"}, {"id": "2025", "file": "2025.key"}]',
}
# Kubernetes sets such variables in each pod for a service named signpost…: SIGNPOST_PORT, SIGNPOST_ROUTER_SERVICE_HOST.
_SERVICE_LINK: Final = re.compile(r".*_SERVICE_HOST|.*_SERVICE_PORT(_.*)?|.*_PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?")


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one source: values, Kafka properties, and the origin of each by key."""

    values: dict[str, Any]
    kafka: dict[str, str]
    origins: dict[str, str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and their origins, by key and by `kafka.<property>`. Defaults have no origin."""

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, key: str) -> str:
        """Return the origin of a key's value."""
        return self.origins.get(key, DEFAULT)


class _Variables(Settings, BaseSettings):
    """The settings for pydantic-settings, which reads them from variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, case_sensitive=False, env_ignore_empty=True)


def load(
    state: Path | None = None, file: Path | None = None, *, without: Path | None = None, **overrides: Any
) -> Loaded:
    """Return the merged settings and their origins.

    `state` is the state folder (SIGNPOST_STATE if None), `file` a file that must exist. `overrides` have the highest
    precedence. `without` is a file that is not read even if it is in the current folder.
    """
    layers = list(_layers(state, file, without, overrides))
    values: dict[str, Any] = {}
    kafka: dict[str, str] = {}
    origins: dict[str, str] = {}
    for layer in reversed(layers):
        if any(key in layer.values for key in SEALING_KEYS):
            for key in SEALING_KEYS:  # they exclude one another: the higher layer wins
                values.pop(key, None)
                origins.pop(key, None)
        values |= layer.values
        kafka |= layer.kafka
        origins |= layer.origins
    try:
        settings = Settings(**values, kafka=kafka)
    except ValidationError as error:
        lines = (_problem(name, sentence, origins) for name, sentence in problems_of(error))
        raise SettingsError("\n".join(lines)) from None  # the cause contains values, which may be secret
    _check_with_librdkafka(settings.kafka, origins)
    return Loaded(settings, origins)


def _layers(
    state: Path | None, file: Path | None, without: Path | None, overrides: Mapping[str, Any]
) -> Iterator[Layer]:
    if state is None and os.environ.get(STATE_VARIABLE):
        state = Path(os.environ[STATE_VARIABLE])
    given = {key: value for key, value in overrides.items() if value is not None}
    yield _layer(given, "given", lambda key: key)
    yield _environment()
    files = [file] if file else []
    files += [path for folder in (state, Path()) if folder and (path := folder / FILE_NAME).is_file()]
    seen = {without.resolve()} if without else set()
    for path in files:
        if path.resolve() not in seen:
            seen.add(path.resolve())
            yield _file(path)


def _layer(values: Mapping[str, Any], place: str, name_of: Any) -> Layer:
    """Separate Kafka properties from other values; `name_of` returns the name of a key in this source."""
    rest = {key: value for key, value in values.items() if key != "kafka"}
    for key in rest:
        if key not in Settings.model_fields:
            raise SettingsError(
                f"{place}: there is no setting {name_of(key)}{did_you_mean(key, Settings.model_fields)}"
            )
    kafka = values.get("kafka", {})
    if not isinstance(kafka, Mapping):
        raise SettingsError(f"{place}: kafka is a table of properties, such as [kafka] with bootstrap.servers in it")
    properties = flatten_properties(kafka)
    _check_properties(properties, lambda name: f"{place}, [kafka]")
    origins = dict.fromkeys([*rest, *(f"kafka.{name}" for name in properties)], place)
    return Layer(rest, properties, origins)


def _file(path: Path) -> Layer:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name a file that exists") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise SettingsError(f"{path}: is not TOML: {error}") from error
    # Relative paths start at the folder of the file.
    if isinstance(folders := values.get("senders"), list):
        values["senders"] = [path.parent / str(folder) for folder in folders]
    for key in ("sealing_key_file", "ca_bundle"):
        if isinstance(file := values.get(key), str):
            values[key] = path.parent / file
    for named in keys if isinstance(keys := values.get("sealing_keys"), list) else ():
        if isinstance(named, dict) and isinstance(file := named.get("file"), str):
            named["file"] = path.parent / file
    return _layer(values, str(path), lambda key: key)


def _environment() -> Layer:
    """Read all variables that begin with SIGNPOST_. An empty one is not set."""
    kafka: dict[str, str] = {}
    origins: dict[str, str] = {}
    for variable, value in os.environ.items():
        if not variable.startswith(PREFIX) or not value or _is_ignored(variable, value):
            continue
        if variable.startswith(KAFKA_PREFIX):
            name = property_of_variable(variable.removeprefix(KAFKA_PREFIX))
            _check_properties([name], lambda _, variable=variable: variable)
            kafka[name] = without_bom(value)
            origins[f"kafka.{name}"] = variable
        elif variable.removeprefix(PREFIX).lower() not in Settings.model_fields or variable == "SIGNPOST_KAFKA":
            _refuse_variable(variable)
    try:
        values = EnvSettingsSource(_Variables)()
    except UnreadableVariable as error:
        field = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "…")
        raise SettingsError(f"{_variable(field)}: is not JSON; write {_example(field)}") from None
    origins |= {key: _variable(key) for key in values}
    return Layer(values, kafka, origins)


def _is_ignored(variable: str, value: str) -> bool:
    if variable in _OTHER_VARIABLES or variable.startswith("SIGNPOST_TEST_"):
        return True
    return bool(_SERVICE_LINK.fullmatch(variable)) or (variable.endswith("_PORT") and value.startswith("tcp://"))


def _refuse_variable(variable: str) -> None:
    known = [*(_variable(name) for name in Settings.model_fields if name != "kafka"), *_OTHER_VARIABLES]
    hint = did_you_mean(variable, [*known, "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS"])
    hint = hint or "; `signpost settings` lists all"
    raise SettingsError(f"{variable}: there is no such setting{hint}")


def _check_properties(names: Any, where: Any) -> None:
    for name in names:
        try:
            check_property(name)
        except SettingsError as error:
            raise SettingsError(f"{where(name)}: {error}") from None


def _check_with_librdkafka(properties: Mapping[str, str], origins: Mapping[str, str]) -> None:
    """Validate the properties with the installed librdkafka, which knows its names and values."""
    checked = {name: value for name, value in properties.items() if name != "bootstrap.servers"}
    if checked.get("sasl.mechanism", checked.get("sasl.mechanisms")) == "OAUTHBEARER":
        # A client with this mechanism fetches a token at once.
        checked = {name: value for name, value in checked.items() if not name.startswith(("sasl.", "security."))}
    if not checked:
        return
    try:
        Producer({**checked, "log_level": 0})
    except KafkaException as error:
        text = error.args[0].str()
        name = next((name for name in checked if f'"{name}"' in text), "")
        hint = "; librdkafka's CONFIGURATION.md lists the names" if "No such configuration property" in text else ""
        where = origins.get(f"kafka.{name}", "Kafka properties")
        raise SettingsError(f"{where}: librdkafka: {text}{hint}") from None


def _where(name: str, origins: Mapping[str, str]) -> str:
    key, _, inside = name.partition(".")
    origin = origins.get(key, DEFAULT)
    if origin.startswith(PREFIX):
        return f"{origin}: {inside}" if inside else origin
    return f"{origin}: {name}"


def _problem(name: str, sentence: str, origins: Mapping[str, str]) -> str:
    if name in _LISTS and origins.get(name, DEFAULT).startswith(PREFIX):
        sentence = f"write {_example(name)}"
    return f"{_where(name, origins)}: {sentence}"


def _example(key: str) -> str:
    return f"a JSON list, such as {_LISTS.get(key, '[…]')}"


def _variable(key: str) -> str:
    return PREFIX + key.upper()
