"""The tables of README.md and docs that come from the code: `python -m deploy.reference README.md` updates them.

They are between `<!-- begin: NAME -->` and `<!-- end: NAME -->`; a test compares them with the code.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from consumers.runtime.metrics import SPECS
from deploy.cli.group import all_commands
from deploy.cli.settings import rows_of
from deploy.settings import Loaded
from schemas.failures import MEANINGS, OUTCOME_KINDS, Meaning
from schemas.reasons import CANCELLED, DEAD, DEFERRED, DISABLED, OPERATIONS
from schemas.settings import Settings
from schemas.statuses import STATUSES


def sections() -> Mapping[str, str]:
    """Return all tables by name."""
    reasons = {
        "dead": DEAD,
        "cancelled": CANCELLED,
        "disabled": DISABLED,
        "deferred": DEFERRED,
        "operations": OPERATIONS,
    }
    tables = {name: _meanings("Reason", meanings) for name, meanings in reasons.items()}
    failures: dict[str, Meaning] = {kind: MEANINGS[kind] for kind in OUTCOME_KINDS}
    statuses = _table(("Status", "What Signpost does", "What to do"), ((name, *STATUSES[name]) for name in STATUSES))
    tables |= {"failures": _meanings("Kind", failures), "statuses": statuses}
    return {"settings": _settings(), "metrics": _metrics()} | tables


def renewed(text: str) -> str:
    """Return a document with its tables as the code has them now."""
    for name, table in sections().items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
        head, found, rest = text.partition(begin)
        if found:
            text = head + begin + table + end + rest.partition(end)[2]
    return text


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(heads)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _settings() -> str:
    defaults = {row.key: row for row in rows_of(Loaded(Settings(), {}))}
    rows = []
    for key, field in Settings.model_fields.items():
        row = defaults.get(key)
        value = "" if row is None or row.value in (None, []) else f"`{str(row.value).lower()}`"
        description = re.sub(r"<(\w+)>", r"&lt;\1&gt;", field.description or "")
        rows.append((f"`{key}`", value, row.unit if row else "", description))
    return _table(("Setting", "Default", "A bare number counts", "What it is for"), rows)


def _metrics() -> str:
    rows = ((f"`{spec.name}`", ", ".join(f"`{label}`" for label in spec.labels), spec.help) for spec in SPECS)
    return _table(("Metric", "Labels", "Meaning"), rows)


def command_rows() -> Iterator[tuple[str, str]]:
    """Yield every command as it is typed, and the first paragraph of its help; groups come as their commands."""
    for words, command in all_commands():
        if not getattr(command, "commands", {}):
            yield " ".join(("signpost", *words)), " ".join(inspect.cleandoc(command.help).split("\n\n")[0].split())


def _meanings(head: str, meanings: Mapping[str, Meaning]) -> str:
    rows = ((f"`{name}`", *meaning) for name, meaning in meanings.items())
    return _table((head, "Meaning", "What to do"), rows)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
