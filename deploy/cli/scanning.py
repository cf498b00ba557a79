"""What the commands that read topics share: a scanner with a progress bar, times, and names of topics."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.console import Console
from rich.progress import Progress

from consumers.inspect.readable import RecordReader
from consumers.inspect.scan import Scanner
from consumers.kafka.schema_registry import FAIL_FAST_S, SchemaRegistry
from consumers.kafka.topic_reader import no_progress
from deploy.config.admin import reachable_admin
from deploy.config.senders import senders_of
from schemas.catalog.errors import InvalidInput
from schemas.input.durations import milliseconds, parse_duration
from schemas.settings.settings import Settings

_BAR_AFTER_S: Final = 1.0
_HOUR_S: Final = 3_600
_MINUTE_S: Final = 60

Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="10m|TIME",
        help="Only records since then: a duration ago, or a time in ISO 8601 (UTC by default).",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="As JSON.")]


@contextmanager
def scanning(settings: Settings) -> Iterator[Scanner]:
    """Yield a scanner; after one second it shows its progress on standard error."""
    bar = Bar()
    try:
        yield Scanner(settings.kafka_properties(), reachable_admin(settings), bar)
    finally:
        bar.close()


def record_reader(settings: Settings) -> RecordReader:
    """Return a decoder of records that uses the schema registry of the settings."""
    url = settings.schema_registry_url
    return RecordReader(senders_of(settings), None if url is None else SchemaRegistry(url, fail_fast_s=FAIL_FAST_S))


def since_ms(text: str | None, now_s: float) -> int | None:
    """Return the Unix ms that `--since` means; InvalidInput shows the accepted forms."""
    if text is None:
        return None
    try:
        return int(now_s * 1_000) - milliseconds(parse_duration(text))
    except (InvalidInput, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"--since: {text!r} is neither a duration, such as 10m or 2h, nor a time, such as 2026-02-16T10:05:30Z"
        ) from None


def topic_named(scanner: Scanner, name: str, prefix: str) -> str:
    """Return the topic of this name, with or without the prefix; InvalidInput suggests similar names."""
    there = scanner.topics()
    for candidate in (name, prefix + name):
        if candidate in there:
            return candidate
    short = sorted(topic.removeprefix(prefix) for topic in there if topic.startswith(prefix))
    if not short:
        raise InvalidInput(f"there is no topic {name}, nor any with the prefix {prefix}; run `signpost topics apply`")
    similar = difflib.get_close_matches(name, short, 3, 0.5)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"existing topics: {', '.join(short)}"
    raise InvalidInput(f"there is no topic {name} and no {prefix + name}; {hint}")


def no_bar(scanner: Scanner) -> None:
    """Remove the progress bar for good: from here on, the command prints while it reads."""
    if isinstance(scanner.progress, Bar):
        scanner.progress.close()
    scanner.progress = no_progress


def now_ms() -> int:
    """Return the present Unix ms."""
    return time.time_ns() // 1_000_000


def ago(at_ms: int, seen_at_ms: int) -> str:
    """Write how long before or after `seen_at_ms` an instant is, such as `5 min ago` or `in 2.0 s`; both in Unix ms."""
    seconds = abs(seen_at_ms - at_ms) / 1_000
    if seconds >= 2 * _HOUR_S:
        text = f"{seconds / _HOUR_S:,.1f} h"
    elif seconds >= 2 * _MINUTE_S:
        text = f"{seconds / _MINUTE_S:.0f} min"
    else:
        text = f"{seconds:.1f} s"
    return f"{text} ago" if at_ms <= seen_at_ms else f"in {text}"


class Bar:
    """A progress bar on a terminal, shown after a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = clock()
        self._progress: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` records have been read."""
        if self._progress is None:
            if self._clock() - self._began_s < _BAR_AFTER_S or not sys.stderr.isatty():
                return
            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("reading", total=total)
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
