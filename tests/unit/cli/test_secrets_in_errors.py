"""Errors for invalid input hold no secret."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from deploy.cli.main import main

pytestmark = pytest.mark.promise(6)

CANARY = "canary-of-wrong-input-4711"
KEY = base64.b64encode(bytes(range(32))).decode()
HEAD = "subscriptions:\n  - id: a\n    sender: zenoo\n    customer_id: acme\n    url: https://example.com/x\n"
TYPES = "    event_types: ['*']\n"
SERVERS = {"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
COMMANDS = (
    ["router"],
    ["deliver"],
    ["topics", "plan"],
    ["subscriptions", "list"],
    ["settings"],
    ["events", "simulate"],
)

FILES = {
    "both": f"{HEAD}{TYPES}    secret: {CANARY}\n    secret_env: X\n",
    "twice": f"{HEAD}{TYPES}    secret: {CANARY}\n    secret: {CANARY}\n",
    "misspelt": f"{HEAD}{TYPES}    secrett: {CANARY}\n",
    "a list": f"{HEAD}{TYPES}    secret: [{CANARY}]\n",
    "a mapping": f"{HEAD}{TYPES}    secret: {{{CANARY}: 1}}\n",
    "an alias": f"{HEAD}{TYPES}    secret: *{CANARY}\n",
    "a tag": f"{HEAD}{TYPES}    secret: !{CANARY} 5\n",
    "an open quote": f'{HEAD}{TYPES}    secret: "{CANARY}\n',
    "a bad escape": f'{HEAD}{TYPES}    secret: "\\q{CANARY}"\n',
    "a colon": f"{HEAD}{TYPES}    secret: {CANARY}: x\n",
    "an indent": f"{HEAD}{TYPES}   secret: {CANARY}\n",
    "too long": f"{HEAD}{TYPES}    secret: {CANARY * 1000}\n",
    "other errors": f"{HEAD}    event_types: [nothing]\n    secret: {CANARY}\n",
    "as a variable": f"{HEAD}{TYPES}    secret_env: {CANARY}\n",
    "as a file": f"{HEAD}{TYPES}    secret_file: {CANARY}\n",
    "in the URL": f"{HEAD.replace('https://example.com/x', f'https://u:{CANARY}@example.com/')}{TYPES}",
    "in the path": f"{HEAD.replace('https://example.com/x', f'http://example.com/{CANARY}?k={CANARY}')}{TYPES}",
    "a tag of YAML": f"{HEAD}{TYPES}    secret: !!{CANARY} 5\n",
    "a control character": f"{HEAD}{TYPES}    secret: {CANARY}\x01\n",
    "no list": f"subscriptions: {CANARY}\n",
    "no mapping": f"{CANARY}\n",
}
SETTINGS_FILES = {
    "an open quote": f'sealing_key = "{CANARY}\n',
    "no quotes": f"sealing_key = {CANARY}\n",
    "a list": f'sealing_key = ["{CANARY}"]\n',
    "not base64": f'sealing_key = "{CANARY}"\n',
    "a property that is a list": f'[kafka]\n"sasl.password" = ["{CANARY}"]\n',
    "a property that is none": f'[kafka]\n"sasl.passwrod" = "{CANARY}"\n',
    "a key that librdkafka refuses": f'[kafka]\n"ssl.key.pem" = "{CANARY}"\n"security.protocol" = "ssl"\n',
    "both keys": f'sealing_key = "{CANARY}"\nsealing_key_file = "x"\n',
    "a registry": f'schema_registry_url = "http//user:{CANARY}@host"\n',
    "a registry of another scheme": f'schema_registry_url = "ftp://user:{CANARY}@host"\n',
    "a key in the wrong table": f'[kafka]\nsealing_key = "{CANARY}"\n',
}
VARIABLES = {
    "not base64": {"SIGNPOST_SEALING_KEY": CANARY},
    "misspelt": {"SIGNPOST_SEALING_KYE": CANARY},
    "several keys": {"SIGNPOST_SEALING_KEYS": CANARY},
    "a key of several": {"SIGNPOST_SEALING_KEYS": f'[{{"id": "a", "key": "{CANARY}"}}]'},
    "a registry": {"SIGNPOST_SCHEMA_REGISTRY_URL": f"user:{CANARY}@host"},
    "a property that is none": {"SIGNPOST_KAFKA_SASL_PASSWROD": CANARY},
    "a key that librdkafka refuses": {"SIGNPOST_KAFKA_SSL_KEY_PEM": CANARY, "SIGNPOST_KAFKA_SECURITY_PROTOCOL": "ssl"},
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, with a broker that no command contacts."""
    monkeypatch.chdir(tmp_path)
    for name, value in SERVERS.items():
        monkeypatch.setenv(name, value)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must refuse its input, and return all its output."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    written = "".join(capsys.readouterr())
    assert ended.value.code in (1, 2), written
    assert "Traceback" not in written
    assert CANARY not in repr(ended.value)
    assert written.strip()
    return written


@pytest.mark.parametrize("name", FILES)
def test_invalid_subscription_file_shows_no_secret(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors for an invalid subscription file hold no secret."""
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", KEY)
    Path("wrong.yaml").write_text(FILES[name])
    assert CANARY not in run(capsys, "subscriptions", "apply", "wrong.yaml")


@pytest.mark.parametrize("name", SETTINGS_FILES)
def test_invalid_settings_file_shows_no_secret(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors for an invalid settings file hold no secret."""
    Path("wrong.toml").write_text(SETTINGS_FILES[name])
    assert CANARY not in run(capsys, "--config", "wrong.toml", "deliver")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", [name for name in VARIABLES if name != "not base64"])
def test_invalid_variable_shows_no_secret(
    name: str, command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command repeats the value of an invalid variable."""
    for variable, value in VARIABLES[name].items():
        monkeypatch.setenv(variable, value)
    assert CANARY not in run(capsys, *command)


def test_invalid_sealing_key_is_not_repeated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid key from a variable or a file is not in the output."""
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", CANARY)
    assert CANARY not in run(capsys, "deliver")
    monkeypatch.delenv("SIGNPOST_SEALING_KEY")
    Path("key").write_text(CANARY)
    Path("key").chmod(0o600)
    monkeypatch.setenv("SIGNPOST_SEALING_KEY_FILE", "key")
    assert CANARY not in run(capsys, "deliver")


def test_displayed_settings_hold_no_secret(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`signpost settings` masks the sealing key, Kafka passwords, and the password in a registry's URL."""
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", KEY)
    monkeypatch.setenv("SIGNPOST_KAFKA_SASL_PASSWORD", CANARY)
    monkeypatch.setenv("SIGNPOST_SCHEMA_REGISTRY_URL", f"https://user:{CANARY}@host/path")
    with pytest.raises(SystemExit) as ended:
        main(["settings"])
    assert ended.value.code == 0
    written = "".join(capsys.readouterr())
    assert CANARY not in written
    assert KEY not in written
    assert "sasl.password" in written
