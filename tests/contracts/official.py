"""Generated deliveries for the official Standard Webhooks libraries, and the check by the npm package."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from tests.contracts.senders import SENDERS
from tests.support.attempts import Attempted, headers_of
from tests.support.npm import installed

_NODE: Final = Path(__file__).parent / "node"
_TEXT: Final = 'abc "\\/\n\t\u0000\u007fé€😀\u2028株'


class Delivery(NamedTuple):
    """A request, and the secret with which its receiver verifies it."""

    secret: str
    headers: dict[str, str]
    body: bytes


def deliveries(count: int, now_s: int) -> Iterator[Delivery]:
    """Yield deliveries of onboarding and standard events, signed with one or two secrets."""
    random = Random(20_260_216)
    senders = [(SENDERS[name], EventDecoder(SENDERS[name])) for name in ("onboarding", "standard")]
    for number in range(count):
        sender, decoder = random.choice(senders)
        event_type = random.choice(list(sender.event_types) or ["invoice.paid", "user-1.created_at", "X"])
        event_id = random.choice([f"evt_{number}", f"{number}", "id with spaces, Ünïcode", f"a.{number}"])
        event = Event(event_id, event_type, random.randrange(2**50), "acme", _data(random))
        decoded = decoder.decode(encode_event(sender, event), str)
        body = sender.render(decoded)
        secrets = [_secret(random) for _ in range(random.choice((1, 1, 2)))]
        headers = headers_of(sender, body, *secrets, now_s=now_s, job=Attempted(event_id=decoded.event_id))
        yield Delivery(random.choice(secrets), headers, body)


def verified_by_npm(requests: Iterable[Delivery]) -> dict[str, Any]:
    """Return how many deliveries the npm package accepts as genuine, and its first problem."""
    lines = [
        json.dumps({"secret": one.secret, "headers": one.headers, "body": base64.b64encode(one.body).decode()})
        for one in requests
    ]
    process = subprocess.run(
        ["node", str(installed(_NODE) / "verify.mjs")],
        input="\n".join(lines), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def _secret(random: Random) -> str:
    text = base64.b64encode(random.randbytes(random.randint(24, 64))).decode()
    return f"whsec_{text}"


def _data(random: Random) -> dict[str, Any]:
    text = "".join(random.choices(_TEXT, k=random.randint(0, 60)))
    number: Any = random.choice([0, -1, 2**63, 10**30, 0.1, 1e300, True, None, []])
    return {"text": text, "number": number, "nested": {"more": [text] * random.randint(0, 40)}}
