"""The traces of a role, if the settings ask for them. OpenTelemetry is imported only then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from consumers.service.metrics import RoleMetrics
from schemas.catalog.errors import SettingsError
from schemas.settings.settings import Settings

if TYPE_CHECKING:
    from consumers.service.opentelemetry_spans import Tracing

_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"


def tracing_of(settings: Settings, role: str, metrics: RoleMetrics) -> Tracing | None:
    """Start to export traces of a role; None if `traces` is off. SettingsError if that is impossible."""
    if settings.traces == "off":
        return None
    for variable in _PROTOCOLS:
        if (protocol := os.environ.get(variable)) and protocol != _PROTOCOL:
            raise SettingsError(f"{variable}: write {_PROTOCOL}: no other protocol is supported (got {protocol})")
    try:
        from consumers.service.opentelemetry_spans import Tracing  # noqa: PLC0415  # only with traces
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'traces = "otlp" needs the package {error.name}: install the extra `tracing` '
            '(pip install "kafka-signpost[tracing]"), or set traces to off'
        ) from error
    try:
        return Tracing(f"signpost-{role}", settings.traces_ratio, metrics.on_spans)
    except ValueError as error:
        raise SettingsError(f'traces = "otlp": a variable of OpenTelemetry is invalid: {error}') from error
