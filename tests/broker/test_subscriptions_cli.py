"""`signpost subscriptions`, as somebody types it."""

from __future__ import annotations

import base64
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


class Said(NamedTuple):
    code: int
    out: str
    err: str


Signpost = Callable[..., Said]


@pytest.fixture
def signpost(
    broker: Broker,
    names: TopicNames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Signpost:
    """Run `signpost subscriptions …` and return what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("SIGNPOST_PREFIX", names.prefix)
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("ACME_SECRET", CANARY)

    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            main(["subscriptions", *arguments])
        captured = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "subs.yaml"
    written.write_text(FILE)
    return written


def listed(signpost: Signpost) -> dict[str, dict[str, object]]:
    said = signpost("list", "--json")
    assert said.code == 0, said.err
    return {subscription["id"]: subscription for subscription in json.loads(said.out)}


def test_a_file_is_applied_once(signpost, file):
    """The first apply says what it creates and shows the secret that it made, the second that nothing changes."""
    first = signpost("apply", str(file))
    assert first.code == 0, first.err
    assert "+ acme-1  acme  hooks.acme.example  created" in first.out
    assert "2 created" in first.out
    assert len(re.findall(r"secret: \S{43}  \(generated now, shown only once\)", first.out)) == 1

    second = signpost("apply", str(file))
    assert second.out.splitlines()[-1] == "2 unchanged"
    assert "secret:" not in second.out


def test_a_dry_run_writes_nothing(signpost, file):
    """It says what would be done, shows no secret, and leaves everything as it is."""
    said = signpost("apply", str(file), "--dry-run")
    assert said.code == 0
    assert "beta-1  beta  hooks.beta.example  would be created" in said.out
    assert "secret: would be generated" in said.out
    assert listed(signpost) == {}


def test_prune_deletes_what_the_set_created_and_nothing_else(signpost, file, tmp_path):
    """What is no longer in the file goes, if the same set made it; what another set or none made stays."""
    other = tmp_path / "other.yaml"
    other.write_text(FILE.replace("billing", "other").replace("beta-1", "other-1").replace("acme-1", "other-2"))
    for each in (file, other):
        assert signpost("apply", str(each)).code == 0
    file.write_text(FILE.replace("beta-1", "beta-2"))

    assert "- beta-1  would be deleted" in signpost("apply", "--prune", "--dry-run", str(file)).out
    said = signpost("apply", "--prune", str(file))
    assert said.out.splitlines()[-1] == "1 created, 1 deleted, 1 unchanged"
    assert set(listed(signpost)) == {"acme-1", "beta-2", "other-1", "other-2"}


def test_prune_without_a_set_is_refused(signpost, file):
    """Without a name of the set it is not known what may be deleted."""
    file.write_text(FILE.replace("set: billing\n", ""))
    said = signpost("apply", "--prune", str(file))
    assert said.code == 2
    assert "write `set: NAME`" in said.err


def test_all_errors_of_a_file_come_together_and_nothing_is_written(signpost, file):
    """Errors of form and of rules are in one answer, with exit code 2, and none of the file is written."""
    file.write_text(
        FILE
        + "  - id: bad-1\n    sender: zenoo\n    customer_id: acme\n    url: http://x.example/\n    event_types: [x]\n"
        + "  - id: bad-2\n    url: https://x.example/\n    colour: red\n"
    )
    said = signpost("apply", str(file))
    assert said.code == 2
    for expected in (
        "subscription bad-1: url must start with https://",
        "subscription bad-1: event_types: sender zenoo has no 'x'",
        "subscription bad-2: sender: the key is missing",
        ":22: subscription bad-2: colour: unknown key; known: ",
    ):
        assert expected in said.err
    assert listed(signpost) == {}


def test_list_and_show(signpost, file):
    """The list has a line each with the host, show has all fields, JSON all but the secrets."""
    signpost("apply", str(file))
    table = signpost("list").out.splitlines()
    assert table[0].split()[:4] == ["ID", "CUSTOMER", "SENDER", "HOST"]
    assert table[1].split() == ["acme-1", "acme", "zenoo", "hooks.acme.example", "active", "case.*,sla.breached"]
    assert [line.split()[0] for line in signpost("list", "--customer", "beta").out.splitlines()[1:]] == ["beta-1"]

    shown = signpost("show", "acme-1").out
    assert re.search(r"^url: +https://hooks\.acme\.example/path-", shown, re.MULTILINE)
    assert re.search(r"^set: +billing$", shown, re.MULTILINE)
    assert listed(signpost)["acme-1"]["secrets"][0].keys() == {"id", "created_at"}

    said = signpost("show", "none")
    assert (said.code, said.err) == (2, "error: subscription none: does not exist\n")


def test_the_levers_of_those_on_call(signpost, file):
    """Pause, resume and delete take ids, a customer or a host, and say what they changed."""
    signpost("apply", str(file))
    assert signpost("pause", "--customer", "acme").out.splitlines()[-1] == "1 paused"
    assert listed(signpost)["acme-1"]["state"] == "paused"
    assert listed(signpost)["beta-1"]["state"] == "active"
    assert signpost("pause", "acme-1", "beta-1").out.splitlines()[-1] == "1 paused, 1 unchanged"
    assert signpost("resume", "--host", "HOOKS.beta.example").out.splitlines()[-1] == "1 resumed"
    assert signpost("delete", "acme-1").out.splitlines()[-1] == "1 deleted"
    assert set(listed(signpost)) == {"beta-1"}


def test_one_subscription_by_options(broker, names, signpost, tmp_path, monkeypatch):
    """Create, update and rotate change what they name; values from a variable or a file are in nothing that is said."""
    monkeypatch.setenv("TOKEN", f"Bearer {CANARY}")
    (tmp_path / "key.txt").write_text(f"{CANARY}-2\n")
    where = ("--sender", "standard", "--customer", "acme", "--url", "https://hooks.acme.example/x")
    own = ("--schedule", "5s,5m", "--timeout", "10s", "--max-in-flight", "4", "--rate-limit", "2.5")
    headers = ("--header-env", "Authorization=TOKEN", "--header-file", "X-Key=key.txt", "--header", "X-Region: eu")
    said = [signpost("create", "one", *where, *own, *headers)]
    assert (said[0].code, said[0].err) == (0, "")
    made = re.findall(r"secret: (\S+)  \(generated now", said[0].out)
    assert len(made) == 1
    wanted = {"schedule": ["5s", "5m"], "timeout": "10s", "max_in_flight": 4, "rate_limit": 2.5}
    wanted |= {"headers": ["X-Region", "Authorization", "X-Key"]}
    assert listed(signpost)["one"].items() >= wanted.items()

    said.append(signpost("update", "one", "--remove-header", "x-region", "--timeout", "default"))
    assert "changed (headers, timeout)" in said[-1].out
    said.append(signpost("rotate", "one", "--keep", "24h"))
    assert "~ one  acme  hooks.acme.example  rotated (secret)" in said[-1].out
    said.append(signpost("show", "one"))
    assert re.search(r"^headers: +Authorization: \*\*\*, X-Key: \*\*\*$", said[-1].out, re.MULTILINE)
    assert re.search(r"^timeout: +the sender's default$", said[-1].out, re.MULTILINE)
    assert re.search(r"^former_secrets: +sec_\w+ \(until ", said[-1].out, re.MULTILINE)
    assert signpost("create", "one", *where).code == 2
    said += refused(signpost)
    assert CANARY not in "".join(each.out + each.err for each in said)
    raw = read_topic(broker.bootstrap_servers, names.subscriptions, isolation=IsolationLevel.READ_UNCOMMITTED)
    assert CANARY.encode() not in b"".join(m.value() or b"" for m in raw)


def refused(signpost: Signpost) -> Iterator[Said]:
    """Update with what cannot be taken, and give what is said of it."""
    for wrong, expected in (
        (("--schedule", "7s"), "schedule: there is no delay topic for 7s; known: "),
        (("--header", "Host: x"), "'Host' is reserved"),
        (("--header", "webhook-ID: x"), "is reserved: the sender standard sets it"),
        (("--timeout", "31s"), "longer than 30s"),
        (("--max-in-flight", "many"), "--max-in-flight: write a number or `default`"),
        (("--client-certificate", "c.pem"), "--client-certificate and --client-key belong together"),
        ((), "no change is given"),
    ):
        said = signpost("update", "one", *wrong)
        assert said.code == 2
        assert expected in said.err
        yield said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("pause",), "select subscriptions either by ids or by --customer and --host"),
        (("pause", "a", "--customer", "b"), "either by ids or by"),
        (("delete", "--host", "none.example"), "no subscription matches"),
        (("resume", "none"), "subscription none: does not exist"),
    ],
)
def test_a_lever_that_fits_nothing_is_refused(signpost, arguments, expected):
    """Nothing chosen, chosen twice, or not there: an error that says so, with exit code 2."""
    said = signpost(*arguments)
    assert said.code == 2
    assert expected in said.err


def test_the_wrong_key_is_said(signpost, file, monkeypatch):
    """With another sealing key nothing is written, and the error says which settings to look at."""
    signpost("apply", str(file))
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", base64.b64encode(bytes(32)).decode())
    said = signpost("apply", str(file))
    assert said.code == 1
    assert "sealing_key" in said.err
    monkeypatch.delenv("SIGNPOST_SEALING_KEY")
    file.write_text(FILE.replace("acme-1", "acme-2"))
    assert "SIGNPOST_SEALING_KEY" in signpost("apply", str(file)).err
    assert set(listed(signpost)) == {"acme-1", "beta-1"}


@pytest.mark.promise(6)
def test_no_secret_is_said_or_stored(broker, names, signpost, file):
    """A given secret is in nothing that any command prints, nor in any record of the topic."""
    file.write_text(FILE.replace(f"path-{CANARY}", "path"))
    commands = [("apply", str(file)), ("list",), ("list", "--json"), ("show", "acme-1"), ("pause", "acme-1")]
    said = [signpost(*command) for command in commands]
    file.write_text(FILE.replace("customer_id: acme", "customer_id: other").replace(f"path-{CANARY}", "path"))
    said.append(signpost("apply", str(file)))
    file.write_text(FILE.replace("https", "http").replace("secret_env: ACME_SECRET", f"secret: {CANARY}"))
    said.append(signpost("apply", str(file)))

    assert [each.code for each in said] == [0, 0, 0, 0, 0, 2, 2]
    assert CANARY not in "".join(each.out + each.err for each in said)
    raw = read_topic(broker.bootstrap_servers, names.subscriptions, isolation=IsolationLevel.READ_UNCOMMITTED)
    assert raw
    assert CANARY.encode() not in b"".join((m.key() or b"") + (m.value() or b"") for m in raw)
