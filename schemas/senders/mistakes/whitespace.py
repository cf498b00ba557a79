"""Characters at the edges of a text that people do not see: spaces, line breaks and byte order marks."""

from __future__ import annotations

from typing import Final

BOM: Final = "\ufeff"
# A byte order mark whose UTF-8 bytes were read as Latin-1.
MISREAD_BOM: Final = "ï»¿"
_NAMES: Final = {
    " ": "a space",
    "\t": "a tab",
    "\n": "a line break (\\n)",
    "\r": "a carriage return (\\r)",
    "\r\n": "a line break (\\r\\n)",
    "\n\n": "an empty line (\\n\\n)",
    "\0": "a NUL character",
    BOM: "a byte order mark (U+FEFF)",
    "\u00a0": "a no-break space (U+00A0)",
    "\u200b": "a zero-width space (U+200B)",
}
# str.strip() removes all white space of Unicode, but not these.
_INVISIBLE: Final = f"{BOM}\u200b\u200c\u200d\u2060\0"


def name_of(text: str) -> str:
    """Return the name of invisible text."""
    return _NAMES.get(text) or ("spaces" if set(text) == {" "} else "white space")


def stripped(text: str) -> str:
    """Return a text without invisible characters at its edges."""
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
    return text


def edges(text: str) -> str | None:
    """Return `begins with a space and ends with a line break (\\n)`; None if the text has visible edges."""
    inner = stripped(text)
    if inner == text:
        return None
    if not inner:
        return "consists of white space"
    start, _, end = text.partition(inner)
    found = []
    if start:
        found.append(f"begins with {name_of(start)}")
    if end:
        found.append(f"ends with {name_of(end)}")
    return " and ".join(found)
