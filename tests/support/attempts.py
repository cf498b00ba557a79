"""Attempts without a job, for tests of headers."""

from __future__ import annotations

from typing import NamedTuple

from schemas.senders.sender import Sender


class Attempted(NamedTuple):
    """The ids and names of an attempt."""

    job_id: str = "3d2c9b62-6c52-5b7e-9f0a-6f1f0f1a2b3c"
    event_id: str = "evt_001"
    event_type: str = "case.created"
    customer_id: str = "acme"
    subscription_id: str = "sub-1"


def headers_of(
    sender: Sender, body: bytes, *secrets: str, now_s: int = 1_771_236_060, job: Attempted | None = None
) -> dict[str, str]:
    """Return the headers of an attempt as a receiver gets them, signed with these secrets, newest first."""
    keys = [sender.signing_key(secret) for secret in secrets]
    lines = sender.headers(job or Attempted(), body, keys, now_s)
    return dict(line.decode().split(": ", 1) for line in lines)
