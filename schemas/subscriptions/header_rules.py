"""Headers of a customer's own: which names and values may be sent. Pure.

A name is a token and a value printable ASCII (RFC 9110, section 5), so that no value ends its line and begins another.
What says where a message begins and ends, how long a connection lives, and who sends, is not the customer's to set.
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
# An answer's first 5 KiB are read for what an endpoint tells of them, 1 KiB of which is kept (delivery/http/types.py).
MAX_VALUE: Final = 4_000
MAX_TOGETHER: Final = 8_192

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
# Framing and the connection (RFC 9110 and 9112), what the body is (the sender's), and what would have the answer come
# in a form in which nobody finds a secret that the endpoint tells.
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
class HeaderWish:
    """A header as it is to be sent; without a value (None) the present one stays."""

    name: str
    value: str | None = field(repr=False)


class HeaderProblem(NamedTuple):
    """What is wrong with a header; `name` is None if it is wrong with all of them together."""

    name: str | None
    what: str


def header_problems(headers: Sequence[HeaderWish], sender: Sender | None) -> Iterator[HeaderProblem]:
    """Return a sentence for each thing that is wrong with headers of one request; no sentence contains a value."""
    if len(headers) > MAX_HEADERS:
        yield HeaderProblem(None, f"headers: there are {len(headers)}, at most {MAX_HEADERS} are sent")
    if (together := sum(len(header.name) + len(header.value or "") for header in headers)) > MAX_TOGETHER:
        what = f"headers: they have {together} characters together, at most {MAX_TOGETHER} are sent"
        yield HeaderProblem(None, what)
    last = {header.name.lower(): header.name for header in headers}
    for name, count in Counter(header.name.lower() for header in headers).items():
        if count > 1:
            what = f"headers: {name[:MAX_NAME]!r} is there {count} times; names compare without regard to case"
            yield HeaderProblem(last[name], what)
    own = sender.header_names if sender is not None else frozenset()
    for header in headers:
        for what in _name_problems(header.name, own, sender):
            yield HeaderProblem(header.name, f"headers: {what}")
        for what in () if header.value is None else _value_problems(header.value):
            yield HeaderProblem(header.name, f"headers: {header.name[:MAX_NAME]!r}: {what}")


def is_sendable(name: str, value: str) -> bool:
    """Tell whether a header is one line and leaves the message as it is, whoever wrote it."""
    return not [*_name_problems(name, frozenset(), None), *_value_problems(value)]


def _name_problems(name: str, own: frozenset[str], sender: Sender | None) -> Iterator[str]:
    shown = f"{name[:MAX_NAME]!r}"
    if not _TOKEN.fullmatch(name):
        yield f"{shown} is not a name: letters, digits and !#$%&'*+-.^_`|~, without a colon or a space"
    elif len(name) > MAX_NAME:
        yield f"{shown} has {len(name)} characters, at most {MAX_NAME} are allowed"
    elif name.lower() in _REFUSED or name.lower().startswith("proxy-"):
        yield f"{shown} is set by Signpost, or not at all"
    elif name.lower() in own and sender is not None:
        yield f"{shown} is a header of the sender {sender.name}, which alone sets it"


def _value_problems(value: str) -> Iterator[str]:
    if not value:
        yield "the value is empty"
    elif len(value) > MAX_VALUE:
        yield f"the value has {len(value)} characters, at most {MAX_VALUE} are allowed"
    elif not _VALUE.fullmatch(value):
        yield "the value holds a line break, a control character, or something that is not ASCII"
    elif value != value.strip():
        yield "the value begins or ends with a space"
