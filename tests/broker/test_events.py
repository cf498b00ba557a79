"""Events on a real broker: published unchanged, or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.dev.broker import Broker
from producers.events.publisher import EventPublisher
from schemas.catalog.errors import EventError, Unavailable
from schemas.senders.event_codec import EventDecoder
from schemas.senders.header_values import header_id
from tests.contracts.zenoo import DATA, EXAMPLES, ZENOO, event_of, golden
from tests.support.topics import create_topic, end_offsets, read_topic
from tests.support.waiting import wait_until

DECODER = EventDecoder(ZENOO)


@pytest.fixture
def topic(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The event topic of this test's prefix, with three partitions. Commands find it by the environment."""
    name = f"{prefix}zenoo.events"
    create_topic(broker.bootstrap_servers, name, 3)
    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("SIGNPOST_PREFIX", prefix)
    return name


def kafka_of(broker: Broker) -> dict[str, str]:
    return {"bootstrap.servers": broker.bootstrap_servers}


def bodies(broker: Broker, topic: str) -> list[bytes]:
    messages = read_topic(broker.bootstrap_servers, topic)
    return [ZENOO.render(DECODER.decode(message.value(), lambda: "?")) for message in messages]


def run(*arguments: str) -> int:
    """Run the command and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_published_events_are_on_the_topic(broker: Broker, topic: str):
    """Events given as JSON and as objects are on the topic, with the sender's key, partitioned like Java's murmur2."""
    with EventPublisher(kafka_of(broker), sender=ZENOO, topic=topic) as publisher:
        for document in EXAMPLES.values():
            publisher.publish(document | {"customer_id": "acme"})
        publisher.publish(event_of(EXAMPLES["case.closed"]), key="mine")
    assert publisher.published == 15
    expected = [golden(document) for document in EXAMPLES.values()] + [golden(EXAMPLES["case.closed"])]
    assert sorted(bodies(broker, topic)) == sorted(expected)
    partitions = {m.key(): m.partition() for m in read_topic(broker.bootstrap_servers, topic)}
    # Utils.toPositive(Utils.murmur2(key)) % 3 of Kafka's Java client.
    assert partitions == {
        b"cas_xyz789": PARTITIONS["cas_xyz789"],
        b"alt_001": PARTITIONS["alt_001"],
        b"mine": PARTITIONS["mine"],
    }


def murmur2(key: bytes) -> int:
    """Return the hash by which Kafka's Java client partitions (org.apache.kafka.common.utils.Utils.murmur2)."""
    mask = 0xFFFFFFFF
    m = 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


PARTITIONS = {key: (murmur2(key.encode()) & 0x7FFFFFFF) % 3 for key in ("cas_xyz789", "alt_001", "mine")}


@pytest.mark.decision("Z17")
def test_missing_id_and_time_are_filled_in(broker: Broker, topic: str):
    """A generated id is random and has no dot. A missing time is the time of publishing."""
    document = {"event_type": "case.closed", "customer_id": "acme", "data": {"case_token": "c"}}
    with EventPublisher(kafka_of(broker), sender=ZENOO, topic=topic, now_us=lambda: 1_771_236_060_000_000) as publisher:
        ids = {publisher.publish(document).event_id for _ in range(3)}
    assert len(ids) == 3
    assert all(event_id.startswith("evt_") and "." not in event_id for event_id in ids)
    sent = [json.loads(body) for body in bodies(broker, topic)]
    assert {body["event_id"] for body in sent} == ids
    assert {body["created_at"] for body in sent} == {"2026-02-16T10:01:00Z"}


@pytest.mark.decision("Z18")
def test_invalid_event_is_refused_before_it_is_published(broker: Broker, topic: str):
    """Unknown fields and types, a missing customer and a too large event are errors, for JSON and for objects."""
    good = event_of(EXAMPLES["case.closed"])
    with EventPublisher(kafka_of(broker), sender=ZENOO, topic=topic, max_event=1000) as publisher:
        for data in ({"case_token": "c", "risk_scor": 1}, {"case_token": 3}, {"case_token": "c" * 1000}):
            good.data = data
            with pytest.raises(EventError):
                publisher.publish(good)
            with pytest.raises(EventError):
                publisher.publish({"event_type": "case.closed", "customer_id": "acme", "data": data})
        good.data = {"case_token": "c"}
        good.event_type = "case.closd"
        with pytest.raises(EventError, match=r"zenoo has no event type 'case\.closd'"):
            publisher.publish(good)
        good.event_type = "case.closed"
        good.customer_id = ""
        with pytest.raises(EventError, match="customer_id"):
            publisher.publish(good)
    assert publisher.published == 0
    assert read_topic(broker.bootstrap_servers, topic) == []


def test_missing_topic_is_an_error_at_once(broker: Broker, topic: str):
    """Publishing to a missing topic is an error that names the topic and the command that creates it."""
    publisher = EventPublisher(kafka_of(broker), sender=ZENOO, topic=f"{topic}.not")
    with pytest.raises(Unavailable, match=r"\.not does not exist at .*signpost topics apply"), publisher:
        pass


def test_silent_broker_is_an_error():
    """If no broker responds, the error names its address."""
    kafka = {"bootstrap.servers": "127.0.0.1:1", "log_level": "0"}
    publisher = EventPublisher(kafka, sender=ZENOO, topic="t", timeout=timedelta(seconds=1))
    with pytest.raises(Unavailable, match=r"no broker responds at 127\.0\.0\.1:1"), publisher:
        pass


def test_event_rejected_by_the_broker_is_an_error(broker: Broker, prefix: str):
    """An event that the broker rejects is an error, at the latest at the end of the `with` block."""
    create_topic(broker.bootstrap_servers, f"{prefix}small", max_message_bytes="100")
    document = EXAMPLES["case.created"] | {"customer_id": "acme"}
    with (
        pytest.raises(Unavailable, match=r"small: 1 events were not published: .*; 0 were"),
        EventPublisher(kafka_of(broker), sender=ZENOO, topic=f"{prefix}small") as publisher,
    ):
        publisher.publish(document)


def test_command_publishes_the_examples_unchanged(broker: Broker, topic: str, capsys: pytest.CaptureFixture[str]):
    """`signpost events publish` accepts the contract's files, prints each with its event id, and keeps the bodies."""
    files = sorted(str(file) for file in (DATA / "examples/zenoo").glob("*.json"))
    assert run("events", "publish", "--customer", "acme", *files) == 0
    ids = [json.loads(Path(file).read_text(encoding="utf-8"))["event_id"] for file in files]
    expected = [(f"{file}: 1 event published to {topic}", f"  {id_}") for file, id_ in zip(files, ids, strict=True)]
    assert capsys.readouterr().out.splitlines() == [line for lines in expected for line in lines]
    assert sorted(bodies(broker, topic)) == sorted(golden(document) for document in EXAMPLES.values())


def test_file_with_an_error_is_not_published(
    broker: Broker, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One invalid event keeps its whole file from being published, and no other file. The exit code is 2."""
    good = tmp_path / "good.jsonl"
    bad = tmp_path / "bad.json"
    document = EXAMPLES["case.closed"] | {"customer_id": "acme"}
    good.write_text("\n".join(json.dumps(document | {"event_id": f"evt_{n}"}) for n in range(3)), encoding="utf-8")
    bad.write_text(json.dumps([document, document | {"event_id": "evt_x", "data": {}}]), encoding="utf-8")
    assert run("events", "publish", str(bad), str(good), str(tmp_path / "none.json")) == 2
    output = capsys.readouterr()
    assert output.out.splitlines() == [f"{good}: 3 events published to {topic}", "  evt_0", "  evt_1", "  evt_2"]
    assert f"{bad}: event 2 (evt_x): data.case_token: expected a string, found nothing" in output.err
    assert "none.json: cannot be read: No such file or directory" in output.err
    assert {json.loads(body)["event_id"] for body in bodies(broker, topic)} == {"evt_0", "evt_1", "evt_2"}


def test_command_simulates_events(broker: Broker, topic: str, capsys: pytest.CaptureFixture[str]):
    """`signpost events simulate` publishes rate times seconds events of the given customers, all readable."""
    options = ("--rate", "400", "--seconds", "0.5", "--seed", "1", "--customer", "acme", "--customer", "globex")
    assert run("events", "simulate", *options) == 0
    assert capsys.readouterr().out.startswith("200 events in ")
    messages = read_topic(broker.bootstrap_servers, topic)
    assert {DECODER.decode(m.value(), lambda: "?").customer_id for m in messages} == {"acme", "globex"}
    assert len(messages) == 200


def test_published_ids_are_shown(broker: Broker, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The first ids are listed, generated ones too, with a count of the others; --json has all."""
    file = tmp_path / "many.jsonl"
    document = {key: value for key, value in EXAMPLES["case.closed"].items() if key != "event_id"}
    file.write_text("\n".join([json.dumps(document)] * 12), encoding="utf-8")
    assert run("events", "publish", "--customer", "acme", str(file)) == 0
    head, *ids, rest = capsys.readouterr().out.splitlines()
    assert head == f"{file}: 12 events published to {topic}"
    assert rest == "  and 2 more; --json shows all ids"
    found = {DECODER.decode(m.value(), lambda: "?").event_id for m in read_topic(broker.bootstrap_servers, topic)}
    assert len(ids) == 10
    assert {id_.strip() for id_ in ids} < found
    assert run("events", "publish", "--customer", "acme", "--json", str(file), str(tmp_path / "none.json")) == 2
    (published,) = json.loads(capsys.readouterr().out)
    ids = [one["event_id"] for one in published.pop("events")]
    assert published == {"file": str(file), "topic": topic, "published": 12}
    found |= set(ids)
    assert len(found) == 24


def test_published_id_is_shown_in_the_form_of_headers(
    broker: Broker, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """An id that headers cannot contain is shown with the id that receivers see instead."""
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"event_id": "order 7", "event_type": "a", "customer_id": "c", "data": {}}))
    options = ("--sender", "standard", "--topic", topic)
    assert run("events", "publish", *options, str(file)) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"  order 7  (webhook-id: {header_id('order 7')})"
    assert run("events", "publish", *options, "--json", str(file)) == 0
    (published,) = json.loads(capsys.readouterr().out)
    assert published["events"] == [{"event_id": "order 7", "webhook-id": header_id("order 7")}]


def test_wrong_sender_is_named(topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """An event of another product gets the option to give, and is not published."""
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"event_at": "x", "event_type": "case_management_notification_case_closure"}))
    assert run("events", "publish", str(file)) == 2
    assert "zenoo is the wrong sender: this is an event of riskos; give --sender riskos" in capsys.readouterr().err


def test_misspelt_topic_gets_a_suggestion(topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A topic that does not exist is an error with the most similar one."""
    file = tmp_path / "event.json"
    file.write_text(json.dumps(EXAMPLES["case.closed"]))
    assert run("events", "publish", "--topic", topic.replace("events", "evenst"), str(file)) == 1
    assert f"did you mean {topic}?" in capsys.readouterr().err


def test_interrupted_simulation_says_how_many_were_published(broker: Broker, topic: str):
    """Ctrl-C ends a simulation with the number of published events, all of which are on the topic."""
    command = [sys.executable, "-m", "deploy.cli.main", "events", "simulate", "--rate", "200", "--seconds", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: sum(end_offsets(broker.bootstrap_servers, topic).values()) > 10, what="events arrive")
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    count = len(read_topic(broker.bootstrap_servers, topic))
    assert out.startswith(f"{count:,} events of 120,000, stopped by Ctrl-C, in ")
