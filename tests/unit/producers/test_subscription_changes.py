"""What a wish about a subscription does to its record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from producers.subscriptions.changes import (
    Apply,
    Change,
    Delete,
    Order,
    Pause,
    Result,
    Resume,
    Rotate,
    Unreadable,
    Wish,
)
from producers.subscriptions.decider import Decider, is_own
from schemas.catalog.errors import InvalidInput, SealBroken, SubscriptionError
from schemas.senders.sender import load_senders
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.client_certificate import CertificateWish
from schemas.subscriptions.header_rules import HeaderWish
from schemas.subscriptions.rules import Draft, Generate, Given
from schemas.subscriptions.sealing import Sealer, header_place, key_place
from schemas.subscriptions.subscription import Subscription, encode_subscription

TOPIC = "signpost.subscriptions"
SEALER = Sealer([bytes(32)])
DECIDER = Decider(TOPIC, load_senders(), SEALER)
DRAFT = Draft(id="a", sender="zenoo", customer_id="acme", url="https://x.example/", event_types=("*",))


def order_of(wish: Wish, number: int = 1) -> Order:
    return Order(wish, f"req_{number}", f"sec_{number}", f"made-{number}")


def created(draft: Draft = DRAFT, now_ms: int = 1_000) -> Subscription:
    subscription = DECIDER.decide(order_of(Apply(draft), 0), None, now_ms).subscription
    assert subscription is not None
    return subscription


def secret_of(subscription: Subscription) -> str:
    (secret,) = subscription.secrets
    return SEALER.open(secret.sealed, topic=TOPIC, subscription_id=subscription.id, secret_id=secret.id)


@pytest.mark.decision("Z13")
def test_a_new_subscription_gets_a_secret():
    """Zenoo always signs: where no secret is given, one is made and handed out in the result."""
    result = DECIDER.decide(order_of(Apply(DRAFT)), None, 1_000)
    assert (result.effect, result.secret) == ("created", "made-1")
    assert result.subscription is not None
    assert secret_of(result.subscription) == "made-1"
    assert "made-1" not in repr(result)


def test_a_given_secret_is_not_handed_out():
    """Who gives a secret knows it: the result does not repeat it."""
    result = DECIDER.decide(order_of(Apply(replace(DRAFT, secret=Given("mine")))), None, 1_000)
    assert result.secret is None
    assert result.subscription is not None
    assert secret_of(result.subscription) == "mine"


@pytest.mark.parametrize("secret", [None, Generate(), Given("made-0")])
def test_what_is_so_already_is_unchanged(secret):
    """The same again changes nothing: the present secret stays, also where it is given once more."""
    current = created()
    result = DECIDER.decide(order_of(Apply(replace(DRAFT, secret=secret))), current, 2_000)
    assert result.effect == "unchanged"
    assert result.subscription is current


@pytest.mark.decision("Z12")
def test_a_new_secret_replaces_the_old_one_at_once():
    """After a rotation there is one secret, the new one."""
    result = DECIDER.decide(order_of(Apply(replace(DRAFT, secret=Given("new")))), created(), 2_000)
    assert (result.effect, result.changed) == ("changed", ("secret",))
    assert result.subscription is not None
    assert secret_of(result.subscription) == "new"


def test_a_change_keeps_the_rest():
    """A new URL leaves secret, activation, pause and set as they were."""
    current = replace(created(), paused=True, set="billing")
    result = DECIDER.decide(order_of(Apply(replace(DRAFT, url="https://y.example/"))), current, 2_000)
    assert result.changed == ("url",)
    assert result.subscription == replace(current, url="https://y.example/", updated_at_ms=2_000, request_id="req_1")


def test_sender_and_customer_never_change():
    """A subscription keeps its sender and its customer; both problems are said."""
    with pytest.raises(SubscriptionError) as caught:
        DECIDER.decide(order_of(Apply(DRAFT)), replace(created(), sender="x", customer_id="y"), 2_000)
    assert [problem.split(" never")[0] for problem in caught.value.problems] == [
        "subscription a: sender",
        "subscription a: customer_id",
    ]


def test_resume_raises_the_activation_and_nothing_else_does():
    """What waited when it was paused is told from what comes after it was resumed, even if the clock went back."""
    current = created(now_ms=5_000)
    paused = DECIDER.decide(order_of(Pause("a")), current, 6_000).subscription
    assert paused is not None
    assert (paused.paused, paused.activation) == (True, 5_000)
    for now_ms, expected in ((4_000, 5_001), (9_000, 9_000)):
        resumed = DECIDER.decide(order_of(Resume("a")), paused, now_ms).subscription
        assert resumed is not None
        assert (resumed.paused, resumed.activation) == (False, expected)


def test_a_subscription_that_is_made_anew_has_a_higher_activation():
    """Jobs of a deleted subscription are not taken for those of a later one with its id."""
    assert created(now_ms=2_000).activation > created(now_ms=1_000).activation


@pytest.mark.parametrize(("wish", "paused"), [(Pause("a"), True), (Resume("a"), False)])
def test_what_is_paused_or_active_already_is_unchanged(wish, paused):
    """To pause what is paused, or to resume what is active, writes nothing."""
    assert DECIDER.decide(order_of(wish), replace(created(), paused=paused), 2_000).effect == "unchanged"


@pytest.mark.parametrize("wish", [Pause("a"), Resume("a"), Delete("a")])
def test_what_is_not_there_is_said(wish):
    """A lever on an unknown id is an error that names it."""
    with pytest.raises(SubscriptionError, match="subscription a: does not exist"):
        DECIDER.decide(order_of(wish), None, 2_000)


def test_a_record_that_cannot_be_read_is_mended_by_apply_or_delete():
    """It can be written again or deleted; a lever on it says so."""
    assert DECIDER.decide(order_of(Apply(DRAFT)), Unreadable("broken"), 2_000).effect == "created"
    assert DECIDER.decide(order_of(Delete("a")), Unreadable("broken"), 2_000).effect == "deleted"
    with pytest.raises(SubscriptionError, match=r"cannot be read \(broken\); apply it again or delete it"):
        DECIDER.decide(order_of(Pause("a")), Unreadable("broken"), 2_000)


def test_a_secret_under_another_key_is_not_overwritten():
    """Where the key is the wrong one, a given secret cannot be compared, and nothing is guessed."""
    other = Decider(TOPIC, load_senders(), Sealer([bytes(31) + b"1"]))
    with pytest.raises(SealBroken, match="sealed with the key"):
        other.decide(order_of(Apply(replace(DRAFT, secret=Given("new")))), created(), 2_000)


def test_without_a_key_a_secret_is_refused_and_the_rest_is_done():
    """No key: nothing is sealed, with a sentence that says what to set; levers work."""
    keyless = Decider(TOPIC, load_senders(), None)
    with pytest.raises(InvalidInput, match="SIGNPOST_SEALING_KEY"):
        keyless.decide(order_of(Apply(DRAFT)), None, 1_000)
    assert keyless.decide(order_of(Pause("a")), created(), 2_000).effect == "paused"


def test_a_writer_recognises_its_own_record():
    """By the request id, or by the secret that it made if somebody changed the record since."""
    order = order_of(Apply(DRAFT))
    own = DECIDER.decide(order, None, 1_000).subscription
    assert own is not None
    assert is_own(order, own)
    assert is_own(order, replace(own, request_id="req_of_another"))
    assert not is_own(order, created())
    assert not is_own(order, None)


CERTIFICATE = CertificateWish("CERTIFICATE", "the key")
RICH = replace(
    DRAFT,
    headers=(HeaderWish("Authorization", "Bearer x"), HeaderWish("X-Region", "eu")),
    client_certificate=CERTIFICATE,
    schedule=(timedelta(seconds=5), timedelta(minutes=1)),
    timeout=timedelta(seconds=10),
    max_in_flight=4,
    rate_limit=2.5,
)


def value_of(subscription: Subscription, name: str) -> str:
    (header,) = (header for header in subscription.headers if header.name == name)
    place = header_place(header.name, header.id)
    return SEALER.open(header.sealed, topic=TOPIC, subscription_id=subscription.id, secret_id=place)


def change(current: Subscription, **fields: Any) -> Result:
    return DECIDER.decide(order_of(Change("a", Changes(**fields))), current, 2_000)


def test_settings_are_written_as_they_are_wished():
    """Waits in seconds, values of headers and the key of the certificate sealed, each for its own place."""
    found = created(RICH)
    assert (found.schedule_s, found.timeout_s, found.max_in_flight, found.rate_limit) == ((5, 60), 10, 4, 2.5)
    assert [value_of(found, name) for name in ("Authorization", "X-Region")] == ["Bearer x", "eu"]
    shown = found.client_certificate
    assert shown is not None
    place = key_place(shown.id)
    assert SEALER.open(shown.sealed, topic=TOPIC, subscription_id="a", secret_id=place) == "the key"
    assert b"Bearer" not in encode_subscription(found)


def test_the_same_settings_again_change_nothing():
    """Values that are given once more as they are keep their seal, and nothing is written."""
    current = created(RICH)
    assert DECIDER.decide(order_of(Apply(RICH)), current, 2_000).effect == "unchanged"


def test_a_draft_that_does_not_name_settings_keeps_them():
    """A new URL leaves headers, certificate, schedule, timeout and limits as they were."""
    current = created(RICH)
    result = DECIDER.decide(order_of(Apply(replace(DRAFT, url="https://y.example/"))), current, 2_000)
    assert result.changed == ("url",)
    assert result.subscription == replace(current, url="https://y.example/", updated_at_ms=2_000, request_id="req_1")


def test_a_change_touches_what_it_names():
    """One header is replaced, one is added, one goes, each without the values of the others being known."""
    current = created(RICH)
    result = change(
        current, headers=(HeaderWish("authorization", "new"), HeaderWish("X-New", "1")), without_headers=("x-REGION",)
    )
    assert result.changed == ("headers",)
    found = result.subscription
    assert found is not None
    assert [header.name for header in found.headers] == ["authorization", "X-New"]
    assert value_of(found, "authorization") == "new"
    kept = change(current, headers=(HeaderWish("X-New", "1"),)).subscription
    assert kept is not None
    assert kept.headers[:2] == current.headers


def test_a_setting_goes_back_to_its_default():
    """None takes a setting away; what is not named stays."""
    result = change(created(RICH), schedule=None, client_certificate=None, rate_limit=None)
    assert result.changed == ("client_certificate", "schedule", "rate_limit")
    assert result.subscription is not None
    assert (result.subscription.schedule_s, result.subscription.timeout_s) == (None, 10)


def test_a_header_that_is_not_there_cannot_go():
    """The error names those that are there."""
    with pytest.raises(SubscriptionError, match=r"there is no 'x-other'; it has Authorization, X-Region"):
        change(created(RICH), without_headers=("X-Other",))


def test_a_rotation_makes_a_secret_and_ends_the_old_one():
    """Where requests carry one signature, the new secret alone signs from now on; keeping the old is refused."""
    current = created()
    result = DECIDER.decide(order_of(Rotate("a")), current, 2_000)
    assert (result.effect, result.secret) == ("rotated", "made-1")
    assert result.subscription is not None
    assert secret_of(result.subscription) == "made-1"
    assert result.subscription.former_secrets == ()
    with pytest.raises(SubscriptionError, match="have one signature, of the newest secret"):
        DECIDER.decide(order_of(Rotate("a", keep=timedelta(hours=1))), current, 2_000)


def test_during_a_rotation_the_old_secret_stays_until_it_ends():
    """The former ones end each at its time, the newest is first, and what has ended goes with the next write."""
    draft = replace(DRAFT, sender="standard")
    current = created(draft)
    hour = timedelta(hours=1)

    def rotate(there: Subscription, number: int, now_ms: int) -> Subscription:
        order = Order(Rotate("a", keep=hour), f"req_{number}", f"sec_{number}", f"made-{number}")
        found = DECIDER.decide(order, there, now_ms).subscription
        assert found is not None
        return found

    first = rotate(current, 1, 10_000)
    assert [(s.id, s.until_ms) for s in first.former_secrets] == [("sec_0", 3_610_000)]
    second = rotate(first, 2, 20_000)
    assert [(s.id, s.until_ms) for s in second.former_secrets] == [("sec_1", 3_620_000), ("sec_0", 3_610_000)]
    assert [s.id for s in second.secrets] == ["sec_2"]
    later = DECIDER.decide(order_of(Change("a", Changes(description="x")), 3), second, 3_615_000).subscription
    assert later is not None
    assert [s.id for s in later.former_secrets] == ["sec_1"]
    given = replace(draft, secret=Given("another"))
    at_once = DECIDER.decide(order_of(Apply(given), 4), second, 30_000).subscription
    assert at_once is not None
    assert at_once.former_secrets == ()


def test_a_given_secret_that_is_there_already_is_not_rotated_to():
    """To rotate to the present secret changes nothing, so that a command that is typed again is harmless."""
    assert DECIDER.decide(order_of(Rotate("a", "made-0")), created(), 2_000).effect == "unchanged"
