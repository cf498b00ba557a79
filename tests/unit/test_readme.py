"""README.md says what is so."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from deploy.reference import command_rows, renewed
from deploy.settings import load
from deploy.subscription_file import read_file
from deploy.wanted_topics import wanted_topics
from producers.event_json import EventReader
from schemas.egress import ANY_PORT, EgressPolicy
from schemas.rules import Bounds, check
from schemas.sender import load_senders
from schemas.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def fences(language: str) -> list[str]:
    """Return the texts that stand in fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def here_documents() -> dict[str, str]:
    """Return the files that the first steps write, by name."""
    return dict(re.findall(r"^\$ cat > (\S+) <<END\n(.*?)^END$", README, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("name", ["README.md", "docs/operations.md"])
def test_its_tables_are_those_of_the_code(name: str) -> None:
    """Settings, metrics and kinds of failure are listed as they are; `make docs` writes them anew."""
    text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    assert renewed(text) == text


def test_every_command_is_there() -> None:
    """Every command is in the table of commands."""
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `signpost "))
    names = set(re.findall(r"`(?:signpost )?(?:[a-z-]+ )?([a-z]+)[^`]*`", table))
    assert {name.split()[-1] for name, _ in command_rows()} <= names


def test_every_topic_is_there() -> None:
    """Every topic of Signpost's own is in the table of topics."""
    for topic in wanted_topics(Settings()):
        name = topic.name.removeprefix("signpost.")
        name = re.sub(r"^jobs\..*", "jobs.<delay>", name)
        name = re.sub(r"^\w+\.events", "<sender>.events", name)
        assert f"| `{name}` |" in README


@pytest.mark.parametrize("text", [*fences("yaml"), here_documents()["subscriptions.yaml"]])
def test_its_subscriptions_are_taken(text: str, tmp_path: Path) -> None:
    """The files of subscriptions that it shows are right."""
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    found = read_file(tmp_path / "file.yaml", {"ACME_SECRET": "a-secret-of-acme-0123456789"})
    assert found.problems == ()
    policy = EgressPolicy(True, (ip_network("127.0.0.0/8"),), frozenset([ANY_PORT]))
    check(found.drafts, load_senders(), policy, Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC)))


def test_its_event_is_taken() -> None:
    """The event that it publishes fits its schema."""
    reader = EventReader(load_senders()["zenoo"], lambda: 0, lambda: "evt_1", None)
    [event] = reader.read(here_documents()["event.json"], "event.json")
    assert event.event_type == "case.created"


def test_its_settings_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings file that it shows is right."""
    for name in [name for name in os.environ if name.startswith("SIGNPOST_")]:
        monkeypatch.delenv(name)
    [text] = fences("toml")
    (tmp_path / "signpost.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path).settings.start_at == "earliest"


def test_its_up_json_has_the_right_keys() -> None:
    """The up.json that it shows has the keys of the real one."""
    [text] = fences("json")
    assert list(json.loads(text)) == ["bootstrap_servers", "pids", "addresses"]
