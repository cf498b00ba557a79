"""`signpost keys`, and the processes that authenticate keys, on a real broker."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import IsolationLevel

from producers.compacted.acknowledgement import ACKNOWLEDGE_AFTER_S
from producers.compacted.environment import Environment
from producers.keys.log import read_last_uses
from producers.keys.service import ApiKeys
from producers.keys.table import MAX_STALE_S, KeyTable
from producers.keys.uses import LastUses
from producers.keys.writer import KEPT_AFTER_END, KeyWriter, NewKey
from schemas.catalog.errors import InvalidInput, SealBroken, Unavailable
from schemas.keys.hashing import KeyHasher
from schemas.records.api_key import ApiKey, encode_api_key
from tests.support.api_keys import other_process
from tests.support.installation import Installation
from tests.support.subscriptions import AUTHOR, KEY
from tests.support.tools import Commands
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

OTHER_KEY = bytes(32)
ACME = NewKey(sender="onboarding", customer_id="acme")
MakeWriter = Callable[..., KeyWriter]


def text_of(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture
def signpost(here: Installation, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands({**here.env, "SIGNPOST_SEALING_KEY": text_of(KEY)}, monkeypatch)


def created(signpost: Commands, *arguments: str) -> dict[str, Any]:
    """Create a key by the command."""
    result = signpost("keys", "create", *arguments, "--json")
    assert (result.code, result.err) == (0, "")
    found: dict[str, Any] = json.loads(result.out)
    return found


def listed(signpost: Commands) -> dict[str, dict[str, Any]]:
    """Return what the command lists, by id."""
    result = signpost("keys", "list", "--json")
    assert (result.code, result.err) == (0, "")
    return {key["id"]: key for key in json.loads(result.out)}


def hasher_of(here: Installation, *keys: bytes) -> KeyHasher:
    return KeyHasher(here.names.api_keys, keys or [KEY])


@pytest.fixture
def make_writer(here: Installation) -> Iterator[MakeWriter]:
    made: list[KeyWriter] = []

    def make(*keys: bytes, **fields: Any) -> KeyWriter:
        environment = Environment(**fields)
        made.append(
            KeyWriter(here.settings.kafka_properties(), here.names, hasher_of(here, *keys), environment=environment)
        )
        return made[-1]

    yield make
    for writer in made:
        writer.close()


@pytest.fixture
def make_table(here: Installation) -> Iterator[Callable[..., KeyTable]]:
    made: list[KeyTable] = []

    def make(*keys: bytes, **options: Any) -> KeyTable:
        made.append(KeyTable(here.settings.kafka_properties(), here.names, hasher_of(here, *keys), **options))
        made[-1].read()
        return made[-1]

    yield make
    for table in made:
        table.close()


@pytest.fixture
def api(here: Installation) -> Iterator[ApiKeys]:
    """What an API process has."""
    keys = ApiKeys(here.settings.kafka_properties(), here.names, [KEY], rate_limit=2)
    keys.start()
    yield keys
    keys.close()


def test_key_is_created_used_listed_and_revoked(here: Installation, signpost: Commands, api: ApiKeys) -> None:
    """A created key counts in a running API process, its use is listed, and a revoked one is refused but listed."""
    key = created(signpost, "--sender", "onboarding", "--customer", "acme", "--description", "build server")
    assert list(key) == [
        "id",
        "key",
        "sender",
        "customer_id",
        "scope",
        "description",
        "created_at",
        "expires_at",
    ]
    found = wait_until(lambda: api.authenticate(key["key"]), what="the key counts")
    assert (found.id, found.sender, found.customer_id, found.scope) == (key["id"], "onboarding", "acme", "write")
    assert not found.is_operator
    wait_until(lambda: read_last_uses(here.settings.kafka_properties(), here.names), what="the use is written")
    shown = listed(signpost)[key["id"]]
    assert (shown["state"], shown["description"]) == ("active", "build server")
    assert shown["last_used_at"]
    table = signpost("keys", "list").out
    assert [line.split()[:5] for line in table.splitlines()[1:]] == [
        [key["id"], "onboarding", "acme", "write", "active"]
    ]

    result = signpost("keys", "revoke", key["key"])
    assert (result.code, result.out) == (0, f"- {key['id']}  revoked (onboarding acme, write)\n")
    wait_until(lambda: api.authenticate(key["key"]) is None, what="the revocation counts")
    assert listed(signpost)[key["id"]]["state"] == "revoked"
    assert signpost("keys", "revoke", key["id"]).out == f"= {key['id']}  unchanged (onboarding acme, write)\n"


def test_revocations_are_printed_as_json(signpost: Commands) -> None:
    """`revoke --json` prints an object per key in the order of the arguments: the fields of `list`, and the effect."""
    one = created(signpost, "--sender", "diligent", "--customer", "acme", "--description", "build server")
    other = created(signpost, "--operator")
    assert signpost("keys", "revoke", other["id"]).code == 0

    result = signpost("keys", "revoke", one["key"], other["id"], one["id"], "--json")

    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert [(key["id"], key["state"], key["effect"]) for key in found] == [
        (one["id"], "revoked", "revoked"),
        (other["id"], "revoked", "unchanged"),
    ]
    known = listed(signpost)
    for key in found:
        del key["effect"]
        assert key.items() <= known[key["id"]].items()
    assert list(found[0])[:4] == ["id", "sender", "customer_id", "operator"]
    assert found[0]["revoked_at"] is not None
    assert one["key"][-48:] not in result.out
    unknown = signpost("keys", "revoke", "nothing", "--json")
    assert (unknown.code, unknown.out) == (2, "")


def test_operator_key_expires(signpost: Commands, make_table: Callable[..., KeyTable]) -> None:
    """An operator's key is for all senders and customers, and counts until the millisecond in which it expires."""
    key = created(signpost, "--operator", "--scope", "read", "--expires", "90d")
    shown = listed(signpost)[key["id"]]
    assert (shown["operator"], shown["sender"], shown["customer_id"], shown["scope"]) == (True, None, None, "read")
    table = make_table()
    found = table.authenticate(key["key"], 0)
    assert found is not None
    assert found.is_operator
    assert found.expires_at_ms is not None
    assert found.expires_at_ms - found.created_at_ms == 90 * 86_400_000
    assert table.authenticate(key["key"], found.expires_at_ms - 1) is not None
    assert table.authenticate(key["key"], found.expires_at_ms) is None


def test_another_process_refuses_a_revoked_key(here: Installation, signpost: Commands) -> None:
    """Another process accepts a key after it is created, and refuses it after it is revoked."""
    with other_process(here.bootstrap_servers, here.names.prefix, KEY) as other:
        assert other.authenticate("spk_") is None
        key = created(signpost, "--operator")
        wait_until(lambda: other.authenticate(key["key"]) == key["id"], what="the key counts")
        assert signpost("keys", "revoke", key["id"]).code == 0
        wait_until(lambda: other.authenticate(key["key"]) is None, what="the revocation counts")


def test_change_is_acknowledged_after_tables_can_read_it(
    make_writer: MakeWriter, make_table: Callable[..., KeyTable]
) -> None:
    """The writer waits 250 ms after every table could read the change."""
    table = make_table()
    slept: list[tuple[float, object]] = []
    text = ""

    def sleep(seconds: float) -> None:
        if text:
            table.read()
            slept.append((seconds, table.authenticate(text, 0)))

    writer = make_writer(sleep=sleep)
    new = writer.create(ACME, AUTHOR)
    text = new.text
    writer.revoke([new.key.id], AUTHOR)
    seconds, found = slept[-1]
    assert seconds >= ACKNOWLEDGE_AFTER_S
    assert found is None


@pytest.mark.promise(6)
def test_no_key_is_in_a_topic_or_listing(here: Installation, signpost: Commands, caplog: Any) -> None:
    """Neither a key nor its secret part is in a record, in a log line, or in the output of another command."""
    kept = created(signpost, "--sender", "onboarding", "--customer", "acme")["key"]
    shown = signpost("keys", "create", "--operator")
    (plain,) = [line.split()[1] for line in shown.out.splitlines() if "key:" in line]
    api = ApiKeys(here.settings.kafka_properties(), here.names, [KEY], rate_limit=0)
    api.start()
    assert api.authenticate(kept)
    assert api.authenticate(plain)
    assert plain not in repr(api.authenticate(plain))
    api.close()
    printed = [
        *signpost("keys", "list"),
        *signpost("keys", "list", "--json"),
        *signpost("tail", "api-keys", "--json"),
        *signpost("tail", "api-keys"),
        *signpost("tail", "api-key-uses"),
        *signpost("keys", "revoke", kept),
        *signpost("keys", "revoke", plain[:30], plain.replace(plain[4:8], "zzzz")),
        caplog.text,
    ]
    raw = [
        (message.key() or b"") + (message.value() or b"")
        for topic in (here.names.api_keys, here.names.api_key_uses)
        for message in read_topic(here.bootstrap_servers, topic, isolation=IsolationLevel.READ_UNCOMMITTED)
    ]
    assert len(raw) == 5
    for text in (kept, plain):
        secret = text[-48:]
        for part in (text.encode(), secret.encode(), base64.urlsafe_b64decode(secret)[:32], secret[:20].encode()):
            assert not any(part in record for record in raw)
            assert not any(part in str(output).encode() for output in printed)


def test_unknown_ids_are_named_and_nothing_is_revoked(signpost: Commands) -> None:
    """One unknown id refuses all. The error suggests a similar one."""
    key = created(signpost, "--operator")
    similar = key["id"][:-1] + ("a" if key["id"][-1] != "a" else "b")
    result = signpost("keys", "revoke", key["id"], similar, "nothing")
    assert result.code == 2
    assert f"key {similar}: does not exist; did you mean {key['id']}?" in result.err
    assert "key nothing: does not exist" in result.err
    assert listed(signpost)[key["id"]]["state"] == "active"


def test_unreadable_record_authenticates_nobody_and_can_be_removed(
    here: Installation, signpost: Commands, make_writer: MakeWriter, make_table: Callable[..., KeyTable]
) -> None:
    """A key whose record became unreadable is refused and listed, and revoking it removes the record."""
    writer = make_writer()
    new = writer.create(ACME, AUTHOR)
    here.produce(here.names.api_keys, b"broken", new.key.id.encode(), partition=writer.log.partition(new.key.id))
    assert make_table().authenticate(new.text, 0) is None
    assert listed(signpost) == {new.key.id: {"id": new.key.id, "state": "unreadable"}}
    assert "unreadable" in signpost("keys", "list").out
    result = signpost("keys", "revoke", new.key.id, "--json")
    assert json.loads(result.out) == [{"id": new.key.id, "effect": "deleted"}]
    assert listed(signpost) == {}
    assert signpost("keys", "list").out == "there are no API keys\n"


def test_record_on_another_partition_does_not_count(
    here: Installation, signpost: Commands, make_writer: MakeWriter, make_table: Callable[..., KeyTable]
) -> None:
    """The record on the partition of the id counts: one elsewhere neither brings back nor hides a revoked key."""
    writer = make_writer(sleep=lambda _: None)
    new = writer.create(ACME, AUTHOR)
    while writer.log.partition(new.key.id) == 0:  # of several records of an id, other tables take the one on 0
        new = writer.create(ACME, AUTHOR)
    writer.revoke([new.key.id], AUTHOR)
    own = writer.log.partition(new.key.id)
    for partition in {0, 1, 2} - {own}:
        here.produce(here.names.api_keys, encode_api_key(new.key), new.key.id.encode(), partition=partition)
    assert make_table().authenticate(new.text, 0) is None
    assert listed(signpost)[new.key.id]["state"] == "revoked"


def test_writers_take_turns(make_writer: MakeWriter) -> None:
    """Two writers that fence each other again and again lose no change."""
    one, two = make_writer(), make_writer()
    new = [writer.create(ACME, AUTHOR) for _ in range(4) for writer in (one, two)]
    two.revoke([each.key.id for each in new[:4]], AUTHOR)
    assert [each.effect for each in one.revoke([each.key.id for each in new], AUTHOR)] == ["unchanged"] * 4 + [
        "revoked"
    ] * 4
    found = make_writer().read().all()
    assert {id_ for id_, key in found.items() if isinstance(key, ApiKey) and key.revoked_at_ms is not None} == {
        each.key.id for each in new
    }


def test_ended_keys_are_removed_after_90_days(make_writer: MakeWriter) -> None:
    """A write removes keys of its partition that were revoked or have expired 90 days ago, and no other."""
    now_s = 1_800_000_000.0
    writer = make_writer(clock=lambda: now_s, sleep=lambda _: None)

    def create_on(partition: int | None = None, lifetime: timedelta | None = None) -> ApiKey:
        """Create keys until one is on the partition."""
        while True:
            key = writer.create(NewKey(lifetime=lifetime), AUTHOR).key
            if partition in (None, writer.log.partition(key.id)):
                return key

    revoked = create_on()
    partition = writer.log.partition(revoked.id)
    expired, kept = create_on(partition, timedelta(seconds=1)), create_on(partition)
    writer.revoke([revoked.id], AUTHOR)
    now_s += KEPT_AFTER_END.total_seconds()
    create_on(partition)
    assert {revoked.id, expired.id, kept.id} <= writer.read().all().keys()
    now_s += 2
    create_on(partition)
    assert {revoked.id, expired.id, kept.id} & writer.read().all().keys() == {kept.id}


def test_table_that_is_not_current_authenticates_nobody(
    make_writer: MakeWriter, make_table: Callable[..., KeyTable]
) -> None:
    """A table that could not read for 5 s may have missed a revocation: it accepts no key until it has read again."""
    now_s = 100.0
    new = make_writer().create(ACME, AUTHOR)
    table = make_table(monotonic=lambda: now_s)
    now_s += MAX_STALE_S
    assert table.authenticate(new.text, 0) is not None
    now_s += 0.1
    with pytest.raises(Unavailable, match="no API key can be checked"):
        table.authenticate(new.text, 0)
    table.follow(0.0)
    assert table.authenticate(new.text, 0) is not None


def test_uses_are_written_once_a_minute(here: Installation) -> None:
    """The first use of a key is written at once, later ones once a minute, and the last one at the end."""
    kafka = here.settings.kafka_properties()
    now_s = 100.0
    uses = LastUses(kafka, here.names, lambda: now_s)

    def written() -> int:
        return len(read_topic(here.bootstrap_servers, here.names.api_key_uses))

    for at_ms in range(1_000, 1_010):
        uses.used("a", at_ms)
        uses.flush()
    wait_until(lambda: written() == 1, what="the first use is written")
    uses.used("b", 2_000)
    now_s += 60
    uses.flush()
    wait_until(lambda: read_last_uses(kafka, here.names) == {"a": 1_009, "b": 2_000}, what="later uses are written")
    uses.used("a", 3_000)
    uses.close()
    assert read_last_uses(kafka, here.names) == {"a": 3_000, "b": 2_000}
    assert written() == 4


def test_rate_limit_is_per_key(api: ApiKeys, make_writer: MakeWriter) -> None:
    """Two requests a second are let through at once; the third has to wait, and another key has not."""
    assert [api.may_request("a") for _ in range(2)] == [0.0, 0.0]
    assert 0.0 < api.may_request("a") <= 0.5
    assert api.may_request("b") == 0.0
    assert api.why_not_ready() is None


def test_keys_of_a_removed_sealing_key(
    here: Installation, signpost: Commands, make_table: Callable[..., KeyTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of an older sealing key count until it is removed, which the list announces; then they are unusable."""
    old = created(signpost, "--operator")
    monkeypatch.delenv("SIGNPOST_SEALING_KEY")
    both = [{"id": "new", "key": text_of(OTHER_KEY)}, {"id": "old", "key": text_of(KEY)}]
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps(both))
    new = created(signpost, "--operator")
    assert "active keys that need another sealing key than the first: 1" in signpost("keys", "list").out
    assert {key["sealing_key"] for key in listed(signpost).values()} == {"new", "old"}
    table = make_table(OTHER_KEY, KEY)
    assert table.authenticate(old["key"], 0) is not None
    assert table.authenticate(new["key"], 0) is not None
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps(both[:1]))
    assert listed(signpost)[old["id"]]["state"] == "unusable"
    assert make_table(OTHER_KEY).authenticate(old["key"], 0) is None


def test_wrong_sealing_key_creates_no_key(make_writer: MakeWriter, here: Installation) -> None:
    """A sealing key that no active API key has is refused: the API would not accept the new key."""
    first = make_writer().create(ACME, AUTHOR)
    with pytest.raises(SealBroken, match="not the one of any active API key"):
        make_writer(OTHER_KEY).create(ACME, AUTHOR)
    assert len(read_topic(here.bootstrap_servers, here.names.api_keys)) == 1
    make_writer().revoke([first.key.id], AUTHOR)
    assert make_writer(OTHER_KEY).create(ACME, AUTHOR).key.sealing_key == hasher_of(here, OTHER_KEY).current


def test_key_for_half_an_owner_is_refused() -> None:
    """A key with a sender but no customer would be read as one for everything."""
    with pytest.raises(InvalidInput):
        NewKey(sender="onboarding")


def test_missing_topic_is_named(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `topics apply` after an upgrade, the command names the topic and the command that creates it."""
    env = {**here.env, "SIGNPOST_PREFIX": f"{here.names.prefix}none.", "SIGNPOST_SEALING_KEY": text_of(KEY)}
    result = Commands(env, monkeypatch)("keys", "create", "--operator")
    assert result.code == 1
    assert "api-keys does not exist" in result.err
    assert "`signpost topics apply` creates it" in result.err
