"""Every event that `events publish` accepts is shown by every tool, with the digits that it was published with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.dev.broker import Broker
from schemas.avro.json_parser import parse
from schemas.avro.json_writer import compact
from schemas.records.delivery import DeadLetter, DeadLetterCodec
from tests.support.installation import Installation
from tests.support.odd_events import BIG, DATA, native
from tests.support.tools import Commands
from tests.support.topics import read_topic


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    """An installation with events of `standard`."""
    topic = f"{prefix}standard.events"
    return Installation(
        broker.bootstrap_servers, prefix, sources=[{"topic": topic, "sender": "standard"}]
    ).make_topics()


def test_published_events_are_shown_by_all_tools(here: Installation, signpost: Commands, tmp_path: Path) -> None:
    """A file of JSON Lines is published, and tail, its search and JSON, explain and dead-letters show each event."""
    file = tmp_path / "events.jsonl"
    lines = [native(data, f"evt_{number}") for number, data in enumerate(DATA.values())]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    published = signpost("events", "publish", "--sender", "standard", str(file))
    assert (published.code, published.err) == (0, "")
    assert f"{len(DATA)} events published" in published.out

    everything = ("-n", "100")
    shown = signpost("tail", "standard.events", *everything)
    found = signpost("tail", "standard.events", *everything, "--grep", "needle")
    assert (shown.code, found.code) == (0, 0)
    assert len(shown.out.split("\n")) == len(found.out.split("\n")) == len(DATA) + 1
    assert f'"amount_wei":{BIG}' in signpost("tail", "standard.events", "--grep", BIG).out
    assert '"rate":1e400,"minus_zero":-0.0,"price":1.10' in signpost("tail", "standard.events", "--grep", "1e400").out

    objects = [parse(line) for line in signpost("tail", "standard.events", "--json", *everything).out.split("\n")[:-1]]
    by_id = {one["value"]["event_id"]: one["value"]["data"] for one in objects}
    assert [compact(by_id[f"evt_{n}"]) for n in range(len(DATA))] == [compact(parse(text)) for text in DATA.values()]

    for number in range(len(DATA)):
        explained = signpost("explain", f"evt_{number}")
        assert explained.code == 0
        assert f"evt_{number}  note.added of acme" in explained.out

    for message in read_topic(here.bootstrap_servers, f"{here.names.prefix}standard.events"):
        letter = DeadLetter(
            reason="invalid_value", detail="a test", topic=message.topic() or "", partition=0, offset=0, at_ms=0,
            key=message.key(), value=message.value(),
        )  # fmt: skip
        here.produce(here.names.dead, DeadLetterCodec().encode(letter), b"k", partition=0)
    listed = json.loads(signpost("dead-letters", "list", "--json", "--limit", "100").out)
    assert len(listed) == len(DATA)
    for one in listed:
        whole = parse(signpost("dead-letters", "show", one["id"], "--json").out)
        assert compact(whole["record"]["data"]) == compact(by_id[whole["record"]["event_id"]])
        assert signpost("dead-letters", "show", one["id"]).code == 0


def test_file_with_an_event_that_would_be_dead_is_not_published(
    here: Installation, signpost: Commands, tmp_path: Path
) -> None:
    """Neither the large event nor its neighbour is on the topic, and the sentence names file, event and limit."""
    file = tmp_path / "events.jsonl"
    large = native(json.dumps({"t": "x" * 300_000}), "evt_large")
    file.write_text(f"{native('{}', 'evt_small')}\n{large}\n", encoding="utf-8")
    refused = signpost("events", "publish", "--sender", "standard", str(file))
    assert refused.code == 2
    assert f"error: {file}: event evt_large: data: the request body would have 300," in refused.err
    assert read_topic(here.bootstrap_servers, f"{here.names.prefix}standard.events") == []
