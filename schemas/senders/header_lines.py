"""Header lines of a sender: names and templates. Each attempt fills the placeholders of the templates.

`{version}` is Signpost's version. `{event_id}`, `{job_id}`, `{event_type}`, `{EVENT_TYPE}` (in upper case),
`{customer_id}` and `{subscription_id}` are values of the attempt. Any other placeholder is a constant of the event
type, set in its line of sender.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from schemas.senders.header_values import AttemptValues, header_id, header_text

Filler: TypeAlias = Callable[[AttemptValues], str]

PLACEHOLDER: Final = re.compile(r"\{([^}]*)\}")
OF_ATTEMPT: Final[Mapping[str, Filler]] = {
    "event_id": lambda attempt: header_id(attempt.event_id),
    "job_id": lambda attempt: header_text(attempt.job_id),
    "event_type": lambda attempt: header_text(attempt.event_type),
    "EVENT_TYPE": lambda attempt: header_text(attempt.event_type.upper()),
    "customer_id": lambda attempt: header_text(attempt.customer_id),
    "subscription_id": lambda attempt: header_text(attempt.subscription_id),
}
KNOWN: Final = ("version", *OF_ATTEMPT)


class HeaderLines:
    """The header lines of an attempt before its signature, in the order of sender.toml."""

    def __init__(self, templates: Mapping[str, str], version: str, constants: Mapping[str, Mapping[str, str]]) -> None:
        """`constants` maps placeholders to their value for each event type."""
        filled = {name: template.replace("{version}", version) for name, template in templates.items()}
        self._constants = constants
        self._static = [f"{name}: {template}".encode() for name, template in filled.items()]
        self._is_static = not any(PLACEHOLDER.search(template) for template in filled.values())
        self._lines = [self._line(name, template) for name, template in filled.items()]

    def of(self, attempt: AttemptValues) -> Sequence[bytes]:
        """Return the lines of an attempt. A line is omitted if the event type no longer has a constant for it."""
        if self._is_static:
            return self._static
        lines = []
        for line in self._lines:
            filled = line if isinstance(line, bytes) else line(attempt)
            if filled is not None:
                lines.append(filled)
        return lines

    def _line(self, name: str, template: str) -> bytes | Callable[[AttemptValues], bytes | None]:
        # ["", "event_id", " of ", "customer_id", ""]: texts and placeholders alternate
        parts = PLACEHOLDER.split(template)
        if len(parts) == 1:
            return f"{name}: {template}".encode()
        texts, names = parts[::2], parts[1::2]
        texts[0] = f"{name}: {texts[0]}"
        if all(placeholder in OF_ATTEMPT for placeholder in names):
            return _of_attempt(texts, [OF_ATTEMPT[placeholder] for placeholder in names])
        return self._of_type(texts, names)

    def _of_type(self, texts: list[str], names: list[str]) -> Callable[[AttemptValues], bytes | None]:
        constants = self._constants

        def line(attempt: AttemptValues) -> bytes | None:
            values = []
            for name in names:
                filler = OF_ATTEMPT.get(name)
                by_type = constants.get(name, {})
                value = filler(attempt) if filler else by_type.get(attempt.event_type, by_type.get("*"))
                if value is None:
                    return None
                values.append(value)
            return _joined(texts, values)

        return line


def _of_attempt(texts: list[str], fillers: list[Filler]) -> Callable[[AttemptValues], bytes]:
    if len(fillers) == 1:
        (filler,), (before, after) = fillers, texts
        return lambda attempt: f"{before}{filler(attempt)}{after}".encode()
    return lambda attempt: _joined(texts, [filler(attempt) for filler in fillers])


def _joined(texts: list[str], values: list[str]) -> bytes:
    return "".join(text + value for text, value in zip(texts, [*values, ""], strict=True)).encode()
