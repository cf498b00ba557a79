"""Entry point of `signpost` and of `python -m deploy.cli`: loads the command line and runs it."""

from __future__ import annotations

from typing import NoReturn

from deploy.cli.interrupts import ending_at_once


def run() -> NoReturn:
    """Run the command line and end this process."""
    with ending_at_once():
        from deploy.cli.main import run as run_main  # noqa: PLC0415  # Ctrl-C is as likely here as anywhere

    run_main()


if __name__ == "__main__":
    run()
