"""Why a subscription has no job for an event, and what is known of the event, from records alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumers.inspect.disabled import Disabling
from consumers.inspect.explanation import Explanation, explain
from consumers.inspect.subscriptions import Version
from consumers.inspect.traces import EventSeen, JobSeen, LetterSeen, Traces
from deploy.cli.explain import lines_of
from schemas.records.delivery import DeadLetter
from schemas.subscriptions.subscription import Subscription
from tests.support.installation import event, subscription
from tests.support.tools import job

# Real times in Unix ms: an activation is the time at which a subscription was created or resumed.
CREATED_MS = 1_771_236_000_000
ARRIVED_MS = CREATED_MS + 600_000
PLACE = ("events", 0, 7)


def version(at_ms: int, **fields: object) -> Version:
    """Return a record of `sub-1` that was written at a time."""
    content: Subscription | None = subscription("sub-1", **({"activation": CREATED_MS} | fields))
    return Version("sub-1", 0, at_ms - CREATED_MS, at_ms, content)


def explained(
    versions: Sequence[Version], disabled: Sequence[Disabling] = (), *, position: int | None = 8
) -> Explanation:
    """Explain an event that arrived at ARRIVED_MS and has no job."""
    seen = EventSeen(PLACE, ARRIVED_MS, "zenoo", event("evt_1"), "evt_1")
    return explain(
        "evt_1", PLACE, Traces(events=[seen]), versions, position=position, only=None, disabled={"sub-1": disabled}
    )


def why(*versions: Version, disabled: Sequence[Disabling] = (), position: int | None = 8) -> str:
    (one,) = explained(versions, disabled, position=position).subscriptions
    return one.why


def test_event_while_disabled_is_explained_after_the_resume() -> None:
    """An operation names the disabling, even if the subscription was resumed since and its first record is gone."""
    gone = Disabling(ARRIVED_MS - 5_000, "gone")
    resumed = version(ARRIVED_MS + 5_000, activation=ARRIVED_MS + 5_000)
    expected = "disabled (gone) before the event arrived"
    assert why(version(CREATED_MS), resumed, disabled=[gone]) == expected
    assert why(resumed, disabled=[gone]) == expected


def test_earlier_disabling_is_no_reason_after_a_resume() -> None:
    """A subscription that was resumed before the event arrived was not disabled then."""
    gone = Disabling(ARRIVED_MS - 50_000, "gone")
    resumed = version(ARRIVED_MS - 20_000, activation=ARRIVED_MS - 20_000)
    assert "disabled" not in why(version(CREATED_MS), resumed, disabled=[gone])
    again = Disabling(ARRIVED_MS - 10_000, "failing")
    assert why(resumed, disabled=[gone, again]) == "disabled (failing) before the event arrived"


def test_event_while_paused_is_explained_after_compaction() -> None:
    """The record of the resume has its time as activation: before it, the subscription was paused or disabled."""
    resumed = version(ARRIVED_MS + 5_000, activation=ARRIVED_MS + 5_000)
    assert why(resumed) == "paused or disabled when the event arrived; resumed at 2026-02-16T10:10:05.000Z"
    changed = version(ARRIVED_MS + 5_000)
    assert why(changed).startswith("changed since")


@pytest.mark.parametrize(
    ("later", "disabled", "what"),
    [
        ([version(ARRIVED_MS + 5_000, paused=True)], [], "paused"),
        ([Version("sub-1", 0, 9, ARRIVED_MS + 5_000, None)], [], "deleted"),
        ([], [Disabling(ARRIVED_MS + 5_000, "gone")], "disabled (gone)"),
        ([version(ARRIVED_MS + 9_000, paused=True)], [Disabling(ARRIVED_MS + 5_000, "failing")], "disabled (failing)"),
    ],
)
def test_change_before_the_router_read_the_event_is_named(
    later: list[Version], disabled: list[Disabling], what: str
) -> None:
    """The first pause, deletion or disabling after the event is the probable reason for a missing job."""
    reason = why(version(CREATED_MS), *later, disabled=disabled)
    assert f"it was {what} at 2026-02-16T10:10:05.000Z, probably before the router read the event" in reason
    assert why(version(CREATED_MS), *later, disabled=disabled, position=7) == "takes it, once the router reaches it"


def test_dead_letter_alone_tells_about_a_deleted_event() -> None:
    """After retention has deleted the event, its dead letter still gives the id and the reason."""
    letter = DeadLetter(
        reason="body_too_large", detail="too much", topic=PLACE[0], partition=0, offset=7, at_ms=0, key=None, value=b""
    )
    traces = Traces(letters=[LetterSeen(("dead", 0, 1), 0, letter, "evt_1", PLACE)])
    assert traces.places() == [PLACE]
    found = explain("webhook-id of it", PLACE, traces, [], position=8, only=None)
    assert found.event_id == "evt_1"
    assert "it was dead-lettered: body_too_large: too much" in found.trouble
    assert found.dead_letters == [("dead", 0, 1)]


def test_attempts_of_a_retry_are_relative_to_the_retry() -> None:
    """Run 1 of a dead letter shows its times from the retry on, and run 0 from the arrival of the event."""
    source = {"source_topic": PLACE[0], "source_partition": 0, "source_offset": 7, "appended_at_ms": ARRIVED_MS}
    retried_ms = ARRIVED_MS + 3_600_000
    seen = EventSeen(PLACE, ARRIVED_MS, "zenoo", event("evt_1"), "evt_1")
    jobs = [
        JobSeen(("jobs.0s", 0, 0), ARRIVED_MS + 10, job(1, **source)),
        JobSeen(("jobs.0s", 0, 1), retried_ms, job(1, run=1, **source)),
        JobSeen(("jobs.5m", 0, 1), retried_ms + 60_000, job(1, run=1, attempt=2, **source)),
    ]
    outcomes = [outcome(0, ARRIVED_MS + 44, None), outcome(1, retried_ms + 55, retried_ms + 300_055)]
    traces = Traces(events=[seen], jobs=jobs, outcomes=outcomes)
    found = explain("evt_1", PLACE, traces, [version(CREATED_MS)], position=8, only=None)
    text = "\n".join(lines_of(found))
    assert "+44 ms" in text
    assert f"run 1, a retry of {'2026-02-16T11:10:00.000Z'}" in text
    assert "+55 ms" in text
    assert "next at +5.0 min" in text


def outcome(run: int, at_ms: int, next_due_at_ms: int | None) -> dict[str, object]:
    """Return the outcome of a first attempt that failed."""
    return {
        "source_topic": PLACE[0],
        "source_partition": PLACE[1],
        "source_offset": PLACE[2],
        "subscription_id": "sub-1",
        "job_id": "job-1",
        "event_id": "evt_1",
        "run": run,
        "attempt": 1,
        "at_ms": at_ms,
        "state": "retry" if next_due_at_ms else "dead",
        "status": 503,
        "reason": "status_503",
        "error": None,
        "duration_us": 1_000,
        "next_due_at_ms": next_due_at_ms,
    }
