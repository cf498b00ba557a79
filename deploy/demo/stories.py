"""Stories of the products other than Zenoo. A story yields the events of one thing in order.

A sender without its own story gets events of all its types, with values that fit their schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, TypeAlias, assert_never
from uuid import UUID

from deploy.demo.vocabulary import COMPANIES, COUNTRIES, FIRST_NAMES, FORMS, LAST_NAMES, LISTS, NOTES, PROVIDERS
from schemas.avro.json_form import embedding, is_members
from schemas.avro.types import Array, AvroType, Enum, Fixed, Map, Primitive, Record, Reference, Union
from schemas.senders.sender import Sender

Step: TypeAlias = tuple[str, dict[str, Any]]
Story: TypeAlias = Iterator[Step]
StoryMaker: TypeAlias = Callable[[Random, datetime], Story]

_TOKEN_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_ANY_TYPES: Final = ("invoice.paid", "invoice.voided", "user.created", "order.shipped")
_RISKOS: Final = "case_management_notification_case_closure"


def token(random: Random, length: int = 12) -> str:
    """Return an id in the style of the products."""
    return "".join(random.choices(_TOKEN_ALPHABET, k=length))


def name(random: Random) -> str:
    """Return a person's name."""
    return f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}"


def company(random: Random) -> str:
    """Return a company's name."""
    return f"{random.choice(COMPANIES)} {random.choice(FORMS)}"


def uuid(random: Random) -> str:
    """Return a random uuid."""
    return str(UUID(int=random.getrandbits(128), version=4))


def iso_ms(time: datetime) -> str:
    """Return a time with milliseconds and Z."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1_000:03d}Z"


def onboarding(random: Random, now: datetime) -> Story:
    """An entity is onboarded, screened and verified; not every session has every part."""
    session = {"session_id": uuid(random), "entity": {"name": company(random), "country": random.choice(COUNTRIES)}}
    yield "onboarding.created", session | {"expires_at": iso_ms(now + timedelta(days=14))}
    if random.random() < 0.2:
        yield "onboarding.link_regenerated", session | {"reason": "resent"}
    if random.random() < 0.15:
        yield random.choice(("onboarding.expired", "onboarding.revoked")), session
        return
    response = {"response_id": uuid(random), "session_id": session["session_id"]}
    yield "response.created", response
    for step in ("autofill_completed", "submitted", "check_answers_completed", "autoflag_completed", "reviewed"):
        yield f"response.{step}", response | {"flags": random.randint(0, 4)}
    yield "onboarding.ddq_completed", session
    yield from _identity(random, session)
    yield from _screened(random, session)
    approved = random.random() < 0.8
    yield f"response.{'approved' if approved else 'rejected'}", response | {"note": random.choice(NOTES)}
    if approved:
        yield "onboarding.completed", session


def _identity(random: Random, session: Mapping[str, Any]) -> Story:
    check = {"verification_id": uuid(random), "session_id": session["session_id"], "person": name(random)}
    yield "verification.session_created", check
    yield "verification.session_accessed", check
    end = random.choice(("completed", "completed", "completed", "failed", "expired"))
    yield f"verification.session_{end}", check
    if end == "completed":
        passed = random.random() < 0.9
        yield "verification.check_completed", check | {"result": "clear" if passed else "consider"}
        yield "onboarding.verification_completed", dict(session)
        return
    yield "non_document.check_initiated", check
    yield "non_document.completed", check | {"score": round(random.random(), 3)}
    yield "non_document.reviewed", check | {"reviewed_by": name(random)}


def _screened(random: Random, session: Mapping[str, Any]) -> Story:
    batch = {"batch_id": uuid(random), "session_id": session["session_id"], "total": 3}
    for done in (1, 2):
        failed = random.random() < 0.1
        found = {"screening_id": uuid(random), "provider": random.choice(PROVIDERS), "hits": random.randint(0, 3)}
        yield f"screening.{'failed' if failed else 'completed'}", found
        yield "batch.progress", batch | {"done": done}
    yield f"batch.{'failed' if random.random() < 0.1 else 'completed'}", batch | {"done": 3}
    if random.random() < 0.4:
        case = {"case_id": uuid(random), "session_id": session["session_id"]}
        yield "alert.created", case | {"list": random.choice(LISTS)}
        yield "case.opened", case
        yield "case.resolved", case | {"resolution": random.choice(NOTES)}


def diligent(random: Random, now: datetime) -> Story:
    """A company's CDD completes, with documents, a search, an alert and a flow."""
    cdd = {
        "id": uuid(random),
        "state": "RUNNING",
        "input": {"legal_name": company(random), "country_code": random.choice(COUNTRIES)},
        "created_at": iso_ms(now - timedelta(hours=1)),
    }
    documents = [{"id": f"doc-{n:03d}", "type": "INCORPORATION", "file_type": "application/pdf"} for n in (1, 2)]
    for count in range(1, random.randint(1, 2) + 1):
        yield "cdd_document_fetched", cdd | {"documents": documents[:count]}
    state = random.choice(("COMPLETED", "COMPLETED", "INCONCLUSIVE"))
    yield "cdd_state_changed", cdd | {"state": state, "documents": documents}
    yield from _searched(random, now)
    run = _flow_run(random, now)
    yield f"flow_run_{run['status'].lower()}", run
    if random.random() < 0.3:
        details = {"reason": "Suspicious activity detected", "triggered_at": iso_ms(now)}
        alert = {"alert_id": uuid(random), "monitoring_id": uuid(random), "type": "FRAUD", "details": details}
        yield "monitoring_alert_fired", alert


def _searched(random: Random, now: datetime) -> Story:
    person = name(random)
    hits = random.randint(0, 3)
    search = {
        "id": f"search-{token(random)}",
        "status": "COMPLETED",
        "input": [{"value": person, "label": "FULL_NAME"}],
        "hit_counts": {"UNRESOLVED": hits},
        "hits": [{"id": f"hit-{n:03d}", "status": "UNRESOLVED", "hit_categories": ["PEP"]} for n in range(hits)],
        "updated_at": iso_ms(now),
    }
    yield "search_completed", search
    if hits:
        fact = {"predicate": "has_name", "value": person, "citations": [{"name": "PROFILE", "url": None}]}
        alert = {"id": uuid(random), "status": "COMPLETED", "remediation_status": "REMEDIATED", "profile_facts": [fact]}
        yield "alert_remediated", alert


def _flow_run(random: Random, now: datetime) -> dict[str, Any]:
    failed = random.random() < 0.25
    error = {"code": "EXECUTION_ERROR", "message": "entityName is required", "step": None}
    run = {
        "id": uuid(random),
        "flow_id": f"flow-{token(random, 6)}",
        "status": "FAILED" if failed else "COMPLETED",
        "input": {"subject": company(random)},
        "report": None if failed else f"s3://flows-artifacts/reports/{token(random)}.json",
        "error": error if failed else None,
        "completed_at": iso_ms(now),
    }
    return run | ({"meta": {"case_ref": f"CASE-{random.randint(1, 999):03d}"}} if random.random() < 0.5 else {})


def riskos(random: Random, _now: datetime) -> Story:
    """A case is closed, sometimes twice."""
    case = {
        "id": random.choice(("", f"own-{token(random, 6)}")),
        "workflow": "consumer_onboarding",
        "eval_id": uuid(random),
        "reviewer_id": "reviewer@example.com",
        "environment_name": random.choice(("Production", "Sandbox")),
    }
    for _ in range(random.choice((1, 1, 2))):
        matched = random.random() < 0.5
        watchlist: dict[str, Any] = {"caseReviewStatus": "match" if matched else "no match"}
        if matched:
            watchlist["caseDetails"] = [_entity(random) for _ in range(random.randint(1, 3))]
        yield _RISKOS, case | {"globalWatchlist": watchlist}


def _entity(random: Random) -> dict[str, Any]:
    return {
        "entityId": token(random, 24),
        "entityReviewStatus": random.choice(("match", "no match")),
        "sourceList": [random.choice(LISTS)],
        "associatedCategories": [f"Pep Class {random.randint(1, 4)}"],
    }


def of_any_sender(sender: Sender) -> StoryMaker:
    """Return a story of all types of a sender, in a random order, with values that fit their schemas."""
    types = list(sender.event_types) or list(_ANY_TYPES)

    def story(random: Random, _now: datetime) -> Story:
        for event_type in random.sample(types, len(types)):
            known = sender.type_of(event_type)
            assert known is not None
            data = _value(known.data, random)
            yield event_type, data if isinstance(data, dict) else {"id": token(random), "name": company(random)}

    return story


def _value(node: AvroType, random: Random) -> Any:
    """Return a value of a type in its JSON form; null, which may not fit, for a recursive type."""
    value: Any
    match node:
        case Primitive():
            value = _embedded(node, random) if embedding(node) else _primitive(node, random)
        case Record():
            value = {field.name: _value(field.type, random) for field in node.fields if not is_members(field)}
        case Union():
            value = _value(node.others[0], random) if node.others else None
        case Enum():
            value = node.symbols[0]
        case Array():
            value = []
        case Map():
            value = {}
        case Reference():
            value = None if node.is_recursive else _value(node.target, random)
        case Fixed():
            value = None  # JSON has no bytes
        case _:
            assert_never(node)
    return value


def _embedded(node: Primitive, random: Random) -> Any:
    return random.randint(0, 1_000) if embedding(node) in {"integer", "decimal"} else {"note": random.choice(NOTES)}


def _primitive(node: Primitive, random: Random) -> Any:
    match node.name:
        case "string":
            return random.choice(NOTES)
        case "boolean":
            return random.random() < 0.5
        case "float" | "double":
            return 0.5
        case "int" | "long":
            return random.randint(0, 100)
        case "null" | "bytes":
            return None
        case _:
            assert_never(node.name)
