"""What subscriptions of the documented products can say: commands on a real broker, and what receivers then get."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.dev.broker import Broker
from deploy.dev.responses import CannedResponse, always
from producers.events.publisher import EventPublisher
from producers.subscriptions.changes import Apply, Change, Command, Delete, Resume, Rotate
from schemas.catalog.errors import SubscriptionError
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import Draft, Given, NoSecret
from tests.contracts.senders import SENDERS, reader
from tests.support.installation import Installation
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import RoleStarter
from tests.support.subscriptions import AUTHOR, KEY, draft, present
from tests.support.tools import Commands
from tests.support.topics import read_topic, remove_topics
from tests.support.waiting import wait_until

# Retries of Diligent after 0.05, 3, 18 s and more.
SPEEDUP = 100
WHERE = ("--customer", "acme", "--url", "https://hooks.acme.example/x")
FILTERS = '{"country":["GB","DE"],"score":{"min":0.70,"max":123456789012345678901234567890}}'
FILE = """
subscriptions:
  - {id: quiet, sender: diligent, customer_id: acme, url: https://x.example/, event_types: [], secret: none}
  - id: later
    sender: diligent
    customer_id: acme
    url: https://x.example/
    event_types: [search_completed]
    secret_env: ACME_SECRET
    paused: true
  - id: one
    sender: onboarding
    customer_id: acme
    url: https://x.example/
    event_types: all
    filters: {country: [GB, DE], score: {min: 0.70, max: 123456789012345678901234567890}}
"""


@pytest.fixture
def signpost(here: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    """The commands, with a sealing key and a secret in the environment."""
    monkeypatch.chdir(tmp_path)
    return Commands(
        {**here.env, "SIGNPOST_SEALING_KEY": base64.b64encode(KEY).decode(), "ACME_SECRET": SECRET}, monkeypatch
    )


def listed(signpost: Commands) -> dict[str, dict[str, Any]]:
    result = signpost("subscriptions", "list", "--json")
    assert result.code == 0, result.err
    assert FILTERS in result.out or "country" not in result.out
    return {one["id"]: one for one in json.loads(result.out)}


def field(signpost: Commands, id_: str, name: str) -> str:
    shown = signpost("subscriptions", "show", id_).out
    (value,) = re.findall(rf"^{name}: +(.*)$", shown, re.MULTILINE)
    return str(value)


def test_diligent_by_options(signpost: Commands) -> None:
    """A subscription is created without event types, without a secret and paused, gets them, and loses them again."""
    created = signpost("subscriptions", "create", "d1", "--sender", "diligent", *WHERE, "--paused")
    assert created.code == 0, created.err
    assert "+ d1  acme  hooks.acme.example  created (paused)" in created.out
    assert "subscription d1: it has no event types and receives nothing" in created.err
    one = listed(signpost)["d1"]
    assert (one["event_types"], one["secrets"], one["state"], one["filters"]) == ([], [], "paused", {})
    assert field(signpost, "d1", "event_types") == "none: it receives nothing"
    assert field(signpost, "d1", "secrets") == "none: requests are not signed"
    assert signpost("subscriptions", "list").out.splitlines()[1].split()[-2:] == ["paused", "none"]

    given = signpost("subscriptions", "update", "d1", "-e", "search_completed", "-e", "flow_run_failed")
    assert (given.code, given.err) == (0, "")
    assert signpost("subscriptions", "rotate", "d1", "--secret-env", "ACME_SECRET").code == 0
    assert listed(signpost)["d1"]["event_types"] == ["search_completed", "flow_run_failed"]
    for command in (("update", "d1", "--no-secret"), ("rotate", "d1", "--no-secret")):
        assert signpost("subscriptions", "rotate", "d1", "--secret-env", "ACME_SECRET").code == 0
        assert len(listed(signpost)["d1"]["secrets"]) == 1
        removed = signpost("subscriptions", *command)
        assert (removed.code, "(secret)" in removed.out) == (0, True), removed.err
        assert "its secret is removed; from the next attempt on its requests are not signed" in removed.err
        assert listed(signpost)["d1"]["secrets"] == []
        again = signpost("subscriptions", *command)
        assert ("unchanged" in again.out, again.err) == (True, "")
    emptied = signpost("subscriptions", "update", "d1", "--no-event-types")
    assert "it has no event types and receives nothing" in emptied.err
    assert listed(signpost)["d1"]["event_types"] == []


@pytest.mark.decision("O43")
def test_onboarding_by_options(signpost: Commands) -> None:
    """A subscription takes one event type or `all`; its filters are stored, returned as given, changed and removed."""
    for number, types in enumerate(((), ("-e", "all"), ("-e", "case.opened"))):
        options = ("--sender", "onboarding", *WHERE, *types, "--filters", FILTERS)
        assert signpost("subscriptions", "create", f"o{number}", *options).code == 0
    found = listed(signpost)
    assert [one["event_types"] for one in found.values()] == [["all"], ["all"], ["case.opened"]]
    assert all(one["filters"] == json.loads(FILTERS) for one in found.values())
    assert field(signpost, "o0", "filters") == FILTERS
    assert signpost("subscriptions", "update", "o0", "--filters", FILTERS).out.split()[-1] == "unchanged"
    assert "changed (filters)" in signpost("subscriptions", "update", "o0", "--filters", '{"a": true}').out
    assert listed(signpost)["o0"]["filters"] == {"a": True}
    assert signpost("subscriptions", "pause", "o0").code == 0
    assert listed(signpost)["o0"]["filters"] == {"a": True}
    assert signpost("subscriptions", "update", "o0", "--filters", "{}").code == 0
    assert (listed(signpost)["o0"]["filters"], field(signpost, "o0", "filters")) == ({}, "none")
    (line,) = [line for line in signpost("tail", "subscriptions").out.splitlines() if '\\"a\\":true' in line][:1]
    assert "filters=" in line


FORBIDDEN = [
    (("onboarding", "-e", "case.opened", "-e", "batch.*"), "takes exactly one event type, or 'all' (got 2)"),
    (("onboarding", "-e", "batch.*"), "'batch.*' is not an event type"),
    (("onboarding", "-e", "*"), "'*' is not an event type"),
    (("onboarding", "--no-event-types"), "takes exactly one event type, or 'all' (got 0)"),
    (("onboarding", "--no-secret"), "sender onboarding signs every request; a subscription needs a secret"),
    (("onboarding", "--filters", "[1]"), "filters: expected a JSON object"),
    (("onboarding", "--filters", "country=GB"), "filters: not JSON"),
    (("diligent", "--filters", '{"a": 1}'), "subscriptions of sender diligent have no filters"),
    (("diligent", "--no-event-types", "-e", "search_completed"), "--no-event-types excludes --event-type"),
    (("zenoo", "--no-event-types"), "event_types is empty"),
]


def test_forbidden_options_are_refused(signpost: Commands) -> None:
    """`create` and `update` refuse what the sender forbids with one error and exit code 2, and write nothing."""
    for sender in {sender for (sender, *_), _ in FORBIDDEN}:
        assert signpost("subscriptions", "create", f"of-{sender}", "--sender", sender, *WHERE).code == 0
    before = listed(signpost)
    for (sender, *rest), expected in FORBIDDEN:
        for command in (("create", "new", "--sender", sender, *WHERE), ("update", f"of-{sender}")):
            refused = signpost("subscriptions", *command, *rest)
            assert (refused.code, refused.err.count("error:")) == (2, 1), (command, rest)
            assert expected in refused.err
    assert listed(signpost) == before


def test_no_secret_excludes_a_secret(signpost: Commands) -> None:
    """`create` and `rotate` with a secret and `--no-secret` are refused; the secret is not printed."""
    secret = ("--no-secret", "--secret-env", "ACME_SECRET")
    for command in (("create", "a", "--sender", "diligent", *WHERE, *secret), ("rotate", "a", *secret)):
        refused = signpost("subscriptions", *command)
        assert refused.code == 2
        assert "--no-secret excludes --secret-env and --secret-file" in refused.err
        assert SECRET not in refused.out + refused.err
    assert signpost("subscriptions", "create", "a", "--sender", "riskos", *WHERE).code == 0
    refused = signpost("subscriptions", "rotate", "a", "--no-secret", "--keep", "24h")
    assert (refused.code, "the present secret cannot be kept" in refused.err) == (2, True)


def test_file_is_applied_once_and_then_changes_nothing(here: Installation, signpost: Commands, tmp_path: Path) -> None:
    """A file says all of it; the second apply writes nothing, and a file without the pause does not resume."""
    file = tmp_path / "subs.yaml"
    file.write_text(FILE)
    first = signpost("subscriptions", "apply", str(file))
    assert (first.code, first.out.splitlines()[-1]) == (0, "3 created"), first.err
    found = listed(signpost)
    assert (found["quiet"]["event_types"], found["quiet"]["secrets"]) == ([], [])
    assert (found["later"]["state"], len(found["later"]["secrets"])) == ("paused", 1)
    assert (found["one"]["event_types"], found["one"]["filters"]) == (["all"], json.loads(FILTERS))
    before = [record.value() for record in read_topic(here.bootstrap_servers, here.names.subscriptions)]
    for text in (FILE, FILE.replace("    paused: true\n", "")):
        file.write_text(text)
        assert signpost("subscriptions", "apply", str(file)).out.splitlines()[-1] == "3 unchanged"
    assert [record.value() for record in read_topic(here.bootstrap_servers, here.names.subscriptions)] == before

    file.write_text(FILE.replace("secret_env: ACME_SECRET", "secret: none").replace("paused: true", "paused: false"))
    changed = signpost("subscriptions", "apply", str(file))
    assert "~ later  acme  x.example  changed (secret, paused)" in changed.out
    assert "subscription later: its secret is removed" in changed.err
    assert signpost("subscriptions", "apply", str(file)).out.splitlines()[-1] == "3 unchanged"
    file.write_text(FILE.replace("event_types: all", "event_types: [case.opened, case.resolved]"))
    refused = signpost("subscriptions", "apply", str(file))
    assert (refused.code, "subscription one: event_types: a subscription of sender" in refused.err) == (2, True)


def test_writer_refuses_what_the_sender_forbids(make_writer) -> None:
    """Without any check before it, the writer writes nothing that the rules of the sender forbid."""
    writer = make_writer()
    good = replace(draft("a"), sender="onboarding", event_types=("case.opened",))
    wrong: list[Command] = [
        Apply(replace(good, event_types=("case.opened", "batch.*"))),
        Apply(replace(draft("b"), secret=NoSecret())),
        Apply(replace(draft("c"), filters='{"a":1}')),
    ]
    with pytest.raises(SubscriptionError) as caught:
        writer.write(wrong, AUTHOR)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == ["event_types", "secret", "filters"]
    writer.write([Apply(good)], AUTHOR)
    with pytest.raises(SubscriptionError, match="'\\*' is not an event type"):
        writer.write([Change("a", Changes(event_types=("*",)))], AUTHOR)
    assert [one.event_types for one in present(make_writer()).values()] == [("case.opened",)]


@pytest.fixture(scope="module")
def pipeline(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A router that reads the events of all senders, and a delivery process, for all tests of this file."""
    prefix = f"test-contracts-{time.time_ns():x}."
    with RoleStarter.into(tmp_path_factory.mktemp("roles")) as starter:
        pipeline = Pipeline(broker.bootstrap_servers, prefix, starter, sources=[])
        pipeline.router()
        pipeline.deliver(delay_speedup=SPEEDUP)
        yield pipeline
    remove_topics(broker.bootstrap_servers, prefix)


def publish(pipeline: Pipeline, customer: str, *event_types: str) -> None:
    """Publish an event of each type for a customer of Diligent."""
    sender = SENDERS["diligent"]
    topic = pipeline.names.events("diligent")
    with EventPublisher(pipeline.settings.kafka_properties(), sender=sender, topic=topic) as publisher:
        for event_type in event_types:
            data = {"status": event_type.rpartition("_")[2].upper()}  # flow runs need COMPLETED or FAILED
            publisher.publish(reader("diligent", customer).event({"event_type": event_type, "data": data}))


@pytest.mark.decision("D5", "D28")
@pytest.mark.parametrize("way", ["change", "rotate", "apply"])
def test_requests_are_unsigned_from_the_next_attempt_on(pipeline, receiver, way) -> None:
    """After the secret is removed, each further attempt has no signature, also those of jobs that waited."""
    receiver.behave = always(CannedResponse(500))
    wanted = Draft(
        id=f"unsigned-{way}",
        sender="diligent",
        customer_id=way,
        url=receiver.url,
        event_types=("search_completed",),
        secret=Given(SECRET),
    )
    pipeline.write(Apply(wanted))
    publish(pipeline, way, "search_completed")
    assert all(request.header("X-Signature") for request in receiver.wait_for(2))  # the next attempt is 3 s later
    commands: dict[str, Command] = {
        "change": Change(wanted.id, Changes(secret=NoSecret())),
        "rotate": Rotate(wanted.id, NoSecret()),
        "apply": Apply(replace(wanted, secret=NoSecret())),
    }
    pipeline.write(commands[way])
    known = len(receiver.requests)  # one more may be in flight
    wait_until(lambda: receiver.requests[-1].header("X-Signature") is None, what="a request without a signature")
    assert all(request.header("X-Signature") is None for request in receiver.requests[known + 1 :])
    pipeline.write(Delete(wanted.id))


def test_empty_list_and_created_pause_receive_nothing(pipeline, receiver) -> None:
    """Neither gets a job; after the list is filled and the pause ended, both receive the events from then on."""
    common = {"sender": "diligent", "customer_id": "quiet", "secret": Given(SECRET)}
    all_types = tuple(SENDERS["diligent"].event_types)
    pipeline.write(
        Apply(Draft(id="empty", url=f"{receiver.url}empty", event_types=(), **common)),
        Apply(Draft(id="paused", url=f"{receiver.url}paused", event_types=all_types, paused=True, **common)),
        Apply(Draft(id="control", url=f"{receiver.url}control", event_types=all_types, **common)),
    )
    publish(pipeline, "quiet", *all_types)
    assert {request.path for request in receiver.wait_for(7)} == {"/control"}
    pipeline.write(Change("empty", Changes(event_types=("flow_run_failed",))), Resume("paused"))
    receiver.clear()
    publish(pipeline, "quiet", "flow_run_failed", "search_completed")
    receiver.wait_for(5)
    wait_until(lambda: len(receiver.requests) == 5, what="five requests")
    paths = sorted(request.path for request in receiver.requests)
    assert paths == ["/control", "/control", "/empty", "/paused", "/paused"]
    jobs = [job for job in pipeline.jobs() if job.customer_id == "quiet"]
    assert sorted(job.subscription_id for job in jobs) == ["control"] * 9 + ["empty"] + ["paused"] * 2
