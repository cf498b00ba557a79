"""Names of log events: one form, and no test waits for an event that nothing logs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
LOGGED: Final = re.compile(r'\blog\.(?:debug|info|warning|error)\(\s*"([^"]+)"')
# The outcome log writes its lines without structlog.
OUTCOMES: Final = frozenset({"delivery.attempted", "delivery.cancelled"})
FORM: Final = re.compile(r"[a-z]+(_[a-z]+)*\.([a-z]+_)*([a-z]+ed|lost|hung)")
# Names of files that look like names of events.
FILES: Final = frozenset({"ledger.db", "kafka.log"})
# The process is about to restart when it logs this.
PRESENT: Final = frozenset({"role.restarting"})


def texts(*folders: str) -> list[str]:
    """The Python files of these folders."""
    return [file.read_text(encoding="utf-8") for folder in folders for file in (ROOT / folder).rglob("*.py")]


def logged() -> set[str]:
    """The names of all events that Signpost logs by structlog."""
    sources = texts("schemas", "producers", "consumers", "deploy")
    return {name for text in sources for name in LOGGED.findall(text.replace("_log.", "log."))}


def test_log_events_are_nouns_with_past_participles() -> None:
    """`delivery.paused`, `consumer.close_failed`: an operator can search for each event by one kind of name."""
    events = logged()
    assert len(events) > 30
    assert [name for name in sorted(events - PRESENT) if not FORM.fullmatch(name)] == []


def test_log_events_in_tests_exist() -> None:
    """After an event was renamed, a test that counts it would pass for no reason, and one that waits would time out."""
    events = logged() | OUTCOMES
    nouns = "|".join(sorted({name.partition(".")[0] for name in events}))
    literal = re.compile(rf"""["']"?((?:{nouns})\.[a-z_]+)"?["']""")
    found = {name for text in texts("tests/broker", "tests/faults") for name in literal.findall(text)}
    assert found
    assert found - FILES <= events
