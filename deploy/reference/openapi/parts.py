"""What both documents are made of: objects, operations, and every error with its status and body.

Examples of errors are made by the API's own code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from deploy.reference.headers import Header
from producers.api.body import MAX_BODY
from producers.api.flavours import Flavour
from producers.api.gateway import BODY_TIMEOUT_S
from producers.api.ports import LedgerAway, NotReady
from producers.api.refusals import (
    Refusal,
    RequestProblem,
    invalid,
    read_only,
    refusal_of,
    too_large,
    too_often,
    too_slow,
    unauthenticated,
    unknown_path,
    unknown_webhook,
    wrong_method,
)
from schemas.catalog.errors import Unavailable
from schemas.network.egress import MAX_URL
from schemas.senders.sender import Sender

Json: TypeAlias = dict[str, Any]

REQUEST_ID: Final = "8f14e45f-ceea-467f-9d4b-5a1f6c1a2b3c"  # in examples
_JSON: Final = "application/json"
_ALWAYS: Final = ("X-Request-Id", "Cache-Control")  # headers of every response
_LABEL: Final = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_TOP_LABEL: Final = "[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
URL: Final[Json] = {
    "type": "string",
    "maxLength": MAX_URL,
    # Printable ASCII without # and backslash.
    "pattern": rf"^https://({_LABEL}\.)+{_TOP_LABEL}(:443)?([/?][!\"$-\[\]-~]*)?$",
    "description": "The endpoint: `https://`, a public host with a dotted DNS name, and no user name or fragment.",
}
ERRORS_OF_BODIES: Final = (408, 413)
# Of every operation. A path answers 405 to a method that it does not have.
ERRORS_OF_ALL: Final = (400, 401, 405, 429, 500, 503)
_MEANINGS: Final[Mapping[int, str]] = {
    400: "The request is invalid. Nothing was changed or sent. All problems are named together.",
    401: "The API key is missing or not valid: unknown, revoked, expired, or of another product.",
    403: "The API key may only read.",
    404: "There is no such webhook, or no such path. A webhook of another customer is answered like an unknown one.",
    405: "The path does not have this method. `Allow` names those that it has.",
    408: f"The body did not arrive within {BODY_TIMEOUT_S:g} s. The connection closes.",
    413: f"The body has more than {MAX_BODY // 1024} KiB. The connection closes.",
    429: "Too many requests with this API key. Try again after `Retry-After` seconds.",
    500: "An unexpected error. The request id finds it in the log.",
    503: "A part of the service is not available; the message names what. Try again later. After a change the message "
    "says whether it may have been made.",
}
_NAMES: Final[Mapping[int, str]] = {status: HTTPStatus(status).phrase.title().replace(" ", "") for status in _MEANINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The parts of a document that differ between the APIs.

    `schemas` has `Error` and `ValidationError`. `webhooks` returns webhooks beyond those of the event types, from
    the headers of requests.
    """

    flavour: Flavour
    title: str
    description: str
    security: Mapping[str, Json]
    schemas: Callable[[Sender], Json]
    paths: Callable[[Sender], Json]
    webhooks: Callable[[Sender, Sequence[Header]], Json] = lambda sender, sent: {}


def closed(properties: Mapping[str, Json], description: str = "") -> Json:
    """Return the schema of an object with exactly these keys, which answers have in this order."""
    head = {"type": "object", "description": description} if description else {"type": "object"}
    return {**head, "properties": dict(properties), "required": list(properties), "additionalProperties": False}


def text(description: str, **more: Any) -> Json:
    """Return the schema of a string."""
    return {"type": "string", "description": description, **more}


def schema_ref(name: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(schema: Json, examples: Mapping[str, Json]) -> Json:
    """Return a JSON body; `examples` are objects of OpenAPI by name."""
    return {_JSON: {"schema": schema, **({"examples": dict(examples)} if examples else {})}}


def example(value: Any, summary: str = "") -> Json:
    """Return an example."""
    return {"summary": summary, "value": value} if summary else {"value": value}


def request_body(schema: Json, examples: Mapping[str, Json]) -> Json:
    """Return the body of a request."""
    return {"required": True, "content": content(schema, examples)}


def response(description: str, body: Json | None = None, more_headers: Sequence[str] = ()) -> Json:
    """Return a response, with the headers of all responses and further ones; without `body` it has none."""
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_ALWAYS, *more_headers)}
    made: Json = {"description": description, "headers": named}
    return made if body is None else {**made, "content": body}


def operation(
    id_: str,
    summary: str,
    description: str,
    *,
    answers: Mapping[int, Json],
    errors: Iterable[int] = (),
    body: Json | None = None,
) -> Json:
    """Return an operation. `errors` are statuses beyond those of every operation."""
    named = sorted({*ERRORS_OF_ALL, *errors, *(ERRORS_OF_BODIES if body is not None else ())})
    all_answers = {**answers, **{status: {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in named}}
    made: Json = {"operationId": id_, "summary": summary, "description": description}
    if body is not None:
        made["requestBody"] = body
    return {**made, "responses": {str(status): all_answers[status] for status in sorted(all_answers)}}


def links(*operation_ids: str) -> Json:
    """Return links from the answer of a creation to operations on the new webhook."""
    parameters = {"webhook_id": "$response.body#/id"}
    return {id_: {"operationId": id_, "parameters": parameters} for id_ in operation_ids}


def headers() -> Json:
    """Return the headers of responses."""

    def header(description: str, schema: Json, *, required: bool = True) -> Json:
        return {"description": description, "required": required, "schema": schema}

    text = {"type": "string"}
    return {
        "X-Request-Id": header("The id of this request, for questions about it.", {"type": "string", "format": "uuid"}),
        "Cache-Control": header("No answer may be stored.", {"const": "no-store"}),
        "WWW-Authenticate": header("How to authenticate.", text),
        "Allow": header("The methods of the path.", text),
        "Retry-After": header("Seconds to wait.", {"type": "integer", "minimum": 1}),
        "X-Signpost-Unavailable": header(
            "Fields that are `null` because delivery statistics are not available at the moment.", text, required=False
        ),
    }


def responses(flavour: Flavour) -> Json:
    """Return a response for each error status."""
    made: Json = {}
    for status, refusals in _refusals(flavour).items():
        examples = {name: example(_body(flavour, refusal)) for name, refusal in refusals.items()}
        schema = schema_ref("ValidationError" if status == 400 else "Error")
        extra = [name for name, _ in next(iter(refusals.values())).headers if name != "Connection"]
        made[_NAMES[status]] = response(_MEANINGS[status], content(schema, examples), extra)
    # A process at its limit of requests answers without reading the request: as text, without an id.
    overloaded = {"schema": {"type": "string"}, "examples": {"overloaded": example("Service Unavailable")}}
    made[_NAMES[503]]["content"]["text/plain"] = overloaded
    made[_NAMES[503]]["headers"] = {
        name: {**one, "required": False} for name, one in headers().items() if name in _ALWAYS
    }
    return made


def _refusals(flavour: Flavour) -> Mapping[int, Mapping[str, Refusal]]:
    url = RequestProblem(("webhook_url",), "invalid_url", "must start with https:// (got http://)")
    found: Mapping[str, Refusal] = {
        "invalid": invalid(url),
        "unauthenticated": unauthenticated(flavour.challenge),
        "read_only": read_only(),
        "unknown": unknown_webhook(),
        "unknown_path": unknown_path(flavour.paths),
        "wrong_method": wrong_method(("GET", "POST")),
        "too_slow": too_slow(BODY_TIMEOUT_S),
        "too_large": too_large(MAX_BODY),
        "too_often": too_often(3),
        "unexpected": refusal_of(RuntimeError()),
        "no_statistics": refusal_of(LedgerAway("")),
        "not_ready": refusal_of(NotReady("")),
        "not_confirmed": refusal_of(Unavailable("")),
    }
    by_status: dict[int, dict[str, Refusal]] = {}
    for name, refusal in found.items():
        by_status.setdefault(refusal.status, {})[name] = refusal
    return by_status


def _body(flavour: Flavour, refusal: Refusal) -> Any:
    return json.loads(flavour.error_body(refusal, REQUEST_ID))
