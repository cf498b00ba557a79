"""What commands for subscriptions of the documented products do: event types, no secret, pauses, filters."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from producers.subscriptions.changes import Apply, Change, Command, Current, PlannedCommand, Result, Resume, Rotate
from producers.subscriptions.decider import Decider
from schemas.catalog.errors import SubscriptionError
from schemas.senders.sender import load_senders
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import KEEP, Draft, Generate, Given, NoSecret
from schemas.subscriptions.sealing import Sealer
from schemas.subscriptions.subscription import Subscription, encode_subscription

DECIDER = Decider("signpost.subscriptions", load_senders(), Sealer([bytes(32)]))
DILIGENT = Draft(id="a", sender="diligent", customer_id="acme", url="https://x.example/")
ONBOARDING = replace(DILIGENT, sender="onboarding", event_types=("case.opened",))


def decide(command: Command, current: Current = None, now_ms: int = 2_000) -> Result:
    return DECIDER.decide(PlannedCommand(command, f"req_{now_ms}", f"sec_{now_ms}", "made"), current, now_ms)


def written(command: Command, current: Current = None, now_ms: int = 2_000) -> Subscription:
    subscription = decide(command, current, now_ms).subscription
    assert subscription is not None
    return subscription


def created(draft: Draft = DILIGENT) -> Subscription:
    return written(Apply(draft), None, 1_000)


def change(current: Subscription, disabled: int | None = None, **fields: Any) -> Result:
    return decide(Change("a", Changes(**fields), disabled), current)


@pytest.mark.parametrize(
    ("sender", "expected"),
    [("diligent", ()), ("onboarding", ("all",)), ("zenoo", ("*",)), ("standard", ("*",)), ("riskos", ("*",))],
)
def test_new_subscription_without_event_types_gets_the_default_of_its_sender(sender, expected):
    """The default is an empty list where the sender allows it, `all` where it takes one type, otherwise `*`."""
    assert created(replace(DILIGENT, sender=sender)).event_types == expected


def test_empty_list_of_event_types_is_written_and_changed():
    """A list becomes empty and full again; the same list in another order is a change only if the list was given."""
    current = created(replace(DILIGENT, event_types=("search_completed", "flow_run_failed")))
    other_order = ("flow_run_failed", "search_completed")
    assert decide(Apply(replace(DILIGENT, event_types=other_order)), current).effect == "unchanged"
    assert change(current, event_types=current.event_types).effect == "unchanged"
    assert written(Change("a", Changes(event_types=other_order)), current).event_types == other_order
    result = change(current, event_types=())
    assert (result.effect, result.changed) == ("changed", ("event_types",))
    assert result.subscription is not None
    assert result.subscription.event_types == ()
    empty = decide(Apply(replace(DILIGENT, event_types=())), result.subscription)
    assert (empty.effect, empty.subscription) == ("unchanged", result.subscription)
    assert written(Apply(replace(DILIGENT, event_types=("search_completed",))), current).event_types == (
        "search_completed",
    )


@pytest.mark.parametrize("event_types", [(), ("*",), ("case.*",), ("case.opened", "case.resolved"), ("case.opned",)])
def test_writer_refuses_event_types_that_the_sender_forbids(event_types):
    """A draft and a change are refused even if nothing validated them before the writer."""
    wrong = replace(ONBOARDING, event_types=event_types)
    for command, current in (
        (Apply(wrong), None),
        (Apply(wrong), created(ONBOARDING)),
        (Change("a", Changes(event_types=event_types)), created(ONBOARDING)),
    ):
        with pytest.raises(SubscriptionError, match="subscription a: event_types: "):
            decide(command, current)


def test_other_fields_of_a_subscription_with_forbidden_event_types_can_change():
    """A record from before a rule of its sender can be changed, rotated and resumed; its event types stay."""
    old = replace(created(ONBOARDING), event_types=("case.*", "alert.created"))
    for command in (Change("a", Changes(url="https://y.example/")), Rotate("a"), Resume("a", old.activation)):
        assert written(command, old).event_types == old.event_types


def test_new_subscription_of_an_optional_secret_has_none():
    """Without a secret, or with the command to have none, Diligent's requests are not signed."""
    for secret in (None, NoSecret()):
        result = decide(Apply(replace(DILIGENT, secret=secret)))
        assert result.secret is None
        assert result.subscription is not None
        assert result.subscription.secrets == ()
    assert created(replace(DILIGENT, secret=Generate())).secrets != ()


@pytest.mark.parametrize(
    "command",
    [
        Apply(replace(DILIGENT, secret=NoSecret())),
        Change("a", Changes(secret=NoSecret())),
        Rotate("a", NoSecret()),
    ],
)
def test_secret_is_removed(command):
    """A file, a change and a rotation remove the secret with all former ones; a repetition changes nothing."""
    current = created(replace(DILIGENT, sender="riskos", secret=Generate()))
    current = written(Rotate("a", None, timedelta(hours=1)), current)
    assert len(current.former_secrets) == 1
    if isinstance(command, Apply):
        command = Apply(replace(command.draft, sender="riskos"))
    result = decide(command, current, 3_000)
    assert (result.effect in {"changed", "rotated"}, result.changed, result.secret) == (True, ("secret",), None)
    assert result.subscription is not None
    assert (result.subscription.secrets, result.subscription.former_secrets) == ((), ())
    assert decide(command, result.subscription, 4_000).effect == "unchanged"


def test_removed_secret_can_be_given_again():
    """A change and a rotation give a secret to a subscription without one; other changes keep it without."""
    current = created(replace(DILIGENT, secret=NoSecret()))
    assert change(current, secret=Given("mine")).changed == ("secret",)
    assert written(Rotate("a", "mine"), current).secrets != ()
    assert written(Change("a", Changes(description="x")), current).secrets == ()


def test_secret_that_the_sender_needs_is_never_removed():
    """The sender Onboarding signs every request: no command creates a subscription without a secret, or removes it."""
    current = created(ONBOARDING)
    for command, known in (
        (Apply(replace(ONBOARDING, secret=NoSecret())), None),
        (Apply(replace(ONBOARDING, secret=NoSecret())), current),
        (Change("a", Changes(secret=NoSecret())), current),
        (Rotate("a", NoSecret()), current),
    ):
        with pytest.raises(SubscriptionError, match="sender onboarding signs every request; a subscription needs a"):
            decide(command, known)


def test_present_secret_is_not_kept_when_it_is_removed():
    """A rotation to no secret keeps none: a request is either signed or not."""
    current = created(replace(DILIGENT, sender="riskos", secret=Generate()))
    with pytest.raises(SubscriptionError, match="are not signed from the next attempt on"):
        decide(Rotate("a", NoSecret(), timedelta(hours=1)), current)


def test_subscription_is_created_paused():
    """It sends nothing until it is resumed, and then has another activation."""
    current = created(replace(DILIGENT, paused=True))
    assert (current.paused, current.activation) == (True, 1_000)
    resumed = written(Resume("a"), current)
    assert (resumed.paused, resumed.activation) == (False, 2_000)


def test_draft_pauses_and_resumes():
    """A draft that says nothing about a pause keeps it. One that says something sets it, once."""
    paused = replace(DILIGENT, paused=True)
    active = replace(DILIGENT, paused=False)
    current = created()
    assert not current.paused
    result = decide(Apply(paused), current)
    assert (result.effect, result.changed) == ("changed", ("paused",))
    assert result.subscription is not None
    assert (result.subscription.paused, result.subscription.activation) == (True, 1_000)
    for draft in (DILIGENT, paused):
        assert decide(Apply(draft), result.subscription, 3_000).effect == "unchanged"
    resumed = written(Apply(active), result.subscription, 4_000)
    assert (resumed.paused, resumed.activation) == (False, 4_000)
    assert decide(Apply(active), resumed, 5_000).effect == "unchanged"


def test_pause_and_other_fields_change_together():
    """One change replaces the list of event types and pauses, as a PATCH of Diligent does; all in one record."""
    result = change(created(), event_types=("search_completed",), paused=True)
    assert result.changed == ("event_types", "paused")
    assert result.subscription is not None
    assert (result.subscription.event_types, result.subscription.paused) == (("search_completed",), True)


@pytest.mark.decision("O34", "D22")
def test_change_to_active_enables_a_disabled_subscription():
    """A change to active raises the activation if the present one was disabled, and otherwise writes nothing."""
    current = created()
    result = change(current, current.activation, paused=False)
    assert (result.effect, result.changed) == ("changed", ("paused",))
    assert result.subscription is not None
    assert (result.subscription.paused, result.subscription.activation) == (False, 2_000)
    assert change(current, current.activation - 1, paused=False).effect == "unchanged"
    assert change(current, current.activation, description="x").subscription == replace(
        current, description="x", updated_at_ms=2_000, request_id="req_2000"
    )


@pytest.mark.decision("O43")
@pytest.mark.parametrize("filters", ['{"country":["GB","DE"],"score":{"min":0.70}}', '{"":null}', '{"all":true}'])
def test_filters_are_stored_and_kept(filters):
    """Filters are in the record as given; a change of another field, or the same object again, keeps them."""
    current = created(replace(ONBOARDING, filters=filters))
    assert current.filters == filters
    assert written(Change("a", Changes(description="x")), current).filters == filters
    assert decide(Apply(replace(ONBOARDING, filters=f" {filters} ")), current).effect == "unchanged"
    assert decide(Apply(ONBOARDING), current).effect == "unchanged"
    result = change(current, filters='{"other":1}')
    assert (result.changed, result.subscription and result.subscription.filters) == (("filters",), '{"other":1}')


@pytest.mark.decision("O24", "O43")
def test_empty_filters_are_the_default():
    """An empty object removes filters, and its record is the one of a subscription without filters."""
    plain = created(ONBOARDING)
    filtered = written(Change("a", Changes(filters='{"a":1}')), plain)
    removed = written(Change("a", Changes(filters=" { } ")), filtered)
    assert (plain.filters, removed.filters) == (None, None)
    assert encode_subscription(removed)[:10] == encode_subscription(plain)[:10]
    assert change(plain, filters="{}").effect == "unchanged"
    assert written(Apply(replace(ONBOARDING, filters="{}")), filtered).filters is None


@pytest.mark.parametrize("filters", ["[]", "", "{", '{"a":NaN}', '{"a":"\\ud800"}'])
def test_writer_refuses_filters_that_are_no_object(filters):
    """Filters of another form, and filters of a sender without filters, are refused by the writer as well."""
    with pytest.raises(SubscriptionError, match="subscription a: filters: "):
        decide(Apply(replace(ONBOARDING, filters=filters)))
    with pytest.raises(SubscriptionError, match="subscriptions of sender diligent have no filters"):
        change(created(), filters='{"a":1}')
    assert change(created(), filters="{}").effect == "unchanged"


def test_unreadable_filters_are_replaced():
    """Filters that another program wrote in another form can be replaced, and are kept by other changes."""
    broken = replace(created(ONBOARDING), filters="not JSON")
    assert written(Change("a", Changes(description="x")), broken).filters == "not JSON"
    assert written(Change("a", Changes(filters='{"a":1}')), broken).filters == '{"a":1}'


def test_unloaded_sender_is_an_error():
    """A draft of a sender that is not loaded gives an error that names the sender."""
    for command, current in (
        (Apply(replace(DILIGENT, sender="gone", event_types=KEEP)), None),
        (Change("a", Changes(paused=True)), replace(created(), sender="gone")),
        (Rotate("a", NoSecret()), replace(created(), sender="gone")),
    ):
        with pytest.raises(SubscriptionError, match="subscription a: its sender gone is not loaded"):
            decide(command, current)
