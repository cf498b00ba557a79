"""What an endpoint answers, well or badly behaved. Each kind of reply is a type; deciding which one is a function."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import TypeAlias

NO_WAIT = timedelta(0)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came; `headers` keep order and spelling."""

    number: int  # counts all requests of this receiver, from 1
    attempt: int  # counts the requests for this path and event id, from 1
    arrived_at: float  # seconds since 1970
    arrived_monotonic: float  # seconds of time.monotonic()
    connection: int  # counts connections, from 1
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    event_id: str | None
    problem: str | None = None  # what the verification had to say; None: genuine, or not verified

    def header(self, name: str) -> str | None:
        """Return the value of the first header of this name in any spelling."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> dict[str, object]:
        """Return the body as a JSON object."""
        value: dict[str, object] = json.loads(self.body)
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, after `delay`. A Content-Length is added unless `headers` have one."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay: timedelta = NO_WAIT

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        headers = list(self.headers)
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(self.body))))
        return head(self.status, headers) + self.body


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and never answer; the connection stays open until the other side closes it."""


@dataclass(frozen=True, slots=True)
class Drip:
    """Send the response's bytes one by one, `interval` apart: the head alone takes longer than any timeout."""

    answer: Answer = field(default_factory=Answer)
    interval: timedelta = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Endless:
    """Send a complete head and then `chunk` for ever, as fast as the other side reads or `interval` apart."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    chunk: bytes = b"x" * 65_536
    interval: timedelta = NO_WAIT


@dataclass(frozen=True, slots=True)
class Cut:
    """Send the first `after` bytes of the response and close the connection; 0: close without a word."""

    answer: Answer = field(default_factory=Answer)
    after: int = 0


Reply: TypeAlias = Answer | Hang | Drip | Endless | Cut
Behaviour: TypeAlias = Callable[[Received], Reply]


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return status line and headers, as bytes."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def always(reply: Reply) -> Behaviour:
    """Answer every request alike."""
    return lambda _: reply


def fail_first(attempts: int, failure: Reply, then: Reply) -> Behaviour:
    """Answer the first `attempts` requests of each event id (and path) with `failure`, the later ones with `then`."""
    return lambda received: failure if received.attempt <= attempts else then


def in_turn(replies: Sequence[Reply]) -> Behaviour:
    """Answer the n-th request of each event id (and path) with the n-th reply, and with the last from then on."""
    return lambda received: replies[min(received.attempt, len(replies)) - 1]


def by_path(behaviours: dict[str, Behaviour], otherwise: Behaviour) -> Behaviour:
    """Let each path have its own behaviour, compared without its query."""
    return lambda received: behaviours.get(received.path.partition("?")[0], otherwise)(received)


def event_id_of(body: bytes) -> str | None:
    """Return the `event_id` of a JSON body, where there is one."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    found = value.get("event_id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


class AttemptCounter:
    """Counts the requests per path and event id; requests without an event id are counted per path and body."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str | int]] = Counter()

    def count(self, path: str, event_id: str | None, body: bytes) -> int:
        """Return which request of its kind this is, from 1."""
        key = (path, event_id if event_id is not None else hash(body))
        self._counts[key] += 1
        return self._counts[key]
