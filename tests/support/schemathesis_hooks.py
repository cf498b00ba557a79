"""Hooks for schemathesis, which loads this file in a process of its own (tests/broker/api/test_clients.py).

A customer of Diligent has at most ten webhooks, which no schema can say: the oldest makes room for a further one.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.request import Request, urlopen

import schemathesis

_MOST = 10


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Delete the oldest webhooks before a request that could be the eleventh."""
    if (case.method, case.path) != ("POST", "/webhooks"):
        return
    webhooks = json.loads(_request("GET", "/webhooks"))
    for webhook in webhooks[: max(0, len(webhooks) - _MOST + 1)]:
        _request("DELETE", f"/webhooks/{webhook['id']}")


def _request(method: str, path: str) -> bytes:
    url = os.environ["API_URL"] + path
    with urlopen(Request(url, headers={"X-API-KEY": os.environ["API_KEY"]}, method=method), timeout=30) as answer:
        body: bytes = answer.read()
        return body
