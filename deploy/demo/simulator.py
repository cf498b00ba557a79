"""Realistic events of every sender, from interleaved stories. The same seed gives the same events.

A story is a generator of the events of one thing, such as a case of Zenoo, so that the tokens of a case, its alerts,
its checks and its assessments fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from deploy.demo import stories
from deploy.demo.any_sender import of_any_sender
from deploy.demo.stories import Step, Story, StoryMaker, name, token
from deploy.demo.vocabulary import (
    CASE_TYPES,
    CHECKS,
    FAILURES,
    FINDINGS,
    NOTES,
    PRIORITIES,
    REASONS,
    STATUSES,
)
from schemas.events.event import Event
from schemas.senders.sender import Sender, load_senders

# Stories in progress: few enough that a short run reaches their ends, enough to mix them.
_OPEN_STORIES: Final = 24
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Simulator:
    """Generates events of a sender (Zenoo if None) for `customers`.

    The same `seed` and the same times from `now_us` (µs since 1970) give the same events.
    """

    seed: int
    customers: Sequence[str]
    now_us: Callable[[], int]
    sender: Sender | None = None

    def events(self) -> Iterator[Event]:
        """Yield events without end, each created at the time of its request."""
        random = Random(self.seed)
        make_story = _story_maker_of(self.sender or load_senders()["zenoo"])
        stories_open: list[tuple[str, Story]] = []
        while True:
            now_us = self.now_us()
            while len(stories_open) < _OPEN_STORIES:
                customer = random.choice(self.customers)
                stories_open.append((customer, make_story(random, _EPOCH + timedelta(microseconds=now_us))))
            index = random.randrange(len(stories_open))
            customer_id, story = stories_open[index]
            step = next(story, None)
            if step is None:
                del stories_open[index]
                continue
            yield Event(f"evt_{token(random, 20)}", step[0], now_us, customer_id, step[1])


class _Case:
    """One case with its checks, alerts and assessment."""

    def __init__(self, random: Random, now: datetime) -> None:
        self._random = random
        self._now = now
        self._token = f"cas_{token(random)}"
        self._company = stories.company(random)
        self._analyst = _person(random, "analyst")
        self._manager = _person(random, "manager")

    def events(self) -> Story:
        """Yield the case's events: a new case, or an old one close to or past its deadline."""
        if self._random.random() < 0.25:
            yield from self._old_case()
            return
        yield from self._opened()
        people = [name(self._random) for _ in range(self._random.randint(1, 2))]
        for person in people:
            yield from self._checked(person)
        if self._random.random() < 0.3:
            yield (
                "case.escalated",
                self._with_case(escalated_by=self._analyst, escalated_to=self._manager, reason=self._any(REASONS)),
            )
        yield from self._assessed()

    def _opened(self) -> Story:
        due = self._now + timedelta(days=self._random.randint(5, 30))
        yield (
            "case.created",
            self._with_case(
                type=self._any(CASE_TYPES),
                status="New",
                priority=self._any(PRIORITIES),
                entity_token=f"ent_{token(self._random)}",
                entity_name=self._company,
                due_date=_iso(due),
            ),
        )
        yield self._status("New", "In Progress")

    def _checked(self, entity_name: str) -> Story:
        type_, category, provider = self._any(CHECKS)
        check = {
            "check_token": f"chk_{token(self._random)}",
            "case_token": self._token,
            "type": type_,
            "category": category,
        }
        retries = self._random.choice((0, 0, 0, 1, 2))
        for count in range(1, retries + 1):
            yield "check.failed", check | {"error": self._any(FAILURES), "retry_scheduled": True, "retry_count": count}
        generated = self._random.random() < 0.6
        alert_token = f"alt_{token(self._random)}" if generated else None
        yield (
            "check.completed",
            check
            | {
                "result": "Refer" if generated else "Pass",
                "provider": provider,
                "entity_name": entity_name,
                "alert_generated": generated,
                "alert_token": alert_token,
            },
        )
        if alert_token is not None:
            yield from self._alerted(alert_token, category, entity_name)

    def _alerted(self, alert_token: str, category: str, entity_name: str) -> Story:
        finding = self._any(FINDINGS)
        score = self._score()
        alert = {"alert_token": alert_token, "case_token": self._token}
        yield (
            "alert.created",
            alert
            | {
                "type": category,
                "category": finding,
                "title": f"{finding}: {entity_name}",
                "priority": PRIORITIES[min(score // 25, 3)],
                "priority_score": score,
                "entity_name": entity_name,
            },
        )
        yield from self._settled(alert)

    def _settled(self, alert: dict[str, Any]) -> Story:
        probability = self._score()
        action = "Approve" if probability > 50 else "Review"
        yield (
            "alert.ai_research_completed",
            {
                "alert_token": alert["alert_token"],
                "confidence": self._score(),
                "false_positive_probability": probability,
                "recommended_action": action,
            },
        )
        if self._random.random() < 0.3:
            yield "alert.escalated", alert | {
                "escalated_by": self._analyst, "escalated_to": self._manager, "reason": self._any(REASONS)
            }  # fmt: skip
        by_machine = probability > 90
        yield (
            "alert.resolved",
            alert
            | {
                "status": "Resolved",
                "resolution_action": action if by_machine else self._any(("Approve", "Reject")),
                "resolution_notes": "Automatic disposition." if by_machine else self._any(NOTES),
                "resolved_by": None if by_machine else self._analyst,
            },
        )

    def _assessed(self) -> Story:
        assessment = {"assessment_token": f"rsk_{token(self._random)}", "case_token": self._token}
        score = self._score()
        tier = _tier(score)
        yield (
            "risk_assessment.completed",
            assessment
            | {"overall_tier": tier, "overall_score": score}
            | {f"{part}_risk": self._risk() for part in ("customer", "geographic", "product", "channel")}
            | {"edd_required": tier == "High"},
        )
        yield "risk_assessment.approved", assessment | {"approved_by": self._manager, "overall_tier": tier}
        yield self._status("In Progress", self._any(STATUSES[2:]))
        yield (
            "case.closed",
            self._with_case(
                risk_tier=tier, risk_score=score, resolution_notes=self._any(NOTES), closed_by=self._analyst
            ),
        )

    def _old_case(self) -> Story:
        """A case from before the run. Days are the difference of the UTC calendar dates."""
        assigned = self._random.random() < 0.8
        if self._random.random() < 0.5:
            due = self._now + timedelta(hours=self._random.randint(24, 80))
            yield (
                "sla.warning",
                self._with_case(
                    due_date=_iso(due),
                    days_remaining=(due.date() - self._now.date()).days,
                    assigned_to=self._analyst if assigned else None,
                ),
            )
            yield self._status("In Progress", self._any(STATUSES[2:]))
            return
        due = self._now - timedelta(hours=self._random.randint(1, 80))
        yield (
            "sla.breached",
            self._with_case(
                due_date=_iso(due),
                days_overdue=(self._now.date() - due.date()).days,
                auto_escalated=assigned,
                escalated_to=self._manager if assigned else None,
            ),
        )

    def _with_case(self, **data: Any) -> dict[str, Any]:
        return {"case_token": self._token, **data}

    def _status(self, old: str, new: str) -> Step:
        return "case.status_changed", self._with_case(old_status=old, new_status=new, changed_by=self._analyst)

    def _risk(self) -> dict[str, Any]:
        score = self._score()
        return {"score": score, "tier": _tier(score)}

    def _score(self) -> int:
        return self._random.randint(0, 100)

    def _any(self, choices: Sequence[Any]) -> Any:
        return self._random.choice(choices)


def _person(random: Random, role: str) -> dict[str, str]:
    return {"id": f"user_{role}{random.randint(1, 99):02d}", "name": name(random)}


def _tier(score: int) -> str:
    return ("Low", "Medium", "High")[min(score // 35, 2)]


def _iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _story_maker_of(sender: Sender) -> StoryMaker:
    return _STORIES.get(sender.name) or of_any_sender(sender)


def _zenoo(random: Random, now: datetime) -> Story:
    return _Case(random, now).events()


_STORIES: Final[Mapping[str, StoryMaker]] = {
    "zenoo": _zenoo,
    "onboarding": stories.onboarding,
    "diligent": stories.diligent,
    "riskos": stories.riskos,
}
