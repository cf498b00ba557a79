"""What the checks of `signpost doctor` return: findings. Also the result of a reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from schemas.catalog.failures import FailureKind

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Area: TypeAlias = Literal[
    "settings",
    "broker",
    "topics",
    "acls",
    "clock",
    "registry",
    "database",
    "sealing_key",
    "subscriptions",
    "endpoint",
]
AREAS: Final[tuple[Area, ...]] = Area.__args__  # type: ignore[attr-defined]  # Literal's values

# What is wrong, for programs. A code is never renamed. For an endpoint without a connection it is the kind of failure.
FindingCode: TypeAlias = (
    Literal[
        "settings_invalid",
        "sender_invalid",
        "source_sender_unknown",
        "drain_timeout_short",
        "ca_bundle_unusable",
        "delays_shortened",
        "metadata_service_allowed",
        "broker_unreachable",
        "brokers_too_few",
        "replication_low",
        "broker_versions_differ",
        "broker_version_old",
        "positions_retention_short",
        "unclean_election",
        "min_insync_low",
        "transaction_timeout_low",
        "transaction_cleanup_slow",
        "topics_unreadable",
        "topic_missing",
        "topic_config",
        "topic_layout",
        "position_missing",
        "source_missing",
        "partition_offline",
        "partition_not_writable",
        "replicas_behind",
        "replicas_few",
        "acl_missing",
        "acl_unknown",
        "clock_differs",
        "clock_unknown",
        "registry_unreachable",
        "registry_refuses",
        "registry_invalid",
        "database_unreachable",
        "database_empty",
        "database_outdated",
        "database_newer",
        "database_version_old",
        "sealing_key_unusable",
        "secret_sealed_with_another_key",
        "secret_broken",
        "api_key_unusable",
        "api_key_unreadable",
        "subscriptions_unreadable",
        "subscription_unreadable",
        "subscription_unusable",
        "subscription_twice",
        "url_refused",
        "subscription_paused",
        "subscription_without_events",
        "endpoint_disabled",
        "endpoint_failing",
        "client_certificate_expires",
        "certificate_expires",
        "test_event_refused",
        "test_event_not_sent",
    ]
    | FailureKind
)


class Severity(StrEnum):
    """How bad a finding is."""

    WARNING = "warning"  # it works, and a promise does not hold, or will not hold soon
    ERROR = "error"  # something does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: what, where, and what to do."""

    severity: Severity
    area: Area
    code: FindingCode
    where: str
    what: str
    do: str


@dataclass(frozen=True, slots=True)
class Observed(Generic[T_co]):
    """A reading succeeded."""

    value: T_co


@dataclass(frozen=True, slots=True)
class NotObserved:
    """A reading failed, or did not end in time."""

    reason: str


Observation: TypeAlias = Observed[T] | NotObserved


def error(area: Area, code: FindingCode, where: str, what: str, do: str) -> Finding:
    """Return an error."""
    return Finding(Severity.ERROR, area, code, where, what, do)


def warning(area: Area, code: FindingCode, where: str, what: str, do: str) -> Finding:
    """Return a warning."""
    return Finding(Severity.WARNING, area, code, where, what, do)


def some_of(names: Sequence[str], shown: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
