"""`signpost keys` with wrong arguments: none of them needs a broker."""

from __future__ import annotations

import pytest

from tests.support.tools import Commands

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
CANARY = "spk_aaaaaaaaaaaaaaa1_canary"


@pytest.fixture
def signpost(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The commands with settings that name a broker that does not exist."""
    return Commands({"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SIGNPOST_SEALING_KEY": KEY}, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name --sender and --customer, or --operator"),
        (["--sender", "zenoo"], "name --sender and --customer, or --operator"),
        (["--customer", "acme"], "name --sender and --customer, or --operator"),
        (["--operator", "--customer", "acme"], "leave out --sender and --customer"),
        (["--operator", "--sender", "zenoo", "--customer", "acme"], "leave out --sender and --customer"),
        (["--sender", "zeno", "--customer", "acme"], "--sender: unknown sender 'zeno'; did you mean zenoo?"),
        (["--sender", "", "--customer", "acme"], "--sender: unknown sender ''; known: "),
        (["--sender", "zenoo", "--customer", "acme"], "--sender: zenoo has no REST API"),
        (["--sender", "riskos", "--customer", "acme"], "; senders with one: onboarding, diligent\n"),
        (["--sender", "onboarding", "--customer", ""], "--customer is empty"),
        (["--sender", "diligent", "--customer", " acme"], "--customer must not begin or end with a space"),
        (["--sender", "onboarding", "--customer", "a" * 257], "--customer has 257 characters; at most 256"),
        (["--operator", "--description", "a\nb"], "--description must not begin or end with a space"),
        (["--operator", "--description", "a" * 1_025], "--description has 1025 characters; at most 1024"),
        (["--operator", "--scope", "wirte"], "--scope: unknown value 'wirte'; did you mean write?"),
        (["--operator", "--expires", "0d"], "--expires: the key would never be valid"),
        (["--operator", "--expires", "soon"], "--expires: 'soon' is not a duration"),
    ],
)
def test_wrong_arguments_of_create(signpost, arguments, sentence):
    """A wrong argument is refused with exit code 2 and a sentence that says what to write."""
    result = signpost("keys", "create", *arguments)
    assert (result.code, result.out) == (2, "")
    assert sentence in result.err


def test_create_needs_a_sealing_key(signpost, monkeypatch):
    """Without a sealing key no key is created: its hash could be tested by every reader of the topic."""
    monkeypatch.delenv("SIGNPOST_SEALING_KEY")
    result = signpost("keys", "create", "--operator")
    assert result.code == 2
    assert "no sealing key is set" in result.err


@pytest.mark.promise(6)
@pytest.mark.parametrize("text", [CANARY, f"{'a' * 21}canary", f"{'A' * 16}_canary"])
def test_broken_key_is_not_shown(signpost, text):
    """An argument that may be a part of a key is in no error."""
    result = signpost("keys", "revoke", text)
    assert result.code == 2
    assert "neither a key nor an id" in result.err
    assert "canary" not in result.err
