"""Headers and whole requests as programs print them."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.input.header_text import joined_values, read_headers
from schemas.input.recorded_request import read_request

SIGNATURE = "v1,CI3JqFAJKzvKaYSgOJXWtroo6L6M/GQiF4hR6zCklcI= v1,iak447VyK55RFAhD1Ja0Xufc6oMzl+azVHzazns6AFA="
HEADERS = {"webhook-id": "evt_1", "webhook-timestamp": "1796010701", "webhook-signature": SIGNATURE}
BODY = '{"type":"order.paid","data":{\n  "note": "Grüße: a=b"\n}}'.encode()
HEAD = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())

TEXTS = {
    "lines": HEAD,
    "lines with a mark": f"\ufeff{HEAD}",
    "curl -v": "* Connected\n> POST /hook HTTP/1.1\n> Host: x\n"
    + "".join(f"> {name}: {value}\n" for name, value in HEADERS.items())
    + ">\n< HTTP/1.1 200 OK\n< webhook-id: of the response\n",
    "request line and HTTP/2": f":method: POST\n:path: /hook\n{HEAD}",
    "JSON": json.dumps(HEADERS),
    "JSON with lists": json.dumps({name: [value] for name, value in HEADERS.items()}),
    "JSON of an event": json.dumps({"headers": HEADERS, "requestContext": {"http": {"method": "POST"}}}),
    "multiValueHeaders": json.dumps({"multiValueHeaders": {name: [value] for name, value in HEADERS.items()}}),
    "pairs": json.dumps([[name, value] for name, value in HEADERS.items()]),
    "objects": json.dumps([{"name": name, "value": value} for name, value in HEADERS.items()]),
    "CloudFront": json.dumps({name: [{"key": name.title(), "value": value}] for name, value in HEADERS.items()}),
    "rawHeaders": json.dumps(["Host", "x", *(part for header in HEADERS.items() for part in header)]),
    "list of lines": json.dumps([f"{name}: {value}" for name, value in HEADERS.items()]),
    "rawHeaders of Node.js": "[\n  'Host', 'x',\n"
    + ",\n".join(f"  '{name}', '{value}'" for name, value in HEADERS.items())
    + "\n]",
    "object of Node.js": "{\n  host: 'x',\n"
    + ",\n".join(f"  '{name}': '{value}'" for name, value in HEADERS.items())
    + "\n}",
    "dict of Python": repr(HEADERS),
    "Starlette": f"Headers({HEADERS!r})",
    "Werkzeug": f"EnvironHeaders({list(HEADERS.items())!r})",
    "ASGI": repr([(name.encode(), value.encode()) for name, value in HEADERS.items()]),
    "aiohttp": f"<CIMultiDictProxy({repr(HEADERS)[1:-1]})>",
    "Go": "map[Accept:[*/*] " + " ".join(f"{name.title()}:[{value}]" for name, value in HEADERS.items()) + "]",
    "Go of strings": "map[User-Agent:Signpost/1 (x) "
    + " ".join(f"{name.title()}:{value}" for name, value in HEADERS.items())
    + "]",
    "Go %#v": "http.Header{"
    + ", ".join(f'"{name.title()}":[]string{{"{value}"}}' for name, value in HEADERS.items())
    + "}",
    "Java of lists": "{host=[x], " + ", ".join(f"{name}=[{value}]" for name, value in HEADERS.items()) + "}",
    "Java": "{host=x, " + ", ".join(f"{name}={value}" for name, value in HEADERS.items()) + "}",
    "Spring": "[" + ", ".join(f'{name}:"{value}"' for name, value in HEADERS.items()) + "]",
    "Ruby": "{"
    + ", ".join(
        f'"{cgi}"=>"{value}"'
        for cgi, value in zip(
            ("HTTP_WEBHOOK_ID", "HTTP_WEBHOOK_TIMESTAMP", "HTTP_WEBHOOK_SIGNATURE"), HEADERS.values(), strict=True
        )
    )
    + "}",
    "CGI": "\n".join(f"HTTP_{name.upper().replace('-', '_')}={value}" for name, value in HEADERS.items()),
    "PHP": "Array\n(\n" + "".join(f"    [{name}] => {value}\n" for name, value in HEADERS.items()) + ")\n",
    "PHP of lists": "Array\n(\n"
    + "".join(
        f"    [{name}] => Array\n        (\n            [0] => {value}\n        )\n\n"
        for name, value in HEADERS.items()
    )
    + ")\n",
    "options of curl": " \\\n".join(f"-H '{name}: {value}'" for name, value in HEADERS.items()),
    "developer tools": "".join(f"{name}:\n{value}\n" for name, value in HEADERS.items()),
    "tabs": "".join(f"{name}\t{value}\n" for name, value in HEADERS.items()),
}


@pytest.mark.parametrize("text", TEXTS)
def test_headers_are_found_in_what_programs_print(text: str) -> None:
    """Logs and request bins show headers in many notations. Each gives the same headers."""
    found = {name.lower(): value for name, value in joined_values(read_headers(TEXTS[text])).items()}
    assert {name: found.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("text", ["", "{}", "[]", "no headers here", "map[]", "\ufeff", "{'a': ", "[1, 2]", "null"])
def test_text_without_headers_has_none(text: str) -> None:
    """A text that is something else gives no headers and no exception."""
    assert read_headers(text) == []


def test_values_of_one_name_are_joined() -> None:
    """Equal values count once, others are joined by a comma, whatever the spelling of the name."""
    headers = [("A", "1"), ("a", "1"), ("B", "1"), ("b", "2")]
    assert joined_values(headers) == {"A": "1", "B": "1, 2"}


def raw(head: str = HEAD, body: bytes = BODY, length: bool = True) -> bytes:
    line = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"POST /hook HTTP/1.1\r\n{head}{line}\r\n".encode() + body


def chunked(body: bytes) -> bytes:
    parts = (body[:10], body[10:])
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + data


TEXT = BODY.decode()
REQUESTS = {
    "raw": raw(),
    "raw without a length": raw(length=False),
    "raw with a line break after it": raw() + b"\n",
    "raw with its response": raw() + b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "raw after messages of a listener": b"Listening on 0.0.0.0 8080\nConnection received\n" + raw(),
    "raw with LF": raw().split(b"\r\n\r\n")[0].replace(b"\r\n", b"\n") + b"\n\n" + BODY,
    "without a request line": HEAD.encode() + b"\r\n" + BODY,
    "chunked": chunked(BODY),
    "API Gateway": json.dumps({"version": "2.0", "headers": HEADERS, "body": TEXT, "isBase64Encoded": False}).encode(),
    "API Gateway in base64": json.dumps(
        {
            "headers": None,
            "multiValueHeaders": {name: [value] for name, value in HEADERS.items()},
            "body": base64.b64encode(BODY).decode(),
            "isBase64Encoded": True,
        }
    ).encode(),
    "printed event": repr({"headers": HEADERS, "body": TEXT, "isBase64Encoded": False}).encode(),
    "receiver": json.dumps({"number": 1, "headers": list(HEADERS.items()), "body": TEXT}).encode(),
    "HAR": json.dumps(
        {
            "log": {
                "entries": [
                    {
                        "request": {
                            "headers": [{"name": name, "value": value} for name, value in HEADERS.items()],
                            "postData": {"mimeType": "application/json", "text": TEXT},
                        }
                    }
                ]
            }
        }
    ).encode(),
    "request bin": json.dumps(
        {"headers": {name: [value] for name, value in HEADERS.items()}, "content": TEXT}
    ).encode(),
    "Buffer": json.dumps({"headers": HEADERS, "body": {"type": "Buffer", "data": list(BODY)}}).encode(),
    "CloudFront": json.dumps(
        {
            "request": {
                "headers": {name: [{"key": name, "value": value}] for name, value in HEADERS.items()},
                "body": {"encoding": "base64", "data": base64.b64encode(BODY).decode()},
            }
        }
    ).encode(),
    "curl": (
        "curl -X POST 'https://x.example/hook' \\\n"
        + "".join(f"  -H '{name}: {value}' \\\n" for name, value in HEADERS.items())
        + f"  --data-raw '{TEXT}'"
    ).encode(),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_request_is_split(name: str) -> None:
    """Raw HTTP, events of gateways, request bins and commands of curl give the headers and the bytes of the body."""
    recorded = read_request(REQUESTS[name])
    assert recorded is not None
    found = {name.lower(): value for name, value in recorded.headers.items()}
    assert {name: found.get(name) for name in HEADERS} == HEADERS
    assert recorded.body == BODY
    assert recorded.has_bytes


@pytest.mark.parametrize(
    "data",
    [BODY, b"", b"{}", b"[]", b"\xff\xfe", b'{"headers":[],"body":"x"}', b'{"data":{"headers":1}}', b"a" * 5_000],
)
def test_body_alone_is_no_recorded_request(data: bytes) -> None:
    """A body is not taken for a request."""
    assert read_request(data) is None


def test_parsed_body_is_written_again_and_says_so() -> None:
    """If a gateway has parsed the body, its bytes are lost."""
    recorded = read_request(json.dumps({"headers": {**HEADERS, "Content-Length": "99"}, "body": {"a": 1.5}}).encode())
    assert recorded is not None
    assert (recorded.body, recorded.has_bytes) == (b'{"a":1.5}', False)
    assert "Content-Length" not in recorded.headers
    assert "its bytes" in recorded.notes[-1]


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_data_gives_a_request_or_none(data: bytes) -> None:
    """No data raises an exception."""
    read_request(data)
    read_headers(data.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "map[" + "a:[" * 60_000,
        "{" + "a=" * 90_000 + "}",
        "{" * 100_000,
        "[" * 100_000,
        "a:" * 100_000,
        "map[" * 50_000,
        "'" * 100_000,
    ],
)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    """Nesting and repetition neither crash nor take quadratic time."""
    read_headers(text)
    read_request(text.encode())
