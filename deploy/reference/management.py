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
    api = APIS[sender.name]
    (scheme,) = api.security.values()
    paths = api.flavour.paths
    intro = (
        "You create, list, update and delete webhooks over a REST API. [openapi.json](openapi.json) describes it for "
        "programs. The API calls a subscription a webhook. You need the address of the API and an API key: "
        f"{scheme['description']} Whoever has the key can change all your webhooks: keep it on your servers.\n"
    )
    errors = (
        f"{paths[0].upper()}{paths[1:]}; the answer to any other path is a 404. "
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
