"""Replies of the receiver, good and bad. Each kind of reply is a type. A behaviour is a function that picks one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import TypeAlias

from schemas.avro.json_parser import parse

NO_WAIT = timedelta(0)


@dataclass(frozen=True, slots=True)
class Received:
    """One received request; `headers` keep order and spelling."""

    number: int  # of all requests of this receiver, from 1
    attempt: int  # of the requests with this path and event id, from 1
    arrived_at: float  # seconds since 1970
    arrived_monotonic: float  # seconds of time.monotonic()
    connection: int  # number of the connection, from 1
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    event_id: str | None
    problem: str | None = None  # result of the verification; None: genuine, or not verified

    def header(self, name: str) -> str | None:
        """Return the value of the first header with this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> dict[str, object]:
        """Return the body as a JSON object."""
        value: dict[str, object] = json.loads(self.body)
        return value


@dataclass(frozen=True, slots=True)
class CannedResponse:
    """A response, sent after `delay`. A Content-Length is added unless `headers` have one."""

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
    """Read the request and never respond. The connection stays open until the client closes it."""


@dataclass(frozen=True, slots=True)
class Drip:
    """Send the response byte by byte, `interval` apart: the head alone takes longer than any timeout."""

    response: CannedResponse = field(default_factory=CannedResponse)
    interval: timedelta = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Endless:
    """Send a complete head and then `chunk` without end, as fast as the client reads or `interval` apart."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    chunk: bytes = b"x" * 65_536
    interval: timedelta = NO_WAIT


@dataclass(frozen=True, slots=True)
class Truncated:
    """Send the first `after` bytes of the response and close the connection; 0: close without a response."""

    response: CannedResponse = field(default_factory=CannedResponse)
    after: int = 0


Reply: TypeAlias = CannedResponse | Hang | Drip | Endless | Truncated
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
    """Give every request the same reply."""
    return lambda _: reply


def fail_first(attempts: int, failure: Reply, then: Reply) -> Behaviour:
    """Reply `failure` to the first `attempts` requests of each event id and path, `then` to later ones."""
    return lambda received: failure if received.attempt <= attempts else then


def in_turn(replies: Sequence[Reply]) -> Behaviour:
    """Give the n-th request of each event id and path the n-th reply; repeat the last reply after that."""
    return lambda received: replies[min(received.attempt, len(replies)) - 1]


def by_path(behaviours: dict[str, Behaviour], otherwise: Behaviour) -> Behaviour:
    """Choose the behaviour by the path without its query."""
    return lambda received: behaviours.get(received.path.partition("?")[0], otherwise)(received)


def event_id_of(body: bytes) -> str | None:
    """Return the `event_id` of a JSON body, None if it has none."""
    return text_in(body, "event_id")


def text_in(body: bytes, key: str) -> str | None:
    """Return the text under a key of a JSON body, None if it has none; no content of a body raises."""
    try:
        value = parse(body.decode("utf-8-sig"))
    except ValueError:
        return None
    text = value.get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) else None


class AttemptCounter:
    """Counts requests per path and event id, or per path and body if there is no event id."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str | int]] = Counter()

    def count(self, path: str, event_id: str | None, body: bytes) -> int:
        """Count a request; return its attempt number, from 1."""
        key = (path, event_id if event_id is not None else hash(body))
        self._counts[key] += 1
        return self._counts[key]
