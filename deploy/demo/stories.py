"""Stories of the products other than Zenoo. A story yields the events of one thing in order.

A sender without its own story gets one from any_sender.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, TypeAlias
from uuid import UUID

from deploy.demo.vocabulary import COMPANIES, COUNTRIES, FIRST_NAMES, FORMS, LAST_NAMES, LISTS, NOTES, PROVIDERS

Step: TypeAlias = tuple[str, dict[str, Any]]
Story: TypeAlias = Iterator[Step]
StoryMaker: TypeAlias = Callable[[Random, datetime], Story]

_TOKEN_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
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


def _iso_s(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


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
    begun = now - timedelta(hours=1)
    cdd = {
        "id": uuid(random),
        "state": "RUNNING",
        "input": {
            "website": "https://example.com",
            "legal_name": company(random),
            "country_code": random.choice(COUNTRIES),
            "external_id": _customer_reference(random, now),
        },
        "created_at": iso_ms(begun),
    }
    documents = [_document(number, begun + timedelta(minutes=10 * number)) for number in (1, 2)]
    for count in range(1, random.randint(1, 2) + 1):
        yield "cdd_document_fetched", cdd | {"documents": documents[:count]}
    yield "cdd_state_changed", cdd | {"state": random.choice(("COMPLETED", "COMPLETED", "INCONCLUSIVE"))}
    yield from _searched(random, now)
    run = _flow_run(random, now)
    yield f"flow_run_{run['status'].lower()}", run
    if random.random() < 0.3:
        details = {"reason": "Suspicious activity detected", "triggered_at": iso_ms(now)}
        alert = {"alert_id": uuid(random), "monitoring_id": uuid(random), "type": "FRAUD", "details": details}
        yield "monitoring_alert_fired", alert


def _customer_reference(random: Random, now: datetime) -> str:
    return f"CUST-{now:%Y}-{random.randint(1, 999):03d}"


def _document(number: int, fetched: datetime) -> dict[str, Any]:
    return {
        "id": f"doc-{number:03d}",
        "type": "INCORPORATION",
        "file_name": f"incorporation-{number}.pdf",
        "file_type": "application/pdf",
        "url": f"https://example.com/documents/doc-{number:03d}.pdf",
        "created_at": iso_ms(fetched),
    }


def _searched(random: Random, now: datetime) -> Story:
    person = name(random)
    reference = _customer_reference(random, now)
    hits = random.randint(0, 3)
    search = {
        "id": f"search-{token(random)}",
        "reference": reference,
        "status": "COMPLETED",
        "input": [{"value": person, "label": "FULL_NAME"}, {"value": "INDIVIDUAL", "label": "ENTITY_TYPE"}],
        "hit_counts": {"FALSE_POSITIVE": 0, "TRUE_POSITIVE": 0, "UNRESOLVED": hits},
        "hits": [_search_hit(random, number, person, now) for number in range(1, hits + 1)],
        "created_at": _iso_s(now - timedelta(minutes=5)),
        "updated_at": _iso_s(now),
    }
    yield "search_completed", search
    if hits:
        yield "alert_remediated", _alert(random, person, reference, now)


def _search_hit(random: Random, number: int, person: str, now: datetime) -> dict[str, Any]:
    profile = f"WX{random.randint(1, 10**10 - 1):010d}"
    return {
        "id": f"hit-{number:03d}",
        "provider_reference": str(random.randint(10**10, 10**11 - 1)),
        "status": "UNRESOLVED",
        "fields": [{"value": profile, "label": "Profile ID"}, {"value": person, "label": "Name"}],
        "hit_categories": [random.choice(("SANCTION", "PEP", "MEDIA"))],
        "remediation": {
            "sync_status": "PENDING",
            "determination": "UNRESOLVED",
            "action": "DO_NOTHING",
            "determined_at": _iso_s(now),
            "author": "DILIGENT",
            "summary": "Names match with high confidence",
        },
    }


def _alert(random: Random, person: str, reference: str, now: datetime) -> dict[str, Any]:
    """A remediated alert: the only hit is another person, who was born in another year."""
    born, other = f"19{random.randint(50, 69)}-01-27", str(random.randint(1980, 1999))
    profile = [_fact("has_name", person, "PROFILE"), _fact("date_of_birth", born, "PROFILE")]
    names = {
        "type": "PRIMARY_NAME",
        "categories": ["NAME_GIVEN_NAME_EXACT_MATCH", "NAME_MAIN"],
        "supporting_facts": [_fact("has_name", person.upper(), "HIT"), profile[0]],
    }
    births = {
        "type": "DOB",
        "categories": ["DOB_YEAR_MISMATCH"],
        "supporting_facts": [
            _fact("date_of_birth", other, "HIT"),
            _fact("date_of_birth", other, "ARTICLE", "https://example.com/article"),
            profile[1],
        ],
    }
    resolution = {
        "status": "NOTHING",
        "summary": "DOB mismatch — all hit dates are 2+ years off the profile DOB",
        "author": "DILIGENT",
        "action": "COMMENT_FALSE_POSITIVE",
        "determination": "FALSE_POSITIVE",
        "applied_rule": {"name": "Date of Birth Mismatch"},
    }
    return {
        "id": uuid(random),
        "reference": reference,
        "alt_reference": token(random, 13).upper(),
        "status": "COMPLETED",
        "remediation_status": "REMEDIATED",
        "profile_facts": profile,
        "hits": [
            {
                "reference": token(random, 25),
                "hit_categories": ["MEDIA"],
                "evidences": [names, births],
                "resolution": resolution,
            }
        ],
        "created_at": _iso_s(now - timedelta(hours=1)),
        "updated_at": _iso_s(now),
    }


def _fact(predicate: str, value: str, source: str, url: str | None = None) -> dict[str, Any]:
    return {"predicate": predicate, "value": value, "citations": [{"name": source, "url": url}]}


def _flow_run(random: Random, now: datetime) -> dict[str, Any]:
    failed = random.random() < 0.25
    error = {"code": "EXECUTION_ERROR", "message": "entityName is required", "step": None}
    triggered = now - timedelta(seconds=random.randint(10, 60))
    run = {
        "id": uuid(random),
        "flow_id": f"flow-{token(random, 6)}",
        "flow_version_id": f"ver-{token(random, 6)}",
        "triggered_at": iso_ms(triggered),
        "status": "FAILED" if failed else "COMPLETED",
        "started_at": iso_ms(triggered + timedelta(seconds=1)),
        "completed_at": iso_ms(now),
        "input": {"subject": company(random)},
        "report": None if failed else f"s3://flows-artifacts/reports/{token(random)}.json",
        "error": error if failed else None,
    }
    meta = {"meta": {"case_ref": f"CASE-{random.randint(1, 999):03d}"}} if random.random() < 0.5 else {}
    return run | meta | {"created_at": iso_ms(triggered), "updated_at": iso_ms(now)}


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
