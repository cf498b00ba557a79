"""All files under /docs of the API: pages for people, OpenAPI documents for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources

from deploy.reference.openapi.document import SAME_SERVER, has_api, openapi
from deploy.reference.openapi.page import html, page
from deploy.reference.payloads import as_text
from deploy.roles.api_docs import File
from schemas.senders.sender import Sender


def files(senders: Iterable[Sender], version: str) -> Iterator[File]:
    """Yield the files for those of the senders that have an API."""
    links = []
    for sender in senders:
        if not has_api(sender):
            continue
        document = openapi(sender, version=version, server=SAME_SERVER)
        title = document["info"]["title"]
        name = f"{sender.name}.json"
        yield File(f"/docs/{name}", "application/json", as_text(document).encode())
        yield File(f"/docs/{sender.name}", "text/html", page(document, f"/docs/{name}").encode())
        links.append(f'<li><a href="/docs/{sender.name}">{escape(title)}</a></li>')
    body = ["<h1>REST APIs</h1>", "<ul>", *links, "</ul>"]
    yield File("/docs", "text/html", html("REST APIs", body).encode())
    style = resources.files("deploy.reference.openapi") / "style.css"
    yield File("/docs/style.css", "text/css", style.read_bytes())
