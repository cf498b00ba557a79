"""The examples of docs/publishing.md and README.md publish an event on a real broker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.dev.broker import Broker
from schemas.senders.event_codec import EventDecoder
from schemas.senders.sender import load_senders
from tests.support.topics import create_topic, read_topic

ROOT = Path(__file__).parents[2]
FENCES, README_FENCES = (
    re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for page in ("docs/publishing.md", "README.md")
)
EXAMPLES = [(FENCES[0], "case.created"), (README_FENCES[0], "alert.escalated")]


@pytest.mark.parametrize(("example", "event_type"), EXAMPLES, ids=["docs/publishing.md", "README.md"])
def test_example_publishes(broker: Broker, prefix: str, example: str, event_type: str) -> None:
    """The example prints the id of an event that is on the topic and readable by its sender."""
    topic = f"{prefix}zenoo.events"
    create_topic(broker.bootstrap_servers, topic, 1)
    code = example.replace("127.0.0.1:9092", broker.bootstrap_servers).replace("signpost.zenoo.events", topic)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    [message] = read_topic(broker.bootstrap_servers, topic)
    event = EventDecoder(load_senders()["zenoo"]).decode(message.value(), lambda: "?")
    assert event.event_id == done.stdout.strip()
    assert event.event_type == event_type


@pytest.mark.parametrize("code", FENCES[1:])
def test_further_code_runs(code: str) -> None:
    """The other examples run, so their imports exist."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
