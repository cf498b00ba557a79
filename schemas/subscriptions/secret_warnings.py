"""Warnings about secrets of subscriptions that look as if a copy or a file added something to them. Pure.

Every text is a valid secret for some senders, so these are no errors. No warning contains a part of the secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.senders.mistakes.secrets import VERSIONS, cleaned
from schemas.senders.mistakes.whitespace import edges, stripped

_QUOTES: Final = "\"'`"


def secret_warnings(secret: str) -> Iterator[str]:
    """Yield a sentence for each part of a secret that receivers probably do not have."""
    if (found := edges(secret)) is not None:
        yield f"its secret {found}; this is part of the secret, so receivers need it as well"
    inner = stripped(secret)
    for version in VERSIONS:
        if inner.startswith(version):
            yield (
                f"its secret begins with {version}, which is the version of a signature and usually no part of a "
                "secret; receivers need it as well"
            )
    if len(inner) > 2 and inner[0] == inner[-1] and inner[0] in _QUOTES:
        yield "its secret is in quotes; they are part of the secret, so receivers need them as well"


def form_of(secret: str) -> str:
    """Return what stands around an invalid secret, as the end of a sentence; an empty text if nothing is known."""
    how = next((how for how, _ in cleaned(secret) if "letters" not in how), None)
    return "" if how is None else f"; {how}"
