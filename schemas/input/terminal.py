"""Untrusted text, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape characters that move the cursor, change colours or begin a line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
