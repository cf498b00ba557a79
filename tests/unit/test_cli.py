"""The command line itself: help, version, and errors as sentences with their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka import KafkaError, KafkaException
from typer.main import get_command

from deploy.cli import main as command_line
from deploy.cli.context import settings_of
from deploy.cli.group import hoisted
from schemas.errors import InvalidInput, SettingsError, SignpostError, Unavailable


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file but those of the test."""
    for name in [name for name in os.environ if name.startswith("SIGNPOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    code = ended.value.code
    return code if isinstance(code, int) else int(code is not None)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("max_body: is not a size"), 2),
        (InvalidInput("no such event type"), 2),
        (InvalidInput("\x1b[2J is no id"), 2),
        (Unavailable("no broker answers"), 1),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")), 1),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """What was given wrong ends with 2, what does not answer with 1, each with its sentence and no traceback."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    assert run("settings") == code
    printed = capsys.readouterr()
    sentence = str(error) if isinstance(error, SignpostError) else "1/1 brokers are down"
    sentence = sentence.replace("\x1b", "\\x1b")  # nothing in an error moves the cursor
    assert printed.err.startswith("error: ")
    assert sentence in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_all_problems_are_shown_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two wrong settings are two lines, so that they are mended at once."""
    monkeypatch.setenv("SIGNPOST_PARTITIONS", "0")
    monkeypatch.setenv("SIGNPOST_MAX_BODY", "much")
    assert run("settings") == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error", "error"]


def test_settings_are_shown_with_their_places_and_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`signpost settings` says what holds and from where; passwords, keys and user info are masked, as in --json."""
    monkeypatch.setenv("SIGNPOST_KAFKA_SASL_PASSWORD", "canary-1")
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", "Y2FuYXJ5LTIgY2FuYXJ5LTIgY2FuYXJ5LTIgY2FuYS4=")
    monkeypatch.setenv("SIGNPOST_SCHEMA_REGISTRY_URL", "https://user:canary-3@registry.example")
    assert run("settings") == 0
    table = capsys.readouterr().out
    assert run("settings", "--json") == 0
    shown = json.loads(text := capsys.readouterr().out)
    assert shown["kafka.sasl.password"] == {"value": "***", "origin": "SIGNPOST_KAFKA_SASL_PASSWORD", "unit": ""}
    assert shown["sealing_key"]["value"] == "***"
    assert shown["schema_registry_url"]["value"] == "https://***@registry.example"
    assert shown["max_body"] == {"value": 262_144, "origin": "default", "unit": "bytes"}
    for secret in ("canary-1", "Y2FuYXJ5", "canary-3"):
        assert secret not in table + text
    assert "SIGNPOST_SEALING_KEY" in table


def test_global_options_reach_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--config` and `--state` before a command decide which files are read."""
    (tmp_path / "given.toml").write_text("partitions = 3\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "signpost.toml").write_text("partitions = 4\nreplication = 1\n")
    assert run("--config", "given.toml", "--state", "state", "settings", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["partitions"]["value"], shown["replication"]["value"]) == (3, 1)
    assert shown["replication"]["origin"] == "state/signpost.toml"


def test_settings_are_read_once_for_a_command() -> None:
    """All parts of a command see the same settings, even if a file changes meanwhile."""
    seen = []
    app = typer.Typer()
    app.callback()(command_line._options)

    @app.command()
    def twice(ctx: typer.Context) -> None:
        seen.extend([settings_of(ctx), settings_of(ctx)])

    app(["twice"], standalone_mode=False)
    assert seen[0] is seen[1]


def test_help_and_version_need_nothing_else(tmp_path: Path) -> None:
    """`--help` and `--version` answer with a broken settings file and load neither Kafka's library nor pydantic."""
    (tmp_path / "signpost.toml").write_text("nonsense")
    program = (
        "import sys\n"
        "from deploy.cli.main import main\n"
        "try: main([sys.argv[1]])\n"
        "except SystemExit as ended: code = ended.code\n"
        "heavy = {'confluent_kafka', 'pydantic', 'fastavro', 'pycares', 'httpx', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(code or (str(heavy) if heavy else 0))\n"
    )
    for option, expected in (("--help", "deliver"), ("--version", "signpost 0.")):
        command = [sys.executable, "-c", program, option]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout


def test_the_module_is_the_command() -> None:
    """`python -m deploy.cli.main` does what `signpost` does, also where the command is not on the path."""
    command = [sys.executable, "-m", "deploy.cli.main", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("signpost ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete(shell: str) -> None:
    """`--show-completion` prints a script for each shell."""
    environment = {**os.environ, "_SIGNPOST_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "deploy.cli.main"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "_SIGNPOST_COMPLETE" in done.stdout


def test_a_wrong_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt command is answered with the one that was meant, and exit code 2."""
    assert run("setings") == 2
    assert "settings" in capsys.readouterr().err


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all commands with the words by which they are called."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *path, name)


@pytest.mark.parametrize(
    ("path", "command"),
    [pytest.param(*found, id=" ".join(found[0])) for found in commands(get_command(command_line.app))],
)
def test_help_says_what_each_option_is_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], command: Any
) -> None:
    """Each option and argument has a sentence, values are named as people do, and all fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*path, "--help") == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert not any(types in shown for types in ("<str>", "<int", "<bool>", "<float", "list[", "{", "[default: (")), (
        shown
    )
    assert [param.name for param in command.params if not param.help and not param.hidden] == []


@pytest.mark.parametrize("named", ["--state", "SIGNPOST_STATE"])
def test_a_state_folder_that_is_not_there_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Other settings than those that are meant would hold: the error names the folder, and the variable or option."""
    if named == "--state":
        assert run("--state", "nowhere/.signpost", "settings") == 2
    else:
        monkeypatch.setenv(named, "nowhere/.signpost")
        assert run("settings") == 2
    assert f"{named}: there is no folder nowhere/.signpost; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["up", "--state", "d"], ["--state", "d", "up"]),
        (
            ["subscriptions", "apply", "f.yaml", "--state=d", "--prune"],
            ["--state=d", "subscriptions", "apply", "f.yaml", "--prune"],
        ),
        (["topics", "plan", "--config", "c"], ["--config", "c", "topics", "plan"]),
        (["events", "publish", "--", "--state"], ["events", "publish", "--", "--state"]),
        (["settings", "--state"], ["settings", "--state"]),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], parsed: list[str]) -> None:
    """--state and --config are taken after the command as well, with their values, but not what follows `--`."""
    assert hoisted(given) == parsed
