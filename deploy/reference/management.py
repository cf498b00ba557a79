"""The chapter of a guide about the REST API of its sender: code in curl, Python and TypeScript."""

from __future__ import annotations

from importlib import resources
from typing import Final

from deploy.reference.markdown import fence
from deploy.reference.openapi.document import APIS, has_api
from schemas.senders.sender import Sender

CHAPTER: Final = "Manage your webhooks"


def management(sender: Sender) -> str:
    """Return the chapter; empty for a sender without an API."""
    if not has_api(sender):
        return ""
    (scheme,) = APIS[sender.name].security.values()
    intro = (
        "Webhooks are created, listed, updated and deleted over a REST API. [openapi.json](openapi.json) describes it "
        "for programs. In the API a subscription is a webhook. You need the address of the API and an API key: "
        f"{scheme['description']} The key can change everything. Keep it on your servers.\n"
    )
    errors = (
        "An error has a JSON body that names all problems of the request. After 429 wait for `Retry-After` seconds. "
        "After 503, or without an answer, a change may have been made: read the webhook before you try again.\n"
    )
    parts = [
        f"## {CHAPTER}\n",
        intro,
        "### curl\n",
        "`API` is the address of the API without a final slash, `KEY` the key:\n",
        fence("sh", _code(f"{sender.name}.create.sh")),
        "With `ID`, the id in the answer:\n",
        fence("sh", _code(f"{sender.name}.manage.sh")),
        "### Python with httpx\n",
        fence("python", _code(f"{sender.name}.py")),
        "### TypeScript with fetch\n",
        fence("typescript", _code(f"{sender.name}.ts")),
        errors,
    ]
    return "\n".join(parts)


def _code(name: str) -> str:
    template = resources.files("deploy.reference") / "management" / f"{name}.tmpl"
    return template.read_text(encoding="utf-8")
