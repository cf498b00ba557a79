"""The rules that a subscription has to keep."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.egress import EgressPolicy
from schemas.errors import SubscriptionError
from schemas.rules import Draft, Generate, Given, check
from schemas.sender import load_senders

CANARY = "canary-of-this-test"
GOOD = Draft(
    id="sub_17",
    sender="zenoo",
    customer_id="acme",
    url="https://hooks.acme.example/zenoo",
    event_types=("case.created", "sla.*"),
)


def problems_of(*drafts: Draft) -> tuple[str, ...]:
    try:
        check(drafts, load_senders(), EgressPolicy())
    except SubscriptionError as error:
        return error.problems
    return ()


def test_a_good_subscription_has_no_problems():
    """Exact types and groups, and all as `*`, with a secret of any form or none."""
    assert problems_of(GOOD, replace(GOOD, id="b", event_types=("*",)), replace(GOOD, id="c", secret=Generate())) == ()


@pytest.mark.decision("Z2")
def test_http_is_refused():
    """An endpoint has to be HTTPS, in a sentence that names the subscription and what to do."""
    (problem,) = problems_of(replace(GOOD, url="http://hooks.acme.example/x"))
    assert problem.startswith("subscription sub_17: url must start with https://")


@pytest.mark.decision("Z25", "Z1")
def test_a_customer_has_as_many_endpoints_as_it_likes():
    """Nothing limits the number of a customer's subscriptions."""
    assert problems_of(*(replace(GOOD, id=f"sub_{number}") for number in range(1000))) == ()


@pytest.mark.decision("Z11")
@pytest.mark.parametrize("secret", ["x", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "geheim: äöü", " spaces "])
def test_a_secret_is_any_text(secret):
    """Any text that is not empty is taken as it is, whatever it begins with."""
    assert problems_of(replace(GOOD, secret=Given(secret))) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"id": ""}, "id must be 1 to 128 letters"),
        ({"id": "a b"}, "id must be 1 to 128 letters"),
        ({"id": "a" * 129}, "id must be 1 to 128 letters"),
        ({"id": "a\n"}, "id must be 1 to 128 letters"),
        ({"customer_id": ""}, "customer_id is empty"),
        ({"customer_id": " acme"}, "customer_id must neither begin nor end with a space"),
        ({"customer_id": "ac\x00me"}, "customer_id must neither begin nor end with a space"),
        ({"customer_id": "a" * 257}, "customer_id has 257 characters"),
        ({"description": "a" * 1025}, "description has 1025 characters"),
        ({"sender": "zeno"}, "sender 'zeno' is not known; did you mean zenoo?"),
        ({"sender": "x"}, "sender 'x' is not known; known: "),
        ({"event_types": ()}, "event_types is empty"),
        ({"event_types": ("case.creatd",)}, "sender zenoo has no 'case.creatd'; did you mean case.created?"),
        ({"event_types": ("foo.*",)}, "sender zenoo has no 'foo.*'; known: *, alert.*, case.*"),
        ({"event_types": ("case*",)}, "sender zenoo has no 'case*'; did you mean case.*?"),
        ({"event_types": ("test",)}, "sender zenoo has no 'test'"),
        ({"event_types": ("",)}, "sender zenoo has no ''"),
        ({"event_types": ("*", "*")}, "'*' is there 2 times"),
        ({"secret": Given("")}, "secret is empty"),
        ({"secret": Given("\ud800")}, "secret: the secret is not text"),
        ({"secret": Given("x" * 4097)}, "secret has 4097 characters"),
    ],
)
def test_what_is_wrong_is_said(change, expected):
    """Each rule has a sentence that names the field, what is wrong, and what is near it."""
    (problem,) = problems_of(replace(GOOD, **change))
    assert expected in problem


def test_all_problems_are_said_at_once():
    """Several problems of several subscriptions come together, and an id that is there twice is one of them."""
    found = problems_of(replace(GOOD, url="http://x", sender="x"), replace(GOOD, event_types=()))
    assert len(found) == 4
    assert "subscription sub_17: the id is there 2 times" in found[-1]


def test_no_problem_repeats_a_secret_or_a_path():
    """Neither the secret nor the path or query of a URL is in a problem, however wrong they are."""
    wrong = (f"http://x.example/{CANARY}?{CANARY}", f"https://x.example:1/{CANARY}", f"https://u:{CANARY}@x.example/")
    for url in (
        *wrong,
        f"https://x.example/#{CANARY}",
        f"https://x.example/{CANARY}\\",
        f"//{CANARY}",
        f"x://y/{CANARY}",
    ):
        draft = replace(GOOD, url=url, secret=Given(f"{CANARY}\ud800"), sender="zenoo")
        assert CANARY not in "\n".join(problems_of(draft))
        assert CANARY not in repr(draft)
