"""The setting `traces`: off needs nothing, and what is missing or contradictory is an error at the start."""

from __future__ import annotations

import sys

import pytest

from consumers.service.metrics import RouterMetrics
from deploy.roles.tracing import tracing_of
from schemas.catalog.errors import SettingsError
from schemas.settings.settings import Settings
from tests.support.otlp import OtlpReceiver
from tests.support.settings import load_settings

METRICS = RouterMetrics({})


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports fail as in an installation without the extra `tracing`. FastAPI brings `opentelemetry` itself."""
    monkeypatch.delitem(sys.modules, "consumers.service.opentelemetry_spans", raising=False)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)


@pytest.mark.usefixtures("without_the_extra")
def test_traces_are_off_by_default_and_need_nothing() -> None:
    """Without the setting no package is imported."""
    assert Settings().traces == "off"
    assert tracing_of(Settings(), "router", METRICS) is None


@pytest.mark.usefixtures("without_the_extra")
def test_missing_extra_is_named() -> None:
    """The error says what to install."""
    with pytest.raises(SettingsError, match=r'install the extra `tracing` \(pip install "kafka-signpost\[tracing\]"\)'):
        tracing_of(Settings(traces="otlp"), "router", METRICS)


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_other_protocols_are_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A variable that asks for gRPC would otherwise be ignored, and nothing would arrive."""
    monkeypatch.setenv(variable, "grpc")
    with pytest.raises(SettingsError, match=rf"^{variable}: write http/protobuf"):
        tracing_of(Settings(traces="otlp"), "router", METRICS)


@pytest.mark.parametrize("size", ["few", "10"])
def test_invalid_variables_are_errors(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """A queue that is no number, or smaller than a batch, ends the start with a sentence."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", size)
    with pytest.raises(SettingsError, match=r"a variable of OpenTelemetry is invalid: \S+"):
        tracing_of(Settings(traces="otlp"), "router", METRICS)


def test_roles_are_services_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector sees which role made a span."""
    with OtlpReceiver() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        tracing = tracing_of(Settings(traces="otlp"), "router", METRICS)
        assert tracing is not None
        span = tracing.spans.start("one", "internal", 1, parent=None, attributes={})
        assert span is not None
        span.end(2, {})
        tracing.close()
        assert [one.service for one in collector.spans] == ["signpost-router"]


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_ratio_is_a_share(ratio: float) -> None:
    """A ratio outside of 0 to 1 is refused."""
    with pytest.raises(SettingsError, match="traces_ratio"):
        load_settings(traces_ratio=ratio)
