"""The rules that a subscription has to keep."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog.errors import SubscriptionError
from schemas.network.egress import EgressPolicy
from schemas.senders.sender import load_senders
from schemas.subscriptions.header_rules import HeaderWish, is_sendable
from schemas.subscriptions.rules import Bounds, Draft, Generate, Given, check

CANARY = "canary-of-this-test"
BOUNDS = Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC))
GOOD = Draft(
    id="sub_17",
    sender="zenoo",
    customer_id="acme",
    url="https://hooks.acme.example/zenoo",
    event_types=("case.created", "sla.*"),
)


def problems_of(*drafts: Draft) -> tuple[str, ...]:
    try:
        check(drafts, load_senders(), EgressPolicy(), BOUNDS)
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
        ({"customer_id": " acme"}, "customer_id must not begin or end with a space"),
        ({"customer_id": "ac\x00me"}, "customer_id must not begin or end with a space"),
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
        ({"event_types": ("*", "*")}, "'*' occurs 2 times"),
        ({"secret": Given("")}, "secret is empty"),
        ({"secret": Given("\ud800")}, "secret: the secret is not valid text"),
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
    assert "subscription sub_17: the id occurs 2 times" in found[-1]


@pytest.mark.promise(6)
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


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schedule": (timedelta(seconds=7),)}, "schedule: there is no delay topic for 7s; known: "),
        ({"schedule": (timedelta(0),)}, "schedule: there is no delay topic for 0s; known: "),
        ({"schedule": (timedelta(minutes=1),) * 50}, "schedule has 50 delays; at most 49 are allowed"),
        ({"timeout": timedelta(0)}, "timeout must be one second or more"),
        ({"timeout": timedelta(milliseconds=1500)}, "in whole seconds"),
        ({"timeout": timedelta(seconds=31)}, "timeout 31s is longer than 30s, the maximum with this drain_timeout"),
        ({"max_in_flight": 0}, "max_in_flight must be from 1 to 10000 (got 0)"),
        ({"rate_limit": 0.0}, "rate_limit must be from 0.001 to 100,000 requests a second (got 0)"),
        ({"rate_limit": float("nan")}, "rate_limit must be from 0.001"),
        ({"rate_limit": float("inf")}, "rate_limit must be from 0.001"),
    ],
)
def test_a_setting_that_cannot_be_kept_is_refused(change, expected):
    """A wait without a topic, a timeout that would outlive the process, a limit of nothing: each has its sentence."""
    (problem,) = problems_of(replace(GOOD, **change))
    assert expected in problem


def test_settings_of_its_own_are_taken():
    """Any list of waits that there are topics for, an empty one too, and limits within their bounds."""
    waits = (timedelta(seconds=5), timedelta(hours=24), timedelta(minutes=1), timedelta(minutes=1))
    draft = replace(GOOD, schedule=waits, timeout=timedelta(seconds=30), max_in_flight=1, rate_limit=0.001)
    assert problems_of(draft, replace(GOOD, id="b", schedule=())) == ()


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, "x", "is reserved and cannot be set") for name in ("Host", "content-LENGTH", "Transfer-Encoding")),
        *((name, "x", "is reserved and cannot be set") for name in ("Connection", "TE", "Upgrade", "Keep-Alive")),
        *((name, "x", "is reserved and cannot be set") for name in ("Proxy-Authorization", "Expect", "Trailer")),
        ("Content-Type", "x", "is reserved and cannot be set"),
        ("x-zenoo-signature", "x", "is reserved: the sender zenoo sets it"),
        ("User-agent", "x", "is reserved: the sender zenoo sets it"),
        ("", "x", "is not a name"),
        ("X-A:", "x", "is not a name"),
        ("X A", "x", "is not a name"),
        ("X-A\r\nX-B", "x", "is not a name"),
        ("X-Ä", "x", "is not a name"),
        ("X" * 101, "x", "has 101 characters"),
        ("X-A", "", "the value is empty"),
        ("X-A", f"{CANARY}\r\nX-B: c", "the value contains a line break"),
        ("X-A", f"{CANARY}\n", "the value contains a line break"),
        ("X-A", f"{CANARY}\x00", "the value contains a line break, a control character"),
        ("X-A", f"{CANARY}\t", "a control character"),
        ("X-A", f"{CANARY}ä", "a character that is not ASCII"),
        ("X-A", f" {CANARY}", "the value begins or ends with a space"),
        ("X-A", CANARY * 300, "the value has 5700 characters"),
    ],
)
def test_a_header_that_could_be_another_s_is_refused(name, value, expected):
    """No header frames the message, is the sender's own or ends its line; no sentence repeats a value."""
    (problem,) = problems_of(replace(GOOD, headers=(HeaderWish(name, value),)))
    assert expected in problem
    assert CANARY not in problem


def test_headers_are_bounded_and_each_name_is_there_once():
    """Twenty of them, 8 KiB together, and names that differ in case alone are one name."""
    many = tuple(HeaderWish(f"X-{number}", "x") for number in range(21))
    large = tuple(HeaderWish(f"X-{number}", "x" * 4_000) for number in range(3))
    double = (HeaderWish("X-A", "1"), HeaderWish("x-a", "2"))
    for headers, expected in ((many, "there are 21"), (large, "in total; at most 8192"), (double, "occurs 2 times")):
        (problem,) = problems_of(replace(GOOD, headers=headers))
        assert expected in problem
    assert (
        problems_of(replace(GOOD, headers=(HeaderWish("Authorization", "Bearer x"), HeaderWish("X-Kept", None)))) == ()
    )


# What could end a line, begin another, or pass for one that frames the message.
_NASTY = st.sampled_from(
    ["\r", "\n", "\r\n", "\x00", ":", " ", "\t", "\x85", "\u2028", "Host", "Content-Length", "a", "ä"]
)
_TEXT = st.lists(_NASTY | st.text(max_size=3), max_size=6).map("".join)


@pytest.mark.promise(5)
@settings(max_examples=300)
@given(name=_TEXT | st.sampled_from(["X-A", "host", "Transfer-Encoding", "TE"]), value=_TEXT)
def test_no_header_that_is_taken_is_more_than_one_line(name, value):
    """Whatever somebody writes into name and value, it is refused, or one line that neither frames nor signs."""
    taken = problems_of(replace(GOOD, headers=(HeaderWish(name, value),))) == ()
    assert taken == (is_sendable(name, value) and name.lower() not in load_senders()["zenoo"].header_names)
    if taken:
        assert f"{name}: {value}".splitlines() == [f"{name}: {value}"]
        assert name.lower() not in {"host", "content-length", "transfer-encoding", "te", "connection"}
        assert f"{name}: {value}".isascii()
        assert ":" not in name
