"""The receiver's guide of a sender, in Markdown: requests, responses, and verification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from consumers.delivery.http.types import MAX_BODY_READ
from consumers.delivery.results.recorder import RESPONSE_KEPT
from deploy.reference.examples import NOW_S, Example
from deploy.reference.headers import Header, id_header
from deploy.reference.management import management
from deploy.reference.markdown import code, fence, plain, table
from deploy.reference.payloads import indented
from deploy.reference.verification import LANGUAGES, verification_code
from schemas.events.event import ANY
from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.traits import signs_with_all

# A cell of the table of headers lists at most this many values. The table of event types has all of them.
_MAX_VALUES: Final = 12
# What documents of products write for a value that they do not show.
_ELIDED: Final = b'"..."'
_FIELDS: Final[Mapping[str, str]] = {
    "event_id": "the event's id",
    "event_type": "the event's type",
    "created_at": "when it happened, in UTC",
    "customer_id": "the customer whose event it is",
    "data": "the payload, which depends on the type",
}
_RESPONSES: Final = (
    ("2xx", "Delivered."),
    (
        "410",
        "This event is never sent to this subscription again. The subscription may be disabled.",
    ),
    ("429, 503", "Failed. A `Retry-After` delays the next attempt if it is later than the schedule."),
    ("anything else, also a redirect", "Failed. Redirects are not followed."),
    ("no response in time, or no connection", "Failed."),
)


def guide(
    sender: Sender,
    headers: list[Header],
    examples: Mapping[str, Sequence[Example]],
    notes: Mapping[str, str],
    schemas: Mapping[str, str],
) -> str:
    """Return the guide.

    `notes` say of which types the examples are made up. `schemas` has a link to the JSON Schema of each type.
    """
    sections = [
        _head(sender, notes),
        _request(sender, examples, notes),
        _headers(sender, headers),
        _body(sender),
        _event_types(sender, headers, schemas),
        _responses(sender),
        _repeats(sender),
        _verification(sender),
        _rotation(sender),
        management(sender),
        _examples(sender, examples, notes),
    ]
    return "\n".join(section for section in sections if section)


def _head(sender: Sender, notes: Mapping[str, str]) -> str:
    made_up = " Examples that it does not contain are made up, and marked as such." if notes else ""
    return (
        f"# {plain(sender.title)}: guide for receivers\n\n"
        f"Each event is a `POST` of JSON to the URL of your subscription. This page is generated from the "
        f"definition of the sender {code(sender.name)}. Signpost builds its requests from the same definition.{made_up}"
        "\n\n"
        "[asyncapi.yaml](asyncapi.yaml) describes the same for programs. The body of each event type has a JSON Schema "
        "(2020-12).\n"
    )


def _request(sender: Sender, examples: Mapping[str, Sequence[Example]], notes: Mapping[str, str]) -> str:
    # The first documented payload without an elided value, if there is one.
    names = sorted(examples, key=lambda name: (name in notes, _ELIDED in examples[name][0].body))
    if not names:
        return ""
    example = examples[names[0]][0]
    lines = ["POST /your/path HTTP/1.1", "Host: hooks.example.com"]
    lines += [f"{name}: {value}" for name, value in example.headers]
    lines += [f"Content-Length: {len(example.body)}", "", example.body.decode()]
    when = "" if isinstance(sender.signature, HmacSha256Hex) else f" at {NOW_S} Unix seconds"
    note = f" {notes[names[0]]}" if names[0] in notes else ""
    return (
        "## A request\n\n"
        f"{fence('http', chr(10).join(lines))}\n"
        f"It is signed{when} with the secret {code(example.secret)}. The body has exactly these bytes.{note}\n"
    )


def _headers(sender: Sender, headers: list[Header]) -> str:
    traced = (
        "A request can have `traceparent` ([W3C Trace Context](https://www.w3.org/TR/trace-context/)): the trace of "
        "the event in the sender's systems. You may ignore it.\n"
    )
    rows = [
        (code(header.name), _header_value(header), "yes" if header.always else "if the subscription has a secret")
        for header in headers
    ]
    return (
        "## Headers\n\n"
        f"{table(('Header', 'Value', 'In every request'), rows)}\n"
        "Header names are case-insensitive. A subscription can have additional headers.\n"
        f"{traced if sender.trace_context else ''}"
    )


def _header_value(header: Header) -> str:
    if header.constant is not None:
        return code(header.constant)
    values = header.values
    if len(values) > _MAX_VALUES:
        return f"{plain(header.meaning)}; see [Event types](#event-types)"
    if values:
        return f"{plain(header.meaning)}: {', '.join(map(code, values))}"
    return (
        plain(header.meaning)
        if header.example is None
        else f"such as {code(header.example)}, with {plain(header.meaning)}"
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


def _event_types(sender: Sender, headers: list[Header], schemas: Mapping[str, str]) -> str:
    any_name = "any other" if sender.event_types else "any"
    of_type = [header for header in headers if header.by_type]
    rows = [
        (
            any_name if event_type.name == ANY else code(event_type.name),
            plain(event_type.trigger),
            *(code(header.by_type[event_type.name]) for header in of_type),
            f"[schema]({schemas[event_type.name]})",
        )
        for event_type in sender.all_types
    ]
    heads = ("Type", "When", *(code(header.name) for header in of_type), "Body")
    return f"## Event types\n\n{table(heads, rows)}{_conditions(sender)}"


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
    return (
        "## Responses and retries\n\n"
        "Respond with 2xx as soon as the request is stored, and process it afterwards. An attempt fails if the headers "
        f"of the response are not complete within {_in_words(sender.timeout)}. The time starts with the DNS lookup of "
        "your host and includes connecting and TLS.\n\n"
        f"{table(('Response', 'Result'), _RESPONSES)}\n"
        f"Signpost reads up to {MAX_BODY_READ // 1024} KiB of the response body, also of a 2xx, and records the first "
        f"{RESPONSE_KEPT // 1024} KiB of it for the people who operate Signpost. The body does not change the result. "
        "Do not put personal data or secrets into it.\n\n"
        f"{_attempts(sender)}"
        "A subscription can have a schedule and a timeout of its own. It may be disabled if its attempts fail for "
        "days.\n"
    )


def _attempts(sender: Sender) -> str:
    if not sender.schedule:
        return "There is one attempt. "
    rows, waited = [(1, "", "")], timedelta(0)
    for number, wait in enumerate(sender.schedule, 2):
        waited += wait
        rows.append((number, _in_words(wait), _in_words(waited)))
    return (
        f"There are {len(rows)} attempts at most. Each starts this long after the previous one failed, never earlier, "
        "and later if the endpoint has a backlog:\n\n"
        f"{table(('Attempt', 'Wait', 'Waits in total'), [tuple(map(str, row)) for row in rows])}\n"
        "After the last one, the event is sent again only by hand. "
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
        f"Delivery is at least once: the same event can arrive again. Recognise a repeated event {known}, and respond "
        "2xx again. Events can arrive out of order: a retry does not delay later events.\n"
    )


def _verification(sender: Sender) -> str:
    parts = ["## Verify\n", f"{_scheme(sender)}\n"]
    for language, title in LANGUAGES.items():
        parts.append(f"### {title}\n\n{fence(language, verification_code(sender, language))}")
    timed = "" if isinstance(sender.signature, HmacSha256Hex) else ", an old timestamp"
    parts.append(
        f"If a request fails verification, `signpost verify --sender {sender.name}` says why: another form of the "
        f"secret, a changed body, another notation of the signature{timed}.\n"
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
        yield "The code refuses a request whose timestamp differs by more than five minutes. This limits replays. "
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


def _examples(sender: Sender, examples: Mapping[str, Sequence[Example]], notes: Mapping[str, str]) -> str:
    parts = ["## Examples of each type\n"] if examples else []
    for event_type in sender.all_types:
        shown = examples.get(event_type.name, ())
        for name in dict.fromkeys(example.event_type for example in shown):
            parts.append(f"### {plain(name)}\n")
            if event_type.name in notes:
                parts.append(f"{notes[event_type.name]}\n")
            parts += (fence("json", indented(one.body.decode())) for one in shown if one.event_type == name)
    return "\n".join(parts)
