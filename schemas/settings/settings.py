"""All settings: names, units, defaults and rules. deploy/config/settings_sources.py reads their values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.catalog.errors import SettingsError
from schemas.records.topics import MAX_BODY, MAX_EVENT, TopicNames
from schemas.settings.kafka_properties import check_property, tuned
from schemas.settings.types import (
    Address,
    DatabaseUrl,
    DnsServer,
    Duration,
    KeyName,
    LogLevel,
    Network,
    Port,
    Prefix,
    ProxyUrl,
    RegistryUrl,
    SealingKey,
    Size,
    StartAt,
    TopicName,
)

# The settings that give sealing keys; they exclude one another.
SEALING_KEYS: Final = ("sealing_key", "sealing_key_file", "sealing_keys")


def _setting(default: Any, description: str, *, unit: str = "", **rules: Any) -> Any:
    """Describe a setting: `unit` is the unit of a bare number, or empty."""
    return Field(default=default, description=description, json_schema_extra={"unit": unit}, **rules)


def _count(default: int, description: str, *, unit: str, most: int) -> Any:
    """Describe a setting that is a count from 1 to `most`."""
    return _setting(default, description, unit=unit, ge=1, le=most)


def _wait(
    default: timedelta, description: str, *, least: timedelta = timedelta(0), most: timedelta = timedelta(days=365)
) -> Any:
    """Describe a setting that is a duration."""
    return _setting(default, description, unit="seconds", ge=least, le=most)


class EventSource(BaseModel):
    """A topic with events, and the sender of these events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: TopicName
    sender: Annotated[str, Field(min_length=1)]


class NamedKey(BaseModel):
    """One of several sealing keys: the key itself, or a file with it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: KeyName
    key: SealingKey | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> NamedKey:
        if (self.key is None) == (self.file is None):
            raise ValueError(f"{self.id}: write either key or file")
        return self


class Settings(BaseModel):
    """The settings of an installation. Roles get single values, never this object."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    prefix: Prefix = _setting(
        "signpost.", "Prefix of the names of all own topics, consumer groups and transactional ids."
    )
    kafka: dict[str, str] = _setting(
        {}, "Properties of librdkafka by their own names, for every client; bootstrap.servers is required.", repr=False
    )
    schema_registry_url: RegistryUrl | None = _setting(
        None, "Schema registry of the event topics; without one, events have Avro single-object encoding.", repr=False
    )
    partitions: int = _count(
        12,
        "Number of partitions of each own topic; the first `signpost topics apply` fixes it.",
        unit="partitions",
        most=1000,
    )
    replication: int = _count(3, "Replication factor of each own topic.", unit="copies", most=10)
    senders: tuple[Path, ...] = _setting(
        (), "Your own senders, in addition to the built-in ones: their folders, or folders that contain such folders."
    )
    sources: tuple[EventSource, ...] = _setting(
        (), "Topics with events; default: <prefix><sender>.events of each loaded sender."
    )
    start_at: StartAt = _setting(
        "now", "Start position of a new source: now, earliest, or an ISO 8601 time with its offset from UTC."
    )
    max_event: Size = _setting(MAX_EVENT, "Maximum size of a source record.", unit="bytes")
    max_body: Size = _setting(
        MAX_BODY, "Maximum size of a request body; an event with a larger body becomes a dead letter.", unit="bytes"
    )
    delay_speedup: float = _setting(
        1,
        "Divides the delays of retry schedules and delay topics, and nothing else; for demos and tests.",
        ge=1,
        le=1_000_000,
        allow_inf_nan=False,
    )
    max_in_flight: int = _count(
        512,
        "Maximum concurrent requests per delivery process. 3/8 are reserved for responsive endpoints; slow ones may "
        "use up to 3/8.",
        unit="requests",
        most=10_000,
    )
    max_in_flight_per_subscription: int = _count(
        16,
        "Maximum concurrent requests to a subscription without its own limit; fewer while its endpoint is slow.",
        unit="requests",
        most=10_000,
    )
    max_in_flight_per_host: int = _count(
        128,
        "Maximum concurrent requests to one host per delivery process; the subscriptions of the host take turns.",
        unit="requests",
        most=10_000,
    )
    max_endpoint_wait: Duration = _wait(
        timedelta(minutes=10),
        "Maximum wait for an endpoint that sends Retry-After with 429 or 503.",
        most=timedelta(hours=24),
    )
    max_uncommitted: int = _count(
        5_000,
        "Maximum finished but uncommitted records; at this number no new work starts. A killed process repeats them.",
        unit="records",
        most=100_000,
    )
    drain_timeout: Duration = _wait(
        timedelta(seconds=35),
        "How long a stopping role waits for open requests; 5 s more than the longest timeout, or longer.",
        most=timedelta(hours=1),
    )
    report_failing_after: Duration = _wait(
        timedelta(hours=1),
        "An endpoint without a successful attempt for this long is reported on the topic `operations`.",
    )
    disable_failing_after: Duration = _wait(
        timedelta(days=5),
        "A subscription without a successful attempt for this long is disabled; 0: never.",
    )
    disable_gone: bool = _setting(True, "Disable a subscription if its endpoint responds with 410.")
    allow_http: bool = _setting(False, "Allow http:// URLs; for development and private networks.")
    allow_cidrs: tuple[Network, ...] = _setting(
        (), "Networks that are not public and may contain endpoints, such as 10.20.0.0/16."
    )
    allow_ports: tuple[Port, ...] = _setting(
        (), "Allowed ports of endpoints in addition to 443 (and 80 for http); 0: any port."
    )
    dns_servers: tuple[DnsServer, ...] = _setting(
        (), "DNS servers that resolve endpoints; default: those of the system."
    )
    dns_timeout: Duration = _wait(
        timedelta(seconds=5),
        "Timeout for resolving a DNS name; the attempt then fails with dns_timeout.",
        least=timedelta(seconds=1),
        most=timedelta(seconds=30),
    )
    ca_bundle: Path | None = _setting(
        None, "A PEM file of certificate authorities that are trusted for endpoints; default: those of the system."
    )
    proxy: ProxyUrl | None = _setting(
        None,
        "A forward proxy for all deliveries: http://host:port or https://host:port, with user:password@ if the proxy "
        "requires it. Proxies of the environment are never used.",
        repr=False,
    )
    proxy_resolves: bool = _setting(
        False,
        "Send host names to the proxy instead of checked addresses; the proxy then has to refuse internal addresses "
        "(docs/security.md).",
    )
    max_connections: int = _count(
        1_024,
        "Maximum connections to endpoints per delivery process, including idle ones; at least max_in_flight.",
        unit="connections",
        most=50_000,
    )
    sealing_key: SealingKey | None = _setting(None, "Key that seals webhook secrets: 32 bytes in base64.")
    sealing_key_file: Path | None = _setting(None, "File with the sealing key, instead of the key itself.")
    sealing_keys: tuple[NamedKey, ...] = _setting(
        (),
        "Several sealing keys, each with an id and a key or a file: the first seals, each opens what it has sealed.",
    )
    database_url: DatabaseUrl | None = _setting(
        None,
        "Database of the ledger: postgresql://user:password@host/name or sqlite:////path; default: ledger.db in the "
        "state folder.",
        repr=False,
    )
    ledger_retention: Duration = _wait(
        timedelta(days=30),
        "How long the ledger keeps attempts, deliveries and hourly numbers, in whole days; totals stay for ever.",
        least=timedelta(days=1),
        most=timedelta(days=3650),
    )
    api_rate_limit: float = _setting(
        50,
        "Maximum requests a second per API key and API process, a second's worth at once; 0: no limit.",
        unit="requests a second",
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
    )
    router_listen: Address = _setting(
        "127.0.0.1:9464", "Address on which the router serves /metrics, /healthz and /readyz."
    )
    deliver_listen: Address = _setting(
        "127.0.0.1:9465", "Address on which delivery serves the same pages and /endpoints."
    )
    ledger_listen: Address = _setting(
        "127.0.0.1:9466", "Address on which the ledger serves /metrics, /healthz and /readyz."
    )
    api_listen: Address = _setting(
        "127.0.0.1:9467",
        "Address on which the API serves its customers, and /metrics, /healthz and /readyz; a proxy in front of it "
        "ends TLS.",
    )
    log_level: LogLevel = _setting("info", "Minimum severity of log lines: debug, info, warning or error.")
    log_format: Literal["auto", "console", "json"] = _setting(
        "auto", "Format of log lines on standard error; auto: console on a terminal, otherwise json."
    )
    log_successes_per_second: int = _setting(
        0,
        "Maximum log lines per second and process for delivered jobs and for successful API requests; 0: no limit. "
        "Failures always have a line.",
        unit="lines a second",
        ge=0,
        le=1_000_000,
    )

    traces: Literal["off", "otlp"] = _setting(
        "off",
        "Traces of events and deliveries: off, or otlp (OTLP over HTTP), which needs the extra `tracing`. "
        "OpenTelemetry's variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, configure the export.",
    )
    traces_ratio: float = _setting(
        1,
        "Share of the events without a `traceparent` that get a trace. For an event with a `traceparent`, that header "
        "decides.",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _flatten_kafka(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("kafka"), Mapping):
            return {**values, "kafka": flatten_properties(values["kafka"])}
        return values

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        for name in self.kafka:
            check_property(name)
        given = [name for name in SEALING_KEYS if getattr(self, name)]
        if len(given) > 1:
            raise SettingsError(f"{' and '.join(given)} are both set: remove one of them")
        ids = [named.id for named in self.sealing_keys]
        if repeated := next((id_ for id_ in ids if ids.count(id_) > 1), None):
            raise SettingsError(f"sealing_keys: two keys have the id {repeated}")
        if self.proxy_resolves and self.proxy is None:
            raise SettingsError("proxy_resolves is set without a proxy: set proxy, or remove proxy_resolves")
        return self

    @property
    def names(self) -> TopicNames:
        """Names of Signpost's own topics."""
        return TopicNames(self.prefix)

    @property
    def has_sealing_key(self) -> bool:
        """Whether any sealing key is set."""
        return any(getattr(self, name) for name in SEALING_KEYS)

    @property
    def bootstrap_servers(self) -> str | None:
        """Addresses of the brokers; None if they are not set."""
        return self.kafka.get("bootstrap.servers") or None

    def kafka_properties(self) -> dict[str, str]:
        """Return the librdkafka properties for any client; SettingsError if bootstrap.servers is missing."""
        if self.bootstrap_servers is None:
            raise SettingsError(
                "bootstrap.servers is not set: set SIGNPOST_KAFKA_BOOTSTRAP_SERVERS=host:port, or write it under "
                "[kafka] in signpost.toml, or start a broker and everything else with `signpost up`"
            )
        return tuned(self.kafka)


def flatten_properties(table: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested TOML tables with dotted keys, and booleans as librdkafka spells them."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        match value:
            case Mapping():
                flat |= flatten_properties(value, f"{before}{key}.")
            case bool():
                flat[before + key] = str(value).lower()
            case str() | int() | float():
                flat[before + key] = str(value)
            case _:
                raise SettingsError(f"kafka.{before}{key}: write text, a number, or true or false")
    return flat


_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "float_parsing": "write a number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text",
    "tuple_type": "write a list",
}


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return (setting, sentence) for each error. Sentences never contain values, because some are secret."""
    problems = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in detail["loc"]) or "settings"
        sentence = detail["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
        problems.append((where, _SENTENCES.get(detail["type"], sentence)))
    return problems


def unit_of(name: str) -> str:
    """Return the unit of a bare number in this setting, or an empty string."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""
