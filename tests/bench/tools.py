"""The inspection commands, on topics of a million records."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any, Final

from schemas.records.delivery import DeadLetter, DeadLetterCodec
from schemas.records.topics import FIRST
from tests.bench.stage import Bench, Stage
from tests.support.waiting import wait_until

_RECORDS: Final = 1_000_000
_CUSTOMERS: Final = 25
_LETTERS: Final = 10_000


def tools(bench: Bench) -> dict[str, Any]:
    """Seconds of explain, tail, lag and dead-letters, on 1,000,000 events, jobs and outcomes."""
    records = bench.scaled(_RECORDS)
    letters = bench.scaled(_LETTERS, 100)
    with bench.stage() as stage:
        stage.subscribed(_CUSTOMERS)
        stage.fill_events(_CUSTOMERS, records)
        router = stage.router()
        wait_until(lambda: stage.size(stage.names.jobs(FIRST)) >= records, 600, "all events are routed")
        router.terminate()
        stage.fill(_letters(stage, letters), stage.names.dead)
        delivery = stage.deliver()  # writes outcomes while the commands run
        middle = f"evt_{records // 2:08}"
        source = stage.events_topic
        commands = {
            "explain": ("explain", middle),
            "explain_missing": ("explain", "evt_never"),
            "tail": ("tail", source),
            "tail_grep_all": ("tail", source, "--grep", middle, "-n", "1"),
            "lag": ("lag",),
            "dead_letters": ("dead-letters", "list"),
        }
        seconds = {name: _seconds(stage, *arguments) for name, arguments in commands.items()}
        delivery.terminate()
    return {
        "records": records,
        "dead_letters": letters,
        "seconds": seconds,
        "command_start": _seconds(stage, "--help"),
    }


def _letters(stage: Stage, count: int) -> list[tuple[str, bytes]]:
    encode = DeadLetterCodec().encode
    return [
        (
            "sub-000001",
            encode(
                DeadLetter(
                    reason="exhausted",
                    detail="attempt 6 was the last",
                    topic=stage.names.jobs(FIRST),
                    partition=0,
                    offset=number,
                    at_ms=1_771_236_060_000 + number,
                    key=b"sub-000001",
                    value=None,
                    job_id=f"job-{number}",
                    subscription_id="sub-000001",
                    event_id=f"evt_{number:08}",
                    attempts=6,
                )
            ),
        )
        for number in range(count)
    ]


def _seconds(stage: Stage, *arguments: str) -> float:
    """Run a command as a user does; return its duration."""
    started_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", *arguments],
        env={**os.environ, **stage.env()},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode in {0, 1}, ended.stderr.decode()
    return round(time.monotonic() - started_s, 2)
