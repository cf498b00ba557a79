"""What the commands that look into topics share: a scanner with its progress bar, times, and names of topics."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from schemas.errors import InvalidInput

if TYPE_CHECKING:  # confluent_kafka and pydantic: `signpost --help` does without
    from consumers.console.readable import RecordReader
    from consumers.console.scan import Scanner
    from schemas.settings import Settings

_BAR_AFTER_S: Final = 1.0
_HOUR_S, _MINUTE_S = 3_600, 60

Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="10m|TIME",
        help="Only from then on: a duration, or a time in ISO 8601 (UTC if it says none).",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="As JSON.")]


@contextmanager
def scanning(settings: Settings) -> Iterator[Scanner]:
    """Hand out a scanner, whose progress is shown on standard error from the second second on."""
    from consumers.console.scan import Scanner  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait
    from deploy.admin import reachable_admin  # noqa: PLC0415

    bar = Bar()
    try:
        yield Scanner(settings.kafka_properties(), reachable_admin(settings), bar)
    finally:
        bar.close()


def record_reader(settings: Settings) -> RecordReader:
    """Return what decodes records, with the schema registry of the settings."""
    from consumers.console.readable import RecordReader  # noqa: PLC0415  # see above
    from consumers.runtime.registry import Registry  # noqa: PLC0415
    from deploy.senders import senders_of  # noqa: PLC0415

    url = settings.schema_registry_url
    return RecordReader(senders_of(settings), None if url is None else Registry(url))


def since_ms(text: str | None, now_s: float) -> int | None:
    """Return the Unix ms that `--since` means; InvalidInput says how it is written."""
    from schemas.durations import milliseconds, parse_duration  # noqa: PLC0415  # see above

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
    """Return the topic of this name, with or without the prefix; InvalidInput names those that it may be."""
    there = scanner.topics()
    for candidate in (name, prefix + name):
        if candidate in there:
            return candidate
    short = sorted(topic.removeprefix(prefix) for topic in there if topic.startswith(prefix))
    if not short:
        raise InvalidInput(
            f"there is no topic {name}, nor any whose name begins with {prefix}: `signpost topics apply` makes them"
        )
    near = difflib.get_close_matches(name, short, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(short)}"
    raise InvalidInput(f"there is no topic {name} and no {prefix + name}; {hint}")


def no_bar(scanner: Scanner) -> None:
    """Show no more progress: from here on lines are printed while it is read."""
    from consumers.runtime.topic_reader import no_progress  # noqa: PLC0415  # see above

    if isinstance(scanner.progress, Bar):
        scanner.progress.close()
    scanner.progress = no_progress


def now_ms() -> int:
    """Return the present Unix ms."""
    return time.time_ns() // 1_000_000


def ago(at_ms: int, seen_at_ms: int) -> str:
    """Write how long ago an instant was, or in how long it will be; both in Unix ms."""
    seconds = abs(seen_at_ms - at_ms) / 1_000
    if seconds >= 2 * _HOUR_S:
        text = f"{seconds / _HOUR_S:,.1f} h"
    elif seconds >= 2 * _MINUTE_S:
        text = f"{seconds / _MINUTE_S:.0f} min"
    else:
        text = f"{seconds:.1f} s"
    return f"{text} ago" if at_ms <= seen_at_ms else f"in {text}"


class Bar:
    """A progress bar on a terminal, for what takes longer than a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = clock()
        self._progress: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` records are read."""
        if self._progress is None:
            if self._clock() - self._began_s < _BAR_AFTER_S or not sys.stderr.isatty():
                return
            from rich.console import Console  # noqa: PLC0415  # 50 ms that only those who wait anyway pay
            from rich.progress import Progress  # noqa: PLC0415

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("reading", total=total)
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total)

    def close(self) -> None:
        """Remove it."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
