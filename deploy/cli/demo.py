"""`signpost demo`: the main job on a real broker, in under a minute."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live

from consumers.service.signals import Stop
from deploy.cli.context import command_app
from deploy.cli.demo_table import line_of, table_of
from deploy.cli.options import options_of, print_error
from deploy.demo import demo
from deploy.demo.demo import OnPhase
from deploy.demo.tally import DemoProgress, customers_of
from deploy.dev.jars import OnProgress
from deploy.dev.supervisor import RoleProcess
from deploy.dev.up import Stack, running
from schemas.senders.sender import load_senders

app = command_app()

_FAILED: Final = 1
_INTERRUPTED: Final = 130  # as shells report Ctrl-C
_RATE: Final = 500.0
_WITHIN_S: Final = 40.0
_LINE_EVERY_S: Final = 2.0


@app.command()
def _demo(
    ctx: typer.Context,
    events: Annotated[int, typer.Option(min=10, max=1_000_000, help="Events to publish.")] = 3_000,
) -> None:
    """Run the main job end to end: events in, signed webhooks out, retries and dead letters, everything counted.

    Webhooks of all built-in senders go from a real broker to endpoints that verify them: one healthy endpoint per
    sender, one that fails twice and then works, and one that always fails. Retry schedules run 20,000 times faster.
    Exit code 0 only if every count adds up. The demo removes everything that it created.
    """
    console = Console(highlight=False)
    progress = DemoProgress(customers_of(load_senders()))
    began = time.monotonic()
    try:
        _run(console, options_of(ctx).config, progress, events)
    except KeyboardInterrupt:
        console.print("demo: interrupted")
        raise typer.Exit(_INTERRUPTED) from None
    problems = progress.problems()
    summary = "every count adds up" if not problems else "the counts do not add up"
    console.print(table_of(progress, f"{summary}; {time.monotonic() - began:.0f} s in all", closing=True))
    for problem in problems:
        print_error(problem)
    raise typer.Exit(_FAILED if problems else 0)


def _run(console: Console, config: Path | None, progress: DemoProgress, events: int) -> None:
    """Start everything, run the demo, and stop everything; KeyboardInterrupt if a signal ends it early."""
    # The broker lives for seconds: Java's second compiler would use more CPU than it saves.
    os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
    stop = Stop()
    roles = [RoleProcess("router", 0), RoleProcess("deliver", 0)]
    with tempfile.TemporaryDirectory(prefix="signpost-demo-") as folder:
        state = Path(folder)
        extra: dict[str, Any] = {**demo.SETTINGS, "prefix": f"demo-{state.name[-8:].replace('_', '-')}."}
        console.print(f"topics: prefix {extra['prefix']}, removed at the end")
        stack: Stack | None = None
        try:
            with running(state, config, roles, _printer(console), extra=extra, keep=False) as stack:
                demo.check_egress(stack.settings)
                if not stack.wait_ready(stop):
                    raise KeyboardInterrupt
                console.print("roles: router and deliver are ready")
                with demo.prepared(stack.settings, progress) as records, _shown(console, progress, stop) as on_phase:
                    demo.publish(stack.settings, progress, records, events=events, rate=_RATE, on_phase=on_phase)
                    demo.finish(progress, records, within_s=_WITHIN_S, on_phase=on_phase)
        finally:
            if stack is not None and stack.broker.kind == "given":
                demo.remove_topics(stack.settings)


def _printer(console: Console) -> OnProgress:
    return lambda line: console.print(line, soft_wrap=True, markup=False)


@contextmanager
def _shown(console: Console, progress: DemoProgress, stop: Callable[[], bool]) -> Iterator[OnPhase]:
    """Draw the figures while they grow; without a terminal, write a line every two seconds."""
    began = time.monotonic()
    phase = ""
    due_s = began + _LINE_EVERY_S

    def on_phase(current: str) -> None:
        nonlocal phase, due_s
        phase = current
        if stop():
            raise KeyboardInterrupt
        if not console.is_terminal and time.monotonic() >= due_s:
            due_s = time.monotonic() + _LINE_EVERY_S
            console.print(line_of(progress, phase, time.monotonic() - began), soft_wrap=True)

    if not console.is_terminal:
        yield on_phase
        return
    with Live(
        get_renderable=lambda: table_of(progress, f"{phase}, {time.monotonic() - began:.0f} s", closing=False),
        console=console,
        refresh_per_second=5,
        transient=True,
    ):
        yield on_phase
