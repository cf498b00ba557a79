"""URLs in settings: the schema registry and the forward proxy."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.delivery.http.proxy import Proxy
from consumers.kafka.schema_registry import SchemaRegistry
from producers.events.schema_ids import SchemaIds
from schemas.catalog.errors import SettingsError
from schemas.settings.settings import Settings
from tests.support.settings import load_settings

CANARY = "canary2741"
SCHEMA = {"type": "record", "name": "Order", "namespace": "shop", "fields": []}
WORKS = [
    "http://registry",
    "https://registry.example.com:8081",
    "http://schema_registry:8081/",
    "http://registry.default.svc.:80/apis/ccompat/v7",
    "http://10.0.0.5:8081",
    "http://[fd00::5]:8081",
    "https://user:p%40ss%2Fw%3Ard%20%2C%23%3F@registry.example/path%20of/",
    "http://user@registry",
    "http://:token@registry",
    "http://a:b$c&d'e(f)g*h+i;j=k!l~m@registry",
]
CANNOT_WORK = [
    ("", "has to begin with"),
    ("registry:8081", "has to begin with"),
    ("//registry:8081", "has to begin with"),
    ("http:/registry:8081", "has to begin with"),
    ("HTTP://registry:8081", "in lower case"),
    ("ftp://registry", "has to begin with"),
    ("mock://registry", "has to begin with"),
    ("httpx://registry", "has to begin with"),
    ("http+unix://registry", "has to begin with"),
    ("http://", "neither a DNS name nor an IP address"),
    ("http://:8081", "neither a DNS name nor an IP address"),
    ("http://*:8081", "neither a DNS name nor an IP address"),
    ("http://${REGISTRY}:8081", "neither a DNS name nor an IP address"),
    ("http://registry..example", "neither a DNS name nor an IP address"),
    ("http://-registry.example", "neither a DNS name nor an IP address"),
    ("http://" + "x" * 64, "neither a DNS name nor an IP address"),
    ("http://régistre.example", "neither a DNS name nor an IP address"),
    ("http://256.0.0.1:8081", "neither a DNS name nor an IP address"),
    ("http://[::1", "neither a DNS name nor an IP address"),
    ("http://[fe80::1%25eth0]:8081", "neither a DNS name nor an IP address"),
    ("http://::1:8081", "neither a DNS name nor an IP address"),
    ("http://registry\\path", "neither a DNS name nor an IP address"),
    ("http://registry:", "the port is not a number"),
    ("http://registry:0", "the port is not a number"),
    ("http://registry:65536", "the port is not a number"),
    ("http://registry:http", "the port is not a number"),
    ("http://registry:٨٠", "the port is not a number"),
    (" http://registry", "a space, a line end"),
    ("http://registry ", "a space, a line end"),
    ("http://registry\n", "a space, a line end"),
    ("http://regi\tstry", "a space, a line end"),
    ("http://regi\x00stry", "a space, a line end"),
    ("http://regi stry", "a space, a line end"),
    (f"http://us er:{CANARY}@registry", "a space, a line end"),
    ("http://a:8081,http://b:8081", "a comma, but one URL"),
    ("a:8081,b:8081", "a comma, but one URL"),
    (f"http://user:{CANARY},x@registry", "a comma, but one URL"),
    (f"http://user:{CANARY}@x@registry", "has to be percent-encoded"),
    (f"http://user:{CANARY}%x@registry", "has to be percent-encoded"),
    (f"http://user:{CANARY}[@registry", "has to be percent-encoded"),
    (f"http://user:{CANARY}é@registry", "has to be percent-encoded"),
    (f'http://user:{CANARY}"@registry', "has to be percent-encoded"),
    (f"http://user:{CANARY}\\@registry", "has to be percent-encoded"),
    (f"http://user:{CANARY}/x@registry", "contains a slash; write %2F"),
    ("http://user:12/34@registry", "contains a slash; write %2F"),
    (f"http://user:{CANARY}?x@registry", "may not contain"),
    (f"http://user:{CANARY}#x@registry", "may not contain"),
    ("http://user:12#34@registry", "may not contain"),
    ("http://registry?x=y", "may not contain"),
    ("http://registry/#/subjects", "may not contain"),
]
PATHS_THAT_CANNOT_WORK = [
    ("http://registry/a b", "a space, a line end"),
    ("http://registry/a,b", "a comma, but one URL"),
    ("http://registry/é", "the path contains a character"),
    ("http://registry/%zz", "the path contains a character"),
    ("http://registry/a|b", "the path contains a character"),
    ("http://registry:8081/subjects", "leave out /subjects"),
    ("http://registry:8081/subjects/", "leave out /subjects"),
    ("http://registry:8081/apis/ccompat/v7/schemas/ids", "leave out /schemas/ids"),
]


@pytest.mark.promise(6)
@pytest.mark.parametrize(("url", "sentence"), [*CANNOT_WORK, *PATHS_THAT_CANNOT_WORK])
def test_registry_url_that_cannot_work_is_refused(url: str, sentence: str) -> None:
    """The error is one sentence that names setting and problem, and never repeats the URL: it may hold a password."""
    with pytest.raises(SettingsError, match=sentence) as error:
        load_settings(schema_registry_url=url)
    assert str(error.value).startswith("given: schema_registry_url: ")
    assert "\n" not in str(error.value)
    assert CANARY not in str(error.value)


@pytest.mark.parametrize(("url", "sentence"), [*CANNOT_WORK, ("http://registry/path", "has no path")])
def test_proxy_url_that_cannot_work_is_refused(url: str, sentence: str) -> None:
    """The same rules hold for the forward proxy, which has no path."""
    with pytest.raises(SettingsError, match=sentence) as error:
        load_settings(proxy=url)
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("url", WORKS)
def test_usual_registry_urls_are_accepted(url: str) -> None:
    """Names of services, addresses, ports, paths, and a percent-encoded user name and password are accepted."""
    assert load_settings(schema_registry_url=url).schema_registry_url == url


@given(st.text(st.sampled_from("http:/@%25[]?#,. \nab1_-é\\"), max_size=30))
def test_any_text_is_a_proxy_or_an_error(text: str) -> None:
    """Whatever the setting accepts, the client of the proxy can use."""
    try:
        url = Settings.model_validate({"proxy": f"http://{text}"}).proxy
    except ValidationError:
        return
    assert url is not None
    assert Proxy.of(url).host


@contextmanager
def registry() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Run a registry that knows every schema; yield host:port, and the path and credentials of each request."""
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, _, encoded = (self.headers["Authorization"] or "").partition(" ")
            seen.append((self.path, base64.b64decode(encoded).decode() if kind == "Basic" else None))
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            body = json.dumps({"id": 7, "schema": json.dumps(SCHEMA)}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # the name that http.server looks for

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("user", "path", "credentials"),
    [
        ("", "", None),
        ("", "/apis/ccompat/v7/", None),
        ("me@", "", "me:"),
        ("me:p%40ss%2Fw%3Ard%20%2C%23%3F@", "/x%20y", "me:p@ss/w:rd ,#?"),
        ("a:b$c&d'e(f)g*h+i;j=k!l~m@", "", "a:b$c&d'e(f)g*h+i;j=k!l~m"),
    ],
)
def test_accepted_registry_url_is_used_as_written(user: str, path: str, credentials: str | None) -> None:
    """Reading and registering schemas reach the path of the URL, with its user name and password."""
    with registry() as (address, seen):
        url = load_settings(schema_registry_url=f"http://{user}{address}{path}").schema_registry_url
        assert url is not None
        reader = SchemaRegistry(url)
        assert reader.get(7) == SCHEMA
        reader.close()
        assert SchemaIds(url).id_of("orders", SCHEMA) == 7
    base = path.rstrip("/")
    assert seen == [
        (f"{base}/schemas/ids/7", credentials),
        (f"{base}/subjects/orders-shop.Order/versions", credentials),
    ]
