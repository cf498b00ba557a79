"""The receiver's guide of a sender, in Markdown: requests, responses, and verification."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from deploy.reference.examples import NOW_S, Example
from deploy.reference.headers import Header, id_header
from deploy.reference.markdown import code, fence, plain, table
from deploy.reference.verification import LANGUAGES, verification_code
from schemas.events.event import ANY
from schemas.input.durations import format_duration
from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.traits import signs_with_all

_FIELDS: Final[Mapping[str, str]] = {
    "event_id": "the event's id",
    "event_type": "the event's type",
    "created_at": "when it happened, in UTC",
    "customer_id": "the customer whose event it is",
    "data": "the payload, which depends on the type",
}
_RESPONSES: Final = (
    ("2xx", "Delivered. The body of the response is not read."),
    (
        "410",
        "This event is never sent to this subscription again. The subscription may be disabled.",
    ),
    ("429, 503", "Failed. A `Retry-After` delays the next attempt if it is later than the schedule."),
    ("anything else, also a redirect", "Failed. Redirects are not followed."),
    ("no response in time, or no connection", "Failed."),
)


def guide(sender: Sender, headers: list[Header], examples: Mapping[str, Example], schemas: Mapping[str, str]) -> str:
    """Return the guide. `schemas` has a link to the JSON Schema of each type."""
    sections = [
        _head(sender),
        _request(sender, examples),
        _headers(headers),
        _body(sender),
        _event_types(sender, schemas),
        _responses(sender),
        _repeats(sender),
        _verification(sender),
        _rotation(sender),
        _examples(sender, examples),
    ]
    return "\n".join(section for section in sections if section)


def _head(sender: Sender) -> str:
    return (
        f"# {plain(sender.title)}: guide for receivers\n\n"
        f"Each event is a `POST` of JSON to the URL of your subscription. This page is generated from the "
        f"definition of the sender {code(sender.name)}, which Signpost uses for requests. Tests run the code against "
        "such requests.\n\n"
        "There are also [asyncapi.yaml](asyncapi.yaml) and a JSON Schema (2020-12) of the body of each type.\n"
    )


def _request(sender: Sender, examples: Mapping[str, Example]) -> str:
    example = next(iter(examples.values()), None)
    if example is None:
        return ""
    lines = ["POST /your/path HTTP/1.1", "Host: hooks.example.com"]
    lines += [f"{name}: {value}" for name, value in example.headers]
    lines += [f"Content-Length: {len(example.body)}", "", example.body.decode()]
    when = "" if isinstance(sender.signature, HmacSha256Hex) else f" at {NOW_S} Unix seconds"
    return (
        "## A request\n\n"
        f"{fence('http', chr(10).join(lines))}\n"
        f"It is signed{when} with the secret {code(example.secret)}. The body is one line, as shown here.\n"
    )


def _headers(headers: list[Header]) -> str:
    rows = [
        (
            code(header.name),
            plain(header.meaning) if header.constant is None else code(header.constant),
            "yes" if header.always else "no",
        )
        for header in headers
    ]
    return (
        "## Headers\n\n"
        f"{table(('Header', 'Value', 'In every request'), rows)}\n"
        "Header names are case-insensitive. A subscription can have additional headers.\n"
    )


def _body(sender: Sender) -> str:
    rows = [(code(key), _FIELDS[field]) for key, field in sender.envelope_keys.items()]
    form = f"{table(('Key', 'Holds'), rows)}\n" if rows else f"The body is the payload alone.{_named_by(sender)}\n\n"
    return (
        "## Body\n\n"
        f"{form}"
        f"JSON in UTF-8, of at most {sender.max_body:,} bytes. Ignore keys that this page does not name: any event may "
        "have them. A number can have more digits than a double holds.\n"
    )


def _named_by(sender: Sender) -> str:
    names = [name for name, text in sender.header_templates.items() if text.lower() == "{event_type}"]
    return f" The event's type is in the header {code(names[0])}." if names else ""


def _event_types(sender: Sender, schemas: Mapping[str, str]) -> str:
    any_name = "any other" if sender.event_types else "any"
    rows = [
        (
            any_name if event_type.name == ANY else code(event_type.name),
            plain(event_type.trigger),
            f"[schema]({schemas[event_type.name]})",
        )
        for event_type in sender.all_types
    ]
    return f"## Event types\n\n{table(('Type', 'When', 'Body'), rows)}{_conditions(sender)}"


def _conditions(sender: Sender) -> str:
    lines = []
    for condition in sender.conditions:
        types = f" of {', '.join(map(code, condition.event_types))}" if condition.event_types is not None else ""
        holds = " or ".join(code(one) for one in condition.one_of or ()) or "not empty"
        lines.append(f"- {code(condition.field)}{types} is {holds}.\n")
    if not lines:
        return ""
    return f"\nPublished events satisfy these rules:\n\n{''.join(lines)}"


def _responses(sender: Sender) -> str:
    rows, waited = [(1, "", "")], timedelta(0)
    for number, wait in enumerate(sender.schedule, 2):
        waited += wait
        rows.append((number, format_duration(wait), _in_words(waited)))
    timeout = format_duration(sender.timeout)
    return (
        "## Responses and retries\n\n"
        f"Respond with 2xx as soon as the request is stored, and process it afterwards: an attempt fails after "
        f"{timeout}, counted from connecting to the end of the response headers.\n\n"
        f"{table(('Response', 'Result'), _RESPONSES)}\n"
        f"There are {len(rows)} attempts at most. Each is made after the one before it has failed, never earlier than "
        "this, and later where the endpoint has a backlog:\n\n"
        f"{table(('Attempt', 'Wait', 'After the first'), [tuple(map(str, row)) for row in rows])}\n"
        "A subscription can have a schedule and a timeout of its own.\n"
    )


def _in_words(wait: timedelta) -> str:
    hours, rest = divmod(int(wait.total_seconds()), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def _repeats(sender: Sender) -> str:
    key = next((key for key, field in sender.envelope_keys.items() if field == "event_id"), None)
    header = id_header(sender)
    if key is not None:
        known = f"by {code(key)} in the body"
    elif header is not None:
        known = f"by the header {code(header)}"
    else:
        known = "by the body, whose bytes are the same"
    return (
        "## Repeats and order\n\n"
        f"An event is delivered at least once. Recognise a repeated event {known}, and respond 2xx again. Events can "
        "arrive out of order: a retry does not delay later events.\n"
    )


def _verification(sender: Sender) -> str:
    parts = ["## Verify\n", f"{_scheme(sender)}\n"]
    for language, title in LANGUAGES.items():
        parts.append(f"### {title}\n\n{fence(language, verification_code(sender, language))}")
    parts.append(
        f"If a request fails verification, `signpost verify --sender {sender.name}` says why: another form of the "
        "secret, a changed body, another notation of the signature, an old timestamp.\n"
    )
    return "\n".join(parts)


def _scheme(sender: Sender) -> str:
    return "".join(_scheme_sentences(sender))


def _scheme_sentences(sender: Sender) -> Iterator[str]:
    scheme = sender.signature
    if isinstance(scheme, HmacSha256Hex):
        longest = "" if scheme.longest_secret is None else f" of at most {scheme.longest_secret} characters"
        yield (
            f"{code(scheme.header)} is {code(scheme.prefix) + ' and ' if scheme.prefix else ''}the HMAC-SHA256 of the "
            f"body's bytes in lower-case hexadecimal. The key is the secret, any text{longest}, in UTF-8, including "
            "any prefix. "
        )
    else:
        yield (
            "Requests are signed according to [Standard Webhooks 1.0](https://www.standardwebhooks.com). Its libraries "
            "verify them as well. The signed text is `<webhook-id>.<webhook-timestamp>.<body>`. A secret `whsec_…` is "
            "the key of HMAC-SHA256 (`v1`) in base64, with or without padding. "
        )
        if "v1a" in scheme.versions:
            yield "An ed25519 signature (`v1a`) is verified with the public key `whpk_…`. "
        yield "The code refuses a request whose timestamp differs by more than five minutes, against replays. "
    yield "Verify the raw bytes of the body: parsing and re-serialising JSON changes them.\n"
    if not scheme.required:
        yield "\nA subscription without a secret gets requests without a signature.\n"


def _rotation(sender: Sender) -> str:
    if signs_with_all(sender):
        text = (
            "While the old secret is still valid, requests have the signatures of both, the newest first. One valid "
            "signature is enough. Change your secret at any time until the old one expires.\n"
        )
    else:
        text = (
            "A request has one signature, of the newest secret. Let your endpoint accept both secrets before the "
            "change; requests in flight may still have the old signature.\n"
        )
    return f"## A new secret\n\n{text}"


def _examples(sender: Sender, examples: Mapping[str, Example]) -> str:
    parts = ["## An example of each type\n"] if examples else []
    for event_type in sender.all_types:
        example = examples.get(event_type.name)
        if example is not None:
            parts.append(f"### {plain(example.event_type)}\n")
            parts.append(fence("json", json.dumps(example.value, indent=2, ensure_ascii=False)))
    return "\n".join(parts)
