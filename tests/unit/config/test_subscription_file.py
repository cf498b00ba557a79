"""Subscription files in YAML."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.config.subscription_file import SubscriptionFile, read_file
from schemas.catalog.errors import SubscriptionError
from schemas.network.egress import EgressPolicy
from schemas.senders.sender import load_senders
from schemas.subscriptions.client_certificate import GivenCertificate
from schemas.subscriptions.header_rules import GivenHeader
from schemas.subscriptions.rules import KEEP, Bounds, Draft, Generate, Given, NoSecret, faults
from tests.unit.schemas.test_client_certificate import KEY, certificate, pem

CANARY = "canary-of-this-test"
HEAD = "subscriptions:\n  - id: a\n    sender: zenoo\n    customer_id: acme\n    url: https://x.example/\n"
TYPES = "    event_types: [case.*]\n"


@pytest.fixture
def read(tmp_path):
    def write_and_read(text: str) -> SubscriptionFile:
        file = tmp_path / "subs.yaml"
        file.write_text(text, encoding="utf-8")
        return read_file(file, {"SECRET": CANARY, "EMPTY": ""})

    return write_and_read


def test_file_is_parsed_into_drafts(read):
    """Each draft has all fields of the file and the name of the set."""
    file = read(f"set: billing\n{HEAD}    description: two words\n    event_types: [case.*, '*']\n")
    expected = Draft(
        id="a",
        sender="zenoo",
        customer_id="acme",
        url="https://x.example/",
        event_types=("case.*", "*"),
        set="billing",
        description="two words",
        schedule=None,
        timeout=None,
        max_in_flight=None,
        rate_limit=None,
        paused=KEEP,
        filters="{}",
    )
    assert (file.set, file.drafts, file.problems) == ("billing", (expected,), ())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secret: plain", Given("plain")),
        ("secret: none", NoSecret()),
        ("secret: generate", Generate()),
        ("secret_env: SECRET", Given(CANARY)),
        ("secret_file: secret.txt", Given("from a file")),
        ("", None),
    ],
)
def test_secret_has_five_forms(read, tmp_path, line, expected):
    """A secret is literal, generated, from a variable, from a file without its final line break, or absent."""
    (tmp_path / "secret.txt").write_text("from a file\n")
    (draft,) = read(f"{HEAD}{TYPES}    {line}\n").drafts
    assert draft.secret == expected


@pytest.mark.parametrize("content", ["\ufeff{}", "\ufeff{}\r\n", "{}\n"])
def test_byte_order_mark_is_no_part_of_a_secret(read, tmp_path, content):
    """Secrets, headers and keys from files lose a byte order mark, like one last line break."""
    (tmp_path / "text.txt").write_text(content.format(CANARY), encoding="utf-8", newline="")
    (draft,) = read(f"{HEAD}{TYPES}    secret_file: text.txt\n    headers: {{A: {{file: text.txt}}}}\n").drafts
    assert (draft.secret, draft.headers) == (Given(CANARY), (GivenHeader("A", CANARY),))


def test_byte_order_mark_of_a_variable_is_no_part_of_a_secret(tmp_path):
    """A variable can have the byte order mark of the file that it was set from; other white space stays."""
    file = tmp_path / "subs.yaml"
    file.write_text(f"{HEAD}{TYPES}    secret_env: SECRET\n", encoding="utf-8")
    (draft,) = read_file(file, {"SECRET": f"\ufeff{CANARY} "}).drafts
    assert draft.secret == Given(f"{CANARY} ")


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-16", "the text is UTF-16, as PowerShell writes it"), ("latin-1", "not UTF-8 (byte 19)")],
)
def test_secret_file_in_another_encoding_is_named(read, tmp_path, encoding, expected):
    """A file that exists is not called missing."""
    (tmp_path / "secret.txt").write_text(f"{CANARY}é", encoding=encoding)
    (problem,) = read(f"{HEAD}{TYPES}    secret_file: secret.txt\n").problems
    assert "secret_file: the file secret.txt: " in problem
    assert expected in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEAD}    event_type: [x]\n", ":6: subscription a: event_type: unknown key; did you mean event_types?"),
        (HEAD, ":2: subscription a: event_types: the key is missing"),
        (f"{HEAD}{TYPES}    colour: red\n", ":7: subscription a: colour: unknown key; known: id, sender"),
        (f"{HEAD}{TYPES}    id: b\n", ":7: subscription a: id: duplicate key"),
        (
            f"{HEAD}{TYPES}    description: 5\n",
            ":7: subscription a: description: expected text in quotes (found a number)",
        ),
        (f"{HEAD}    event_types: 5\n", ":6: subscription a: event_types: expected a list of event types"),
        (
            f"{HEAD}    event_types: [[x]]\n",
            ":6: subscription a: event_types.0: expected text in quotes (found a list)",
        ),
        (f"{HEAD}{TYPES}    secret: {CANARY}\n    secret_env: X\n", "secret and secret_env are both set"),
        (f"{HEAD}{TYPES}    secret_env: MISSING\n", ":7: subscription a: secret_env: the environment variable MISSING"),
        (f"{HEAD}{TYPES}    secret_env: EMPTY\n", "the environment variable EMPTY is missing or empty"),
        (f"{HEAD}{TYPES}    secret_file: none.txt\n", "the file none.txt is missing or empty"),
        ("sets: x\nsubscriptions: []\n", ":1: sets: unknown key; did you mean set?"),
        ("subscriptions: 5\n", ":1: subscriptions: expected a list (found a number)"),
        ("set: x\n", ":1: subscriptions: the key is missing"),
        ("subscriptions: [5]\n", ":1: subscription without an id: expected the keys id, sender, "),
        ("subscriptions:\n  - sender: zenoo\n", ":2: subscription without an id: id: the key is missing"),
    ],
)
def test_problem_names_line_and_field(read, text, expected):
    """Each problem names the file, the line, the subscription and the field; a misspelt key has a suggestion."""
    problems = read(text).problems
    assert any(expected in problem for problem in problems), problems
    assert CANARY not in "\n".join(problems)


def test_all_problems_are_reported_in_line_order(read):
    """A misspelt key hides neither a problem of its value nor other problems; no problem appears twice."""
    file = read(
        "subscriptions:\n"
        "  - id: a\n    sendr: zeno\n    customer_id: 5\n    url: ftp://x.example/\n    event_types: [case.craeted]\n"
        "  - id: b\n    sender: zenoo\n    customer_id: acme\n    url: https://x.example/\n    event_types: ['*']\n"
        "    timeout: ten\n    rate_limit: 0\n    headers: {Host: x, X-A: {env: NOT_SET}}\n"
        "  - id: b\n    sender: zenoo\n    customer_id: acme\n    url: https://x.example/\n    event_types: ['*']\n"
    )
    bounds = Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC))
    problems = file.all_problems(faults(file.attempts, load_senders(), EgressPolicy(), bounds))
    expected = [
        ":3: subscription a: sendr: unknown key; did you mean sender?",
        ":3: subscription a: sender 'zeno' is not known; did you mean zenoo?",
        ":4: subscription a: customer_id: expected text in quotes",
        ":5: subscription a: url must start with https:// (got ftp://)",
        ":12: subscription b: timeout: 'ten' is not a duration",
        ":13: subscription b: rate_limit must be from 0.001",
        ":14: subscription b: headers.X-A.env: the environment variable NOT_SET is missing or empty",
        ":14: subscription b: headers: 'Host' is reserved",
        ":15: subscription b: the id occurs 2 times",
    ]
    assert len(problems) == len(expected), problems
    assert all(part in problem for part, problem in zip(expected, problems, strict=True)), problems
    assert len(file.drafts) == 1


def test_problem_has_the_line_of_its_entry(read):
    """A problem of one entry of a mapping or a list has the line of that entry."""
    file = read(
        f"{HEAD}    headers:\n      X-Good: a\n      Host: x\n      X-Missing: {{env: NOT_SET}}\n      X-Bad: 'a '\n"
        "      x-good: b\n    event_types:\n      - case.*\n      - nothing\n"
        "    schedule:\n      - 5s\n      - 7s\n      - soon\n"
    )
    bounds = Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC))
    problems = file.all_problems(faults(file.attempts, load_senders(), EgressPolicy(), bounds))
    expected = [
        ":8: subscription a: headers: 'Host' is reserved",
        ":9: subscription a: headers.X-Missing.env: the environment variable NOT_SET",
        ":10: subscription a: headers: 'X-Bad': the value begins or ends with a space",
        ":11: subscription a: headers: 'x-good' occurs 2 times",
        ":14: subscription a: event_types: sender zenoo has no 'nothing'",
        ":18: subscription a: schedule.2: 'soon' is not a duration",
    ]
    assert len(problems) == len(expected), problems
    assert all(part in problem for part, problem in zip(expected, problems, strict=True)), problems


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secret: no", "secret: expected text in quotes (found a boolean)"),
        ("secret:", "secret: expected text in quotes (found null)"),
        ("description: 2026-01-01", "description: expected text in quotes (found a date)"),
        ("description: !x 5", "description: expected text in quotes (found a value with a tag)"),
        ("headers: {on: x}", "headers: a key must be text, in quotes if YAML reads it as another type (found a bo"),
        ("? [a]\n    : b", "a key must be text, in quotes if YAML reads it as another type (found a list)"),
        ("<<: text", "<<: expected a mapping, such as *name, or a list of mappings (found text)"),
        ("<<: [{description: x}, 5]", "<<: expected a mapping, such as *name, or a list of mappings (found a list)"),
        ("<<: {secret: no}", "secret: expected text in quotes (found a boolean)"),
        ("headers: {X-A: a, X-A: b}", "headers.X-A: duplicate key"),
        ("max_in_flight: '8'", "max_in_flight: expected a number without quotes"),
        ("rate_limit: 1:30", "rate_limit: expected a number"),
        ("headers: {X-A: {env: SECRET, file: a.txt}}", "headers.X-A.file: the file a.txt is missing or empty"),
        ("headers: &a {X-A: *a}", "headers.X-A.X-A: unknown key; known: env, file"),
        ("client_certificate: {key_env: SECRET}", "client_certificate.certificate_file: the key is missing"),
    ],
)
def test_values_of_other_yaml_types_are_refused(read, line, expected):
    """Booleans, dates, nulls and tags are never converted to text or numbers."""
    file = read(f"{HEAD}{TYPES}    {line}\n")
    assert any(f":7: subscription a: {expected}" in problem for problem in file.problems), file.problems
    assert file.drafts == ()


def test_merge_keys_are_expanded(read):
    """`<<` takes the keys of other mappings: own keys have precedence, then those of the first mapping in a list."""
    file = read(
        "defaults: &defaults\n  sender: zenoo\n  customer_id: acme\n  headers: &headers {X-Region: eu}\n"
        "limits: {quick: &quick {timeout: 10s, max_in_flight: 4}}\n"
        "types: &types [case.*]\n"
        "subscriptions:\n"
        "  - &first\n    <<: [*quick, *defaults]\n    id: a\n    url: https://x.example/\n    event_types: *types\n"
        "  - <<: *first\n    id: b\n    timeout: 20s\n"
        "  - <<: {id: c, sender: zenoo}\n    customer_id: beta\n    url: https://y.example/\n    event_types: *types\n"
        "    headers: {<<: *headers, X-B: b}\n"
    )
    assert file.problems == ()
    a, b, c = file.drafts
    assert (a.sender, a.customer_id, a.timeout, a.event_types) == ("zenoo", "acme", timedelta(seconds=10), ("case.*",))
    assert (b.id, b.url, b.timeout, b.max_in_flight) == ("b", "https://x.example/", timedelta(seconds=20), 4)
    assert a.headers == b.headers == (GivenHeader("X-Region", "eu"),)
    assert (c.id, c.customer_id, {header.name for header in c.headers}) == ("c", "beta", {"X-B", "X-Region"})


def test_problem_of_a_merged_key_has_the_line_where_it_is_written(read):
    """An error in a shared value names its own line, once for each subscription that merges it."""
    file = read(
        "base: &base\n  sender: zenoo\n  customer_id: acme\n  url: ftp://x.example/\n  event_types:\n  - case.*\n"
        "  - nothing\n  headers:\n    X-A: a\n    Host: x\n"
        "subscriptions:\n- {<<: *base, id: a}\n- {<<: *base, id: b, timeout: ten}\n"
    )
    bounds = Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC))
    problems = file.all_problems(faults(file.attempts, load_senders(), EgressPolicy(), bounds))
    assert [problem.split(".yaml:")[1].split(":")[0] for problem in problems] == ["4", "4", "7", "7", "10", "10", "13"]
    assert all(f"subscription {id_}: " in problem for problem, id_ in zip(problems, "ababab", strict=False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"base: &b {{x: 1}}\n{HEAD}{TYPES}", ":1: base: unknown key"),
        (f"base: &b {{x: 1}}\n{HEAD}{TYPES}    <<: *b\n", ":1: subscription a: x: unknown key"),
        (
            f"{HEAD}{TYPES}    <<: {{set: a}}\n    <<: {{set: b}}\n",
            ":8: subscription a: <<: duplicate key; write `<<: [*",
        ),
        (f"{HEAD}{TYPES}    '<<': {{set: a}}\n", ":7: subscription a: <<: unknown key"),
    ],
)
def test_merges_hide_no_mistake(read, text, expected):
    """A key that nothing shares, a merged unknown key, and a second merge key are problems with their lines."""
    problems = read(text).problems
    assert any(expected in problem for problem in problems), problems


def test_standard_input_is_a_file_as_well(monkeypatch, tmp_path):
    """`-` reads standard input; errors call it so, and relative paths start at the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("from a file")

    def given(text: str) -> SubscriptionFile:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return read_file(Path("-"), {})

    (draft,) = given(f"{HEAD}{TYPES}    secret_file: secret.txt\n").drafts
    assert draft.secret == Given("from a file")
    assert given(f"{HEAD}{TYPES}    colour: red\n").problems[0].startswith("standard input:7: subscription a: colour: ")
    with pytest.raises(SubscriptionError, match=r"^standard input:6: not YAML: "):
        given(f"{HEAD}    event_types: [*]\n")


def test_nested_aliases_are_not_expanded(read):
    """Nested aliases that stand for ten billion values give one problem for each of the ten outermost, at once."""
    levels = "".join(f"l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 10)}]\n" for n in range(10))
    file = read(f"l0: &l0 [x]\n{levels}{HEAD}    event_types: *l10\n")
    assert any("event_types.0: expected text in quotes (found a list)" in problem for problem in file.problems)
    assert len(file.problems) == 10


def test_optional_settings_are_read(read, tmp_path):
    """Headers come from the file, a variable or another file; schedule, timeout and limits have their units."""
    (tmp_path / "token.txt").write_text("from a file\n")
    (draft,) = read(
        f"{HEAD}{TYPES}    headers: {{X-Region: eu, X-A: {{env: SECRET}}, X-B: {{file: token.txt}}}}\n"
        "    schedule: [5s, 1m]\n    timeout: 10s\n    max_in_flight: 4\n    rate_limit: 2.5\n"
    ).drafts
    assert draft.headers == (
        GivenHeader("X-Region", "eu"),
        GivenHeader("X-A", CANARY),
        GivenHeader("X-B", "from a file"),
    )
    assert draft.schedule == (timedelta(seconds=5), timedelta(minutes=1))
    assert (draft.timeout, draft.max_in_flight, draft.rate_limit) == (timedelta(seconds=10), 4, 2.5)
    assert CANARY not in repr(draft)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{}", "{}"),
        ("{country: GB}", '{"country":"GB"}'),
        (
            "{a: [1, -2.50, 1.0e+400, true, False, null, ~, 'no', {b: é}]}",
            '{"a":[1,-2.50,1.0e+400,true,false,null,null,"no",{"b":"é"}]}',
        ),
        (
            "\n      z: 123456789012345678901234567890\n      a: |\n        two\n        lines\n",
            '{"z":123456789012345678901234567890,"a":"two\\nlines\\n"}',
        ),
        ("{x: [1], y: &b [2], z: *b}", '{"x":[1],"y":[2],"z":[2]}'),
    ],
)
def test_filters_become_json(read, line, expected):
    """A mapping becomes JSON text, with its keys in order and its numbers as written."""
    (draft,) = read(f"{HEAD}{TYPES}    filters: {line}\n").drafts
    assert draft.filters == expected


@pytest.mark.parametrize(("line", "expected"), [("true", True), ("false", False), ("True", True)])
def test_pause_is_read(read, line, expected):
    """A file creates subscriptions that are paused."""
    (draft,) = read(f"{HEAD}{TYPES}    paused: {line}\n").drafts
    assert draft.paused is expected


def test_empty_list_of_event_types_is_read(read):
    """An empty list is a value, and the rules of the sender decide whether it is valid."""
    file = read(f"{HEAD}    event_types: []\n")
    assert (file.drafts[0].event_types, file.problems) == ((), ())
    bounds = Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC))
    (problem,) = file.all_problems(faults(file.attempts, load_senders(), EgressPolicy(), bounds))
    assert problem.endswith(":6: subscription a: event_types is empty; name at least one, or '*' for all")


def test_rules_of_the_sender_name_the_line(read):
    """Event types, a secret and filters that the sender forbids are each reported with their line."""
    head = HEAD.replace("zenoo", "onboarding")
    file = read(f"{head}    filters: {{a: 1}}\n    secret: none\n    event_types: [case.opened, case.resolved]\n")
    other = read(f"{HEAD}{TYPES}    filters:\n      a: 1\n")
    bounds = Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC))
    problems = [
        problem
        for each in (file, other)
        for problem in each.all_problems(faults(each.attempts, load_senders(), EgressPolicy(), bounds))
    ]
    expected = [
        ":7: subscription a: secret: sender onboarding signs every request",
        ":8: subscription a: event_types: a subscription of sender onboarding takes exactly one event type, or 'all'",
        ":7: subscription a: filters: subscriptions of sender zenoo have no filters",
    ]
    assert len(problems) == len(expected), problems
    assert all(part in problem for part, problem in zip(expected, problems, strict=True)), problems


def test_omitted_settings_are_reset_unless_sealed(read):
    """A missing schedule, timeout or limit means the default; only null removes headers and certificate."""
    (draft,) = read(f"{HEAD}{TYPES}").drafts
    assert (draft.schedule, draft.timeout, draft.max_in_flight, draft.rate_limit) == (None,) * 4
    assert (draft.headers, draft.client_certificate) == (KEEP, KEEP)
    (draft,) = read(f"{HEAD}{TYPES}    headers:\n    client_certificate:\n    schedule: []\n    timeout:\n").drafts
    assert (draft.headers, draft.client_certificate, draft.schedule, draft.timeout) == ((), None, (), None)


def test_client_certificate_is_read_from_files(read, tmp_path):
    """Certificate and key are PEM files next to the subscription file; the key may be a variable."""
    (tmp_path / "c.pem").write_text(certificate())
    (tmp_path / "c.key").write_text(pem(KEY))
    (draft,) = read(f"{HEAD}{TYPES}    client_certificate: {{certificate_file: c.pem, key_file: c.key}}\n").drafts
    assert isinstance(draft.client_certificate, GivenCertificate)
    assert draft.client_certificate.key == pem(KEY)
    file = read(f"{HEAD}{TYPES}    client_certificate: {{certificate_file: c.pem, key_env: SECRET}}\n")
    assert file.problems[0].endswith(
        ":7: subscription a: client_certificate: the key is not a private key in PEM (-----BEGIN PRIVATE KEY-----)"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("headers: [a]", ":7: subscription a: headers: write each as `Name: value`"),
        ("headers: {X-A: 5}", ":7: subscription a: headers.X-A: expected text in quotes"),
        ("headers: {X-A: {env: MISSING}}", "headers.X-A.env: the environment variable MISSING is missing"),
        ("headers: {X-A: {file: none.txt}}", "headers.X-A.file: the file none.txt is missing or empty"),
        ("headers: {X-A: {var: SECRET}}", "headers.X-A.var: unknown key; known: env, file"),
        ("headers: {X-A: {}}", "headers.X-A: write `env: VARIABLE` or `file: …`"),
        ("client_certificate: c.pem", "client_certificate: expected the keys certificate_file, key_file, key_env"),
        ("schedule: 5", "schedule: expected a list of waits, such as [5s, 1m, 30m]"),
        ("schedule: [5s, soon]", ":7: subscription a: schedule.1: 'soon' is not a duration"),
        ("timeout: ten", ":7: subscription a: timeout: 'ten' is not a duration"),
        ("timeout: 10", ":7: subscription a: timeout: expected a duration in quotes"),
        ("max_in_flight: many", ":7: subscription a: max_in_flight: expected a number without quotes, such as 8"),
        ("max_in_flight: 2.5", ":7: subscription a: max_in_flight: expected a whole number"),
        ("max_in_flight: 1.0e+400", ":7: subscription a: max_in_flight: expected a whole number"),
        ("max_in_flight: .nan", ":7: subscription a: max_in_flight: expected a number"),
        ("rate_limit: 0x10", ":7: subscription a: rate_limit: expected a number"),
        ("paused: yes", ":7: subscription a: paused: expected true or false, without quotes"),
        ("paused: 'true'", ":7: subscription a: paused: expected true or false, without quotes"),
        ("paused:", ":7: subscription a: paused: expected true or false, without quotes"),
        ("paused: 1", ":7: subscription a: paused: expected true or false, without quotes"),
        ("filters: []", ":7: subscription a: filters: expected a mapping, such as {country: GB}"),
        ("filters:", ":7: subscription a: filters: expected a mapping"),
        ("filters: '{}'", ":7: subscription a: filters: expected a mapping"),
        ("filters: {a: no}", ":7: subscription a: filters: a value has no JSON form"),
        ("filters: {a: 2026-01-01}", "filters: a value has no JSON form"),
        ("filters: {a: [0x10]}", "filters: a value has no JSON form"),
        ("filters: {a: .nan}", "filters: a value has no JSON form"),
        ("filters: {a: 1_000}", "filters: a value has no JSON form"),
        ("filters: &a {b: *a}", "filters: nested too deeply"),
        ("filters: {1: x}", "a key must be text, in quotes if YAML reads it as another type (found a number)"),
        ("filters: {a: 1, a: 2}", "filters.a: duplicate key"),
    ],
)
def test_invalid_setting_names_line_and_field(read, line, expected):
    """Each problem names the line, the subscription and the field, and the subscription becomes no draft."""
    file = read(f"{HEAD}{TYPES}    {line}\n")
    assert any(expected in problem for problem in file.problems), file.problems
    assert file.drafts == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: the file must have `subscriptions:`"),
        ("- a\n", ":1: the file must have `subscriptions:`"),
        (f"{HEAD}    event_types: [*]\n", ":6: not YAML: * and & have a special meaning"),
        (f"{HEAD}    secret: *{CANARY}\n", ":6: not YAML: * and &"),
        (f"{HEAD}    secret: {CANARY}: {CANARY}\n", ":6: not YAML: "),
        (f"{HEAD}    secret: '{CANARY}\n", "not YAML: "),
        (f"{HEAD}    secret: \x01{CANARY}\n", "characters that YAML does not allow"),
        (f"{HEAD}---\nsecret: {CANARY}\n", "not YAML: "),
        (f"{HEAD}    secret: *nothing\n", ":6: not YAML: * and &"),
        (f"{HEAD}    secret: @{CANARY}\n", ":6: not YAML: "),
        (f'{HEAD}    secret: "\\q{CANARY}"\n', ":6: not YAML: "),
        ("[" * 5_000, "not YAML: "),
        ("[" * 200_000 + "]" * 200_000, "not YAML: nested too deeply"),
        ("{a: " * 200_000 + "}" * 200_000, "not YAML: nested too deeply"),
        ("".join(f"{' ' * n}a:\n" for n in range(2_000)), "not YAML: nested too deeply"),
    ],
)
def test_invalid_yaml_is_one_error_with_its_line(read, text, expected):
    """A file that is not YAML gives one error with the line and without the file's text."""
    with pytest.raises(SubscriptionError) as caught:
        read(text)
    assert expected in str(caught.value)
    assert CANARY not in str(caught.value)


def test_invalid_utf_8_is_refused(tmp_path: Path):
    """The error names the file and the position, and repeats none of the content."""
    (tmp_path / "subs.yaml").write_bytes(b"set: " + CANARY.encode() + b"\xff\n")
    with pytest.raises(SubscriptionError, match=r"subs\.yaml: not UTF-8: invalid start byte at byte \d+$") as caught:
        read_file(tmp_path / "subs.yaml", {})
    assert CANARY not in str(caught.value)


def test_missing_file_is_an_error(tmp_path: Path):
    """The error names the file and the reason."""
    with pytest.raises(SubscriptionError, match=r"none\.yaml: cannot be read: No such file"):
        read_file(tmp_path / "none.yaml", {})


def test_documented_files_are_valid(tmp_path):
    """The examples of docs/subscriptions.md are read without a problem."""
    text = (Path(__file__).parents[3] / "docs" / "subscriptions.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        (tmp_path / "subs.yaml").write_text(example, encoding="utf-8")
        file = read_file(tmp_path / "subs.yaml", {"ACME_SECRET": CANARY})
        assert (file.problems, len(file.drafts) > 0) == ((), True)
