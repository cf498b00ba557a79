"""Files of subscriptions, in YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.subscription_file import SubscriptionFile, read_file
from schemas.errors import SubscriptionError
from schemas.rules import Draft, Generate, Given

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


def test_a_file_gives_its_subscriptions(read):
    """All fields arrive as they are written, and the set's name in each of them."""
    found = read(f"set: billing\n{HEAD}    description: two words\n    event_types: [case.*, '*']\n")
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
    )
    assert found == SubscriptionFile("billing", (expected,), ())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secret: plain", Given("plain")),
        ("secret: generate", Generate()),
        ("secret_env: SECRET", Given(CANARY)),
        ("secret_file: secret.txt", Given("from a file")),
        ("", None),
    ],
)
def test_a_secret_comes_from_one_of_five_places(read, tmp_path, line, expected):
    """From the file itself, the environment, a file beside it without its line's end, made, or as it is."""
    (tmp_path / "secret.txt").write_text("from a file\n")
    (draft,) = read(f"{HEAD}{TYPES}    {line}\n").drafts
    assert draft.secret == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEAD}    event_type: [x]\n", ":6: subscription a: 'event_type' is not a field; did you mean event_types?"),
        (f"{HEAD}    event_type: [x]\n", ":2: subscription a: event_types is missing"),
        (f"{HEAD}{TYPES}    colour: red\n", "'colour' is not a field; known: id, sender"),
        (f"{HEAD}{TYPES}    id: b\n", ":7: subscription a: id is there twice"),
        (f"{HEAD}{TYPES}    description: 5\n", ":7: subscription a: description: write text, in quotes"),
        (f"{HEAD}    event_types: 5\n", ":6: subscription a: event_types: write a list"),
        (f"{HEAD}    event_types: [[x]]\n", ":6: subscription a: event_types: write text"),
        (f"{HEAD}{TYPES}    secret: {CANARY}\n    secret_env: X\n", "secret and secret_env are both there"),
        (f"{HEAD}{TYPES}    secret_env: MISSING\n", ":7: subscription a: secret_env: the environment variable MISSING"),
        (f"{HEAD}{TYPES}    secret_env: EMPTY\n", "the environment variable EMPTY is not there or empty"),
        (f"{HEAD}{TYPES}    secret_file: none.txt\n", "the file none.txt is not there or empty"),
        ("sets: x\nsubscriptions: []\n", ":1: 'sets' is not a field; did you mean set?"),
        ("subscriptions: 5\n", ":1: subscriptions: write a list"),
        ("set: x\n", ":1: subscriptions: write a list"),
        ("subscriptions: [5]\n", ":1: subscriptions: each item holds"),
        ("subscriptions:\n  - sender: zenoo\n", ":2: subscription without an id: id is missing"),
    ],
)
def test_a_problem_names_line_and_field(read, text, expected):
    """Each problem names the file, the line, the subscription and the field, and a name that is near."""
    problems = read(text).problems
    assert any(expected in problem for problem in problems), problems
    assert CANARY not in "\n".join(problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: the file has to hold `subscriptions:`"),
        ("- a\n", ":1: the file has to hold `subscriptions:`"),
        (f"{HEAD}    event_types: [*]\n", ":6: not YAML: * and & have a meaning of their own"),
        (f"{HEAD}    secret: *{CANARY}\n", ":6: not YAML: * and &"),
        (f"{HEAD}    secret: {CANARY}: {CANARY}\n", ":6: not YAML: "),
        (f"{HEAD}    secret: '{CANARY}\n", "not YAML: "),
        (f"{HEAD}    secret: \x01{CANARY}\n", "characters that YAML does not allow"),
        (f"{HEAD}---\nsecret: {CANARY}\n", "not YAML: "),
        ("[" * 5000, "not YAML: "),
    ],
)
def test_what_is_no_yaml_is_said_with_its_line(read, text, expected):
    """A file that cannot be understood ends in one error with the line, without what stands there."""
    with pytest.raises(SubscriptionError) as caught:
        read(text)
    assert expected in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    """The error names the file and the reason."""
    with pytest.raises(SubscriptionError, match=r"none\.yaml: cannot be read: No such file"):
        read_file(tmp_path / "none.yaml", {})
