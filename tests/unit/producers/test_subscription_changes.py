"""What a command does to the record of a subscription."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from producers.compacted.log import Unreadable
from producers.subscriptions.changes import (
    Apply,
    Change,
    Command,
    Delete,
    Pause,
    PlannedCommand,
    Reseal,
    Result,
    Resume,
    Rotate,
)
from producers.subscriptions.decider import Decider, is_own
from schemas.catalog.errors import InvalidInput, SealBroken, SubscriptionError
from schemas.senders.sender import load_senders
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.client_certificate import GivenCertificate
from schemas.subscriptions.header_rules import GivenHeader
from schemas.subscriptions.rules import Draft, Generate, Given
from schemas.subscriptions.sealing import Sealer, header_place, key_place
from schemas.subscriptions.subscription import Subscription, encode_subscription

TOPIC = "signpost.subscriptions"
SEALER = Sealer([bytes(32)])
DECIDER = Decider(TOPIC, load_senders(), SEALER)
DRAFT = Draft(id="a", sender="zenoo", customer_id="acme", url="https://x.example/", event_types=("*",))


def planned(command: Command, number: int = 1) -> PlannedCommand:
    return PlannedCommand(command, f"req_{number}", f"sec_{number}", f"made-{number}")


def created(draft: Draft = DRAFT, now_ms: int = 1_000) -> Subscription:
    subscription = DECIDER.decide(planned(Apply(draft), 0), None, now_ms).subscription
    assert subscription is not None
    return subscription


def secret_of(subscription: Subscription) -> str:
    (secret,) = subscription.secrets
    return SEALER.open(secret.sealed, topic=TOPIC, subscription_id=subscription.id, secret_id=secret.id)


@pytest.mark.decision("Z13")
def test_new_subscription_gets_a_secret():
    """Zenoo always signs: a secret that is not given is generated and returned in the result."""
    result = DECIDER.decide(planned(Apply(DRAFT)), None, 1_000)
    assert (result.effect, result.secret) == ("created", "made-1")
    assert result.subscription is not None
    assert secret_of(result.subscription) == "made-1"
    assert "made-1" not in repr(result)


def test_given_secret_is_not_returned():
    """The result does not repeat a given secret."""
    result = DECIDER.decide(planned(Apply(replace(DRAFT, secret=Given("mine")))), None, 1_000)
    assert result.secret is None
    assert result.subscription is not None
    assert secret_of(result.subscription) == "mine"


@pytest.mark.parametrize("secret", [None, Generate(), Given("made-0")])
def test_same_draft_changes_nothing(secret):
    """The current secret stays, also if it is given again."""
    current = created()
    result = DECIDER.decide(planned(Apply(replace(DRAFT, secret=secret))), current, 2_000)
    assert result.effect == "unchanged"
    assert result.subscription is current


@pytest.mark.decision("Z12")
def test_new_secret_replaces_the_old_one_at_once():
    """After a rotation, the new secret is the only one."""
    result = DECIDER.decide(planned(Apply(replace(DRAFT, secret=Given("new")))), created(), 2_000)
    assert (result.effect, result.changed) == ("changed", ("secret",))
    assert result.subscription is not None
    assert secret_of(result.subscription) == "new"


def test_change_keeps_other_fields():
    """A new URL leaves secret, activation, pause and set unchanged."""
    current = replace(created(), paused=True, set="billing")
    result = DECIDER.decide(planned(Apply(replace(DRAFT, url="https://y.example/"))), current, 2_000)
    assert result.changed == ("url",)
    assert result.subscription == replace(current, url="https://y.example/", updated_at_ms=2_000, request_id="req_1")


def test_sender_and_customer_never_change():
    """A subscription keeps its sender and its customer, and both problems are reported."""
    with pytest.raises(SubscriptionError) as caught:
        DECIDER.decide(planned(Apply(DRAFT)), replace(created(), sender="x", customer_id="y"), 2_000)
    assert [problem.split(" never")[0] for problem in caught.value.problems] == [
        "subscription a: sender",
        "subscription a: customer_id",
    ]


def test_only_resume_raises_the_activation():
    """Jobs from before a resume are distinguished from later ones, even if the clock went back."""
    current = created(now_ms=5_000)
    paused = DECIDER.decide(planned(Pause("a")), current, 6_000).subscription
    assert paused is not None
    assert (paused.paused, paused.activation) == (True, 5_000)
    for now_ms, expected in ((4_000, 5_001), (9_000, 9_000)):
        resumed = DECIDER.decide(planned(Resume("a")), paused, now_ms).subscription
        assert resumed is not None
        assert (resumed.paused, resumed.activation) == (False, expected)


def test_recreated_subscription_has_a_higher_activation():
    """Jobs of a deleted subscription do not belong to a later one with the same id."""
    assert created(now_ms=2_000).activation > created(now_ms=1_000).activation


@pytest.mark.parametrize(("command", "paused"), [(Pause("a"), True), (Resume("a"), False)])
def test_repeated_pause_or_resume_changes_nothing(command, paused):
    """Pausing a paused subscription or resuming an active one writes nothing."""
    assert DECIDER.decide(planned(command), replace(created(), paused=paused), 2_000).effect == "unchanged"


@pytest.mark.parametrize("command", [Pause("a"), Resume("a"), Delete("a")])
def test_unknown_subscription_is_an_error(command):
    """Pause, resume and delete of an unknown id give an error that names it."""
    with pytest.raises(SubscriptionError, match="subscription a: does not exist"):
        DECIDER.decide(planned(command), None, 2_000)


def test_unreadable_record_can_be_applied_or_deleted():
    """An unreadable record can be written again or deleted; a pause gives an error that says so."""
    assert DECIDER.decide(planned(Apply(DRAFT)), Unreadable("broken"), 2_000).effect == "created"
    assert DECIDER.decide(planned(Delete("a")), Unreadable("broken"), 2_000).effect == "deleted"
    with pytest.raises(SubscriptionError, match=r"cannot be read \(broken\); apply it again or delete it"):
        DECIDER.decide(planned(Pause("a")), Unreadable("broken"), 2_000)


def test_secret_sealed_with_another_key_is_not_overwritten():
    """With the wrong key, a given secret cannot be compared, and the command is refused."""
    other = Decider(TOPIC, load_senders(), Sealer([bytes(31) + b"1"]))
    with pytest.raises(SealBroken, match="sealed with the key"):
        other.decide(planned(Apply(replace(DRAFT, secret=Given("new")))), created(), 2_000)


def test_missing_key_blocks_only_secrets():
    """Without a key, a secret is refused with the setting to set; pausing still works."""
    keyless = Decider(TOPIC, load_senders(), None)
    with pytest.raises(InvalidInput, match="SIGNPOST_SEALING_KEY"):
        keyless.decide(planned(Apply(DRAFT)), None, 1_000)
    assert keyless.decide(planned(Pause("a")), created(), 2_000).effect == "paused"


def test_writer_recognises_its_own_record():
    """A record is the writer's own by its request id, or by its generated secret after a later change."""
    command = planned(Apply(DRAFT))
    own = DECIDER.decide(command, None, 1_000).subscription
    assert own is not None
    assert is_own(command, own)
    assert is_own(command, replace(own, request_id="req_of_another"))
    assert not is_own(command, created())
    assert not is_own(command, None)


CERTIFICATE = GivenCertificate("CERTIFICATE", "the key")
RICH = replace(
    DRAFT,
    headers=(GivenHeader("Authorization", "Bearer x"), GivenHeader("X-Region", "eu")),
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
    return DECIDER.decide(planned(Change("a", Changes(**fields))), current, 2_000)


def test_settings_are_written_as_given():
    """Waits are in seconds; header values and the certificate's key are sealed, each for its own place."""
    found = created(RICH)
    assert (found.schedule_s, found.timeout_s, found.max_in_flight, found.rate_limit) == ((5, 60), 10, 4, 2.5)
    assert [value_of(found, name) for name in ("Authorization", "X-Region")] == ["Bearer x", "eu"]
    shown = found.client_certificate
    assert shown is not None
    place = key_place(shown.id)
    assert SEALER.open(shown.sealed, topic=TOPIC, subscription_id="a", secret_id=place) == "the key"
    assert b"Bearer" not in encode_subscription(found)


def test_same_settings_change_nothing():
    """Values that are given again keep their seal, and nothing is written."""
    current = created(RICH)
    assert DECIDER.decide(planned(Apply(RICH)), current, 2_000).effect == "unchanged"


def test_draft_without_settings_keeps_them():
    """A new URL leaves headers, certificate, schedule, timeout and limits unchanged."""
    current = created(RICH)
    result = DECIDER.decide(planned(Apply(replace(DRAFT, url="https://y.example/"))), current, 2_000)
    assert result.changed == ("url",)
    assert result.subscription == replace(current, url="https://y.example/", updated_at_ms=2_000, request_id="req_1")


def test_change_affects_only_named_headers():
    """Headers are replaced, added and removed without knowing the values of the others."""
    current = created(RICH)
    result = change(
        current, headers=(GivenHeader("authorization", "new"), GivenHeader("X-New", "1")), without_headers=("x-REGION",)
    )
    assert result.changed == ("headers",)
    found = result.subscription
    assert found is not None
    assert [header.name for header in found.headers] == ["authorization", "X-New"]
    assert value_of(found, "authorization") == "new"
    kept = change(current, headers=(GivenHeader("X-New", "1"),)).subscription
    assert kept is not None
    assert kept.headers[:2] == current.headers


def test_setting_can_be_reset_to_its_default():
    """None removes a setting; settings that are not named stay."""
    result = change(created(RICH), schedule=None, client_certificate=None, rate_limit=None)
    assert result.changed == ("client_certificate", "schedule", "rate_limit")
    assert result.subscription is not None
    assert (result.subscription.schedule_s, result.subscription.timeout_s) == (None, 10)


def test_removing_an_unknown_header_is_an_error():
    """The error names the existing headers."""
    with pytest.raises(SubscriptionError, match=r"there is no 'x-other'; it has Authorization, X-Region"):
        change(created(RICH), without_headers=("X-Other",))


def test_rotation_generates_a_secret_and_ends_the_old_one():
    """With one signature per request, only the new secret signs; keeping the old one is refused."""
    current = created()
    result = DECIDER.decide(planned(Rotate("a")), current, 2_000)
    assert (result.effect, result.secret) == ("rotated", "made-1")
    assert result.subscription is not None
    assert secret_of(result.subscription) == "made-1"
    assert result.subscription.former_secrets == ()
    with pytest.raises(SubscriptionError, match="have one signature, of the newest secret"):
        DECIDER.decide(planned(Rotate("a", keep=timedelta(hours=1))), current, 2_000)


def test_old_secret_stays_until_its_end_during_rotation():
    """Former secrets have their own ends, the newest is first, and the next write removes expired ones."""
    draft = replace(DRAFT, sender="standard")
    current = created(draft)
    hour = timedelta(hours=1)

    def rotate(there: Subscription, number: int, now_ms: int) -> Subscription:
        command = PlannedCommand(Rotate("a", keep=hour), f"req_{number}", f"sec_{number}", f"made-{number}")
        found = DECIDER.decide(command, there, now_ms).subscription
        assert found is not None
        return found

    first = rotate(current, 1, 10_000)
    assert [(s.id, s.until_ms) for s in first.former_secrets] == [("sec_0", 3_610_000)]
    second = rotate(first, 2, 20_000)
    assert [(s.id, s.until_ms) for s in second.former_secrets] == [("sec_1", 3_620_000), ("sec_0", 3_610_000)]
    assert [s.id for s in second.secrets] == ["sec_2"]
    later = DECIDER.decide(planned(Change("a", Changes(description="x")), 3), second, 3_615_000).subscription
    assert later is not None
    assert [s.id for s in later.former_secrets] == ["sec_1"]
    given = replace(draft, secret=Given("another"))
    at_once = DECIDER.decide(planned(Apply(given), 4), second, 30_000).subscription
    assert at_once is not None
    assert at_once.former_secrets == ()


def test_rotation_to_the_current_secret_changes_nothing():
    """A repeated rotation command is harmless."""
    assert DECIDER.decide(planned(Rotate("a", "made-0")), created(), 2_000).effect == "unchanged"


def test_reseal_changes_the_seals_alone():
    """Reseal seals everything with the first key. Ids, secrets, header values and the client key stay the same."""
    draft = replace(
        DRAFT,
        sender="standard",
        secret=Given("one"),
        headers=(GivenHeader("X-Token", "token"),),
        client_certificate=GivenCertificate("certificate", "key"),
    )
    old = DECIDER.decide(planned(Rotate("a", "two", timedelta(hours=1)), 2), created(draft), 2_000).subscription
    new_key = bytes(range(32))
    decider = Decider(TOPIC, load_senders(), Sealer([new_key, bytes(32)]))
    result = decider.decide(planned(Reseal("a"), 3), old, 3_000)
    assert result.effect == "resealed"
    new = result.subscription
    assert new is not None
    assert new.client_certificate is not None
    for sealed, place, text in (
        (new.secrets[0].sealed, new.secrets[0].id, "two"),
        (new.former_secrets[0].sealed, new.former_secrets[0].id, "one"),
        (new.headers[0].sealed, header_place("X-Token", new.headers[0].id), "token"),
        (new.client_certificate.sealed, key_place(new.client_certificate.id), "key"),
    ):
        assert Sealer([new_key]).open(sealed, topic=TOPIC, subscription_id="a", secret_id=place) == text

    assert old is not None
    seals = {"secrets", "former_secrets", "headers", "client_certificate", "request_id", "updated_at_ms"}
    assert {name for name in seals if getattr(new, name) != getattr(old, name)} == seals
    assert replace(old, **{name: getattr(new, name) for name in seals}) == new
    assert decider.decide(planned(Reseal("a"), 4), new, 4_000).effect == "unchanged"


def test_reseal_names_what_cannot_be_opened():
    """A secret of a key that is not configured is an error of that subscription, one of possibly several."""
    decider = Decider(TOPIC, load_senders(), Sealer([bytes(range(32))]))
    with pytest.raises(
        SubscriptionError, match=r"of subscription a was sealed with the key .* which is not configured"
    ):
        decider.decide(planned(Reseal("a")), created(), 2_000)
