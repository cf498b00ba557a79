"""Audit records: each change by a command is on `operations`, with who made it and what changed."""

from __future__ import annotations

import base64
import json
import os
import pwd
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import IsolationLevel, Producer

from producers.compacted.environment import Environment
from producers.compacted.partition_owner import Write
from producers.keys.writer import KEPT_AFTER_END, KeyWriter, NewKey
from schemas.catalog.errors import Unavailable
from schemas.keys.hashing import KeyHasher
from schemas.records.health import decode_operation
from tests.support.installation import Installation
from tests.support.subscriptions import AUTHOR, KEY
from tests.support.tools import Commands
from tests.support.topics import TopicFollower, read_topic

CANARY = "canary-of-this-test"
FILE = """
set: billing
subscriptions:
  - {id: a, sender: zenoo, customer_id: acme, url: 'https://hooks.acme.example/a', event_types: ['*'], description: one}
"""
SECOND = "  - {id: b, sender: zenoo, customer_id: acme, url: 'https://hooks.acme.example/b', event_types: ['*']}\n"


class Audit(NamedTuple):
    """What an audit record says: kind, id of the subscription or key, names of changed fields."""

    kind: str
    id: str | None
    changed: tuple[str, ...] = ()


ReadAudits = Callable[[], list[Audit]]


@pytest.fixture
def signpost(here: Installation, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The commands with a sealing key."""
    return Commands({**here.env, "SIGNPOST_SEALING_KEY": base64.b64encode(KEY).decode()}, monkeypatch)


@pytest.fixture
def new_audits(here: Installation) -> ReadAudits:
    """Return a function that returns the audit records since its last call. All are of commands of this user."""
    follower = TopicFollower(here.bootstrap_servers, here.names.operations)
    user = f"cli:{pwd.getpwuid(os.geteuid()).pw_name}"

    def read() -> list[Audit]:
        found = [decode_operation(message.value()) for message in follower.read()]
        assert {(one.actor, one.request_id) for one in found} <= {(user, None)}
        assert {(one.sender, one.customer_id) for one in found if one.key_id is None} <= {("zenoo", "acme")}
        return sorted(Audit(one.kind, one.subscription_id or one.key_id, one.changed) for one in found)

    return read


def written(here: Installation) -> bytes:
    """Return all bytes on `operations`, of aborted transactions as well."""
    raw = read_topic(here.bootstrap_servers, here.names.operations, isolation=IsolationLevel.READ_UNCOMMITTED)
    assert raw
    return b"".join((message.key() or b"") + (message.value() or b"") for message in raw)


def test_every_command_about_subscriptions_leaves_its_record(
    here: Installation, signpost: Commands, new_audits: ReadAudits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command leaves a record for each subscription that it changes, without values, and none if nothing changes."""
    monkeypatch.setenv("TOKEN", CANARY)
    both, one = tmp_path / "both.yaml", tmp_path / "one.yaml"
    both.write_text(FILE + SECOND)
    one.write_text(FILE.replace("description: one", f"description: {CANARY}"))
    endpoint = ("--sender", "zenoo", "--customer", "acme", "--url", f"https://hooks.acme.example/{CANARY}")
    changed = "subscription_changed"
    steps: list[tuple[tuple[str, ...], list[Audit]]] = [
        (("apply", str(both), "--dry-run"), []),
        (("apply", str(both)), [Audit("subscription_created", "a"), Audit("subscription_created", "b")]),
        (("apply", str(both)), []),
        (
            ("apply", "--prune", str(one)),
            [Audit(changed, "a", ("description",)), Audit("subscription_deleted", "b")],
        ),
        (
            ("create", "c", *endpoint, "--header-env", "Authorization=TOKEN", "--description", CANARY),
            [Audit("subscription_created", "c")],
        ),
        (
            ("update", "c", "--url", f"https://hooks.acme.example/{CANARY}/2", "--event-type", "case.*"),
            [Audit(changed, "c", ("url", "event_types"))],
        ),
        (("rotate", "c", "--secret-env", "TOKEN"), [Audit(changed, "c", ("secret",))]),
        (("pause", "c"), [Audit(changed, "c", ("paused",))]),
        (("pause", "c"), []),
        (("resume", "c"), [Audit(changed, "c", ("paused",))]),
        (("delete", "c", "--yes"), [Audit("subscription_deleted", "c")]),
    ]
    for arguments, wanted in steps:
        result = signpost("subscriptions", *arguments)
        assert result.code == 0, result.err
        assert new_audits() == wanted, arguments
    assert CANARY.encode() not in written(here)


def test_new_sealing_key_leaves_a_record(
    signpost: Commands, new_audits: ReadAudits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`reseal` leaves a record for each subscription that it seals with another key, and none the second time."""
    file = tmp_path / "subs.yaml"
    file.write_text(FILE)
    assert signpost("subscriptions", "apply", str(file)).code == 0
    new_audits()
    keys = [{"id": "new", "key": base64.b64encode(bytes(32)).decode()}]
    keys += [{"id": "old", "key": base64.b64encode(KEY).decode()}]
    monkeypatch.delenv("SIGNPOST_SEALING_KEY")
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps(keys))
    assert signpost("subscriptions", "reseal").code == 0
    assert new_audits() == [Audit("subscription_changed", "a", ("sealing_key",))]
    assert signpost("subscriptions", "reseal").code == 0
    assert new_audits() == []


@pytest.mark.promise(6)
def test_every_command_about_keys_leaves_its_record(
    here: Installation, signpost: Commands, new_audits: ReadAudits
) -> None:
    """Creation and revocation of an API key leave a record with its id, customer and sender, and without the key."""
    made = signpost("keys", "create", "--sender", "onboarding", "--customer", "acme", "--description", CANARY, "--json")
    key: dict[str, Any] = json.loads(made.out)
    assert new_audits() == [Audit("api_key_created", key["id"])]
    operator = json.loads(signpost("keys", "create", "--operator", "--json").out)
    assert new_audits() == [Audit("api_key_created", operator["id"])]
    assert signpost("keys", "revoke", key["id"], operator["key"]).code == 0
    assert new_audits() == sorted(Audit("api_key_revoked", one["id"]) for one in (key, operator))
    assert signpost("keys", "revoke", key["id"]).code == 0
    assert new_audits() == []

    raw = [decode_operation(one.value()) for one in read_topic(here.bootstrap_servers, here.names.operations)]
    owners = {(one.key_id, one.sender, one.customer_id) for one in raw}
    assert owners == {(key["id"], "onboarding", "acme"), (operator["id"], None, None)}
    everything = written(here)
    for text in (key["key"], operator["key"]):
        secret = text[-48:]
        for part in (text.encode(), secret.encode(), base64.urlsafe_b64decode(secret)[:32]):
            assert part not in everything
    assert CANARY.encode() not in everything


def test_removed_key_records_leave_theirs(here: Installation, signpost: Commands, new_audits: ReadAudits) -> None:
    """A key whose record is unreadable is deleted by its revocation, and the audit record says so."""
    key = json.loads(signpost("keys", "create", "--operator", "--json").out)
    (place,) = read_topic(here.bootstrap_servers, here.names.api_keys)
    new_audits()
    here.produce(here.names.api_keys, b"broken", key["id"].encode(), partition=place.partition() or 0)
    assert signpost("keys", "revoke", key["id"]).code == 0
    assert new_audits() == [Audit("api_key_deleted", key["id"])]


def test_keys_that_ended_long_ago_leave_a_record_when_they_are_removed(here: Installation) -> None:
    """The write that removes an expired key of its partition after 90 days leaves an audit record of that as well."""
    now_s = 1_800_000_000.0
    environment = Environment(clock=lambda: now_s, sleep=lambda _: None)
    hasher = KeyHasher(here.names.api_keys, [KEY])
    writer = KeyWriter(here.settings.kafka_properties(), here.names, hasher, environment=environment)
    with closing(writer):
        old = writer.create(NewKey(lifetime=timedelta(seconds=1)), AUTHOR).key
        now_s += KEPT_AFTER_END.total_seconds() + 2
        while writer.log.get(old.id) is not None:
            writer.create(NewKey(), AUTHOR)

    found = [decode_operation(one.value()) for one in read_topic(here.bootstrap_servers, here.names.operations)]
    (deleted,) = (one for one in found if one.kind != "api_key_created")
    assert (deleted.kind, deleted.key_id, deleted.actor) == ("api_key_deleted", old.id, AUTHOR.name)


@pytest.mark.parametrize("before", [True, False], ids=["fenced", "response lost"])
def test_interrupted_key_writer_leaves_one_record(here: Installation, *, before: bool) -> None:
    """The record of a change is in its transaction: a writer that has to repeat itself leaves one of each."""

    def make_writer() -> KeyWriter:
        hasher = KeyHasher(here.names.api_keys, [KEY])
        return KeyWriter(here.settings.kafka_properties(), here.names, hasher)

    writer = make_writer()
    commit = writer._owner._commit
    interruptions = [before]

    def interrupted(producer: Producer, partition: int, write: Write) -> list[int]:
        is_first = bool(interruptions)
        interruptions.clear()
        if is_first and before:
            with closing(make_writer()) as other:
                other.read()
                other._owner.write(partition, lambda: Write([]))  # it takes the partition over
        offsets = commit(producer, partition, write)
        if is_first and not before:
            raise Unavailable("no response")
        return offsets

    writer._owner._commit = interrupted  # type: ignore[method-assign]  # the place of the interruption
    try:
        made = writer.create(NewKey(), AUTHOR)
        interruptions.append(before)
        assert [one.effect for one in writer.revoke([made.key.id], AUTHOR)] == ["revoked"]
    finally:
        writer.close()

    found = [decode_operation(one.value()) for one in read_topic(here.bootstrap_servers, here.names.operations)]
    assert [(one.kind, one.key_id, one.actor) for one in found] == [
        ("api_key_created", made.key.id, AUTHOR.name),
        ("api_key_revoked", made.key.id, AUTHOR.name),
    ]


def test_tail_shows_audit_records(signpost: Commands, tmp_path: Path) -> None:
    """`signpost tail operations` shows who changed what."""
    file = tmp_path / "subs.yaml"
    file.write_text(FILE)
    assert signpost("subscriptions", "apply", str(file)).code == 0
    assert signpost("subscriptions", "update", "a", "--description", "two").code == 0
    key = json.loads(signpost("keys", "create", "--operator", "--json").out)
    user = pwd.getpwuid(os.geteuid()).pw_name

    shown = signpost("tail", "operations").out.splitlines()

    assert len(shown) == 3
    (change,) = (line for line in shown if "kind=subscription_changed" in line)
    for part in (" a operation ", "subscription_id=a", "sender=zenoo", f"actor=cli:{user}", 'changed=["description"]'):
        assert part in change
    (creation,) = (line for line in shown if "kind=api_key_created" in line)
    assert f"key_id={key['id']}" in creation
    found = [json.loads(line) for line in signpost("tail", "operations", "--json").out.splitlines()]
    assert {one["value"]["actor"] for one in found} == {f"cli:{user}"}
