"""Genuine requests of the contracts' signature vectors, one of each sender."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final, NamedTuple

import pytest

from schemas.senders.verification import SignatureFinding, examine
from tests.contracts.senders import SENDERS, VECTORS


class Signed(NamedTuple):
    """A genuine request."""

    sender: str
    headers: dict[str, str]
    body: bytes
    secret: str

    def examined(self, now_s: int | None = None, **changes: Any) -> SignatureFinding:
        """Return the finding of the request with other headers, another body or another secret."""
        one = self._replace(**changes)
        return examine(SENDERS[one.sender], one.headers, one.body, one.secret, now_s)

    @property
    def signature(self) -> tuple[str, str]:
        """Name and value of the header with the signature."""
        name = SENDERS[self.sender].signature.header_names[-1]
        return name, self.headers[name]


def of_vector(sender: str, list_: str, name: str) -> Signed:
    vector = next(vector for vector in VECTORS[list_] if vector["name"] == name)
    secret = vector.get("secret") or vector["secrets"][0]
    return Signed(sender, dict(vector["headers"]), vector["body"].encode(), secret)


ZENOO: Final = of_vector("zenoo", "zenoo", "non_ascii_utf8")
DILIGENT: Final = of_vector("diligent", "diligent", "flow_run_failed")
ONBOARDING: Final = of_vector("onboarding", "onboarding", "document_example_secret")
RISKOS: Final = of_vector("riskos", "onboarding", "shortest_key_24_bytes")
STANDARD: Final = of_vector("standard", "onboarding", "padded_key_25_bytes")
TEXT: Final = (ZENOO, DILIGENT)
WHSEC: Final = (ONBOARDING, RISKOS, STANDARD)
ALL: Final = (*TEXT, *WHSEC)


def by_sender(*requests: Signed) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("signed", requests, ids=lambda signed: signed.sender)


def hex_signature(key: bytes, message: bytes) -> str:
    return "sha256=" + hmac.new(key, message, hashlib.sha256).hexdigest()


def standard_headers(key: bytes, message: bytes, id_: str = "evt_0001", time: str = "1769069730") -> dict[str, str]:
    digest = hmac.new(key, message, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": id_, "webhook-timestamp": time, "webhook-signature": signature}


def key_text(secret: str) -> str:
    text = secret.removeprefix("whsec_")
    return text + "=" * (-len(text) % 4)
