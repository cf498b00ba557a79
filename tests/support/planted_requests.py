"""Requests of both REST APIs with a canary in every field, header, path and query.

Where a canary may appear afterwards, by its kind. None is ever in a log line, on a page, in the ledger, or in a record
other than that of its webhook.

- `nowhere`: secrets, and values that are refused or ignored. No answer and no record has them.
- `kept`: URL, description and filters. The documents return them to their customer, so answers and the record of the
  webhook have them.
- `refused`: wrong names of event types. The refusal of the request itself may quote them, and nothing else.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from tests.support.planted import canary

Kind: TypeAlias = Literal["nowhere", "kept", "refused"]
KINDS: Final[tuple[Kind, ...]] = ("nowhere", "kept", "refused")

_PATHS: Final = {"onboarding": "/api/v1/webhooks/", "diligent": "/webhooks"}
_PATHS_OF_ONE: Final = {"onboarding": "/api/v1/webhooks/{webhook_id}/", "diligent": "/webhooks/{webhook_id}"}
_TEST: Final = "/api/v1/webhooks/test/"


def beginning(kind: Kind) -> str:
    """Return what all canaries of a kind begin with: a cut one is found as well."""
    return f"canary-{kind}-"


class Planted(NamedTuple):
    """A request, and the status of its answer. `path` may have `{webhook_id}`, as in the OpenAPI documents."""

    sender: str
    method: str
    path: str
    status: int
    body: Any = None
    headers: Mapping[str, str] = {}

    def fields(self) -> set[str]:
        """Return the fields of the body that have a canary."""
        body = self.body if isinstance(self.body, dict) else {}
        return {name for name, value in body.items() if "canary-" in json.dumps(value)}


class Planter:
    """Makes canaries and requests with them. Endpoints are at `base`, which has no final slash."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.texts: dict[Kind, list[str]] = defaultdict(list)

    def plant(self, kind: Kind) -> str:
        """Return a new canary."""
        self.texts[kind].append(canary(kind))
        return self.texts[kind][-1]

    def creations(self) -> Iterator[Planted]:
        """Yield the creation of a webhook in each API. Unknown fields are ignored."""
        unknown = {self.plant("nowhere"): self.plant("nowhere"), "id": self.plant("nowhere")}
        fields = unknown | {"secret_key": self.plant("nowhere"), "is_active": self.plant("nowhere")}
        fields |= {"event_type": "all", "webhook_url": self._url("kept"), "description": self.plant("kept")}
        yield Planted("onboarding", "POST", _PATHS["onboarding"], 201, fields | {"filters": self._filters()})
        fields = unknown | {"webhook_url": self._url("kept"), "secret": self.plant("nowhere"), "is_active": True}
        yield Planted("diligent", "POST", _PATHS["diligent"], 201, fields | {"events": ["search_completed"]})

    def changes(self) -> Iterator[Planted]:
        """Yield changes of these webhooks, and a test event."""
        unknown = {self.plant("nowhere"): self.plant("nowhere")}
        url, text = self._url("kept"), self.plant("kept")
        fields = unknown | {"webhook_url": url, "description": text, "filters": self._filters(), "is_active": True}
        yield Planted("onboarding", "PATCH", _PATHS_OF_ONE["onboarding"], 200, fields)
        fields = unknown | {"webhook_url": self._url("kept"), "secret": self.plant("nowhere"), "events": []}
        yield Planted("diligent", "PATCH", _PATHS_OF_ONE["diligent"], 200, fields)
        yield Planted("onboarding", "POST", _TEST, 200, unknown | {"webhook_url": self._url("nowhere")})

    def refused(self) -> Iterator[Planted]:
        """Yield requests that are refused because of a field."""
        fields = {
            "event_type": self.plant("refused"),
            "webhook_url": self._wrong_url(),
            "description": f"{self.plant('nowhere')}\n",
            "filters": [self.plant("nowhere")],
        }
        yield Planted("onboarding", "POST", _PATHS["onboarding"], 400, fields)
        fixed = {"event_type": self.plant("nowhere"), "secret_key": self.plant("nowhere")}
        fields = fields | fixed | {"is_active": self.plant("nowhere"), "filters": {"a": self.plant("nowhere") * 500}}
        yield Planted("onboarding", "PATCH", _PATHS_OF_ONE["onboarding"], 400, fields)
        yield Planted("onboarding", "POST", _TEST, 400, {"webhook_url": self._wrong_url()})
        fields = {
            "webhook_url": self._wrong_url(),
            "secret": self.plant("nowhere") * 50,
            "is_active": self.plant("nowhere"),
            "events": [self.plant("refused"), {self.plant("nowhere"): 1}],
        }
        yield Planted("diligent", "POST", _PATHS["diligent"], 400, fields)
        yield Planted("diligent", "PATCH", _PATHS_OF_ONE["diligent"], 400, fields)

    def broken(self) -> Iterator[Planted]:
        """Yield requests that are wrong outside of their fields."""
        for sender, path in _PATHS.items():
            text = self.plant("nowhere")
            for body in (f'{{"secret": "{text}"', f'{{"{text}": 1, "{text}": 2}}', f'["{text}"]'):
                yield Planted(sender, "POST", path, 400, body.encode())
            for end in ("", "/"):
                elsewhere = f"{path.rstrip('/')}/{self.plant('nowhere')}{end}?{self.plant('nowhere')}"
                yield Planted(sender, "GET", elsewhere, 404)
            for header in ("Cookie", "User-Agent", "Referer", "X-Request-Id", "X-Signpost-Customer"):
                yield Planted(sender, "GET", path, 200, headers={header: self.plant("nowhere")})
            keys = {"X-API-KEY": self.plant("nowhere"), "Authorization": f"Bearer {self.plant('nowhere')}"}
            yield Planted(sender, "GET", path, 401, headers=keys)

    def _url(self, kind: Kind) -> str:
        return f"{self._base}/{self.plant(kind)}/?token={self.plant(kind)}"

    def _wrong_url(self) -> str:
        user, password = self.plant("nowhere"), self.plant("nowhere")
        return f"https://{user}:{password}@hooks.example.com/{self.plant('nowhere')}?{self.plant('nowhere')}"

    def _filters(self) -> Any:
        return {self.plant("kept"): [self.plant("kept"), {self.plant("kept"): 1}]}
