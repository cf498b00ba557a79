"""All settings: names, units, defaults and rules. deploy/config/settings_sources.py reads their values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.catalog.errors import SettingsError
from schemas.records.topics import MAX_EVENT, TopicNames
from schemas.settings.kafka_properties import check_property, tuned
from schemas.settings.types import (
    Address,
    DnsServer,
    Duration,
    Network,
    Port,
    Prefix,
    ProxyUrl,
    SealingKey,
    Size,
    StartAt,
    TopicName,
    Url,
)


def _setting(default: Any, description: str, *, unit: str = "", **rules: Any) -> Any:
    """Describe a setting: `unit` is what a bare number counts, empty where there is none."""
    return Field(default=default, description=description, json_schema_extra={"unit": unit}, **rules)


def _count(default: int, description: str, *, unit: str, most: int) -> Any:
    """Describe a setting that counts: from 1 to `most`."""
    return _setting(default, description, unit=unit, ge=1, le=most)


def _wait(
    default: timedelta, description: str, *, least: timedelta = timedelta(0), most: timedelta = timedelta(days=365)
) -> Any:
    """Describe a setting that is a duration."""
    return _setting(default, description, unit="seconds", ge=least, le=most)


class Source(BaseModel):
    """A topic to read events from, and whose events they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: TopicName
    sender: Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """What holds for this installation. Each role is handed plain values of it, never the whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    prefix: Prefix = _setting(
        "signpost.", "All of Signpost's own topics, consumer groups and transactional ids begin with it."
    )
    kafka: dict[str, str] = _setting(
        {}, "Properties of librdkafka by their own names, for every client; bootstrap.servers is needed.", repr=False
    )
    schema_registry_url: Url | None = _setting(
        None, "Where event schemas are looked up; without it events are Avro single-object encoded.", repr=False
    )
    partitions: int = _count(
        12, "Partitions of each own topic, fixed by the first `signpost topics apply`.", unit="partitions", most=1000
    )
    replication: int = _count(3, "Copies of each own topic.", unit="copies", most=10)
    senders: tuple[Path, ...] = _setting(
        (), "Senders of your own beside those that Signpost brings: their folders, or folders that hold such folders."
    )
    sources: tuple[Source, ...] = _setting(
        (), "Topics that events are read from; none: <prefix><sender>.events of each loaded sender."
    )
    start_at: StartAt = _setting(
        "now", "Where a new source is read from: now, earliest, or an ISO 8601 time with its offset from UTC."
    )
    max_event: Size = _setting(MAX_EVENT, "The largest source record.", unit="bytes")
    max_body: Size = _setting(
        256 * 1024, "The largest request body; an event that renders to more is dead.", unit="bytes"
    )
    delay_speedup: float = _setting(
        1,
        "Divides the steps of retry schedules and the waits of delay topics and nothing else; for demos and tests.",
        ge=1,
        le=1_000_000,
        allow_inf_nan=False,
    )
    max_in_flight: int = _count(
        512,
        "Requests at a time, of a delivery process: three eighths for quick endpoints, at most as many for slow ones.",
        unit="requests",
        most=10_000,
    )
    max_in_flight_per_subscription: int = _count(
        16,
        "Requests at a time for a subscription that has no limit of its own; fewer while its endpoint is slow.",
        unit="requests",
        most=10_000,
    )
    max_in_flight_per_host: int = _count(
        128,
        "Requests at a time to one host, of one delivery process; its subscriptions take turns.",
        unit="requests",
        most=10_000,
    )
    max_endpoint_wait: Duration = _wait(
        timedelta(minutes=10),
        "How long an endpoint that asks to be left alone (Retry-After with 429 or 503) is left alone at most.",
        most=timedelta(hours=24),
    )
    max_uncommitted: int = _count(
        5_000,
        "Work finished since the last commit at which no more is begun: what a killed process may repeat.",
        unit="records",
        most=100_000,
    )
    drain_timeout: Duration = _wait(
        timedelta(seconds=35),
        "How long a role that is told to end waits for requests in flight; the longest timeout of a sender and 5 s.",
        most=timedelta(hours=1),
    )
    report_failing_after: Duration = _wait(
        timedelta(hours=1), "How long no attempt of an endpoint has succeeded when `operations` hears of it."
    )
    disable_failing_after: Duration = _wait(
        timedelta(days=5),
        "How long no attempt of an endpoint has succeeded when its subscription is disabled; 0: it never is.",
    )
    disable_gone: bool = _setting(True, "Disable a subscription whose endpoint answers 410.")
    allow_http: bool = _setting(False, "Take http:// URLs as well; for development and private networks.")
    allow_cidrs: tuple[Network, ...] = _setting(
        (), "Networks that endpoints may be in although they are not public, such as 10.20.0.0/16."
    )
    allow_ports: tuple[Port, ...] = _setting((), "Ports of endpoints beside 443 (and 80 for http); 0 stands for any.")
    dns_servers: tuple[DnsServer, ...] = _setting((), "DNS servers that resolve endpoints; none: the system's.")
    dns_timeout: Duration = _wait(
        timedelta(seconds=5),
        "How long a DNS name may take; a name without an answer by then fails with dns_timeout.",
        least=timedelta(seconds=1),
        most=timedelta(seconds=30),
    )
    ca_bundle: Path | None = _setting(
        None, "A file of the certificate authorities (PEM) by which endpoints are trusted; none: the system's."
    )
    proxy: ProxyUrl | None = _setting(
        None,
        "A forward proxy that all deliveries go through: http://host:port or https://host:port, with user:password@ if "
        "it asks for them. The environment's proxies are never used.",
        repr=False,
    )
    proxy_resolves: bool = _setting(
        False,
        "Give the proxy names in place of checked addresses: it then has to refuse internal ones (docs/security.md).",
    )
    max_connections: int = _count(
        1_024,
        "Connections to endpoints that one delivery process holds, idle ones included; at least max_in_flight.",
        unit="connections",
        most=50_000,
    )
    sealing_key: SealingKey | None = _setting(None, "The key that seals webhook secrets: 32 bytes in base64.")
    sealing_key_file: Path | None = _setting(None, "A file that holds the sealing key, in place of the key itself.")
    router_listen: Address = _setting("127.0.0.1:9464", "Where the router serves /metrics, /healthz and /readyz.")
    deliver_listen: Address = _setting("127.0.0.1:9465", "Where delivery serves the same, and /endpoints.")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "The least severe lines that are logged."
    )
    log_format: Literal["auto", "console", "json"] = _setting(
        "auto", "How lines are written to standard error; auto: console on a terminal, json elsewhere."
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
        if self.sealing_key is not None and self.sealing_key_file is not None:
            raise SettingsError("sealing_key and sealing_key_file are both set: keep one of them")
        if self.proxy_resolves and self.proxy is None:
            raise SettingsError("proxy_resolves is set without a proxy: set proxy, or leave proxy_resolves out")
        return self

    @property
    def names(self) -> TopicNames:
        """Names of the own topics."""
        return TopicNames(self.prefix)

    @property
    def bootstrap_servers(self) -> str | None:
        """Addresses of the brokers, if they are set."""
        return self.kafka.get("bootstrap.servers") or None

    def kafka_properties(self) -> dict[str, str]:
        """Return librdkafka's properties for any client; SettingsError if bootstrap.servers is not among them."""
        if self.bootstrap_servers is None:
            raise SettingsError(
                "bootstrap.servers is not set: set SIGNPOST_KAFKA_BOOTSTRAP_SERVERS=host:port, or write it under "
                "[kafka] in signpost.toml, or start a broker and everything else with `signpost up`"
            )
        return tuned(self.kafka)


def flatten_properties(table: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Name nested TOML tables by their dotted keys, and write booleans as librdkafka reads them."""
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
    "extra_forbidden": "there is no such key",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "float_parsing": "write a number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text",
    "tuple_type": "write a list",
}


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return (setting, sentence) for each thing that is wrong, without the values, of which some are secret."""
    problems = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in detail["loc"]) or "settings"
        sentence = detail["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
        problems.append((where, _SENTENCES.get(detail["type"], sentence)))
    return problems


def unit_of(name: str) -> str:
    """Return what a bare number counts in this setting; empty where it counts nothing."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""
