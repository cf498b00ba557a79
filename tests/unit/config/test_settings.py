"""Settings: sources, precedence and error messages."""

from __future__ import annotations

import base64
import os
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.config.sealing_key import sealer_of
from deploy.config.settings_sources import load
from schemas.catalog.errors import InvalidInput, SettingsError
from schemas.input.sizes import parse_size
from schemas.settings.kafka_properties import REFUSED, check_property, property_of_variable
from schemas.settings.settings import Settings, unit_of
from tests.support.settings import load_settings

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all variables and settings files except those of the test."""
    for name in [name for name in os.environ if name.startswith("SIGNPOST_")]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_settings_sources_have_a_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overrides, environment, --config, state folder, current folder, default: each wins over those after it."""
    state, given_file = tmp_path / "state", tmp_path / "given.toml"
    state.mkdir()
    (tmp_path / "here" / "signpost.toml").write_text(
        "partitions = 1\nreplication = 1\nmax_in_flight = 1\nmax_uncommitted = 1\nmax_event = 2000\n"
    )
    (state / "signpost.toml").write_text("partitions = 2\nreplication = 2\nmax_in_flight = 2\nmax_uncommitted = 2\n")
    given_file.write_text("partitions = 3\nreplication = 3\nmax_in_flight = 3\n")
    monkeypatch.setenv("SIGNPOST_PARTITIONS", "4")
    monkeypatch.setenv("SIGNPOST_REPLICATION", "4")
    monkeypatch.setenv("SIGNPOST_STATE", str(state))

    loaded = load(None, given_file, partitions=5)

    settings = loaded.settings
    assert (settings.partitions, settings.replication, settings.max_in_flight, settings.max_uncommitted) == (5, 4, 3, 2)
    assert (settings.max_event, settings.max_body) == (2000, 262_144)
    assert loaded.origin("partitions") == "given"
    assert loaded.origin("replication") == "SIGNPOST_REPLICATION"
    assert loaded.origin("max_in_flight") == str(given_file)
    assert loaded.origin("max_uncommitted") == str(state / "signpost.toml")
    assert loaded.origin("max_event") == "signpost.toml"
    assert loaded.origin("max_body") == "default"


def test_values_have_readable_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and durations take units, lists are JSON, and an empty variable is not set."""
    for name, value in {
        "MAX_BODY": "512KiB",
        "MAX_EVENT": "2097152",
        "DRAIN_TIMEOUT": "1m",
        "ALLOW_CIDRS": '["10.0.0.0/8", "fd00::/8"]',
        "ALLOW_PORTS": "[8443]",
        "START_AT": "2026-01-31T12:00:00Z",
        "SOURCES": '[{"topic": "clm.events", "sender": "zenoo"}]',
        "SCHEMA_REGISTRY_URL": "",
    }.items():
        monkeypatch.setenv(f"SIGNPOST_{name}", value)

    settings = load_settings()

    assert (settings.max_body, settings.max_event) == (524_288, 2_097_152)
    assert settings.drain_timeout == timedelta(minutes=1)
    assert settings.allow_cidrs == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.allow_ports == (8443,)
    assert settings.start_at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert [(source.topic, source.sender) for source in settings.sources] == [("clm.events", "zenoo")]
    assert settings.schema_registry_url is None


def test_bare_numbers_are_bytes_and_seconds() -> None:
    """A size without a unit is in bytes, a duration without one in seconds, in text and in TOML."""
    assert load_settings(max_body="4096", drain_timeout="7").max_body == 4096
    assert load_settings(max_body=4096, drain_timeout=7).drain_timeout == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SIGNPOST_MAX_INFLIGHT", "3", "SIGNPOST_MAX_INFLIGHT.*did you mean SIGNPOST_MAX_IN_FLIGHT"),
        ("SIGNPOST_BOOTSTRAP_SERVERS", "a:1", "did you mean SIGNPOST_KAFKA_BOOTSTRAP_SERVERS"),
        ("SIGNPOST_KAFKA_LINGR_MS", "3", 'SIGNPOST_KAFKA_LINGR_MS: .*"lingr.ms".*CONFIGURATION.md'),
        ("SIGNPOST_KAFKA_FETCH_WAIT_MAX_MS", "soon", "SIGNPOST_KAFKA_FETCH_WAIT_MAX_MS.*fetch.wait.max.ms"),
        ("SIGNPOST_KAFKA_ACKS", "1", "SIGNPOST_KAFKA_ACKS.*acks cannot be set: .*survive"),
        ("SIGNPOST_PARTITIONS", "many", "SIGNPOST_PARTITIONS: write a whole number"),
        ("SIGNPOST_PARTITIONS", "0", "SIGNPOST_PARTITIONS: has to be greater"),
        ("SIGNPOST_ALLOW_PORTS", "8080", "SIGNPOST_ALLOW_PORTS: write a JSON list, such as \\[8080\\]"),
        (
            "SIGNPOST_SENDERS",
            "orders",
            'SIGNPOST_SENDERS: is not JSON; .* such as \\["senders/orders',
        ),
        ("SIGNPOST_ALLOW_CIDRS", "10.0.0.0/8", 'SIGNPOST_ALLOW_CIDRS: is not JSON; write a JSON list, such as \\["10'),
        ("SIGNPOST_ALLOW_CIDRS", '["10.0.0.1/8"]', "host bits set"),
        ("SIGNPOST_ALLOW_PORTS", "[65536]", "SIGNPOST_ALLOW_PORTS: 0: has to be less"),
        ("SIGNPOST_ALLOW_HTTP", "maybe", "SIGNPOST_ALLOW_HTTP: write true or false"),
        ("SIGNPOST_MAX_BODY", "256 KB", "is not a size"),
        ("SIGNPOST_DRAIN_TIMEOUT", "half an hour", "is not a duration"),
        ("SIGNPOST_START_AT", "2026-01-31T12:00:00", "with its offset"),
        ("SIGNPOST_START_AT", "1700000000", "with its offset"),
        ("SIGNPOST_ROUTER_LISTEN", "9464", "host:port"),
        ("SIGNPOST_DNS_SERVERS", '["dns.example"]', "IP address"),
        ("SIGNPOST_DELAY_SPEEDUP", "nan", "SIGNPOST_DELAY_SPEEDUP"),
        ("SIGNPOST_DELAY_SPEEDUP", "0.5", "SIGNPOST_DELAY_SPEEDUP"),
        ("SIGNPOST_PREFIX", "a b", "SIGNPOST_PREFIX"),
    ],
)
def test_invalid_variable_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str) -> None:
    """The error names the variable, the problem and a valid form."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=sentence):
        load_settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max_inflight = 3", "there is no setting max_inflight; did you mean max_in_flight"),
        ("[kafka]\nacks = 1", r"signpost.toml, \[kafka\]: .*acks cannot be set"),
        ("partitions = ", "is not TOML"),
        ("partitions = 'x'\nreplication = 0", "partitions: write a whole number\n.*replication: has to be"),
        ("kafka = 3", "table"),
        (
            "[[sources]]\ntopic = 'a'\nsendr = 'b'",
            "sources.0.sender: is missing\n.*sources.0.sendr: unknown key",
        ),
    ],
)
def test_invalid_file_is_refused_with_all_problems(tmp_path: Path, text: str, sentence: str) -> None:
    """Each error names the file and the key."""
    (tmp_path / "signpost.toml").write_text(text)
    with pytest.raises(SettingsError, match=sentence) as caught:
        load_settings(tmp_path)
    assert str(tmp_path / "signpost.toml") in str(caught.value)


def test_config_file_must_exist_but_state_folder_need_not(tmp_path: Path) -> None:
    """A wrong path in `--config` is an error; a state folder may not exist yet."""
    assert load_settings(tmp_path / "new").partitions == 12
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(None, tmp_path / "none.toml")


def test_kafka_properties_are_merged_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A property of the environment replaces that of the file; nested tables and quoted names are equivalent."""
    (tmp_path / "signpost.toml").write_text(
        '[kafka]\nbootstrap.servers = "file:1"\n"client.id" = "me"\nlog_level = 3\nsocket.keepalive.enable = true\n'
    )
    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", "environment:1")
    loaded = load(tmp_path)
    assert loaded.settings.kafka_properties() == {
        "bootstrap.servers": "environment:1",
        "client.id": "me",
        "log_level": "3",
        "socket.keepalive.enable": "true",
        "reconnect.backoff.max.ms": "1000",
    }
    assert loaded.origin("kafka.bootstrap.servers") == "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS"


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ("BOOTSTRAP_SERVERS", "bootstrap.servers"),
        ("SASL_OAUTHBEARER_CLIENT_SECRET", "sasl.oauthbearer.client.secret"),
        ("LOG_LEVEL", "log_level"),
        ("LOG__LEVEL", "log_level"),
    ],
)
def test_every_kafka_property_has_a_variable(rest: str, name: str) -> None:
    """One underscore stands for a dot, two for an underscore; both forms of log_level work."""
    assert property_of_variable(rest) == name


@pytest.mark.parametrize("name", [*REFUSED, "stats_cb", "error_cb", "Bootstrap Servers", ""])
def test_reserved_kafka_properties_are_refused(name: str) -> None:
    """Properties that would break a promise, or that only a program can set, cannot be set."""
    with pytest.raises(SettingsError, match=r"cannot be set: \w+|is not the name"):
        check_property(name)


def test_missing_broker_setting_is_explained() -> None:
    """A command that needs a broker names the variable to set."""
    with pytest.raises(SettingsError, match="SIGNPOST_KAFKA_BOOTSTRAP_SERVERS=host:port"):
        load_settings().kafka_properties()


def test_unrelated_variables_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables of tests, of the state folder, and of Kubernetes for a service called signpost are no settings."""
    monkeypatch.setenv("SIGNPOST_TEST_REQUIRE", "node")
    monkeypatch.setenv("SIGNPOST_STATE", str(tmp_path))
    monkeypatch.setenv("SIGNPOST_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("SIGNPOST_KAFKA_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("SIGNPOST_ROUTER_PORT_9464_TCP_ADDR", "10.0.0.1")
    assert load_settings() == Settings()


def test_sealing_key_replaces_key_file_of_lower_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment replaces the key file in a file; both in one source are an error."""
    (tmp_path / "signpost.toml").write_text('sealing_key_file = "key"\n')
    assert load_settings(tmp_path).sealing_key_file == tmp_path / "key"
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", KEY)
    settings = load_settings(tmp_path)
    assert settings.sealing_key is not None
    assert settings.sealing_key_file is None
    monkeypatch.setenv("SIGNPOST_SEALING_KEY_FILE", "key")
    with pytest.raises(SettingsError, match="remove one of them"):
        load_settings(tmp_path)


@pytest.mark.promise(6)
def test_errors_and_reprs_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a wrong sealing key nor a password appears in printed settings or in errors."""
    monkeypatch.setenv("SIGNPOST_KAFKA_SASL_PASSWORD", "canary-password")
    monkeypatch.setenv("SIGNPOST_SCHEMA_REGISTRY_URL", "http://user:canary-user@registry.example")
    assert "canary" not in repr(load_settings(sealing_key=KEY))
    assert KEY not in repr(load_settings(sealing_key=KEY))
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", "canary-key")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "canary" not in str(caught.value)


def test_every_setting_has_a_description() -> None:
    """Each description is a sentence; counts and durations have a unit."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert re.fullmatch(r"[A-Z].*\.", field.description), name
        if field.annotation is int or isinstance(field.default, timedelta):
            assert unit_of(name), name


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("1000B", 1_000), ("256KiB", 262_144), ("3GiB", 3 * 2**30)])
def test_size_is_bytes_or_a_number_with_a_unit(text: str, size: int) -> None:
    """A size without a unit is in bytes; units are powers of 1,024."""
    assert parse_size(text) == size


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_an_error(text: str) -> None:
    """Any text gives a size or InvalidInput."""
    with suppress(InvalidInput):
        assert parse_size(text) >= 0


@pytest.mark.parametrize(
    ("given", "level"),
    [("INFO", "info"), ("Debug", "debug"), ("warn", "warning"), ("WARNING", "warning"), ("error", "error")],
)
def test_log_level_has_any_case(monkeypatch: pytest.MonkeyPatch, given: str, level: str) -> None:
    """Log levels are accepted in any case, as other programs spell them; others are refused with the list."""
    monkeypatch.setenv("SIGNPOST_LOG_LEVEL", given)
    assert load_settings(None, None).log_level == level
    monkeypatch.setenv("SIGNPOST_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match=r"SIGNPOST_LOG_LEVEL: has to be 'debug', 'info', 'warning' or 'error'"):
        load_settings(None, None)


def test_byte_order_mark_is_no_part_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of settings and of keys, and secrets in variables, lose a byte order mark."""
    (tmp_path / "signpost.toml").write_text('sealing_key_file = "key"\n', encoding="utf-8-sig")
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n", encoding="utf-8-sig")
    key.chmod(0o600)
    monkeypatch.setenv("SIGNPOST_KAFKA_SASL_PASSWORD", "\ufeffpassword")
    settings = load_settings(tmp_path)
    assert settings.kafka["sasl.password"] == "password"
    sealer = sealer_of(settings)
    place = {"topic": "t", "subscription_id": "s", "secret_id": "i"}
    assert sealer.open(sealer.seal("secret", **place), **place) == "secret"
