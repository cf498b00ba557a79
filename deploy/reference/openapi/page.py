"""An OpenAPI document as an HTML page, without scripts and without anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from http import HTTPStatus
from typing import Any, Final

from deploy.reference.openapi.parts import Json
from deploy.reference.payloads import indented
from schemas.avro.json_writer import compact

_JSON: Final = "application/json"
_MAX_LEVELS: Final = 5  # a schema can contain itself
_CODE: Final = re.compile(r"`([^`]+)`")


def page(document: Json, json_file: str) -> str:
    """Return the page. `json_file` is the link to the document itself."""
    info = document["info"]
    body = [
        f"<h1>{escape(info['title'])}</h1>",
        _paragraph(info["description"]),
        f'<p>For programs: <a href="{json_file}">{json_file}</a> (OpenAPI {document["openapi"]}).</p>',
        _contents(document),
        '<h2 id="authentication">Authentication</h2>',
        *(_paragraph(scheme["description"]) for scheme in document["components"]["securitySchemes"].values()),
    ]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                body += _operation(document, path, method, item.get("parameters", []), operation)
    body += _errors(document)
    body += _webhooks(document)
    return html(info["title"], body)


def html(title: str, body: Iterable[str]) -> str:
    """Return a page of these parts."""
    text = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="/docs/style.css">\n</head>\n'
        f"<body>\n<main>\n{text}\n</main>\n</body>\n</html>\n"
    )


def _contents(document: Json) -> str:
    rows = [
        f'<li><a href="#{operation["operationId"]}">{_signature(method, path)}</a> {escape(operation["summary"])}</li>'
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    rows.append('<li><a href="#errors">Errors</a></li>')
    rows.append('<li><a href="#webhooks">Webhooks</a>: the requests to your endpoint</li>')
    return f"<nav><ul>\n{chr(10).join(rows)}\n</ul></nav>"


def _operation(document: Json, path: str, method: str, parameters: list[Json], operation: Json) -> Iterator[str]:
    yield f'<section><h2 id="{operation["operationId"]}">{escape(operation["summary"])}</h2>'
    yield f'<p class="signature">{_signature(method, path)}</p>'
    yield _paragraph(operation["description"])
    for parameter in parameters:
        yield _paragraph(f"`{parameter['name']}`: {parameter['description']}")
    if "requestBody" in operation:
        body = operation["requestBody"]["content"][_JSON]
        yield "<h3>Request</h3>"
        yield from _fields(document, body["schema"], with_required=True)
        yield from _examples(body)
    responses = operation["responses"]
    for status, response in responses.items():
        if "$ref" not in response:
            yield f"<h3>{_status(status)}</h3>"
            yield _paragraph(response["description"])
            if "content" in response:
                body = response["content"][_JSON]
                yield from _fields(document, body["schema"])
                yield from _examples(body)
    errors = [f'<a href="#error-{status}">{status}</a>' for status, one in responses.items() if "$ref" in one]
    yield f"<p>Errors: {', '.join(errors)}</p></section>"


def _errors(document: Json) -> Iterator[str]:
    yield '<section><h2 id="errors">Errors</h2>'
    statuses: dict[str, Json] = {}
    for item in document["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                statuses |= {status: one for status, one in operation["responses"].items() if "$ref" in one}
    for status, reference in sorted(statuses.items()):
        response = _resolved(document, reference)
        yield f'<h3 id="error-{status}">{_status(status)}</h3>'
        yield _paragraph(response["description"])
        yield from _examples(response["content"][_JSON])
    yield "</section>"


def _webhooks(document: Json) -> Iterator[str]:
    yield '<section><h2 id="webhooks">Webhooks</h2>'
    yield "<p>A <code>POST</code> of JSON to the URL of the webhook, for each event.</p>"
    posts = {name: item["post"] for name, item in document["webhooks"].items()}
    common = next(iter(posts.values()))
    rows = [
        (f"<code>{escape(one['name'])}</code>", _text(one["description"]), "yes" if one["required"] else "no")
        for one in common["parameters"]
    ]
    yield _table(("Header", "Value", "In every request"), rows)
    answers = [
        (f"<code>{escape(status)}</code>", _text(one["description"])) for status, one in common["responses"].items()
    ]
    yield _table(("Your answer", "Result"), answers)
    for name, post in posts.items():
        body = post["requestBody"]["content"][_JSON]
        yield f"<details><summary><code>{escape(name)}</code> {_text(post['summary'])}</summary>"
        constants = [one for one in post["parameters"] if "const" in one["schema"]]
        lines = [f"{one['name']}: {one['schema']['const']}" for one in constants]
        if lines:
            yield f"<pre>{escape(chr(10).join(lines))}</pre>"
        yield from _fields(document, body["schema"])
        yield from _examples(body)
        yield "</details>"
    yield "</section>"


def _fields(document: Json, schema: Json, *, with_required: bool = False) -> Iterator[str]:
    schema = _resolved(document, schema)
    if schema.get("description"):
        yield _paragraph(schema["description"])
    if schema.get("type") == "array":
        yield "<p>An array of:</p>"
        yield from _fields(document, schema["items"])
        return
    rows = []
    for name, field, is_required in _flat(document, schema):
        needed = ["yes" if is_required else "no"] if with_required else []
        text = _text(" ".join(filter(None, (field.get("description", ""), _values(document, field)))))
        rows.append((f"<code>{escape(name)}</code>", _type(field), *needed, text))
    if rows:
        yield _table(("Field", "Type", *(["Required"] if with_required else []), "Meaning"), rows)


def _flat(document: Json, schema: Json, prefix: str = "", level: int = 0) -> Iterator[tuple[str, Json, bool]]:
    """Yield all fields with their paths, such as `stats.total_deliveries` and `hits[].id`."""
    for name, given in schema.get("properties", {}).items():
        field = _resolved(document, given)
        yield prefix + name, field, name in schema.get("required", ())
        if level < _MAX_LEVELS:
            inner = _resolved(document, field["items"]) if "items" in field else field
            path = f"{prefix}{name}[]." if "items" in field else f"{prefix}{name}."
            yield from _flat(document, inner, path, level + 1)


def _type(field: Json) -> str:
    if "const" in field:
        return f"<code>{escape(compact(field['const']))}</code>"
    kind = field.get("type", "none" if "not" in field else "any")
    return escape(kind if isinstance(kind, str) else " or ".join(kind))


def _values(document: Json, field: Json) -> str:
    """Return the values that a field, or each item of a list, can have."""
    values = _resolved(document, field.get("items", field)).get("enum", ())
    return f"One of {', '.join(f'`{value}`' for value in values)}." if values else ""


def _examples(body: Json) -> Iterator[str]:
    for shown in body.get("examples", {}).values():
        if "summary" in shown:
            yield _paragraph(shown["summary"])
        yield f"<pre>{escape(indented(compact(shown['value'])))}</pre>"


def _resolved(document: Json, node: Json) -> Json:
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    resolved: Json = found
    return resolved


def _signature(method: str, path: str) -> str:
    return f"<code>{method.upper()} {escape(path)}</code>"


def _status(status: str) -> str:
    return f"{status} {HTTPStatus(int(status)).phrase}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    lines = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table>\n<tr>{head}</tr>\n{lines}\n</table></div>'


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))
