"""Properties of a sender that follow from its signatures and its schemas. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from schemas.avro.json_form import embedding
from schemas.avro.types import walk
from schemas.senders.sender import Sender

IdField: TypeAlias = Literal["event_id", "job_id", "subscription_id"]

_BODY: Final = b"{}"
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch
# Values of the sample attempt. They occur nowhere else in its headers.
_IDS: Final[Mapping[IdField, str]] = {
    "event_id": "evt_sample-event",
    "job_id": "5a3e9b1c-0000-5000-8000-00005a3e9b1c",
    "subscription_id": "sample-subscription",
}
_CUSTOMER: Final = "sample-customer"


@dataclass(frozen=True, slots=True)
class _SampleAttempt:
    event_type: str
    job_id: str = _IDS["job_id"]
    event_id: str = _IDS["event_id"]
    customer_id: str = _CUSTOMER
    subscription_id: str = _IDS["subscription_id"]


@dataclass(frozen=True, slots=True)
class IdHeader:
    """A header of a sender's requests that contains an id: which id, and what surrounds it."""

    name: str
    id_field: IdField
    form: re.Pattern[str] = field(repr=False)

    def id_in(self, value: str) -> str | None:
        """Return the id in a value of the header; None if the value has another form."""
        found = self.form.fullmatch(value)
        return None if found is None else found[1]


@lru_cache(maxsize=256)
def signs_with_all(sender: Sender) -> bool:
    """Return whether both secrets sign during a rotation; otherwise only the newest signs, and the old one ends.

    With both signatures, receivers that still have the old secret accept the request.
    """
    newest = sender.signing_key(sender.generate_secret())
    former = sender.signing_key(sender.generate_secret())
    attempt = _attempt(sender)
    return sender.headers(attempt, _BODY, (newest,), 0) != sender.headers(attempt, _BODY, (newest, former), 0)


@lru_cache(maxsize=256)
def id_headers(sender: Sender) -> tuple[IdHeader, ...]:
    """Return the headers of a signed request that contain an id of event, job or subscription."""
    attempt = _attempt(sender)
    lines = sender.headers(attempt, _BODY, (sender.signing_key(sender.generate_secret()),), 0)
    return tuple(found for line in lines for found in _id_headers(line.decode(), attempt.event_type))


def _id_headers(line: str, event_type: str) -> Iterator[IdHeader]:
    name, _, value = line.partition(": ")
    for id_field, sample in _IDS.items():
        if sample not in value:
            continue
        form = re.escape(value).replace(re.escape(sample), "(.+)", 1)
        for other in (*_IDS.values(), _CUSTOMER, event_type, event_type.upper()):
            form = form.replace(re.escape(other), ".+")
        yield IdHeader(name, id_field, re.compile(form))


def ids_in(text: str, senders: Mapping[str, Sender]) -> tuple[str, ...]:
    """Return the ids that a text may mean: the text itself first, then what it contains as a header of these senders.

    People copy ids with spaces around them, with the name of the header, or in upper case from a database.
    """
    name, colon, value = text.partition(":")
    headers = [header for sender in senders.values() for header in id_headers(sender)]
    texts = [text, text.strip()]
    if colon and name.strip().lower() in {header.name.lower() for header in headers}:
        texts.append(value.strip())
    found = dict.fromkeys(texts)
    for one in texts:
        found |= dict.fromkeys(id_ for header in headers if (id_ := header.id_in(one)) is not None)
    found |= {one.lower(): None for one in found if _UUID(one)}
    return tuple(one for one in found if one)


def _attempt(sender: Sender) -> _SampleAttempt:
    return _SampleAttempt(next(iter(sender.event_types), "a"))


@lru_cache(maxsize=256)
def writes_all_json(sender: Sender) -> bool:
    """Return whether Signpost writes all JSON of the sender's bodies, which is then compact.

    Otherwise parts of a body are JSON text of its publisher, which stays as it is.
    """
    return not any(
        embedding(node) in ("object", "raw") for event_type in sender.all_types for _, node in walk(event_type.data)
    )
