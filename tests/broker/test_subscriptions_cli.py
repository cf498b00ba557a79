"""`signpost subscriptions` on a real broker."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import IsolationLevel

from deploy.cli.main import main
from deploy.dev.broker import Broker
from schemas.records.topics import TopicNames
from tests.support.subscriptions import KEY
from tests.support.topics import read_topic

CANARY = "canary-of-this-test"
FILE = f"""
set: billing
subscriptions:
  - id: acme-1
    sender: zenoo
    customer_id: acme
    url: https://hooks.acme.example/path-{CANARY}
    event_types: [case.*, sla.breached]
    secret_env: ACME_SECRET
  - id: beta-1
    sender: zenoo
    customer_id: beta
    url: https://hooks.beta.example/zenoo
    event_types: ['*']
"""


class CommandResult(NamedTuple):
    code: int
    out: str
    err: str


Signpost = Callable[..., CommandResult]


@pytest.fixture
def signpost(
    broker: Broker,
    names: TopicNames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Signpost:
    """Run `signpost subscriptions …` and return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("SIGNPOST_PREFIX", names.prefix)
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("ACME_SECRET", CANARY)

    def run(*arguments: str) -> CommandResult:
        with pytest.raises(SystemExit) as ended:
            main(["subscriptions", *arguments])
        captured = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return CommandResult(code, captured.out, captured.err)

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "subs.yaml"
    written.write_text(FILE)
    return written


def listed(signpost: Signpost) -> dict[str, dict[str, object]]:
    result = signpost("list", "--json")
    assert result.code == 0, result.err
    return {subscription["id"]: subscription for subscription in json.loads(result.out)}


def test_file_is_applied_once(signpost, file):
    """The first apply reports what it creates and shows the generated secret. The second one changes nothing."""
    first = signpost("apply", str(file))
    assert first.code == 0, first.err
    assert "+ acme-1  acme  hooks.acme.example  created" in first.out
    assert "2 created" in first.out
    assert len(re.findall(r"secret: \S{43}  \(generated now, shown only once\)", first.out)) == 1

    second = signpost("apply", str(file))
    assert second.out.splitlines()[-1] == "2 unchanged"
    assert "secret:" not in second.out


def test_file_is_applied_from_standard_input(signpost, monkeypatch):
    """`apply -` reads the file from standard input; an error names it so."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(FILE.encode())))
    applied = signpost("apply", "-")
    assert (applied.code, applied.err) == (0, "")
    assert listed(signpost).keys() == {"acme-1", "beta-1"}
    unnamed = FILE.replace("set: billing", "")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(unnamed.encode())))
    assert "at the top of standard input" in signpost("apply", "-", "--prune").err


def test_empty_list_says_so(signpost, file):
    """Without subscriptions, and without one that matches, the list is a sentence."""
    assert signpost("list").out == "there are no subscriptions\n"
    assert signpost("list", "--json").out == "[]\n"
    assert signpost("apply", str(file)).code == 0
    assert signpost("list", "--customer", "nobody").out == "no subscription matches\n"


def test_dry_run_writes_nothing(signpost, file):
    """A dry run shows the changes and no secret, and writes nothing."""
    result = signpost("apply", str(file), "--dry-run")
    assert result.code == 0
    assert "beta-1  beta  hooks.beta.example  would be created" in result.out
    assert "secret: would be generated" in result.out
    assert listed(signpost) == {}


def test_secret_with_white_space_is_warned_of(signpost, file, tmp_path, monkeypatch):
    """`apply`, `create` and `rotate` warn of what stands around a secret, and take a byte order mark off."""
    file.write_text(FILE.replace("acme-1", "one"))
    monkeypatch.setenv("ACME_SECRET", f"{CANARY}\r")
    applied = signpost("apply", str(file), "--dry-run")
    assert "warning: subscription one: its secret ends with a carriage return (\\r)" in applied.err
    assert CANARY not in applied.err

    secret = tmp_path / "secret"
    secret.write_text(f"\ufeffv1,{CANARY}\n", encoding="utf-8")
    endpoint = ("--sender", "zenoo", "--customer", "acme", "--url", "https://hooks.acme.example/x")
    created = signpost("create", "two", *endpoint, "--secret-file", str(secret))
    assert created.code == 0
    assert "warning: subscription two: its secret begins with v1," in created.err
    assert "byte order" not in created.err

    monkeypatch.setenv("ACME_SECRET", f" {CANARY}")
    rotated = signpost("rotate", "two", "--secret-env", "ACME_SECRET")
    assert rotated.code == 0
    assert "warning: subscription two: its secret begins with a space" in rotated.err


def test_invalid_secret_says_what_stands_around_it(signpost, monkeypatch):
    """A whsec_ secret with v1, before it is refused, and the error names the v1,."""
    monkeypatch.setenv("ACME_SECRET", "v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    endpoint = ("--sender", "standard", "--customer", "acme", "--url", "https://hooks.acme.example/x")
    result = signpost("create", "one", *endpoint, "--secret-env", "ACME_SECRET")
    assert result.code == 2
    assert "the secret has the wrong form" in result.err
    assert "; the prefix v1, does not belong before the secret" in result.err


@pytest.mark.parametrize("sender", ["diligent", "riskos"])
def test_unsigned_subscription_is_said_so_when_it_is_created(signpost, tmp_path, sender):
    """Senders with an optional secret: `create` and `apply` say that requests are not signed, and only then."""
    endpoint = ("--sender", sender, "--customer", "acme", "--url", "https://hooks.acme.example/x")
    created = signpost("create", "one", *endpoint)
    assert created.code == 0, created.err
    assert "secret: none, so the requests are not signed" in created.out

    written = tmp_path / "unsigned.yaml"
    written.write_text(
        "subscriptions:\n  - {id: two, customer_id: acme, url: 'https://hooks.acme.example/y', event_types: ['*'], "
        f"sender: {sender}}}\n"
    )
    planned = signpost("apply", str(written), "--dry-run")
    assert "secret: none, so the requests would not be signed" in planned.out
    assert "secret: none, so the requests are not signed" in signpost("apply", str(written)).out
    assert "secret:" not in signpost("apply", str(written)).out


def test_prune_deletes_only_subscriptions_of_its_set(signpost, file, tmp_path):
    """`--prune` deletes subscriptions that the same set created and the file no longer has. Other ones stay."""
    other = tmp_path / "other.yaml"
    other.write_text(FILE.replace("billing", "other").replace("beta-1", "other-1").replace("acme-1", "other-2"))
    for each in (file, other):
        assert signpost("apply", str(each)).code == 0
    file.write_text(FILE.replace("beta-1", "beta-2"))

    assert "- beta-1  would be deleted" in signpost("apply", "--prune", "--dry-run", str(file)).out
    result = signpost("apply", "--prune", str(file))
    assert result.out.splitlines()[-1] == "1 created, 1 deleted, 1 unchanged"
    assert set(listed(signpost)) == {"acme-1", "beta-2", "other-1", "other-2"}


def test_prune_without_a_set_is_refused(signpost, file):
    """`--prune` needs the name of a set, because only subscriptions of that set may be deleted."""
    file.write_text(FILE.replace("set: billing\n", ""))
    result = signpost("apply", "--prune", str(file))
    assert result.code == 2
    assert "write `set: NAME`" in result.err


def test_all_errors_of_a_file_are_reported_together(signpost, file):
    """Errors of syntax and of rules are reported together with exit code 2, and nothing of the file is written."""
    file.write_text(
        FILE
        + "  - id: bad-1\n    sender: zenoo\n    customer_id: acme\n    url: http://x.example/\n    event_types: [x]\n"
        + "  - id: bad-2\n    url: https://x.example/\n    colour: red\n"
    )
    result = signpost("apply", str(file))
    assert result.code == 2
    for expected in (
        "subscription bad-1: url must start with https://",
        "subscription bad-1: event_types: sender zenoo has no 'x'",
        "subscription bad-2: sender: the key is missing",
        ":22: subscription bad-2: colour: unknown key; known: ",
    ):
        assert expected in result.err
    assert listed(signpost) == {}


def test_list_and_show(signpost, file):
    """`list` has one line per subscription with its host, `show` has all fields, and JSON all but the secrets."""
    signpost("apply", str(file))
    table = signpost("list").out.splitlines()
    assert table[0].split()[:4] == ["ID", "CUSTOMER", "SENDER", "HOST"]
    assert table[1].split() == ["acme-1", "acme", "zenoo", "hooks.acme.example", "active", "case.*,sla.breached"]
    assert [line.split()[0] for line in signpost("list", "--customer", "beta").out.splitlines()[1:]] == ["beta-1"]

    shown = signpost("show", "acme-1").out
    assert re.search(r"^url: +https://hooks\.acme\.example/path-", shown, re.MULTILINE)
    assert re.search(r"^set: +billing$", shown, re.MULTILINE)
    assert listed(signpost)["acme-1"]["secrets"][0].keys() == {"id", "created_at"}

    result = signpost("show", "none")
    assert (result.code, result.err) == (2, "error: subscription none: does not exist\n")


def test_pause_resume_and_delete_by_id_customer_or_host(signpost, file):
    """`pause`, `resume` and `delete` accept ids, a customer or a host, and report what they changed."""
    signpost("apply", str(file))
    assert signpost("pause", "--customer", "acme").out.splitlines()[-1] == "1 paused"
    assert listed(signpost)["acme-1"]["state"] == "paused"
    assert listed(signpost)["beta-1"]["state"] == "active"
    assert signpost("pause", "acme-1", "beta-1").out.splitlines()[-1] == "1 paused, 1 unchanged"
    assert signpost("resume", "--host", "HOOKS.beta.example").out.splitlines()[-1] == "1 resumed"
    assert signpost("delete", "acme-1").out.splitlines()[-1] == "1 deleted"
    assert set(listed(signpost)) == {"beta-1"}


def test_create_update_and_rotate_by_options(broker, names, signpost, tmp_path, monkeypatch):
    """`create`, `update` and `rotate` change what they name, and print no value from a variable or a file."""
    monkeypatch.setenv("TOKEN", f"Bearer {CANARY}")
    (tmp_path / "key.txt").write_text(f"{CANARY}-2\n")
    where = ("--sender", "standard", "--customer", "acme", "--url", "https://hooks.acme.example/x")
    own = ("--schedule", "5s,5m", "--timeout", "10s", "--max-in-flight", "4", "--rate-limit", "2.5")
    headers = ("--header-env", "Authorization=TOKEN", "--header-file", "X-Key=key.txt", "--header", "X-Region: eu")
    results = [signpost("create", "one", *where, *own, *headers)]
    assert (results[0].code, results[0].err) == (0, "")
    secrets = re.findall(r"secret: (\S+)  \(generated now", results[0].out)
    assert len(secrets) == 1
    wanted = {"schedule": ["5s", "5m"], "timeout": "10s", "max_in_flight": 4, "rate_limit": 2.5}
    wanted |= {"headers": ["X-Region", "Authorization", "X-Key"]}
    assert listed(signpost)["one"].items() >= wanted.items()

    results.append(signpost("update", "one", "--remove-header", "x-region", "--timeout", "default"))
    assert "changed (headers, timeout)" in results[-1].out
    results.append(signpost("rotate", "one", "--keep", "24h"))
    assert "~ one  acme  hooks.acme.example  rotated (secret)" in results[-1].out
    results.append(signpost("show", "one"))
    assert re.search(r"^headers: +Authorization: \*\*\*, X-Key: \*\*\*$", results[-1].out, re.MULTILINE)
    assert re.search(r"^timeout: +the sender's default$", results[-1].out, re.MULTILINE)
    assert re.search(r"^former_secrets: +sec_\w+ \(until ", results[-1].out, re.MULTILINE)
    assert signpost("create", "one", *where).code == 2
    results += refused(signpost)
    assert CANARY not in "".join(each.out + each.err for each in results)
    raw = read_topic(broker.bootstrap_servers, names.subscriptions, isolation=IsolationLevel.READ_UNCOMMITTED)
    assert CANARY.encode() not in b"".join(m.value() or b"" for m in raw)


def refused(signpost: Signpost) -> Iterator[CommandResult]:
    """Run `update` with invalid options, check the errors, and yield the results."""
    for wrong, expected in (
        (("--schedule", "7s"), "schedule: there is no delay topic for 7s; known: "),
        (("--header", "Host: x"), "'Host' is reserved"),
        (("--header", "webhook-ID: x"), "is reserved: the sender standard sets it"),
        (("--timeout", "31s"), "longer than 30s"),
        (("--max-in-flight", "many"), "--max-in-flight: write a number or `default`"),
        (("--client-certificate", "c.pem"), "--client-certificate and --client-key belong together"),
        ((), "no change is given"),
    ):
        result = signpost("update", "one", *wrong)
        assert result.code == 2
        assert expected in result.err
        yield result


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("pause",), "select subscriptions either by ids or by --customer and --host"),
        (("pause", "a", "--customer", "b"), "either by ids or by"),
        (("delete", "--host", "none.example"), "no subscription matches"),
        (("resume", "none"), "subscription none: does not exist"),
    ],
)
def test_selection_without_a_match_is_refused(signpost, arguments, expected):
    """No selection, two selections, or an unknown id is an error with exit code 2."""
    result = signpost(*arguments)
    assert result.code == 2
    assert expected in result.err


def test_wrong_sealing_key_is_an_error(signpost, file, monkeypatch):
    """With another sealing key nothing is written, and the error names the setting."""
    signpost("apply", str(file))
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", base64.b64encode(bytes(32)).decode())
    result = signpost("apply", str(file))
    assert result.code == 1
    assert "sealing_key" in result.err
    monkeypatch.delenv("SIGNPOST_SEALING_KEY")
    file.write_text(FILE.replace("acme-1", "acme-2"))
    assert "SIGNPOST_SEALING_KEY" in signpost("apply", str(file)).err
    assert set(listed(signpost)) == {"acme-1", "beta-1"}


@pytest.mark.promise(6)
def test_no_secret_is_printed_or_stored(broker, names, signpost, file):
    """No command prints a given secret, and no record of the topic contains it."""
    file.write_text(FILE.replace(f"path-{CANARY}", "path"))
    commands = [("apply", str(file)), ("list",), ("list", "--json"), ("show", "acme-1"), ("pause", "acme-1")]
    results = [signpost(*command) for command in commands]
    file.write_text(FILE.replace("customer_id: acme", "customer_id: other").replace(f"path-{CANARY}", "path"))
    results.append(signpost("apply", str(file)))
    file.write_text(FILE.replace("https", "http").replace("secret_env: ACME_SECRET", f"secret: {CANARY}"))
    results.append(signpost("apply", str(file)))

    assert [each.code for each in results] == [0, 0, 0, 0, 0, 2, 2]
    assert CANARY not in "".join(each.out + each.err for each in results)
    raw = read_topic(broker.bootstrap_servers, names.subscriptions, isolation=IsolationLevel.READ_UNCOMMITTED)
    assert raw
    assert CANARY.encode() not in b"".join((m.key() or b"") + (m.value() or b"") for m in raw)


@pytest.mark.promise(6)
def test_sealing_key_is_replaced(broker, names, signpost, file, monkeypatch):
    """With the new key first, `reseal` seals every secret again; from then on the old key is not needed."""
    file.write_text(FILE.replace(f"path-{CANARY}", "path"))
    signpost("apply", str(file))
    old, new = (base64.b64encode(key).decode() for key in (KEY, bytes(32)))
    monkeypatch.delenv("SIGNPOST_SEALING_KEY")
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps([{"id": "b", "key": new}, {"id": "a", "key": old}]))
    assert "2 would be resealed (dry run" in signpost("reseal", "--dry-run").out
    assert "2 resealed" in signpost("reseal").out
    assert "2 unchanged" in signpost("reseal").out

    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps([{"id": "b", "key": new}]))
    assert "2 unchanged" in signpost("apply", str(file)).out
    raw = read_topic(broker.bootstrap_servers, names.subscriptions, isolation=IsolationLevel.READ_UNCOMMITTED)
    assert CANARY.encode() not in b"".join((m.key() or b"") + (m.value() or b"") for m in raw)


def test_subscriptions_of_a_lost_key_are_created_again(signpost, file, monkeypatch):
    """`reseal` names what a lost key sealed. Deleted subscriptions can be created again with a new key."""
    signpost("apply", str(file))
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", base64.b64encode(bytes(32)).decode())
    lost = signpost("reseal")
    assert lost.code == 2
    assert [line.partition("of subscription ")[2].split()[0] for line in lost.err.splitlines()] == ["acme-1", "beta-1"]
    assert "if the key is lost, delete the subscriptions" in signpost("apply", str(file)).err

    assert signpost("delete", "acme-1", "beta-1", "--yes").code == 0
    assert "2 created" in signpost("apply", str(file)).out
