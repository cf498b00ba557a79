"""Settings that `signpost up` writes into its state folder."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.config.settings_sources import load
from deploy.dev.state import write_settings, write_up
from schemas.settings.settings import EventSource


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SIGNPOST_")]:
        monkeypatch.delenv(name)


def test_written_settings_are_those_of_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every type of value survives the written file; `extra` takes precedence over given settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNPOST_PREFIX", "mine.")
    monkeypatch.setenv("SIGNPOST_DRAIN_TIMEOUT", "1500ms")
    monkeypatch.setenv("SIGNPOST_START_AT", "2026-01-31T12:00:00+01:00")
    monkeypatch.setenv("SIGNPOST_SOURCES", '[{"topic": "cases", "sender": "zenoo"}]')
    monkeypatch.setenv("SIGNPOST_ALLOW_CIDRS", '["10.0.0.0/8"]')
    monkeypatch.setenv("SIGNPOST_SEALING_KEY_FILE", "my.key")
    monkeypatch.setenv("SIGNPOST_DELAY_SPEEDUP", "10")
    monkeypatch.setenv("SIGNPOST_KAFKA_CLIENT_ID", 'a "quoted" name')
    given = load()

    write_settings(tmp_path, given, "127.0.0.1:1", {"delay_speedup": 2.5})
    for name in list(given.origins.values()):
        monkeypatch.delenv(name, raising=False)
    settings = load(tmp_path).settings

    assert settings.prefix == "mine."
    assert settings.drain_timeout == timedelta(seconds=1.5)
    assert settings.start_at == given.settings.start_at
    assert settings.sources == (EventSource(topic="cases", sender="zenoo"),)
    assert settings.allow_cidrs == given.settings.allow_cidrs
    assert settings.sealing_key_file == tmp_path / "my.key"
    assert settings.delay_speedup == 2.5
    assert settings.kafka == {"client.id": 'a "quoted" name', "bootstrap.servers": "127.0.0.1:1"}


def test_secrets_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets stay in their sources, and are named so that other commands can get them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=")
    monkeypatch.setenv("SIGNPOST_KAFKA_SASL_PASSWORD", "canary-1")
    monkeypatch.setenv("SIGNPOST_SCHEMA_REGISTRY_URL", "http://user:canary-2@127.0.0.1:8081")

    withheld = write_settings(tmp_path, load(), "127.0.0.1:1", {})

    assert set(withheld) == {
        "schema_registry_url (SIGNPOST_SCHEMA_REGISTRY_URL)",
        "sealing_key (SIGNPOST_SEALING_KEY)",
        "kafka.sasl.password (SIGNPOST_KAFKA_SASL_PASSWORD)",
    }
    text = (tmp_path / "signpost.toml").read_text(encoding="utf-8")
    assert "canary" not in text
    assert "QUJDREVG" not in text
    assert not (tmp_path / "sealing.key").exists()


@pytest.mark.parametrize("variable", ["SIGNPOST_ALLOW_HTTP", "SIGNPOST_ALLOW_CIDRS", "SIGNPOST_ALLOW_PORTS"])
def test_loopback_is_allowed_only_without_egress_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Loopback endpoints are allowed if none of the three settings is set; otherwise nothing is added."""
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path, load(), "127.0.0.1:1", {})
    open_settings = load(tmp_path).settings
    assert open_settings.allow_http
    assert [str(network) for network in open_settings.allow_cidrs] == ["127.0.0.0/8", "::1/128"]

    monkeypatch.setenv(variable, {"SIGNPOST_ALLOW_HTTP": "false"}.get(variable, "[]"))
    write_settings(tmp_path, load(without=tmp_path / "signpost.toml"), "127.0.0.1:1", {})
    settings = load(tmp_path).settings

    assert (settings.allow_http, settings.allow_cidrs, settings.allow_ports) == (False, (), ())


def test_up_ignores_its_own_file_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the current folder as state folder, the broker of the last run is not treated as given."""
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path, load(), "127.0.0.1:1", {})

    assert load(without=tmp_path / "signpost.toml").settings.bootstrap_servers is None


@pytest.mark.parametrize("role", ["router", "deliver"])
def test_role_with_an_instance_of_up_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str) -> None:
    """A role started by hand with an instance number of a running `up` would fence it, and is refused."""
    write_up(tmp_path, "127.0.0.1:1", {"router": [os.getpid()], "deliver": [os.getpid()]}, {})
    with pytest.raises(SystemExit) as ended:
        main([role, "--state", str(tmp_path), "--instance", "0"])
    assert ended.value.code == 2
    assert f"--instance 0: `signpost up` in {tmp_path} runs this {role} process" in capsys.readouterr().err
