"""Writes all dashboards: `python -m deploy.reference.dashboards FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.reference.dashboards import api, delivery, ledger, overview, router, senders


def files() -> Mapping[str, str]:
    """Return all dashboards by their file names."""
    boards = (overview.board(), senders.board(), delivery.board(), router.board(), ledger.board(), api.board())
    return {f"{board.name}.json": board.as_json() for board in boards}


def main() -> None:
    """Write the dashboards into the folder of the first argument."""
    for name, text in files().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
