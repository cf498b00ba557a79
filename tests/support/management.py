"""Runs the code of the guides about webhooks against an API: commands, Python and TypeScript."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.reference.management import CHAPTER
from tests.support.guides import NPM, blocks
from tests.support.npm import installed
from tests.support.served_api import ServedApi

_DRIVERS: Final = Path(__file__).parent / "drivers"
# Of `create`, in the code of each guide.
_ARGUMENTS: Final[Mapping[str, Sequence[Any]]] = {
    "onboarding": ("screening.completed", "https://hooks.example.com/screening"),
    "diligent": ("https://hooks.example.com/cdd", ["cdd_state_changed"], "your-secret"),
}


def run_shell(page: str, api: ServedApi, sender: str, folder: Path) -> tuple[Any, list[Any]]:
    """Run the commands of a guide; return the answer to the creation, and the others (None: without a body)."""
    create, manage = blocks(page, CHAPTER, "sh")
    environment = {"API": api.url, "KEY": api.keys[sender], "PATH": os.environ["PATH"]}
    made = json.loads(_run(["bash", "-eu", "-c", create], folder, environment))
    # curl writes no line feed after an answer.
    lines = 'curl() { command curl "$@"; echo; }\n' + manage
    texts = _run(["bash", "-eu", "-c", lines], folder, environment | {"ID": made["id"]})
    return made, [json.loads(line) if line else None for line in texts.splitlines()]


def run_python(page: str, api: ServedApi, sender: str, folder: Path) -> Any:
    """Run the Python code of a guide by drivers/manage.py, and return what that got."""
    (code,) = blocks(page, CHAPTER, "python")
    (folder / "webhooks.py").write_text(code, encoding="utf-8")
    shutil.copy(_DRIVERS / "manage.py", folder)
    return _answers([sys.executable, "-W", "error", folder / "manage.py"], api, sender, folder)


def run_typescript(page: str, api: ServedApi, sender: str, folder: Path) -> Any:
    """Compile the TypeScript code of a guide in strict mode, run it by drivers/manage.mjs, and return what that got."""
    (code,) = blocks(page, CHAPTER, "typescript")
    (folder / "webhooks.ts").write_text(code, encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "node_modules").symlink_to(installed(NPM) / "node_modules")
    options = ["--strict", "--noUnusedLocals", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    _run([folder / "node_modules" / ".bin" / "tsc", *options, "--skipLibCheck", "webhooks.ts"], folder)
    shutil.copy(_DRIVERS / "manage.mjs", folder)
    return _answers(["node", folder / "manage.mjs"], api, sender, folder)


def _answers(command: Sequence[str | Path], api: ServedApi, sender: str, folder: Path) -> Any:
    given = json.dumps([api.url, api.keys[sender], _ARGUMENTS[sender]])
    return json.loads(_run([*command, given], folder))


def _run(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
