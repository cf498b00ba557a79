"""The command line: help, version, errors and exit codes."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka import KafkaError, KafkaException

from deploy.cli import main as command_line
from deploy.cli.commands import COMMANDS, CommandEntry
from deploy.cli.context import settings_of
from deploy.cli.group import all_commands, hoisted, load_command
from schemas.catalog.errors import InvalidInput, NoResponse, SettingsError, SignpostError, Unavailable
from schemas.input.durations import format_duration
from schemas.records.topics import delays_of
from schemas.senders.sender import load_senders

# Libraries and modules that take long to import.
HEAVY = ["confluent_kafka", "fastavro", "pycares", "httpx", "cryptography", "deploy.config.settings_sources"]


def completing(typed: str) -> dict[str, str]:
    """Return the variables with which bash requests the completion of the last word."""
    words = str(len(typed.split()) - 1)
    return {"_SIGNPOST_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": words}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all variables and settings files except those of the test."""
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
        (Unavailable("no broker responds"), 1),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")), 1),
    ],
)
def test_errors_are_sentences_with_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """Invalid input exits with 2, unavailability with 1, each with one sentence and no traceback."""

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


@pytest.mark.parametrize(
    "error", [NoResponse("no response in time"), KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))]
)
def test_errors_of_silent_brokers_name_their_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """If brokers do not respond, the error has their address and where the setting comes from."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    monkeypatch.setattr("deploy.cli.topics.reachable_admin", fail)
    assert run("topics", "plan") == 1
    assert "bootstrap.servers is kafka.example:9092 (from SIGNPOST_KAFKA_BOOTSTRAP_SERVERS)" in capsys.readouterr().err


def test_every_problem_has_its_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two invalid settings are reported together, in two lines."""
    monkeypatch.setenv("SIGNPOST_PARTITIONS", "0")
    monkeypatch.setenv("SIGNPOST_MAX_BODY", "much")
    assert run("settings") == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error", "error"]


def test_settings_show_origins_and_mask_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`signpost settings` shows values and origins; passwords, keys and user info are masked, with --json as well."""
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
    """`--config` and `--state` before a command choose the settings files."""
    (tmp_path / "given.toml").write_text("partitions = 3\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "signpost.toml").write_text("partitions = 4\nreplication = 1\n")
    assert run("--config", "given.toml", "--state", "state", "settings", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["partitions"]["value"], shown["replication"]["value"]) == (3, 1)
    assert shown["replication"]["origin"] == "state/signpost.toml"


def test_command_reads_settings_once() -> None:
    """All parts of a command see the same settings, even if a file changes meanwhile."""
    seen = []
    app = typer.Typer()
    app.callback()(command_line._options)

    @app.command()
    def twice(ctx: typer.Context) -> None:
        seen.extend([settings_of(ctx), settings_of(ctx)])

    app(["twice"], standalone_mode=False)
    assert seen[0] is seen[1]


@pytest.mark.parametrize(
    ("options", "variables", "expected", "unused"),
    [
        (["--help"], {}, "deliver", ["pydantic", *HEAVY]),
        (["--version"], {}, "signpost 0.", ["pydantic", *HEAVY]),
        ([], completing("signpost del"), "deliver", HEAVY),  # typer itself needs pydantic to complete
    ],
)
def test_help_and_version_load_no_command(
    tmp_path: Path, options: list[str], variables: dict[str, str], expected: str, unused: list[str]
) -> None:
    """`--help`, `--version` and completion of names need no valid settings, load no library and no command's module."""
    (tmp_path / "signpost.toml").write_text("nonsense")
    program = (
        "import sys\n"
        "from deploy.cli.commands import COMMANDS\n"
        "from deploy.cli.main import main\n"
        "code, unused = 0, sys.argv.pop(1).split(',')\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as ended: code = ended.code\n"
        "loaded = {*unused, *(entry.module for entry in COMMANDS)} & set(sys.modules)\n"
        "sys.exit(code or (str(loaded) if loaded else 0))\n"
    )
    command = [sys.executable, "-c", program, ",".join(unused), *options]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout


def test_module_runs_the_command_line() -> None:
    """`python -m deploy.cli.main` is equivalent to `signpost`, also if that is not on the path."""
    command = [sys.executable, "-m", "deploy.cli.main", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("signpost ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_exist_for_each_shell(shell: str) -> None:
    """`--show-completion` prints a script for each shell."""
    environment = {**os.environ, "_SIGNPOST_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "deploy.cli.main"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "_SIGNPOST_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("signpost dead", "dead-letters"), ("signpost deliver --inst", "--instance"), ("signpost topics pl", "plan")],
)
def test_completion_knows_commands_and_options(typed: str, expected: str) -> None:
    """Completion offers commands, and the subcommands and options of a command that is loaded for it."""
    environment = {**os.environ, **completing(typed)}
    command = [sys.executable, "-m", "deploy.cli.main"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["setings"], "Did you mean 'settings'"),
        (["topics", "aply"], "Did you mean 'apply'?"),
        (["nothing-like-it"], "No such command 'nothing-like-it'"),
        (["deliver", "--instanc", "1"], "--instance"),
    ],
)
def test_misspelt_commands_get_a_suggestion(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: list[str], expected: str
) -> None:
    """A misspelt command or option is reported with the nearest one, and exit code 2."""
    monkeypatch.setenv("COLUMNS", "100")
    assert run(*typed) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_table_of_commands_has_their_help(entry: CommandEntry) -> None:
    """The help that `signpost --help` lists for a command is the first paragraph of the command's own help."""
    first, *_ = inspect.cleandoc(load_command(entry).help).split("\n\n")
    assert first.replace("\n", " ") == entry.help


def test_commands_are_listed_panel_by_panel() -> None:
    """The table lists the commands of a panel together, as the help does."""
    panels = [entry.panel for entry in COMMANDS]
    assert panels == sorted(panels, key=panels.index)


@pytest.mark.parametrize(
    ("path", "command"),
    [pytest.param(*found, id=" ".join(found[0])) for found in all_commands()],
)
def test_help_describes_every_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], command: Any
) -> None:
    """Every option and argument has a description, values have plain names, and everything fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*path, "--help") == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert not any(types in shown for types in ("<str>", "<int", "<bool>", "<float", "list[", "{", "[default: (")), (
        shown
    )
    assert [param.name for param in command.params if not param.help and not param.hidden] == []


@pytest.mark.parametrize("named", ["--state", "SIGNPOST_STATE"])
def test_missing_state_folder_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Without the folder, unintended settings would apply: the error names it, and the variable or option."""
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
def test_global_options_may_follow_the_command(given: list[str], parsed: list[str]) -> None:
    """--state and --config are accepted after the command, with their values, but not after `--`."""
    assert hoisted(given) == parsed


def test_help_of_a_schedule_names_the_delays() -> None:
    """The delays of the built-in senders and of deferrals, which all installations have, are in the help."""
    delays = [format_duration(delay) for delay in delays_of(sender.schedule for sender in load_senders().values())]
    for words, command in all_commands():
        for parameter in command.params:
            if words[0] == "subscriptions" and "--schedule" in parameter.opts:
                named = re.findall(r"\b[0-9]+[smh]\b", parameter.help.partition("Each is ")[2])
                assert named == [delay for delay in delays if delay != "0s"]
