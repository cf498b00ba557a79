"""Rules for headers of a customer. Pure.

A name is a token and a value printable ASCII (RFC 9110, section 5), so that no value can start another header line.
Customers cannot set headers of message framing, of the connection, or of the sender.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.senders.sender import Sender

MAX_HEADERS: Final = 20
MAX_NAME: Final = 100
# Secrets that an endpoint echoes are searched in the first 5 KiB of a response, and 1 KiB of these is kept
# (delivery/http/types.py).
MAX_VALUE: Final = 4_000
MAX_TOGETHER: Final = 8_192

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
# Headers of framing and the connection (RFC 9110 and 9112), headers that describe the body (the sender sets them), and
# headers that change the encoding of the response, in which echoed secrets could then not be found.
_REFUSED: Final = frozenset(
    [
        "accept-encoding",
        "alt-used",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


@dataclass(frozen=True, slots=True)
class GivenHeader:
    """A requested header; the value None keeps the present value."""

    name: str
    value: str | None = field(repr=False)


class HeaderProblem(NamedTuple):
    """An error in a header; `name` is None if the error concerns all headers together."""

    name: str | None
    what: str


def header_problems(headers: Sequence[GivenHeader], sender: Sender | None) -> Iterator[HeaderProblem]:
    """Yield one sentence per error in the headers of a request; no sentence contains a value."""
    if len(headers) > MAX_HEADERS:
        yield HeaderProblem(None, f"headers: there are {len(headers)}; at most {MAX_HEADERS} are allowed")
    if (together := sum(len(header.name) + len(header.value or "") for header in headers)) > MAX_TOGETHER:
        what = f"headers: they have {together} characters in total; at most {MAX_TOGETHER} are allowed"
        yield HeaderProblem(None, what)
    last = {header.name.lower(): header.name for header in headers}
    for name, count in Counter(header.name.lower() for header in headers).items():
        if count > 1:
            what = f"headers: {name[:MAX_NAME]!r} occurs {count} times; names are case-insensitive"
            yield HeaderProblem(last[name], what)
    own = sender.header_names if sender is not None else frozenset()
    for header in headers:
        for what in _name_problems(header.name, own, sender):
            yield HeaderProblem(header.name, f"headers: {what}")
        if header.value is not None:
            for what in _value_problems(header.value):
                yield HeaderProblem(header.name, f"headers: {header.name[:MAX_NAME]!r}: {what}")


def is_sendable(name: str, value: str) -> bool:
    """Return whether a header is a single line that does not change the framing of the message."""
    return not [*_name_problems(name, frozenset(), None), *_value_problems(value)]


def _name_problems(name: str, own: frozenset[str], sender: Sender | None) -> Iterator[str]:
    shown = f"{name[:MAX_NAME]!r}"
    if not _TOKEN.fullmatch(name):
        yield f"{shown} is not a name: letters, digits and !#$%&'*+-.^_`|~, without a colon or a space"
    elif len(name) > MAX_NAME:
        yield f"{shown} has {len(name)} characters; at most {MAX_NAME} are allowed"
    elif name.lower() in _REFUSED or name.lower().startswith("proxy-"):
        yield f"{shown} is reserved and cannot be set"
    elif name.lower() in own and sender is not None:
        yield f"{shown} is reserved: the sender {sender.name} sets it"


def _value_problems(value: str) -> Iterator[str]:
    if not value:
        yield "the value is empty"
    elif len(value) > MAX_VALUE:
        yield f"the value has {len(value)} characters; at most {MAX_VALUE} are allowed"
    elif not _VALUE.fullmatch(value):
        yield "the value contains a line break, a control character, or a character that is not ASCII"
    elif value != value.strip():
        yield "the value begins or ends with a space"
