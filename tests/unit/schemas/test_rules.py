"""Validation rules of a subscription."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog.errors import SubscriptionError
from schemas.network.egress import EgressPolicy
from schemas.senders.sender import load_senders
from schemas.subscriptions.header_rules import GivenHeader, is_sendable
from schemas.subscriptions.rules import KEEP, Bounds, Draft, Generate, Given, NoSecret, check

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


def test_valid_subscription_has_no_problems():
    """Exact types, groups and `*` are valid, with a generated secret or none."""
    assert problems_of(GOOD, replace(GOOD, id="b", event_types=("*",)), replace(GOOD, id="c", secret=Generate())) == ()


@pytest.mark.decision("Z2")
def test_http_is_refused():
    """An http URL is refused with a message that names the subscription and the valid form."""
    (problem,) = problems_of(replace(GOOD, url="http://hooks.acme.example/x"))
    assert problem.startswith("subscription sub_17: url must start with https://")


@pytest.mark.decision("Z25", "Z1")
def test_customer_may_have_any_number_of_subscriptions():
    """The number of a customer's subscriptions has no limit."""
    assert problems_of(*(replace(GOOD, id=f"sub_{number}") for number in range(1000))) == ()


@pytest.mark.decision("Z11")
@pytest.mark.parametrize("secret", ["x", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "geheim: äöü", " spaces "])
def test_secret_may_be_any_text(secret):
    """Any text that is not empty is accepted unchanged, with any prefix."""
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
        ({"secret": NoSecret()}, "secret: sender zenoo signs every request; a subscription needs a secret"),
        ({"filters": '{"a":1}'}, "filters: subscriptions of sender zenoo have no filters"),
        ({"filters": "[]"}, "filters: expected a JSON object"),
    ],
)
def test_invalid_field_is_explained(change, expected):
    """Each broken rule gives a message with the field, the problem and suggestions."""
    (problem,) = problems_of(replace(GOOD, **change))
    assert expected in problem


@pytest.mark.parametrize(
    ("sender", "event_types", "expected"),
    [
        ("onboarding", (), "takes exactly one event type, or 'all' (got 0)"),
        ("onboarding", ("*",), "'*' is not an event type; a subscription of sender onboarding takes exactly one"),
        ("onboarding", ("batch.*",), "'batch.*' is not an event type; a subscription of sender onboarding takes"),
        ("onboarding", ("case.opened", "batch.*"), "takes exactly one event type, or 'all' (got 2)"),
        ("onboarding", ("case.opened", "case.resolved"), "takes exactly one event type, or 'all' (got 2)"),
        ("onboarding", ("all", "case.opened"), "takes exactly one event type, or 'all' (got 2)"),
        ("onboarding", ("case.opned",), "sender onboarding has no 'case.opned'; did you mean case.opened?"),
        ("onboarding", ("nothing like it",), "`signpost senders show onboarding` lists its types"),
        ("onboarding", ("all",), None),
        ("onboarding", ("case.opened",), None),
        ("onboarding", ("test",), None),
        ("onboarding", KEEP, None),
        ("diligent", (), None),
        ("diligent", ("cdd_state_changed", "flow_run_failed"), None),
        ("diligent", KEEP, None),
        ("diligent", ("nothing like it",), "has no 'nothing like it'; known: *, cdd_state_changed, monitoring_alert"),
        ("riskos", (), "event_types is empty; name at least one, or '*' for all"),
        ("standard", (), "event_types is empty; name at least one, or '*' for all"),
    ],
)
def test_sender_decides_how_many_event_types_there_are(sender, event_types, expected):
    """Onboarding takes one type or `all`, Diligent any number, also none; other senders need at least one."""
    found = problems_of(replace(GOOD, sender=sender, event_types=event_types))
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


@pytest.mark.parametrize(
    ("sender", "is_optional"), [("diligent", True), ("riskos", True), ("onboarding", False), ("standard", False)]
)
def test_secret_may_be_absent_where_the_sender_allows_it(sender, is_optional):
    """A subscription may have no secret if its sender also sends unsigned requests."""
    found = problems_of(replace(GOOD, sender=sender, event_types=KEEP, secret=NoSecret()))
    assert (found == ()) == is_optional
    (empty,) = problems_of(replace(GOOD, sender=sender, event_types=KEEP, secret=Given("")))
    assert ("`secret: none` for unsigned requests" in empty) == is_optional


@pytest.mark.parametrize("sender", ["zenoo", "diligent", "riskos", "standard", "onboarding"])
def test_only_onboarding_has_filters(sender):
    """Subscriptions of Onboarding may have filters, which are any object; those of all senders may have none."""
    draft = replace(GOOD, sender=sender, event_types=KEEP)
    assert problems_of(replace(draft, filters="{}")) == ()
    found = problems_of(replace(draft, filters='{"country": ["GB"]}'))
    assert (found == ()) == (sender == "onboarding")


def test_all_problems_are_reported_together():
    """Problems of several subscriptions are reported together, a duplicate id among them."""
    found = problems_of(replace(GOOD, url="http://x", sender="x"), replace(GOOD, event_types=()))
    assert len(found) == 4
    assert "subscription sub_17: the id occurs 2 times" in found[-1]


@pytest.mark.promise(6)
def test_problems_hold_no_secret_and_no_path():
    """No problem repeats the secret, or the path or query of a URL."""
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
def test_invalid_setting_is_refused(change, expected):
    """A wait without a topic, a timeout beyond the drain, or a limit out of range is refused with the reason."""
    (problem,) = problems_of(replace(GOOD, **change))
    assert expected in problem


def test_valid_settings_are_accepted():
    """Any list of waits that have topics, an empty one included, and limits within bounds are accepted."""
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
def test_reserved_or_invalid_header_is_refused(name, value, expected):
    """No header frames the message, belongs to the sender or breaks its line; no message repeats a value."""
    (problem,) = problems_of(replace(GOOD, headers=(GivenHeader(name, value),)))
    assert expected in problem
    assert CANARY not in problem


def test_headers_are_limited_and_unique():
    """At most 20 headers with 8 KiB in total are accepted; names that differ only in case are duplicates."""
    many = tuple(GivenHeader(f"X-{number}", "x") for number in range(21))
    large = tuple(GivenHeader(f"X-{number}", "x" * 4_000) for number in range(3))
    double = (GivenHeader("X-A", "1"), GivenHeader("x-a", "2"))
    for headers, expected in ((many, "there are 21"), (large, "in total; at most 8192"), (double, "occurs 2 times")):
        (problem,) = problems_of(replace(GOOD, headers=headers))
        assert expected in problem
    assert (
        problems_of(replace(GOOD, headers=(GivenHeader("Authorization", "Bearer x"), GivenHeader("X-Kept", None))))
        == ()
    )


# Text that could end a line, begin another one, or name a header that frames the message.
_NASTY = st.sampled_from(
    ["\r", "\n", "\r\n", "\x00", ":", " ", "\t", "\x85", "\u2028", "Host", "Content-Length", "a", "ä"]
)
_TEXT = st.lists(_NASTY | st.text(max_size=3), max_size=6).map("".join)


@pytest.mark.promise(5)
@settings(max_examples=300)
@given(name=_TEXT | st.sampled_from(["X-A", "host", "Transfer-Encoding", "TE"]), value=_TEXT)
def test_accepted_header_is_exactly_one_line(name, value):
    """Any name and value are refused, or form one line that neither frames the message nor belongs to the sender."""
    is_accepted = problems_of(replace(GOOD, headers=(GivenHeader(name, value),))) == ()
    assert is_accepted == (is_sendable(name, value) and name.lower() not in load_senders()["zenoo"].header_names)
    if is_accepted:
        assert f"{name}: {value}".splitlines() == [f"{name}: {value}"]
        assert name.lower() not in {"host", "content-length", "transfer-encoding", "te", "connection"}
        assert f"{name}: {value}".isascii()
        assert ":" not in name
