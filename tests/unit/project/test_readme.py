"""The examples of README.md and docs/ are valid: subscription files, events, settings, topics, commands."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from deploy.config.settings_sources import load
from deploy.config.subscription_file import read_file
from deploy.config.wanted_topics import wanted_topics
from deploy.reference.tables import commands
from producers.events.json_reader import EventReader
from schemas.network.egress import ANY_PORT, EgressPolicy
from schemas.senders.sender import load_senders
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import Bounds, check

ROOT = Path(__file__).parents[3]
README, SUBSCRIPTIONS, OPERATIONS = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/subscriptions.md", "docs/operations.md")
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Variables that are no settings: of commands, builds and tests.
OTHER_VARIABLES = {"CONFIG", "STATE", "MYPYC", "TEST_REQUIRE", "KAFKA_SASL_USERNAME", "KAFKA_BOOTSTRAP_SERVERS", ""}


def fences(text: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def here_documents() -> dict[str, str]:
    """Return the files that the first steps write, by name."""
    return dict(re.findall(r"^\$ cat > (\S+) <<END\n(.*?)^END$", README, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    """Every `signpost …` in the code of a page is a command."""

    known = {path for path, _, _ in commands()}
    groups = {path.rpartition(" ")[0] for path in known}
    text = path.read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^(?: {4}|\$ )(.+)$", text, re.MULTILINE)
    shown = [words for line in code for words in re.findall(r"\bsignpost((?: [a-z][a-z-]*)+)", line)]
    for words in shown:
        command = " ".join(["signpost", *words.split()[:2]])
        assert command in known | groups or command.rpartition(" ")[0] in known, command


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_variables_are_settings(path: Path) -> None:
    """Every SIGNPOST_… that a page names is a setting, or one of the other known variables."""
    named = set(re.findall(r"\bSIGNPOST_([A-Z0-9_]*)", path.read_text(encoding="utf-8"))) - {"KAFKA_", "TEST_"}
    assert named <= OTHER_VARIABLES | {key.upper() for key in Settings.model_fields}


def test_every_topic_is_described() -> None:
    """Every topic of Signpost is in the table of docs/operations.md."""
    for topic in wanted_topics(Settings()):
        name = topic.name.removeprefix("signpost.")
        name = re.sub(r"^jobs\..*", "jobs.<delay>", name)
        name = re.sub(r"^\w+\.events", "<sender>.events", name)
        assert f"| `{name}` |" in OPERATIONS


@pytest.mark.parametrize("text", [*fences(SUBSCRIPTIONS, "yaml"), here_documents()["subscriptions.yaml"]])
def test_subscription_files_are_valid(text: str, tmp_path: Path) -> None:
    """The subscription files of the pages are accepted."""
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    found = read_file(tmp_path / "file.yaml", {"ACME_SECRET": "a-secret-of-acme-0123456789"})
    assert found.problems == ()
    policy = EgressPolicy(True, (ip_network("127.0.0.0/8"),), frozenset([ANY_PORT]))
    check(found.drafts, load_senders(), policy, Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC)))


def test_event_is_valid() -> None:
    """The event of the first steps fits its schema."""
    reader = EventReader(load_senders()["zenoo"], lambda: 0, lambda: "evt_1", None)
    [event] = reader.read(here_documents()["event.json"], "event.json")
    assert event.event_type == "case.created"


def test_settings_file_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings file of README.md is accepted."""
    for name in [name for name in os.environ if name.startswith("SIGNPOST_")]:
        monkeypatch.delenv(name)
    [text] = fences(README, "toml")
    (tmp_path / "signpost.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path).settings.start_at == "earliest"


def test_up_json_has_the_right_keys() -> None:
    """The up.json of docs/operations.md has the keys of the real one."""
    [text] = fences(OPERATIONS, "json")
    assert list(json.loads(text)) == ["bootstrap_servers", "pids", "addresses"]
